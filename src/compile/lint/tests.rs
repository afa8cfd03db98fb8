use std::sync::Arc;

use super::{codes_of as codes, *};
use crate::compile::names::plan;
use crate::model::{ConnectionState, DNS_TTL, DnsSettings};
use crate::snapshot::dns::Soa;
use crate::testing::{connection, endpoint, ip, key, model, resource, target};

/// `spoke` with two endpoints: of one account, or of two that are told to have one name.
fn claimed(resources: [&str; 2], upstream: bool, listen: bool) -> ControlState {
    let mut model = model();
    for name in ["account", "other"] {
        let mut account = resource("core", "10.20.99.8", vec![target("blob", "", "10.20.0.5")]);
        account.kind = Some("Microsoft.Storage/storageAccounts".to_owned());
        account.targets[0].fqdns = vec!["files.blob.core.windows.net".to_owned()];
        model.resources.insert(key(name), account);
    }
    let mut spoke = model.vnets.get(&key("spoke")).expect("spoke").clone();
    spoke.dns = Some(DnsSettings {
        listen: listen.then(|| ip("10.1.255.254")).into_iter().collect(),
        upstream: upstream.then(|| ip("10.1.0.53")).into_iter().collect(),
        answer: vec![ConnectionState::Approved],
        ttl: DNS_TTL,
        accept_names: None,
    });
    model.vnets.insert(key("spoke"), spoke);
    let mut state = ControlState { model, ..ControlState::default() };
    for ((name, address), bound) in [("first", "10.1.9.8"), ("second", "10.1.9.9")].into_iter().zip(resources) {
        let mut one = endpoint("spoke", Some(address), bound);
        one.subresource = "blob".to_owned();
        let accepted = crate::model::AcceptedNames::read(&["files.blob.core.windows.net"]).expect("a name");
        one.accept_names = Some(Box::new(accepted));
        state.model.endpoints.insert(key(name), one);
        state.connections.insert(key(name), connection(ConnectionState::Approved));
    }
    state
}

/// What concerns one object is what everything has of it, however it is found.
fn same_of_each_endpoint(state: &ControlState) {
    let plan = plan(state, 1);
    for changed in [
        &["endpoint default/first"][..],
        &["endpoint default/first", "endpoint default/orders"],
        &["vnet default/spoke"],
    ] {
        let changed = changed.iter().copied().collect();
        let mut all = lint(state, &plan);
        all.retain(|one| one.concerns(&changed));
        assert_eq!(concerning(state, &plan, &changed), all, "{changed:?}");
    }
}

#[test]
fn a_name_of_two_endpoints_is_said_and_more_so_where_two_resources_have_it() {
    for (resources, words) in
        [(["account", "account"], "several endpoints"), (["account", "other"], "default/account, default/other")]
    {
        let state = claimed(resources, true, true);
        let found = lint(&state, &plan(&state, 1));
        assert_eq!(codes(&found), [NAME_CLAIMED_TWICE]);
        assert!(found[0].message.contains(words), "{}", found[0].message);
        assert!(found[0].message.contains("files.privatelink.blob.core.windows.net"), "{}", found[0].message);
        let concerns = |item: &str| found[0].concerns(&BTreeSet::from([item]));
        assert!(concerns("endpoint default/second") && concerns("vnet default/spoke"));
        assert!(!concerns("endpoint default/orders") && !concerns("resource default/account"));
    }
    for (upstream, listen) in [(true, true), (false, true), (true, false)] {
        for resources in [["account", "account"], ["account", "other"]] {
            same_of_each_endpoint(&claimed(resources, upstream, listen));
        }
    }
    let mut one = claimed(["account", "account"], true, true);
    same_of_each_endpoint(&one);
    one.model.endpoints.remove(&key("second"));
    assert_eq!(lint(&one, &plan(&one, 1)), []);
}

#[test]
fn a_vnet_whose_endpoints_have_names_and_nobody_answers_them_is_said() {
    let mut state = claimed(["account", "other"], true, false);
    let found = lint(&state, &plan(&state, 1));
    assert!(codes(&found).contains(&OTHER_RESOLVER), "{found:?}");
    let mut spoke = state.model.vnets.get(&key("spoke")).expect("spoke").clone();
    spoke.dns = None;
    state.model.vnets.insert(key("spoke"), spoke);
    let found = lint(&state, &plan(&state, 1));
    assert_eq!(codes(&found), [OTHER_RESOLVER]);
    assert!(found[0].message.contains("files.blob.core.windows.net of default/first"), "{}", found[0].message);
    // Endpoints without a name need none.
    for name in ["first", "second"] {
        state.model.endpoints.remove(&key(name));
    }
    assert_eq!(lint(&state, &plan(&state, 1)), []);
}

#[test]
fn a_zone_over_public_names_and_a_private_one_without_a_way_out_are_said() {
    let own = |policy| Zone { policy, own: Some(Arc::new(Soa::default())), claims: 0 };
    for (zone, policy, upstream, expected) in [
        ("blob.core.windows.net", ResolutionPolicy::Default, true, Some(PUBLIC_ZONE_OVERRIDDEN)),
        ("windows.net", ResolutionPolicy::Default, true, Some(PUBLIC_ZONE_OVERRIDDEN)),
        ("windows.net", ResolutionPolicy::NxDomainRedirect, true, Some(PUBLIC_ZONE_OVERRIDDEN)),
        ("privatelink.blob.core.windows.net", ResolutionPolicy::Default, true, Some(NX_DOMAIN_TRAP)),
        ("privatelink.blob.core.windows.net", ResolutionPolicy::Default, false, None),
        ("privatelink.blob.core.windows.net", ResolutionPolicy::NxDomainRedirect, true, None),
        ("indows.net", ResolutionPolicy::Default, true, None),
        ("corp.example", ResolutionPolicy::Default, true, None),
    ] {
        let mut plan = ResolverPlan {
            upstream: upstream.then(|| ip("10.1.0.53")).into_iter().collect(),
            ..ResolverPlan::default()
        };
        plan.zones.insert(Name::from(zone), own(policy));
        let mut found = Vec::new();
        of_resolver(&model(), &key("spoke"), &plan, &mut found);
        assert_eq!(codes(&found), expected.into_iter().collect::<Vec<_>>(), "{zone}, {policy:?}");
        plan.lockdown = Some(Arc::default());
        found.clear();
        of_resolver(&model(), &key("spoke"), &plan, &mut found);
        assert!(!codes(&found).contains(&NX_DOMAIN_TRAP), "a VNet that is locked down wants it so");
    }
}

#[test]
fn a_name_that_waits_is_said_with_what_makes_it_answer() {
    let mut state = claimed(["account", "other"], true, true);
    let mut first = state.model.endpoints[&key("first")].clone();
    first.accept_names = None;
    state.model.endpoints.insert(key("first"), first);
    same_of_each_endpoint(&state);
    let found = lint(&state, &plan(&state, 1));
    assert_eq!(codes(&found), [NAME_WAITS], "the name belongs to one endpoint now");
    let waiting = &found[0];
    assert_eq!((waiting.endpoints.len(), waiting.concerns(&BTreeSet::from(["endpoint default/first"]))), (1, true));
    assert!(waiting.message.contains("files.blob.core.windows.net of default/first"), "{}", waiting.message);
    assert!(waiting.remedy.contains("accept-names default/first files.blob.core.windows.net"), "{}", waiting.remedy);
}
