//! Who may assign which role where, and who may write one.

use super::*;
use crate::model::RoleDefinition;
use crate::model::state::ItemKind;

fn given(principal: &str, role: &str, scope: &str) -> Model {
    let role = role.parse().unwrap();
    let one = RoleAssignment { principal: principal.parse().unwrap(), role, scope: scope.parse().unwrap() };
    let mut items = Model::default();
    items.assignments.insert(Key::global(one.id().to_string()), one);
    items
}

fn defined(name: &str, actions: &[&str], scopes: &[&str]) -> Model {
    let role = RoleDefinition {
        name: name.parse().unwrap(),
        description: String::new(),
        actions: actions.iter().map(|text| text.parse().unwrap()).collect(),
        not_actions: vec![],
        assignable_scopes: scopes.iter().map(|text| text.parse().unwrap()).collect(),
    };
    let mut items = Model::default();
    items.roles.insert(Key::global(name), role);
    items
}

/// As root, which may.
fn made(control: &ControlPlane, items: Model) {
    control.apply(&root(), Put { items: Box::new(items), create_only: false }).unwrap();
}

const ADA: &str = "/subscriptions/default/resourceGroups/ada";

/// A control plane where ada has these roles, and may write assignments and roles in a group of her own.
fn granting(roles: &[(&str, &str)]) -> ControlPlane {
    let control = running(roles);
    let writes = ["Microsoft.Authorization/roleAssignments/*", "Microsoft.Authorization/roleDefinitions/*"];
    made(&control, defined("granter", &writes, &["/"]));
    made(&control, given("uid:1000", "granter", ADA));
    control
}

#[test]
fn nobody_assigns_what_they_do_not_hold() {
    let network = ("Network Contributor", ADA);
    for (roles, role, scope, allowed) in [
        (vec![network], "Network Contributor", ADA, true),
        (vec![network], "Private Link Joiner", ADA, true),
        (vec![network], "granter", ADA, true),
        (vec![network], "Reader", ADA, false),
        (vec![network], "Owner", ADA, false),
        (vec![("Network Contributor", "/subscriptions/other")], "Network Contributor", ADA, false),
        (vec![network], "Network Contributor", "/subscriptions/default", false),
        (vec![("Owner", ADA)], "Contributor", ADA, true),
        (vec![("User Access Administrator", ADA)], "Owner", ADA, true),
        (vec![("User Access Administrator", ADA)], "Owner", "/", false),
    ] {
        for write in [put as Write, apply] {
            let done = write(&granting(&roles), given("uid:2000", role, scope));
            match done {
                Ok(_) => assert!(allowed, "{roles:?}: {role} at {scope}"),
                Err(refusal) => {
                    assert!(
                        !allowed && refusal.kind == ErrorKind::Forbidden,
                        "{roles:?}: {role} at {scope}: {refusal}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_role_and_its_assignment_in_one_document_are_no_way_round() {
    let control = granting(&[]);
    let mut items = defined("all", &["*"], &[ADA]);
    items.assignments = given("uid:1000", "all", ADA).assignments;
    for write in [put as Write, apply] {
        assert_eq!(write(&control, items.clone()).unwrap_err().kind, ErrorKind::Forbidden);
    }
}

#[test]
fn to_widen_a_role_is_to_assign_it() {
    let control = granting(&[("Network Contributor", ADA)]);
    made(&control, defined("helper", &["Microsoft.Network/*/read"], &[ADA]));
    made(&control, given("uid:1000", "helper", ADA));
    // More of what she holds herself, and less, is hers to write; more than that is not.
    put(&control, defined("helper", &["Microsoft.Network/*"], &[ADA])).unwrap();
    put(&control, defined("helper", &["Microsoft.Network/privateEndpoints/read"], &[ADA])).unwrap();
    let refused = put(&control, defined("helper", &["*"], &[ADA])).unwrap_err();
    assert!(refused.kind == ErrorKind::Forbidden && refused.message.contains("may not assign helper"), "{refused}");
    // Where it is assigned to nobody, it gives nothing yet.
    put(&control, defined("idle", &["*"], &[ADA])).unwrap();
}

#[test]
fn a_role_is_judged_and_assigned_where_it_is_assignable() {
    let control = granting(&[("Network Contributor", ADA)]);
    // Elsewhere it is not hers to define, nor to take over or delete.
    assert_eq!(put(&control, defined("wide", &["*/read"], &["/"])).unwrap_err().kind, ErrorKind::Forbidden);
    assert_eq!(
        put(&control, defined("wide", &["*/read"], &[ADA, "/subscriptions/b"])).unwrap_err().kind,
        ErrorKind::Forbidden
    );
    made(&control, defined("theirs", &["*/read"], &["/subscriptions/b"]));
    assert_eq!(put(&control, defined("theirs", &["*/read"], &[ADA])).unwrap_err().kind, ErrorKind::Forbidden);
    let delete = |name: &str| {
        let command = Delete { kind: ItemKind::Role, reference: name.to_owned() };
        control.apply(&ada(), command)
    };
    assert_eq!(delete("theirs").unwrap_err().kind, ErrorKind::Forbidden);
    put(&control, defined("mine", &["Microsoft.Network/*/read"], &[ADA])).unwrap();
    delete("mine").unwrap();
    // Not even root assigns it anywhere else, or takes the place of an assignment away.
    made(&control, given("uid:2000", "theirs", "/subscriptions/b/resourceGroups/g"));
    for items in [
        given("uid:2000", "theirs", "/"),
        given("uid:2000", "theirs", "/subscriptions/bb"),
        defined("theirs", &["*/read"], &["/subscriptions/c"]),
        defined("nowhere", &["*/read"], &[]),
    ] {
        let refused = control.apply(&root(), Put { items: Box::new(items), create_only: false }).unwrap_err();
        assert!(refused.kind == ErrorKind::Invalid && refused.to_string().contains("assignable"), "{refused}");
    }
}
