//! Translates errors for ARM: the model's rules name keys of a file, and ARM clients need property names. One table per
//! kind of object.

use crate::model::Key;
use crate::types::ErrorDetail;

use super::Error;

/// Keys of a file as paths without list indexes, and their properties. A key without a property is set in the daemon's
/// file only, and stays.
type Words = &'static [(&'static str, &'static str)];

/// Of a VNet.
const VNET: Words = &[
    ("region", "location"),
    ("address_space", "properties.addressSpace.addressPrefixes"),
    ("on_premises", "properties.privlink.onPremises"),
    ("peerings", "properties.virtualNetworkPeerings"),
    ("subnets", "properties.subnets"),
    ("subnets[].prefix", "properties.subnets[].properties.addressPrefix"),
    ("subnets[].prefixes", "properties.subnets[].properties.addressPrefixes"),
    ("subnets[].dedicated", "properties.subnets[].properties.privlink.dedicated"),
    ("subnets[].delegations", "properties.subnets[].properties.delegations"),
    ("subnets[].service_endpoints", "properties.subnets[].properties.serviceEndpoints"),
    ("subnets[].network_policies", "properties.subnets[].properties.privateEndpointNetworkPolicies"),
    ("subnets[].nat", "properties.subnets[].properties.privateLinkServiceNetworkPolicies"),
    ("subnets[].security_group", "properties.subnets[].properties.networkSecurityGroup.id"),
    ("workloads", "properties.privlink.workloads"),
    ("workloads[].private_endpoints", "properties.privlink.workloads[].privateEndpoints"),
    ("dns", "properties.privlink.dns"),
    ("dns.ttl", "properties.privlink.dns.ttlInSeconds"),
    ("dns.accept_names", "properties.privlink.dns.acceptNames"),
    ("lockdown", "properties.privlink.lockdown"),
    ("public_prefixes", "properties.privlink.publicPrefixes"),
];

/// Of a private link service or a typed resource.
const RESOURCE: Words = &[
    ("region", "location"),
    ("vnet", "properties.privlink.vnet"),
    ("nat", "properties.ipConfigurations"),
    ("targets", "properties.privlink.targets"),
    ("targets[].ports", "properties.privlink.targets[].ports"),
    ("targets[].ports[].backend_port", "properties.privlink.targets[].ports[].backendPort"),
    ("targets[].health.interval", "properties.privlink.targets[].health.intervalInSeconds"),
    ("targets[].health.timeout", "properties.privlink.targets[].health.timeoutInSeconds"),
    ("visibility", "properties.visibility.subscriptions"),
    ("auto_approval", "properties.autoApproval.subscriptions"),
    ("shared_backend", "properties.privlink.sharedBackend"),
    ("max_sessions", "properties.privlink.maxSessions"),
    ("max_sessions_per_endpoint", "properties.privlink.maxSessionsPerEndpoint"),
    ("rates", "properties.privlink.rates"),
    ("rates.bits_per_second", "properties.privlink.rates.bitsPerSecond"),
    ("rates.new_sessions_per_second", "properties.privlink.rates.newSessionsPerSecond"),
    ("balance", "properties.privlink.balance"),
    ("drain", "properties.privlink.drainInSeconds"),
    ("cross_region", "properties.privlink.crossRegion"),
    ("alias", "properties.alias"),
    ("fqdns", "properties.fqdns"),
    ("proxy_protocol", "properties.enableProxyProtocol"),
    ("destination", "properties.destinationIPAddress"),
];

/// Of a private endpoint.
const ENDPOINT: Words = &[
    ("region", "location"),
    ("vnet", "properties.subnet.id"),
    ("subnet", "properties.subnet.id"),
    // Either list of connections may hold them.
    ("resource", "privateLinkServiceId"),
    ("subresource", "groupIds"),
    ("request_message", "requestMessage"),
    ("status", "privateLinkServiceConnectionState.status"),
    ("manual", "properties.manualPrivateLinkServiceConnections"),
    ("addresses", "properties.ipConfigurations"),
    ("addresses[].ip", "properties.ipConfigurations[].properties.privateIPAddress"),
    ("addresses[].member", "properties.ipConfigurations[].properties.memberName"),
    ("ip", "properties.ipConfigurations[0].properties.privateIPAddress"),
    ("sources", "properties.privlink.sources"),
    ("max_sessions", "properties.privlink.maxSessions"),
    ("rates", "properties.privlink.rates"),
    ("rates.bits_per_second", "properties.privlink.rates.bitsPerSecond"),
    ("rates.new_sessions_per_second", "properties.privlink.rates.newSessionsPerSecond"),
    ("accept_names", "properties.privlink.acceptNames"),
    ("dns_zones", "properties.privateDnsZoneConfigs"),
];

