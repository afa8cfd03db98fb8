//! Every action that the system judges, for tests.

use super::*;

/// The types of record sets.
const RECORD_TYPES: [&str; 8] = ["A", "AAAA", "CNAME", "MX", "PTR", "SOA", "SRV", "TXT"];

/// Every action there is, where the link resources are of `kinds` (besides [`SERVICES`]).
pub(crate) fn every<'a>(kinds: impl IntoIterator<Item = &'a str>) -> Vec<Action> {
    const READ: &[&str] = &["read"];
    const CHANGE: &[&str] = &["read", "write", "delete"];
    const SHARE: &[&str] = &["read", "write", "delete", "join/action"];
    const OWN: &[&str] = &["read", "write", "delete", "privateEndpointConnectionsApproval/action"];
    let fixed: [(&str, &[&str]); 21] = [
        (ENDPOINTS, CHANGE),
        (INTERFACES, &["read", "write"]),
        (ZONE_GROUPS, CHANGE),
        (NETWORKS, &["read", "write", "delete", "join/action", "peer/action"]),
        (SUBNETS, SHARE),
        (PEERINGS, CHANGE),
        (SECURITY_GROUPS, SHARE),
        (LOAD_BALANCERS, SHARE),
        (DNS_ZONES, SHARE),
        (ZONE_LINKS, CHANGE),
        (AVAILABLE_TYPES, READ),
        (RESOURCE_GROUPS, CHANGE),
        (ROLE_DEFINITIONS, CHANGE),
        (ROLE_ASSIGNMENTS, CHANGE),
        (STATUS, READ),
        (FLOWS, READ),
        (EXPLAIN, READ),
        (AUDIT, READ),
        (TOKENS, CHANGE),
        (BACKUP, &["action"]),
        (CONFIGURATION, &["write"]),
    ];
    let each = |kind: &str, words: &[&str]| words.iter().map(|word| of(kind, word)).collect::<Vec<_>>();
    let fixed = fixed.into_iter().flat_map(|(kind, words)| each(kind, words));
    let owned = std::iter::once(SERVICES)
        .chain(kinds)
        .flat_map(|kind| [each(kind, OWN), each(&connections(kind), CHANGE)].concat());
    let records = RECORD_TYPES.into_iter().flat_map(|kind| each(&record_sets(kind), CHANGE));
    fixed.chain(records).chain(owned).collect()
}
