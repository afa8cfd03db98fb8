//! What `status` advises is accepted by the daemon.

use super::*;
use crate::api::v1::conditions::{Remedy, more_ports};
use crate::model::state::{Item, ItemKind};
use crate::model::{BackendSpec, DnsSettings, Key, Quota, Quotas};
use crate::testing::{ip, key};

/// What whoever reads a remedy does.
enum Follow {
    /// Something outside of the file and the daemon's commands: neither can refuse it.
    Elsewhere,
    /// Writes the file so, and has it read anew.
    File(fn(&mut Model)),
    /// Gives a command.
    Command(AnyCommand),
}

/// Each remedy has a row: the compiler sees to it.
fn follow(remedy: &Remedy) -> Vec<Follow> {
    match remedy {
        Remedy::MoreNatAddresses => vec![Follow::File(|model| {
            model.resources.get_mut(&key("orders-db")).expect("there").nat.push(ip("10.20.99.5"));
        })],
        Remedy::MoreServers => vec![Follow::File(|model| {
            let more = BackendSpec { address: ip("10.20.0.3"), drain: false };
            model.resources.get_mut(&key("orders-db")).expect("there").targets[0].backends.push(more);
        })],
        Remedy::SeeListener => vec![Follow::File(|model| {
            let dns = DnsSettings { listen: vec![ip("10.1.0.53")], ..DnsSettings::default() };
            model.vnets.get_mut(&key("spoke")).expect("there").dns = Some(dns);
        })],
        Remedy::Delete(key) => vec![Follow::Command(delete(ItemKind::Endpoint, key))],
        Remedy::NameAgain(Item { kind, key }) => vec![Follow::File(|_| {}), Follow::Command(delete(*kind, key))],
        Remedy::Nothing
        | Remedy::CorrectFile
        | Remedy::ExportOften
        | Remedy::Attach
        | Remedy::MoreInPool
        | Remedy::SeeServer
        | Remedy::SeeProgram
        | Remedy::SeeLog
        | Remedy::AskWho => vec![Follow::Elsewhere],
    }
}

fn delete(kind: ItemKind, key: &Key) -> AnyCommand {
    any(Delete { kind, reference: key.to_string() })
}

fn version(model: Model) -> AnyCommand {
    let host = None;
    any(ApplyFile { author: DAEMON.into(), model, host, prune: false, dry_run: false })
}

fn rules(model: &Model, host: &HostConfig, only: Option<&Key>) -> Vec<crate::model::rules::Violation> {
    match only {
        Some(key) => crate::model::rules::endpoint(model, Some(host), key),
        None => crate::model::rules::validate(model, Some(host)),
    }
}

/// What is advised of things that the file has left.
fn kept(state: &ApiState) -> Vec<(String, String)> {
    let view = state.control.view();
    let all = crate::api::v1::conditions::of(state, &view, &testing::root(), true).into_iter();
    let kept = all.filter(|one| one.code == "KeptUnnamed");
    kept.map(|one| (one.message, one.remedy)).collect()
}

#[test]
fn whoever_follows_a_remedy_is_not_refused() {
    let endpoint = Item { kind: ItemKind::Endpoint, key: key("orders") };
    let resource = Item { kind: ItemKind::Resource, key: key("orders-db") };
    for remedy in [
        Remedy::Nothing,
        Remedy::CorrectFile,
        Remedy::Attach,
        Remedy::MoreNatAddresses,
        Remedy::MoreServers,
        Remedy::MoreInPool,
        Remedy::SeeServer,
        Remedy::SeeListener,
        Remedy::SeeProgram,
        Remedy::SeeLog,
        Remedy::Delete(key("orders")),
        Remedy::NameAgain(endpoint.clone()),
        Remedy::NameAgain(resource.clone()),
        Remedy::AskWho,
    ] {
        for (step, follow) in follow(&remedy).into_iter().enumerate() {
            let directory = std::env::temp_dir();
            let state = state_with(&directory, rules);
            let mut file = model();
            match &remedy {
                Remedy::NameAgain(item) if item.kind == ItemKind::Resource => {
                    let mut without = model();
                    without.endpoints.remove(&key("orders"));
                    state.control.apply(&testing::root(), version(without.clone())).expect("left");
                    state.control.apply(&testing::root(), delete(ItemKind::Endpoint, &key("orders"))).expect("gone");
                    without.resources.remove(&key("orders-db"));
                    state.control.apply(&testing::root(), version(without)).expect("left");
                    file.endpoints.remove(&key("orders"));
                }
                Remedy::NameAgain(_) => {
                    let mut without = model();
                    without.endpoints.remove(&key("orders"));
                    state.control.apply(&testing::root(), version(without)).expect("left");
                }
                Remedy::Nothing
                | Remedy::CorrectFile
                | Remedy::Attach
                | Remedy::MoreNatAddresses
                | Remedy::MoreServers
                | Remedy::MoreInPool
                | Remedy::SeeServer
                | Remedy::SeeListener
                | Remedy::SeeProgram
                | Remedy::SeeLog
                | Remedy::ExportOften
                | Remedy::Delete(_)
                | Remedy::AskWho => {}
            }
            if let Remedy::NameAgain(item) = &remedy {
                let shown = kept(&state);
                assert!(shown[0].0.contains(&item.to_string()) && shown[0].1 == remedy.to_string(), "{shown:?}");
            }
            let command = match follow {
                Follow::Elsewhere => continue,
                Follow::File(change) => {
                    change(&mut file);
                    version(file)
                }
                Follow::Command(command) => command,
            };
            let outcome = state.control.apply(&testing::root(), command);
            assert!(outcome.is_ok(), "{remedy:?}, step {step}: {outcome:?}");
            let skipped = &state.control.view().last_apply.skipped;
            assert!(skipped.is_empty() && kept(&state).is_empty(), "{remedy:?}, step {step}: {skipped:?}");
        }
    }
}

#[test]
fn a_resource_with_as_many_addresses_as_it_may_have_is_advised_no_other() {
    let model = model();
    let resource = model.resources.get(&key("orders-db")).expect("there");
    let host = testing::host(&["spoke", "core"]);
    assert_eq!(more_ports(resource, &host), Remedy::MoreNatAddresses);
    let quotas = Quotas::default().with(Quota::NatIpsPerResource, Some(1));
    assert_eq!(more_ports(resource, &HostConfig { quotas, ..host.clone() }), Remedy::MoreServers);
    let mut full = resource.clone();
    full.nat = (4..12).map(|last| ip(&format!("10.20.99.{last}"))).collect();
    assert_eq!(more_ports(&full, &host), Remedy::MoreServers);
    let balancer = crate::model::FrontendRef { balancer: key("lb"), frontend: "front".to_owned() };
    let behind = crate::model::LinkResource { frontends: vec![balancer], ..resource.clone() };
    assert_eq!(more_ports(&behind, &host), Remedy::MoreInPool);
}
