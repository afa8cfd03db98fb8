use std::sync::Arc;

use super::*;
use crate::compile::lint::{codes_of, of_resolver};
use crate::snapshot::ConnectionState;
use crate::snapshot::dns::{Node, Owner, RecordData, RecordSet, Soa, Zone};
use crate::testing::{ip, key, model};

fn own(policy: ResolutionPolicy) -> Zone {
    Zone { policy, own: Some(Arc::new(Soa::default())), claims: 0 }
}

fn automatic() -> Zone {
    Zone { policy: ResolutionPolicy::NxDomainRedirect, own: None, claims: 1 }
}

/// A resolver with an upstream, zones, and an address at each of `names`.
fn plan(zones: &[(&str, Zone)], names: &[&str]) -> ResolverPlan {
    let mut plan = ResolverPlan { upstream: vec![ip("10.1.0.53")], ..ResolverPlan::default() };
    for (name, zone) in zones {
        plan.zones.insert(Name::from(*name), zone.clone());
    }
    for name in names {
        let records = [RecordSet { ttl: 60, data: RecordData::A(vec!["10.1.0.7".parse().expect("IPv4")]) }];
        plan.names.insert(Name::from(*name), Node { records: Some(Arc::from(records)), ..Node::default() });
    }
    plan
}

fn asked(plan: &ResolverPlan) -> Vec<String> {
    let (inquiries, more) = inquiries(plan, None);
    assert_eq!(more, 0);
    let line = |one: &Inquiry| {
        let questions: Vec<String> = one.questions().map(|(name, kind)| format!("{name} {kind}")).collect();
        questions.join(", ")
    };
    inquiries.iter().map(line).collect()
}

#[test]
fn zones_of_ones_own_and_names_of_endpoints_are_asked_about_and_private_ones_without_a_way_out() {
    use ResolutionPolicy::{Default, NxDomainRedirect};
    let zones = [
        ("corp.example", own(Default)),
        ("let.through.example", own(NxDomainRedirect)),
        ("orders.example", automatic()),
        ("privatelink.blob.core.windows.net", own(Default)),
        ("privatelink.file.core.windows.net", own(NxDomainRedirect)),
        ("privatelink.queue.core.windows.net", automatic()),
    ];
    let names = ["d.corp.example", "a.corp.example", "c.corp.example", "b.corp.example", "*.corp.example"];
    let mut plan = plan(&zones, &[&names[..], &["orders.example", "x.privatelink.blob.core.windows.net"]].concat());
    plan.names.insert("part.corp.example".into(), Node { below: 1, ..Node::default() });
    let expected = [
        "corp.example SOA, corp.example NS, a.corp.example A, a.corp.example AAAA, b.corp.example A, b.corp.example AAAA, \
         c.corp.example A, c.corp.example AAAA",
        "let.through.example SOA, let.through.example NS",
        "privatelink.blob.core.windows.net SOA, privatelink.blob.core.windows.net NS",
        "orders.example SOA, orders.example NS, orders.example A, orders.example AAAA",
    ];
    assert_eq!(asked(&plan), expected);

    // What lockdown keeps back is meant to be hidden.
    plan.lockdown =
        Some(Arc::new(["blob.core.windows.net", "privatelink.blob.core.windows.net"].map(Name::from).into()));
    assert_eq!(asked(&plan).len(), 3);
    plan.upstream.clear();
    assert!(asked(&plan).is_empty(), "nobody is there to be asked");
}

#[test]
fn no_more_zones_are_asked_about_than_are_bearable() {
    let names: Vec<String> = (0..100).map(|number| format!("n{number}.example")).collect();
    let mut zones: Vec<(&str, Zone)> = names.iter().map(|name| (&**name, automatic())).collect();
    zones.push(("corp.example", own(ResolutionPolicy::Default)));
    let (inquiries, more) = inquiries(&plan(&zones, &[]), None);
    assert_eq!((inquiries.len(), more, &*inquiries[0].zone), (ZONES, 101 - ZONES, "corp.example"));
    let all: Vec<(Inquiry, Vec<Said>)> =
        inquiries.into_iter().map(|one| (one, vec![Said::Absent("10.1.0.53".into()); 8])).collect();
    let mut found = Vec::new();
    judge(&key("spoke"), &all, more, &mut found);
    assert_eq!(codes_of(&found), [NOT_ASKED]);
    assert!(found[0].message.contains("37 more zones of default/spoke"), "{}", found[0].message);
}

