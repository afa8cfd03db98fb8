use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::*;
use crate::snapshot::ConnectionState::{self, Approved, Pending, Rejected};

const PUBLIC: &str = "account.blob.core.windows.net";
const HOST: &str = "account.privatelink.blob.core.windows.net";
const ZONE: &str = "privatelink.blob.core.windows.net";

fn plan(owners: &[(&str, ConnectionState)]) -> ResolverPlan {
    let owner = |(number, (address, state)): (usize, &(&str, ConnectionState))| Owner {
        endpoint: format!("default/e{number}"),
        address: address.parse().expect("an address"),
        state: *state,
        answers: *state == Approved,
    };
    let owners = owners.iter().enumerate().map(owner).collect();
    ResolverPlan {
        listen: vec![],
        upstream: vec![],
        ttl: Duration::from_secs(10),
        sources: vec![],
        names: HashMap::from([
            (PUBLIC.to_owned(), Node::Alias(HOST.to_owned())),
            (HOST.to_owned(), Node::Host { zone: ZONE.to_owned(), owners }),
        ]),
        zones: BTreeSet::from([ZONE.to_owned()]),
        serial: 7,
    }
}

fn ask(plan: &ResolverPlan, name: &str, kind: RecordType) -> Option<Reply> {
    look_up(plan, &Name::from_ascii(format!("{name}.")).expect("a name"), kind)
}

fn told(reply: &Reply) -> Vec<String> {
    reply.answers.iter().map(|record| format!("{} {} {}", record.name, record.record_type(), record.data)).collect()
}

#[test]
fn the_public_name_leads_to_the_private_one_and_that_to_every_approved_address() {
    let plan = plan(&[("10.1.9.8", Approved), ("10.1.9.9", Approved), ("10.1.9.7", Pending), ("fd00::8", Approved)]);
    let reply = ask(&plan, "Account.BLOB.core.windows.net", RecordType::A).expect("known");
    assert_eq!(
        told(&reply),
        [
            format!("Account.BLOB.core.windows.net. CNAME {HOST}."),
            format!("{HOST}. A 10.1.9.8"),
            format!("{HOST}. A 10.1.9.9")
        ]
    );
    assert!(reply.answers.iter().all(|record| record.ttl == 10) && reply.soa.is_none());
    assert_eq!(told(&ask(&plan, HOST, RecordType::AAAA).expect("known")), [format!("{HOST}. AAAA fd00::8")]);
    assert_eq!(told(&ask(&plan, PUBLIC, RecordType::CNAME).expect("known")).len(), 1, "the alias itself");
}

#[test]
fn a_kind_that_is_not_there_is_no_data_and_names_the_zone() {
    let plan = plan(&[("10.1.9.8", Approved)]);
    for kind in [RecordType::AAAA, RecordType::TXT, RecordType::HTTPS] {
        let reply = ask(&plan, PUBLIC, kind).expect("known");
        assert_eq!((reply.code, reply.answers.len()), (ResponseCode::NoError, 1));
        assert_eq!(reply.soa.expect("an SOA").name.to_ascii(), format!("{ZONE}."));
    }
    let reply = ask(&plan, ZONE, RecordType::SOA).expect("known");
    assert!(told(&reply)[0].starts_with(&format!("{ZONE}. SOA {ZONE}. hostmaster.{ZONE}. 7 ")), "{reply:?}");
    assert!(ask(&plan, ZONE, RecordType::A).expect("known").soa.is_some());
}

#[test]
fn without_an_approved_connection_there_is_no_such_name_and_the_reason_is_said() {
    let plan = plan(&[("10.1.9.8", Pending), ("10.1.9.9", Rejected)]);
    let reply = ask(&plan, PUBLIC, RecordType::A).expect("known: nobody is sent to a public address");
    assert_eq!((reply.code, reply.answers.len()), (ResponseCode::NXDomain, 1));
    let why = "privlink: the connection of default/e0 is Pending, the connection of default/e1 is Rejected";
    assert_eq!(reply.why, Some((BLOCKED, why.to_owned())));
    assert!(reply.soa.is_some());
}

#[test]
fn other_names_are_somebody_elses_those_of_the_zone_too() {
    let plan = plan(&[("10.1.9.8", Approved)]);
    for name in ["example.com", "other.blob.core.windows.net", "other.privatelink.blob.core.windows.net", "windows.net"]
    {
        assert_eq!(ask(&plan, name, RecordType::A), None, "{name}");
    }
}
