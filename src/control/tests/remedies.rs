//! What `status` advises of rules that came later than what they judge: whoever does it is not refused for it.

use std::collections::BTreeSet;

use super::*;
use crate::model::rules::taken::TAKEN;
use crate::model::{LinkResource, Pinned, TargetSpec};
use crate::testing::resource;

fn rules(model: &Model, host: &HostConfig, only: Option<&Key>) -> Vec<Violation> {
    match only {
        Some(key) => rules::endpoint(model, Some(host), key),
        None => rules::validate(model, Some(host)),
    }
}

/// A rule that came later, what stands against it, and what its remedy says.
struct Row {
    code: &'static str,
    /// What an older release let in.
    breaks: fn(&mut Model),
    /// As the file and the daemon's host are when the remedy is followed; it is given.
    follows: fn(&str, &ControlPlane, &mut Model, &mut HostConfig),
}

const ROWS: [Row; 7] = [
    Row {
        code: "PrivateLinkServiceCannotBeCreatedInSubnetThatHasNetworkPoliciesEnabled",
        breaks: |model| model.vnets.get_mut(&key("core")).unwrap().subnets[0].nat = Some(false),
        follows: |remedy, _, model, _| {
            assert!(remedy.contains("`nat = true`"), "{remedy}");
            model.vnets.get_mut(&key("core")).unwrap().subnets[0].nat = Some(true);
        },
    },
    Row {
        code: "InvalidAddressSpace",
        breaks: |model| {
            let space = &mut model.vnets.get_mut(&key("core")).unwrap().address_space;
            space.push("126.0.0.0/7".parse().unwrap());
        },
        follows: |remedy, _, model, _| {
            assert!(remedy.starts_with("name prefixes whose addresses hosts can have"), "{remedy}");
            let space = &mut model.vnets.get_mut(&key("core")).unwrap().address_space;
            *space.last_mut().unwrap() = "126.0.0.0/8".parse().unwrap();
        },
    },
    Row {
        code: "InvalidPrefix",
        breaks: |model| {
            let core = model.vnets.get_mut(&key("core")).unwrap();
            (core.lockdown, core.public_prefixes) = (true, vec!["::/0".parse().unwrap()]);
        },
        follows: |remedy, _, model, _| {
            assert!(remedy.starts_with("name public addresses"), "{remedy}");
            let core = model.vnets.get_mut(&key("core")).unwrap();
            core.public_prefixes = vec!["2001:db8:5::/48".parse().unwrap()];
        },
    },
    Row {
        code: "BackendOutsideVnet",
        breaks: |model| {
            model.resources.get_mut(&key("orders-db")).unwrap().targets[0].backends[0].address = ip("10.99.0.2");
        },
        follows: |remedy, _, _, host| {
            assert!(remedy.contains("`[[attachment]] reach`"), "{remedy}");
            host.attachments[1].reach = vec!["10.99.0.0/16".parse().unwrap()];
        },
    },
    Row {
        code: "PrefixNotAllowedHere",
        breaks: |model| {
            model.vnets.get_mut(&key("spoke")).unwrap().on_premises = vec!["10.99.0.0/16".parse().unwrap()];
        },
        follows: |remedy, _, _, host| {
            let (_, list) = remedy.split_once("allow = [").expect("the whole list");
            let list = list.trim_end_matches(']').split(", ");
            let allow = list.map(|prefix| prefix.trim_matches('"').parse().expect(prefix)).collect();
            (host.attachments[0].allow, host.attachments[0].pinned) =
                (Some(allow), Pinned { allow: true, reach: false });
        },
    },
    Row {
        code: "NameAlreadyTaken",
        breaks: |model| {
            for group in ["one", "two"] {
                model.resources.insert(Key::new(group, "account"), account());
            }
        },
        follows: |remedy, control, model, _| {
            assert!(remedy.starts_with("choose another name"), "{remedy}");
            let named = Delete { kind: ItemKind::Resource, reference: "two/account".into() };
            control.apply(&root(), named).unwrap();
            model.resources.remove(&Key::new("two", "account"));
            model.resources.insert(Key::new("two", "second"), account());
        },
    },
    Row {
        code: "InvalidResourceGroupName",
        breaks: |model| {
            let endpoint = model.endpoints.get(&key("orders")).unwrap().clone();
            model.endpoints.remove(&key("orders"));
            model.endpoints.insert(Key::new("team.", "orders"), endpoint);
        },
        follows: |remedy, control, model, _| {
            assert!(remedy.contains("delete it and make it anew"), "{remedy}");
            control.apply(&root(), delete("team./orders")).unwrap();
            let endpoint = model.endpoints.get(&Key::new("team.", "orders")).unwrap().clone();
            model.endpoints.remove(&Key::new("team.", "orders"));
            model.endpoints.insert(Key::new("team", "orders"), endpoint);
        },
    },
];

/// An account that nothing serves yet.
fn account() -> LinkResource {
    let kind = Some("Microsoft.Storage/storageAccounts".to_owned());
    let target = TargetSpec { subresource: "blob".into(), ..TargetSpec::default() };
    LinkResource { kind, vnet: None, nat: vec![], ..resource("core", "10.20.99.9", vec![target]) }
}

/// The host, with what the attachments may carry by default.
fn by_default() -> HostConfig {
    let mut host = host(&["spoke", "core"]);
    host.attachments[0].allow = Some(vec!["10.1.0.0/16".parse().unwrap()]);
    host
}

#[test]
fn whoever_follows_a_remedy_of_a_standing_rule_is_not_refused() {
    for Row { code, breaks, follows } in ROWS {
        let world = Arc::new(World::default());
        let mut file = model();
        breaks(&mut file);
        drop(begin(&world, file.clone()));
        world.events();
        let control =
            begin_with(&world, Setup { validate: rules, host: Arc::new(by_default()), ..setup(file.clone()) });
        let standing = || control.view().standing_for(&control.view().state.model, &root());
        let found = standing();
        assert!(!found.is_empty() && found.iter().all(|stands| stands.code == code), "{code}: {found:?}");
        let stands = &found[0];
        let mut host = by_default();
        follows(&stands.remedy, &control, &mut file, &mut host);
        let host = Some(host);
        let version = ApplyFile { author: DAEMON.into(), model: file, host, prune: false, dry_run: false };
        let outcome = control.apply(&root(), version);
        assert!(outcome.is_ok(), "{code}: {outcome:?}");
        assert_eq!(standing(), [], "{code}");
        let skipped = &control.view().last_apply.skipped;
        assert!(skipped.is_empty(), "{code}: {skipped:?}");
    }
}

#[test]
fn every_rule_that_came_later_has_a_remedy_that_is_followed() {
    fn read(directory: &std::path::Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                read(&path, found);
            } else {
                let text = std::fs::read_to_string(&path).expect("text");
                let calls = text.split("findings.tightened(").skip(1);
                let codes = calls.filter_map(|call| call.split(',').next()).map(str::trim);
                found.extend(codes.map(|code| if code == "TAKEN" { TAKEN } else { code.trim_matches('"') }.to_owned()));
            }
        }
    }
    let mut found = BTreeSet::new();
    read(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/model/rules"), &mut found);
    let rows: BTreeSet<String> = ROWS.iter().map(|row| row.code.to_owned()).collect();
    assert_eq!(found, rows);
}