/// Texts between backticks in messages, if the last part of the property is not enough.
const PHRASES: Words = &[
    ("manual = true", "manualPrivateLinkServiceConnections"),
    ("nat = true", "privateLinkServiceNetworkPolicies: \"Disabled\""),
    ("addresses = [{ member = \"…\" }, …]", "ipConfigurations"),
    ("{ member = \"…\" }", "memberName"),
    ("member", "memberName"),
    ("dns_zones", "privateDnsZoneGroups"),
    ("network_policies", "privateEndpointNetworkPolicies"),
    ("cross_region", "crossRegion"),
    ("address_space", "addressSpace.addressPrefixes"),
    ("auto_approval", "autoApproval"),
    ("visibility", "visibility"),
    ("nat", "ipConfigurations"),
    ("interval", "intervalInSeconds"),
    ("timeout", "timeoutInSeconds"),
];

/// Words before the name of an object. The name is not translated.
const NOUNS: [&str; 11] = [
    "VNet",
    "resource",
    "subnet",
    "endpoint",
    "zone",
    "service",
    "group",
    "subscription",
    "workload",
    "class",
    "member",
];

/// The kinds of objects in messages, and their tables.
const KINDS: [(&str, Words); 3] = [("vnet ", VNET), ("resource ", RESOURCE), ("endpoint ", ENDPOINT)];

/// Translates the error of a request about `asked`.
pub(super) fn of_properties(rejection: Error, asked: &Key) -> Error {
    rejection.reworded(&|detail| reworded(detail, asked))
}

fn reworded(detail: &ErrorDetail, asked: &Key) -> ErrorDetail {
    let place = detail.target.as_deref().and_then(placed);
    let Some((object, words, field)) = place else {
        return ErrorDetail { message: without_keys(&[VNET, RESOURCE, ENDPOINT], &detail.message), ..detail.clone() };
    };
    let property = property(words, field);
    let own = object.split_once(' ').is_some_and(|(_, name)| name.eq_ignore_ascii_case(&asked.to_string()));
    let target = match (own, property.as_str()) {
        (_, "") => object.to_owned(),
        (true, property) => property.to_owned(),
        (false, property) => format!("{object}: {property}"),
    };
    let said = detail.target.as_deref().and_then(|place| detail.message.strip_prefix(place)?.strip_prefix(": "));
    let said = said.unwrap_or(&detail.message);
    let said = said.strip_prefix("error: ").unwrap_or(said);
    let message = format!("{target}: {}", without_keys(&[words], said));
    ErrorDetail { message, target: Some(target), ..detail.clone() }
}

/// The object of a place, its table, and the field. `None`: the object is not in the table.
fn placed(place: &str) -> Option<(&str, Words, &str)> {
    let (_, words) = KINDS.iter().find(|(kind, _)| place.starts_with(kind))?;
    let (object, field) = place.split_once(": ").unwrap_or((place, ""));
    Some((object, words, field))
}

/// The property for the path `field` of a file.
fn property(words: Words, field: &str) -> String {
    let mut numbers = Vec::new();
    let mut pattern = String::new();
    for part in field.split_inclusive(']') {
        match part.split_once('[') {
            Some((name, number)) => {
                numbers.push(format!("[{number}"));
                pattern.push_str(name);
                pattern.push_str("[]");
            }
            None => pattern.push_str(part),
        }
    }
    let begins =
        |key: &str| pattern.strip_prefix(key).is_some_and(|rest| matches!(rest.chars().next(), None | Some('.' | '[')));
    let longest = words.iter().filter(|(key, _)| begins(key)).max_by_key(|(key, _)| key.len());
    let found = longest.map_or_else(
        || camel(&pattern),
        |(key, property)| {
            let rest = pattern.get(key.len()..).unwrap_or_default();
            format!("{property}{}", camel(rest))
        },
    );
    numbers.into_iter().fold(found, |found, number| found.replacen("[]", &number, 1))
}

/// `backend_port` as `backendPort`.
fn camel(text: &str) -> String {
    let mut words = text.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |done, word| {
        let mut letters = word.chars();
        let head = letters.next().map(|letter| letter.to_ascii_uppercase());
        done + &head.into_iter().chain(letters).collect::<String>()
    })
}

/// `text` with properties between its backticks instead of keys.
fn without_keys(tables: &[Words], text: &str) -> String {
    let mut said = String::with_capacity(text.len());
    for (index, part) in text.split('`').enumerate() {
        if index > 0 {
            said.push('`');
        }
        let before = said.trim_end_matches('`').trim_end();
        let is_name = NOUNS.iter().any(|noun| before.ends_with(noun));
        let word = if index % 2 == 1 && !is_name { word(tables, part) } else { None };
        said.push_str(word.as_deref().unwrap_or(part));
    }
    said
}

