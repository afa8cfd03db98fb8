use super::*;
use crate::control::model::RoleAssignment;
use crate::control::testing::{bootstrap, endpoint, model, noon, root, store};
use crate::control::{Prepared, Setup, testing};

/// The view of a daemon on the small model and a second tenant's endpoint, with these assignments.
fn view(assignments: &[(&str, &str, &str)]) -> View {
    let mut file = model();
    file.endpoints.insert(Key::of("tenant", "g", "theirs"), endpoint("spoke", Some("10.1.9.9"), "orders-db"));
    for (principal, role, scope) in assignments {
        let given = RoleAssignment {
            principal: principal.parse().unwrap(),
            role: role.parse().unwrap(),
            scope: scope.parse().unwrap(),
        };
        file.assignments.insert(Key::global(given.id().to_string()), given);
    }
    let setup = Setup {
        host: Arc::new(testing::host(&["spoke", "core"])),
        file,
        prune: false,
        dry_run: false,
        workers: 1,
        namespaces: vec![1, 2],
        daemon: root(),
        bootstrap: bootstrap(),
        clock: noon,
        validate: |_, _, _| Ok(()),
    };
    Prepared::new(setup, None, store()).unwrap().view()
}

fn endpoints(view: &View, caller: &Caller) -> Vec<String> {
    view.seen_by(caller).endpoints().iter().map(|endpoint| endpoint.key.to_string()).collect()
}

#[test]
fn nobody_sees_anything_without_a_role() {
    let view = view(&[]);
    let seen = view.seen_by(&Caller::user(1000, "ada"));
    assert_eq!(seen.decisions.model, Model::default());
    assert!(seen.decisions.connections.is_empty() && seen.decisions.tokens.is_empty());
    assert_eq!(endpoints(&view, &root()).len(), 2);
}

#[test]
fn a_reader_of_one_tenant_sees_that_tenant_and_the_owner_of_a_resource_its_connections() {
    let service = "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/privateLinkServices";
    let (ada, bob) = (Caller::user(1000, "ada"), Caller::user(1001, "bob"));
    let view = view(&[
        ("uid:1000", "Reader", "/subscriptions/tenant"),
        ("uid:1001", "Private Link Approver", &format!("{service}/orders-db")),
    ]);
    assert_eq!(endpoints(&view, &ada), ["tenant/g/theirs"]);
    assert!(view.seen_by(&ada).resources().is_empty() && view.seen_by(&ada).vnets().is_empty());
    assert_eq!(endpoints(&view, &bob), ["default/orders", "tenant/g/theirs"]);
    assert_eq!(view.seen_by(&bob).resources().len(), 1);
    assert!(view.seen_by(&bob).vnets().is_empty());
    // Each sees the assignment that is theirs.
    assert_eq!(view.seen_by(&ada).decisions.model.assignments.len(), 1);
}

#[test]
fn the_socket_group_reads_everything() {
    let member = Caller { subject: crate::control::access::Subject::peer(7, [50]), name: "eve".into() };
    assert_eq!(endpoints(&view(&[]), &member).len(), 2);
}
