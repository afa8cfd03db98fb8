//! Roles against the actions they are for, the bootstrap, explanations; and the evaluator against a naive one.

mod properties;

use super::*;
use crate::model::actions;
use crate::model::actions::testing::every;
use crate::model::actions::{approve, connections, delete, join, perform, read, write};
use crate::model::{
    Action, ActionPattern, Bootstrap, Principal, RoleAssignment, RoleDefinition, RoleName, Scope, Subject, built_in,
};

const SQL: &str = "Microsoft.Sql/servers";
const STORAGE: &str = "Microsoft.Storage/storageAccounts";
const GROUP: &str = "/subscriptions/prod/resourceGroups/shop";
const BOOTSTRAP: Bootstrap = Bootstrap { daemon: 999, socket_group: Some(20) };

fn scope(text: &str) -> Scope {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn assignment(principal: &str, role: &str, at: &str) -> RoleAssignment {
    let principal = principal.parse().unwrap_or_else(|error| panic!("{error}"));
    RoleAssignment { principal, role: role.parse().unwrap_or_else(|error| panic!("{error}")), scope: scope(at) }
}

fn role(name: &str, actions: &[&str], not_actions: &[&str]) -> RoleDefinition {
    let patterns = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    RoleDefinition {
        name: name.parse().unwrap(),
        description: String::new(),
        actions: patterns(actions),
        not_actions: patterns(not_actions),
        assignable_scopes: vec!["/".parse().unwrap()],
    }
}

fn access(roles: &[RoleDefinition], assignments: &[RoleAssignment]) -> Access {
    Access::new(roles.to_vec(), assignments.to_vec(), BOOTSTRAP).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn user(uid: u32) -> Subject {
    Subject::peer(uid, [100])
}

#[test]
fn each_right_is_held_by_who_has_it_and_by_nobody_else() {
    let all = every([SQL, STORAGE]);
    for action in &all {
        let text = action.to_string();
        let others: Vec<String> = all.iter().filter(|other| *other != action).map(ToString::to_string).collect();
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        let roles = [role("one", &[&text], &[]), role("others", &others, &[]), role("less", &["*"], &[&text])];
        let access = access(
            &roles,
            &[
                assignment("uid:1", "one", GROUP),
                assignment("uid:2", "others", GROUP),
                assignment("uid:3", "less", GROUP),
            ],
        );
        let at = scope(&format!("{GROUP}/providers/Microsoft.Sql/servers/db"));
        for (uid, expected) in [(1, true), (2, false), (3, false), (4, false)] {
            assert_eq!(access.judge(&user(uid), action, &at).is_allowed(), expected, "uid:{uid} {action}");
        }
        for other in all.iter().filter(|other| *other != action) {
            assert!(!access.judge(&user(1), other, &at).is_allowed(), "uid:1 {other} by {action}");
            assert!(access.judge(&user(2), other, &at).is_allowed(), "uid:2 {other}");
        }
    }
}

#[test]
fn each_built_in_role_gives_what_it_is_for() {
    let gives = |role: &str, action: &Action| {
        let name: RoleName = role.parse().unwrap();
        built_in().iter().find(|role| role.name == name).unwrap().gives(action)
    };
    // Reader, Private Link Approver, Network Contributor, Contributor, Owner.
    for (action, expected) in [
        (read(actions::ENDPOINTS), [true, true, true, true, true]),
        (write(actions::ENDPOINTS), [false, false, true, true, true]),
        (delete(actions::ENDPOINTS), [false, false, true, true, true]),
        (read(actions::INTERFACES), [true, true, true, true, true]),
        (write(actions::NETWORKS), [false, false, true, true, true]),
        (join(actions::SUBNETS), [false, false, true, true, true]),
        (join(actions::SECURITY_GROUPS), [false, false, true, true, true]),
        (write(actions::SERVICES), [false, false, true, true, true]),
        // `Microsoft.Network/*` holds the approval of private link services, and of nothing else.
        (approve(actions::SERVICES), [false, true, true, true, true]),
        (approve(SQL), [false, true, false, true, true]),
        (approve("Microsoft.Authorization/resourceManagementPrivateLinks"), [false, true, false, true, true]),
        (read(&connections(actions::SERVICES)), [true, true, true, true, true]),
        (read(&connections(SQL)), [true, true, false, true, true]),
        (write(&connections(SQL)), [false, true, false, true, true]),
        (delete(&connections(SQL)), [false, true, false, true, true]),
        (read(SQL), [true, true, false, true, true]),
        (write(SQL), [false, false, false, true, true]),
        (delete(SQL), [false, false, false, true, true]),
        (read(actions::RESOURCE_GROUPS), [true, true, true, true, true]),
        (read(actions::ROLE_ASSIGNMENTS), [true, false, true, true, true]),
        (write(actions::ROLE_ASSIGNMENTS), [false, false, false, false, true]),
        (delete(actions::ROLE_ASSIGNMENTS), [false, false, false, false, true]),
        (write(actions::ROLE_DEFINITIONS), [false, false, false, false, true]),
        (delete(actions::ROLE_DEFINITIONS), [false, false, false, false, true]),
        (read(actions::STATUS), [true, false, false, true, true]),
        (read(actions::FLOWS), [true, false, false, true, true]),
        (read(actions::EXPLAIN), [true, false, false, true, true]),
        (read(actions::AUDIT), [true, false, false, true, true]),
        (read(actions::TOKENS), [true, false, false, true, true]),
        (write(actions::TOKENS), [false, false, false, false, true]),
        (delete(actions::TOKENS), [false, false, false, false, true]),
        (perform(actions::BACKUP), [false, false, false, false, true]),
        (write(actions::CONFIGURATION), [false, false, false, false, true]),
    ] {
        let roles = ["Reader", "Private Link Approver", "Network Contributor", "Contributor", "Owner"];
        assert_eq!(roles.map(|role| gives(role, &action)), expected, "{action}");
    }
}

#[test]
fn the_bootstrap_owns_and_reads_everything_and_stays() {
    let access = access(&[], &[assignment("uid:0", "owner", "/"), assignment("uid:1", "Reader", "/")]);
    for action in every([SQL]) {
        let may = |subject: Subject| access.judge(&subject, &action, &Scope::root()).is_allowed();
        assert!(may(user(0)) && may(user(999)), "{action}");
        assert_eq!(may(Subject::peer(5, [7, 20])), action.to_string().ends_with("/read"), "{action}");
        assert!(!may(user(5)), "{action}");
        // A token is no user, whatever its name.
        assert!(!may(Subject::only("token:0".parse().unwrap())), "{action}");
    }
    // The assignment to uid 0 is there once, as the built-in one.
    assert_eq!(access.grants().iter().map(|grant| grant.built_in).collect::<Vec<_>>(), [true, true, true, false]);
    for grant in access.grants() {
        assert_eq!(access.may_remove_assignment(&grant.id).is_ok(), !grant.built_in, "{grant:?}");
    }
    assert_eq!(Bootstrap { daemon: 0, socket_group: None }.assignments().len(), 1);
}

#[test]
fn a_peer_has_the_grants_of_its_uid_and_of_each_of_its_groups() {
    let all = ["uid:1", "gid:1", "gid:2", "token:ci"].map(|principal| assignment(principal, "Reader", GROUP));
    let access = access(&[], &all);
    let may = |subject: &Subject| access.judge(subject, &read(SQL), &scope(GROUP)).is_allowed();
    for (subject, expected) in [
        (Subject::peer(1, []), true),
        (Subject::peer(3, [1]), true),
        (Subject::peer(3, [9, 2, 2]), true),
        (Subject::peer(2, [3]), false),
        (Subject::only("gid:2".parse().unwrap()), true),
        (Subject::only("gid:3".parse().unwrap()), false),
        (Subject::only("token:ci".parse().unwrap()), true),
        (Subject::only("token:cd".parse().unwrap()), false),
    ] {
        assert_eq!(may(&subject), expected, "{subject:?}");
    }
}

#[test]
fn what_one_role_takes_back_another_may_give() {
    let roles = [role("careful", &["*"], &["*/delete"]), role("deleter", &["*/delete"], &[])];
    let careful = assignment("uid:1", "careful", "/");
    let one = access(&roles, std::slice::from_ref(&careful));
    assert!(!one.judge(&user(1), &delete(SQL), &scope(GROUP)).is_allowed());
    let both = access(&roles, &[careful, assignment("uid:1", "deleter", GROUP)]);
    assert!(both.judge(&user(1), &delete(SQL), &scope(GROUP)).is_allowed());
    assert!(!both.judge(&user(1), &delete(SQL), &scope("/subscriptions/prod")).is_allowed());
}

#[test]
fn every_mistake_of_roles_and_assignments_is_reported() {
    let roles =
        [role("OWNER", &["*"], &[]), role("mine", &["*"], &[]), role("Mine", &["*"], &[]), role("empty", &[], &["*"])];
    let assignments = [assignment("uid:1", "MINE", "/"), assignment("uid:1", "nobody", "/")];
    let mistakes = Access::new(roles, assignments, BOOTSTRAP).unwrap_err();
    let texts: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    for (at, words) in ["OWNER is built in", "Mine is defined twice", "empty has no", "nobody, which there is not"]
        .into_iter()
        .enumerate()
    {
        assert!(texts[at].contains(words), "{texts:#?}");
    }
    assert_eq!(texts.len(), 4, "{texts:#?}");
}

#[test]
fn a_role_that_is_built_in_or_assigned_is_not_deleted() {
    let access = access(
        &[role("used", &["*"], &[]), role("unused", &["*"], &[])],
        &[assignment("uid:1", "Used", GROUP), assignment("uid:2", "used", "/")],
    );
    let name = |text: &str| text.parse::<RoleName>().unwrap();
    assert_eq!(access.may_remove_role(&name("UNUSED")), Ok(()));
    assert_eq!(access.may_change_role(&name("used")), Ok(()));
    let refusal = access.may_remove_role(&name("used")).unwrap_err();
    assert_eq!(refusal.details.len(), 2, "{refusal}");
    for built_in in access.roles().filter(|role| built_in().iter().any(|one| one.name == role.name)) {
        assert_eq!(access.may_remove_role(&built_in.name).unwrap_err().code, "BuiltInRole");
        assert_eq!(access.may_change_role(&built_in.name).unwrap_err().code, "BuiltInRole");
    }
    assert_eq!(access.may_remove_role(&name("none")).unwrap_err().code, "RoleDefinitionDoesNotExist");
    let absent = assignment("uid:9", "used", "/").id();
    assert_eq!(access.may_remove_assignment(&absent).unwrap_err().code, "RoleAssignmentNotFound");
}

#[test]
fn an_explanation_says_what_each_assignment_has_to_do_with_it() {
    let thing = scope(&format!("{GROUP}/providers/{SQL}/db"));
    let roles = [role("careful", &["*"], &["*Approval/action"])];
    let assignments = [
        assignment("uid:1", "Owner", &format!("{GROUP}2")),
        assignment("uid:1", "Reader", GROUP),
        assignment("gid:100", "careful", &thing.to_string()),
        assignment("uid:2", "Owner", "/"),
    ];
    let access = access(&roles, &assignments);
    let explanation = access.why(&user(1), &approve(SQL), &thing, &|_| true);
    assert!(!explanation.allowed);
    let findings: Vec<_> = explanation.considered.iter().map(|one| (one.principal.to_string(), &one.finding)).collect();
    let own = |principal: &str| (principal.to_owned(), &Finding::OtherPrincipal);
    assert_eq!(
        findings,
        [
            ("gid:100".to_owned(), &Finding::TakenBack { by: "*Approval/action".parse().unwrap() }),
            ("uid:1".to_owned(), &Finding::RoleLacksAction),
            ("uid:1".to_owned(), &Finding::ScopeElsewhere { role_gives_it: true }),
            own("uid:0"),
            own("uid:999"),
            own("gid:20"),
            own("uid:2"),
        ]
    );
    let json = serde_json::to_value(&explanation).unwrap();
    assert_eq!(json["considered"][0]["finding"], "takenBack");
    assert_eq!(json["considered"][2]["roleGivesIt"], true);
    assert_eq!(
        json["smallestGrant"]["command"],
        format!("privlink assignment create --principal uid:1 --role \"Private Link Approver\" --scope {thing}")
    );
    let allowed = access.why(&user(2), &approve(SQL), &thing, &|_| true);
    assert!(allowed.allowed && allowed.smallest_grant.is_none());
    assert_eq!(allowed.considered[0].finding, Finding::Grants);
}

#[test]
fn the_smallest_grant_is_the_least_role_that_suffices() {
    for (action, role) in [
        (read(SQL), "Reader"),
        (read(actions::AUDIT), "Reader"),
        (approve(SQL), "Private Link Approver"),
        (approve(actions::SERVICES), "Private Link Approver"),
        (write(actions::ENDPOINTS), "Network Contributor"),
        (join(actions::SUBNETS), "Private Link Joiner"),
        (join(actions::NETWORKS), "Network Contributor"),
        (write(SQL), "Contributor"),
        (write(actions::ROLE_ASSIGNMENTS), "User Access Administrator"),
        (write(actions::TOKENS), "Owner"),
    ] {
        let explanation = access(&[], &[]).why(&user(1), &action, &scope(GROUP), &|_| true);
        assert_eq!(explanation.smallest_grant.unwrap().role.to_string(), role, "{action}");
    }
}

#[test]
fn a_refusal_names_who_what_where_and_what_was_nearest() {
    let thing = scope(&format!("{GROUP}/providers/{SQL}/db"));
    let access = access(&[], &[assignment("uid:1", "Reader", GROUP)]);
    assert_eq!(access.demand(&user(1), &read(SQL), &thing), Ok(()));
    let refusal = access.demand(&user(1), &approve(SQL), &thing).unwrap_err();
    assert_eq!((refusal.kind, refusal.code), (crate::model::error::ErrorKind::Forbidden, "AuthorizationFailed"));
    assert_eq!(
        refusal.message,
        format!(
            "uid:1 may not perform {SQL}/privateEndpointConnectionsApproval/action at {thing}; \
             its nearest role, Reader at {GROUP}, does not give it"
        )
    );
    assert_eq!(
        refusal.remedy,
        format!("`privlink access why uid:1 {} {thing}` says what would allow it", approve(SQL))
    );
    let stranger = access.demand(&user(2), &read(SQL), &thing).unwrap_err();
    assert!(!stranger.message.contains("nearest") && stranger.message.contains("uid:2"), "{stranger}");
}
