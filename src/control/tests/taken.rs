//! A name that makes a DNS name is taken for everybody, and nothing is told of who has it.

use super::*;
use crate::model::resource_types;
use crate::model::resource_types::Cloud;
use crate::model::{LinkResource, RoleAssignment, TargetSpec};
use crate::testing::resource;

const STORAGE: &str = "Microsoft.Storage/storageAccounts";

fn rules(model: &Model, host: &HostConfig, only: Option<&Key>) -> Vec<Violation> {
    match only {
        Some(key) => rules::endpoint(model, Some(host), key),
        None => rules::validate(model, Some(host)),
    }
}

/// A typed resource that nothing serves yet.
fn typed(kind: &str, region: &str) -> LinkResource {
    let part = resource_types::find(kind).unwrap().subresources[0];
    let target = TargetSpec { subresource: part.into(), ..TargetSpec::default() };
    let blank = resource("core", "10.20.99.9", vec![target]);
    LinkResource { kind: Some(kind.into()), region: region.into(), vnet: None, nat: vec![], ..blank }
}

fn with(file: Model, cloud: Cloud) -> (Arc<World>, ControlPlane) {
    let world = Arc::new(World::default());
    // What a store gives back knows of no cloud; here it is what was given to it.
    *world.disk.lock().unwrap() =
        Some(ControlState { model: Model { cloud, ..Model::default() }, ..ControlState::default() });
    let file = Model { cloud, ..file };
    let host = Arc::new(HostConfig { cloud, ..host(&["spoke", "core"]) });
    let control = begin_with(&world, Setup { validate: rules, host, ..setup(file) });
    (world, control)
}

fn put(control: &ControlPlane, caller: &Caller, key: Key, resource: LinkResource) -> Result<Changed, Error> {
    let mut items = Model::default();
    items.resources.insert(key, resource);
    control.apply(caller, Put { items: Box::new(items), create_only: false })
}

#[test]
fn a_name_is_taken_across_groups_subscriptions_types_and_letter_case() {
    for (taken, kind, region, expected) in [
        ((STORAGE, "westeurope"), STORAGE, "eastus", Some("NameAlreadyTaken")),
        (("Microsoft.Sql/servers", "westeurope"), "Microsoft.Sql/servers", "westeurope", Some("NameAlreadyTaken")),
        (("Microsoft.KeyVault/vaults", "westeurope"), "Microsoft.KeyVault/vaults", "eastus", Some("NameAlreadyTaken")),
        // Two types share a zone.
        (
            ("Microsoft.EventHub/namespaces", "westeurope"),
            "Microsoft.ServiceBus/namespaces",
            "westeurope",
            Some("NameAlreadyTaken"),
        ),
        // A zone of each region.
        (
            ("Microsoft.Kusto/Clusters", "westeurope"),
            "Microsoft.Kusto/Clusters",
            "westeurope",
            Some("NameAlreadyTaken"),
        ),
        (("Microsoft.Kusto/Clusters", "westeurope"), "Microsoft.Kusto/Clusters", "eastus", None),
        ((STORAGE, "westeurope"), "Microsoft.Sql/servers", "westeurope", None),
    ] {
        for cloud in Cloud::ALL {
            // What a cloud does not offer has no names there.
            let part = resource_types::find(kind).unwrap().subresources[0];
            let expected = expected.filter(|_| !resource_types::private_zones(cloud, kind, part).is_empty());
            let mut file = model();
            file.resources.insert(Key::new("one", "account"), typed(taken.0, taken.1));
            let (_, control) = with(file, cloud);
            for key in [Key::new("two", "ACCOUNT"), Key::of("other", "one", "Account")] {
                let outcome = put(&control, &root(), key, typed(kind, region));
                assert_eq!(
                    outcome.err().map(|refusal| refusal.code),
                    expected,
                    "{taken:?}, {kind} in {region}, {cloud}"
                );
                if expected.is_none() {
                    break;
                }
            }
            // The account itself may be written again.
            let outcome = put(&control, &root(), Key::new("one", "account"), typed(taken.0, taken.1));
            assert!(outcome.is_ok(), "{outcome:?}");
        }
    }
    let mut file = model();
    file.resources.insert(Key::new("one", "account"), typed(STORAGE, "westeurope"));
    let (_, control) = with(file, Cloud::Commercial);
    let second = put(&control, &root(), Key::new("two", "account-secondary"), typed(STORAGE, "westeurope"));
    assert_eq!(second.unwrap_err().code, "NameAlreadyTaken", "the name of its second place");
}

#[test]
fn the_answer_is_one_whoever_asks_and_whoever_has_it() {
    let mut file = model();
    file.resources.insert(Key::new("hidden", "account"), typed(STORAGE, "westeurope"));
    for (uid, role, scope) in [(1, "Contributor", "/subscriptions/default/resourceGroups/mine"), (2, "Owner", "/")] {
        let (principal, role) = (format!("uid:{uid}").parse().unwrap(), role.parse().unwrap());
        let given = RoleAssignment { principal, role, scope: scope.parse().unwrap() };
        file.assignments.insert(Key::global(given.id().to_string()), given);
    }
    let (_, control) = with(file, Cloud::Commercial);
    for uid in [0, 1, 2] {
        let (caller, wanted) = (Caller::user(uid, "somebody"), typed(STORAGE, "westeurope"));
        let refusal = put(&control, &caller, Key::new("mine", "account"), wanted).unwrap_err();
        assert_eq!((refusal.kind, refusal.code), (ErrorKind::Conflict, "NameAlreadyTaken"));
        let said = format!("the name `account` is already taken\n  {}", rules::taken::REMEDY);
        assert_eq!(refusal.to_string(), said, "uid {uid}");
    }
    // Who may not write there is told of the missing right alone.
    let refusal = put(&control, &Caller::user(1, "somebody"), Key::new("own", "account"), typed(STORAGE, "westeurope"));
    assert_eq!(refusal.unwrap_err().code, "AuthorizationFailed");
}

#[test]
fn what_an_older_state_holds_twice_goes_on() {
    let mut twice = model();
    for group in ["one", "two"] {
        twice.resources.insert(Key::new(group, "account"), typed(STORAGE, "westeurope"));
    }
    let world = Arc::new(World::default());
    drop(begin(&world, twice.clone()));
    world.events();
    let host = Arc::new(host(&["spoke", "core"]));
    let control = begin_with(&world, Setup { validate: rules, host, ..setup(twice.clone()) });
    assert!(world.passes("10.1.9.4"));
    assert_eq!(control.view().standing.iter().filter(|one| one.code == "NameAlreadyTaken").count(), 2);
    // It may change as before, and a third is one too many.
    let eastus = typed(STORAGE, "eastus");
    assert!(put(&control, &root(), Key::new("two", "account"), eastus.clone()).is_ok());
    let third = put(&control, &root(), Key::new("three", "account"), eastus);
    assert_eq!(third.unwrap_err().code, "NameAlreadyTaken");
    control.apply(&root(), apply_file(twice, false)).unwrap();
}
