//! What a refusal tells somebody who sees one side of a broken rule: the same, whatever stands on the other.

use super::*;
use crate::model::error::{Error, UNSEEN_RULE};
use crate::model::sentence::{Named, UNSEEN};

/// Only what is in the group `default`, which everything of [`model`] is in.
fn own(named: &Named) -> bool {
    match named {
        Named::Item(item) => item.key.group == "default",
        Named::Subnet(vnet, _) => vnet.group == "default",
        Named::Offer(key) => key.group == "default",
        Named::Subscription(_) | Named::Host => false,
    }
}

/// [`model`] with something of another group in the way, called `name`.
fn beside(name: &str, change: fn(&mut Model, Key)) -> Model {
    let mut model = model();
    change(&mut model, Key::new("theirs", name));
    model
}

fn told(model: &Model) -> (Error, String) {
    let errors = validate(model, None).into_iter().filter(|violation| violation.severity == Severity::Error);
    let rules: Vec<ErrorDetail> = errors.map(|violation| ErrorDetail::from(&violation)).collect();
    assert!(!rules.is_empty(), "nothing is broken");
    let refusal = Error::of_rules("broken:", "", rules);
    (refusal.told(&own), refusal.to_string())
}

/// Each way to be in the way, and the code that the owner of one side is told.
type InTheWay = (&'static str, fn(&mut Model, Key));

#[test]
fn one_side_of_a_rule_is_not_told_of_the_other() {
    let cases: [InTheWay; 7] = [
        ("SharedBackend", |model, key| {
            let nat = vec![Ipv4Addr::new(10, 2, 9, 77).into()];
            let twin = LinkResource { nat, ..model.resources[&Key::new("default", "db")].clone() };
            model.resources.insert(key, twin);
        }),
        ("PrivateIPAddressInUse", |model, key| {
            let twin = LinkResource { shared_backend: true, ..model.resources[&Key::new("default", "db")].clone() };
            model.resources.get_mut(&Key::new("default", "db")).expect("there").shared_backend = true;
            model.resources.insert(key, twin);
        }),
        ("PrivateIPAddressInUse", |model, key| {
            let twin = model.endpoints[&Key::new("default", "orders")].clone();
            model.endpoints.insert(key, twin);
        }),
        ("OverlappingPeers", |model, key| {
            let mut twin = model.vnets[&Key::new("default", "spoke")].clone();
            twin.peerings = vec![Key::new("default", "spoke")];
            model.vnets.get_mut(&Key::new("default", "spoke")).expect("there").peerings = vec![key.clone()];
            model.vnets.insert(key, twin);
        }),
        // What only others' objects break is one rule, whatever it is.
        (UNSEEN_RULE, |model, key| {
            let mut twin = model.endpoints[&Key::new("default", "orders")].clone();
            twin.addresses[0].ip = Some(Ipv4Addr::new(10, 1, 77, 7).into());
            model.endpoints.insert(key, twin);
        }),
        (UNSEEN_RULE, |model, key| {
            let mut twin = model.endpoints[&Key::new("default", "orders")].clone();
            twin.addresses[0].ip = Some(Ipv4Addr::new(10, 1, 9, 9).into());
            twin.subresource = "nothing".into();
            model.endpoints.insert(key, twin);
        }),
        ("InvalidResourceReference", |model, key| {
            model.endpoints.get_mut(&Key::new("default", "orders")).expect("there").vnet = Key::new("default", "none");
            let twin = model.vnets[&Key::new("default", "spoke")].clone();
            model.vnets.insert(key, twin);
        }),
    ];
    for (number, (code, change)) in cases.into_iter().enumerate() {
        let (one, whole) = told(&beside("hidden", change));
        let (other, _) = told(&beside("veiled", change));
        assert_eq!(one, other, "case {number}");
        assert_eq!(one.code, code, "case {number}: {one}");
        let text = one.to_string();
        assert!(
            !text.contains("hidden") && !text.contains("theirs") && !text.contains("10.1.77.7"),
            "{number}: {text}"
        );
        if code == "InvalidResourceReference" {
            let without = told(&beside("hidden", |model, _| {
                let orders = model.endpoints.get_mut(&Key::new("default", "orders"));
                orders.expect("there").vnet = Key::new("default", "none");
            }));
            assert_eq!(one, without.0, "what is not seen is as if it were not");
        } else {
            assert!(text.contains(UNSEEN), "{number}: {text}");
        }
        assert!(whole.contains("hidden"), "the log says it all: {whole}");
    }
}

#[test]
fn who_may_not_see_all_of_a_quota_is_told_its_limit_only() {
    let quotas = Quotas::default().with(Quota::VnetsPerSubscription, Some(1));
    let host = HostConfig { quotas, ..host(Limits::TODAY) };
    let found = validate(&model(), Some(&host));
    let rule = ErrorDetail::from(found.iter().find(|one| one.code == "QuotaExceeded").expect("exceeded"));
    assert!(rule.message.contains("would have 2 VNets"), "{rule}");
    let seen = rule.message.told(&own).to_string();
    assert!(!seen.contains("would have") && seen.contains("`vnets_per_subscription` is 1"), "{seen}");
}