/// The translation of a key, or of `key = value`, between backticks.
fn word(tables: &[Words], key: &str) -> Option<String> {
    let phrase =
        |key: &str| PHRASES.iter().find(|(known, _)| *known == key).map(|(_, property)| (*property).to_owned());
    let known = |key: &str| {
        let rows = tables.iter().copied().flatten();
        let mut named = rows.filter(|(path, _)| path.rsplit(['.', ']']).next().unwrap_or(path) == key);
        let (_, property) = named.next()?;
        let last = property.rsplit('.').find(|part| !matches!(*part, "id" | "subscriptions"));
        last.map(|part| part.trim_end_matches("[0]").to_owned())
    };
    // Of a resource, what its targets call a member is a property too.
    let endpoint = tables.iter().any(|table| table.iter().any(|(path, _)| *path == "addresses[].member"));
    let phrase = |key: &str| phrase(key).filter(|_| endpoint || !key.contains("member"));
    let whole = phrase(key).or_else(|| known(key));
    whole.or_else(|| {
        let (name, value) = key.split_once(" = ")?;
        let name = phrase(name).or_else(|| known(name)).or_else(|| (name.contains('_')).then(|| camel(name)))?;
        Some(if value.starts_with('[') { name } else { format!("{name}: {value}") })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_of_a_file_is_a_property() {
        for (words, field, expected) in [
            (ENDPOINT, "addresses[2].ip", "properties.ipConfigurations[2].properties.privateIPAddress"),
            (ENDPOINT, "sources[1]", "properties.privlink.sources[1]"),
            (VNET, "subnets[3].prefixes[1]", "properties.subnets[3].properties.addressPrefixes[1]"),
            (VNET, "dns.listen[0]", "properties.privlink.dns.listen[0]"),
            (VNET, "address_space[0]", "properties.addressSpace.addressPrefixes[0]"),
            (RESOURCE, "targets[0].ports[1].backend_port", "properties.privlink.targets[0].ports[1].backendPort"),
            (RESOURCE, "targets[0].subresource", "properties.privlink.targets[0].subresource"),
            (RESOURCE, "nat[1]", "properties.ipConfigurations[1]"),
            (RESOURCE, "max_sessions_per_endpoint", "properties.privlink.maxSessionsPerEndpoint"),
            (RESOURCE, "", ""),
        ] {
            assert_eq!(property(words, field), expected, "{field}");
        }
    }

    #[test]
    fn a_sentence_speaks_of_properties_and_leaves_names_alone() {
        for (words, text, expected) in [
            (ENDPOINT, "leave `subresource` out", "leave `groupIds` out"),
            (
                RESOURCE,
                "a target of a typed resource needs `subresource`",
                "a target of a typed resource needs `subresource`",
            ),
            (ENDPOINT, "VNet `region` has no subnet `ip`", "VNet `region` has no subnet `ip`"),
            (ENDPOINT, "or leave `region` out", "or leave `location` out"),
            (ENDPOINT, "set `manual = true`, or", "set `manualPrivateLinkServiceConnections`, or"),
            (
                ENDPOINT,
                "set `network_policies = \"Disabled\"` on the subnet",
                "set `privateEndpointNetworkPolicies: \"Disabled\"` on the subnet",
            ),
            (VNET, "set `network_policies = \"Enabled\"`", "set `privateEndpointNetworkPolicies: \"Enabled\"`"),
            (RESOURCE, "set `shared_backend = true` on", "set `sharedBackend: true` on"),
            (RESOURCE, "add an IPv6 address to `nat`", "add an IPv6 address to `ipConfigurations`"),
            (RESOURCE, "`timeout` of at most `interval`", "`timeoutInSeconds` of at most `intervalInSeconds`"),
        ] {
            assert_eq!(without_keys(&[words], text), expected);
        }
    }

    /// Every key between backticks in the rules' own source is told by its property.
    #[test]
    fn no_key_of_a_file_is_left_in_what_the_rules_say() {
        let sources = [
            include_str!("../../model/rules/endpoints.rs"),
            include_str!("../../model/rules/resources.rs"),
            include_str!("../../model/rules/networks.rs"),
            include_str!("../../model/rules/rates.rs"),
            include_str!("../../model/rules/sharing.rs"),
            include_str!("../../control/apply/create.rs"),
            include_str!("../../access/rights/references.rs"),
        ];
        let mut asked = 0;
        for line in sources.iter().flat_map(|source| source.lines()).filter(|line| !line.trim().starts_with("//")) {
            let line = line.replace("\\\"", "\"");
            for phrase in line.split('`').skip(1).step_by(2).filter(|phrase| !phrase.starts_with('{')) {
                let is_key = phrase.contains(" = ") || phrase.contains('_') && phrase.len() > 1;
                if !is_key || phrase.contains("[[") || phrase.contains("name = ") {
                    continue;
                }
                asked += 1;
                let told = without_keys(&[VNET, RESOURCE, ENDPOINT], &format!("write `{phrase}`"));
                assert!(!told.contains('_') && !told.contains(" = "), "{phrase}: {told}");
            }
        }
        assert!(asked > 15, "{asked}");
    }
}