#[test]
fn what_the_upstream_says_makes_a_warning_founds_it_or_takes_it_away() {
    use ResolutionPolicy::{Default, NxDomainRedirect};
    let absent = || Said::Absent("10.1.0.53".into());
    let there =
        |records: &[&str]| Said::There("10.1.0.53".into(), records.iter().map(|record| (*record).to_owned()).collect());
    let silent = || Said::Unknown("no answer in time".into());
    let soa = "ns.example. admin.example. 1 2 3 4 5";
    let (azure, private) = ("blob.core.windows.net", "privatelink.blob.core.windows.net");
    for (zone, known, says, expected, evidence) in [
        (
            "corp.example",
            own(Default),
            [there(&[soa]), there(&[]), absent()],
            vec![PUBLIC_ZONE_IN_USE],
            Some("SOA ns.example."),
        ),
        (
            "corp.example",
            own(NxDomainRedirect),
            [there(&[]), there(&["ns.example."]), absent()],
            vec![PUBLIC_ZONE_IN_USE],
            Some("corp.example NS ns.example."),
        ),
        (
            "corp.example",
            own(Default),
            [there(&[]), there(&[]), there(&["192.0.2.1"])],
            vec![PUBLIC_ZONE_IN_USE],
            Some("10.1.0.53 says: www.corp.example A 192.0.2.1"),
        ),
        ("corp.example", own(Default), [absent(), absent(), absent()], vec![], None),
        ("corp.example", own(Default), [there(&[]), there(&[]), there(&[])], vec![], None),
        ("corp.example", own(Default), [silent(), silent(), silent()], vec![NOT_ASKED], None),
        (
            "corp.example",
            automatic(),
            [there(&[]), there(&[]), there(&["192.0.2.1"])],
            vec![PUBLIC_ZONE_IN_USE],
            Some("192.0.2.1"),
        ),
        (
            azure,
            own(Default),
            [there(&[soa]), absent(), absent()],
            vec![PUBLIC_ZONE_OVERRIDDEN],
            Some("SOA ns.example."),
        ),
        (azure, own(Default), [absent(), absent(), absent()], vec![PUBLIC_ZONE_OVERRIDDEN], None),
        (private, own(Default), [there(&[soa]), there(&[]), absent()], vec![NX_DOMAIN_TRAP], Some("SOA ns.example.")),
        (
            private,
            own(Default),
            [there(&[]), there(&[]), absent()],
            vec![NX_DOMAIN_TRAP],
            Some("10.1.0.53 knows privatelink"),
        ),
        (private, own(Default), [absent(), absent(), absent()], vec![], None),
        (private, own(Default), [silent(), silent(), silent()], vec![NOT_ASKED, NX_DOMAIN_TRAP], None),
        (private, own(NxDomainRedirect), [there(&[soa]), there(&[]), absent()], vec![], None),
    ] {
        let (name, what) = (format!("www.{zone}"), format!("{zone}, {known:?}, {says:?}"));
        let plan = plan(&[(zone, known)], &[&name]);
        let mut found = Vec::new();
        of_resolver(&model(), &key("spoke"), &plan, &mut found);
        let (inquiries, more) = inquiries(&plan, None);
        let asked: Vec<(Inquiry, Vec<Said>)> = inquiries.into_iter().map(|one| (one, says.to_vec())).collect();
        judge(&key("spoke"), &asked, more, &mut found);
        assert_eq!(codes_of(&found), expected, "{what}");
        let told: Vec<&String> = found.iter().flat_map(|one| &one.evidence).collect();
        assert_eq!(told.is_empty(), evidence.is_none(), "{what}: {told:?}");
        assert!(evidence.is_none_or(|words| told[0].contains(words)), "{what}: {told:?}");
        if let (Some(one), Some(_)) = (found.first(), evidence) {
            assert!(one.to_string().contains(&format!("({})", told[0])), "{one}");
        }
    }
}

#[test]
fn a_name_of_an_endpoint_concerns_that_endpoint_alone() {
    let mut plan = plan(&[("orders.example", automatic())], &[]);
    let owner = Owner {
        endpoint: "default/orders".into(),
        vnet: "default/spoke".into(),
        member: "".into(),
        address: ip("10.1.9.4"),
        state: ConnectionState::Approved,
    };
    plan.names.insert("orders.example".into(), Node { owners: vec![owner], ..Node::default() });
    let (inquiries, _) = inquiries(&plan, None);
    assert_eq!(
        crate::compile::lint::public::inquiries(&plan, Some(&["orders.example".into(), "b".into()].into())).0,
        inquiries
    );
    assert_eq!(crate::compile::lint::public::inquiries(&plan, Some(&["other.example".into()].into())).0, []);
    let surprise = inquiries[0].surprise(&key("spoke"));
    let concerns = |item: &str| surprise.concerns(&BTreeSet::from([item]));
    assert!(concerns("endpoint default/orders") && concerns("vnet default/spoke") && concerns("resource default/db"));
    assert!(!concerns("endpoint default/other"));
}
