use std::time::Duration;

use super::*;
use crate::snapshot::ConnectionState::{self, Approved, Pending, Rejected};
use crate::snapshot::dns::{Alias, RecordData, RecordSet, ResolutionPolicy, Soa, Zone};

const PUBLIC: &str = "account.blob.core.windows.net";
const HOST: &str = "account.privatelink.blob.core.windows.net";
const ZONE: &str = "privatelink.blob.core.windows.net";

fn plan(owners: &[(&str, ConnectionState)]) -> ResolverPlan {
    let owner = |(number, (address, state)): (usize, &(&str, ConnectionState))| Owner {
        endpoint: format!("default/e{number}").into(),
        vnet: "default/spoke".into(),
        member: "".into(),
        address: address.parse().expect("an address"),
        state: *state,
    };
    let owners = owners.iter().enumerate().map(owner).collect();
    let zone = Zone { policy: ResolutionPolicy::NxDomainRedirect, own: None, claims: 1 };
    let alias = Alias { to: HOST.into(), claims: 1 };
    ResolverPlan {
        vnet: "default/spoke".into(),
        ttl: Duration::from_secs(10),
        answer: vec![Approved],
        names: [
            (PUBLIC.into(), Node { aliases: vec![alias], ..Node::default() }),
            (HOST.into(), Node { owners, ..Node::default() }),
        ]
        .into_iter()
        .collect(),
        zones: [(ZONE.into(), zone)].into_iter().collect(),
        serial: 7,
        ..ResolverPlan::default()
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
fn an_endpoint_of_another_vnet_is_not_named() {
    let plan = ResolverPlan { vnet: "default/peer".into(), ..plan(&[("10.1.9.8", Pending), ("10.1.9.9", Pending)]) };
    let reply = ask(&plan, PUBLIC, RecordType::A).expect("known");
    let why = "privlink: the connection of an endpoint of another VNet is Pending";
    assert_eq!(reply.why, Some((BLOCKED, why.to_owned())));
}

#[test]
fn other_names_are_somebody_elses_those_of_the_zone_too() {
    let plan = plan(&[("10.1.9.8", Approved)]);
    for name in ["example.com", "other.blob.core.windows.net", "other.privatelink.blob.core.windows.net", "windows.net"]
    {
        assert_eq!(ask(&plan, name, RecordType::A), None, "{name}");
    }
}

/// Zone `corp.example` of somebody's own, with the policy given.
fn own(policy: ResolutionPolicy) -> ResolverPlan {
    let set = |data| Node { records: Some([RecordSet { ttl: 60, data }].into()), ..Node::default() };
    let to = |name: &str| RecordData::Cname(name.into());
    let below = |below| Node { below, ..Node::default() };
    let names = [
        ("www.corp.example", set(RecordData::A(vec!["10.0.0.1".parse().expect("an address")]))),
        ("alias.corp.example", set(to("www.corp.example"))),
        ("out.corp.example", set(to("www.example.com"))),
        ("one.corp.example", set(to("two.corp.example"))),
        ("two.corp.example", set(to("one.corp.example"))),
        ("a.b.corp.example", set(RecordData::Txt(vec![vec!["hello".to_owned()]]))),
        ("b.corp.example", below(1)),
        ("*.wild.corp.example", set(RecordData::A(vec!["10.0.0.9".parse().expect("an address")]))),
        ("wild.corp.example", below(1)),
    ];
    let soa = Soa { minimum: 30, ..Soa::default() };
    ResolverPlan {
        ttl: Duration::from_secs(10),
        answer: vec![Approved],
        names: names.into_iter().map(|(name, node)| (name.into(), node)).collect(),
        zones: [("corp.example".into(), Zone { policy, own: Some(soa.into()), claims: 0 })].into_iter().collect(),
        serial: 7,
        ..ResolverPlan::default()
    }
}

#[test]
fn a_zone_of_ones_own_knows_what_is_not_there() {
    let plan = own(ResolutionPolicy::Default);
    for (name, kind, code, answers) in [
        ("www.corp.example", RecordType::A, ResponseCode::NoError, 1),
        ("www.corp.example", RecordType::MX, ResponseCode::NoError, 0),
        ("alias.corp.example", RecordType::A, ResponseCode::NoError, 2),
        ("none.corp.example", RecordType::A, ResponseCode::NXDomain, 0),
        ("b.corp.example", RecordType::A, ResponseCode::NoError, 0),
        ("x.b.corp.example", RecordType::A, ResponseCode::NXDomain, 0),
        ("corp.example", RecordType::A, ResponseCode::NoError, 0),
        ("any.wild.corp.example", RecordType::A, ResponseCode::NoError, 1),
        ("wild.corp.example", RecordType::A, ResponseCode::NoError, 0),
    ] {
        let reply = ask(&plan, name, kind).expect(name);
        assert_eq!((reply.code, reply.answers.len()), (code, answers), "{name} {kind}");
        assert_eq!(reply.soa.is_some(), answers == 0, "{name}");
        assert!(reply.soa.is_none_or(|soa| soa.ttl == 30), "{name}: the zone's own minimum");
    }
    let reply = ask(&plan, "out.corp.example", RecordType::A).expect("an alias");
    assert_eq!(reply.onward.map(|name| name.to_ascii()), Some("www.example.com.".to_owned()));
    assert_eq!(ask(&plan, "one.corp.example", RecordType::A).expect("a circle").code, ResponseCode::ServFail);
    assert_eq!(ask(&plan, "example", RecordType::A), None);
}

#[test]
fn the_upstreams_are_asked_where_the_link_says_so() {
    let plan = own(ResolutionPolicy::NxDomainRedirect);
    assert_eq!(ask(&plan, "none.corp.example", RecordType::A), None);
    assert_eq!(ask(&plan, "b.corp.example", RecordType::A).expect("part of a name").code, ResponseCode::NoError);
}

#[test]
fn lockdown_leaves_addresses_to_approved_endpoints_alone() {
    let guarded = ["blob.core.windows.net", "privatelink.blob.core.windows.net", "corp.example"];
    let lockdown = Some(std::sync::Arc::new(guarded.into_iter().map(Into::into).collect()));
    let mut plan = plan(&[("10.1.9.8", Pending), ("10.1.9.9", Approved)]);
    (plan.lockdown, plan.answer) = (lockdown.clone(), vec![Approved, Pending]);
    assert_eq!(told(&ask(&plan, PUBLIC, RecordType::A).expect("known")).last(), Some(&format!("{HOST}. A 10.1.9.9")));
    for name in ["other.blob.core.windows.net", "other.privatelink.blob.core.windows.net"] {
        let reply = ask(&plan, name, RecordType::A).expect("refused here, and asked of nobody");
        assert_eq!(reply.code, ResponseCode::NXDomain, "{name}");
        assert!(reply.why.is_some_and(|(code, why)| code == BLOCKED && why.contains("locked down")), "{name}");
    }
    assert_eq!(ask(&plan, "example.com", RecordType::A), None, "no zone of a typed resource");
    let mut plan = own(ResolutionPolicy::NxDomainRedirect);
    plan.lockdown = lockdown;
    let reply = ask(&plan, "www.corp.example", RecordType::A).expect("known");
    assert_eq!((reply.code, reply.answers.len()), (ResponseCode::NXDomain, 0), "what somebody wrote leads nowhere");
    assert_eq!(ask(&plan, "a.b.corp.example", RecordType::TXT).expect("a text").answers.len(), 1);
}
