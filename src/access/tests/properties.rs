//! The matcher and the evaluator against naive ones, over random roles, assignments and scopes.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

/// Tries every length for every `*`.
fn naive_match(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|at| naive_match(rest, &text[at..])),
        Some((byte, rest)) => {
            text.first().is_some_and(|first| first.eq_ignore_ascii_case(byte)) && naive_match(rest, &text[1..])
        }
    }
}

fn naive_covers(upper: &Scope, lower: &Scope) -> bool {
    let parts = |scope: &Scope| -> Vec<String> {
        scope.to_string().split('/').filter(|part| !part.is_empty()).map(str::to_ascii_lowercase).collect()
    };
    parts(lower).starts_with(&parts(upper))
}

/// Straight from the rule: some assignment of the subject, at or above the scope, whose role has the
/// action among its actions and not among its `not_actions`.
fn naive_judge(
    roles: &[RoleDefinition],
    assignments: &[RoleAssignment],
    subject: &Subject,
    action: &Action,
    at: &Scope,
) -> bool {
    let named = |patterns: &[ActionPattern]| {
        patterns.iter().any(|one| naive_match(one.to_string().as_bytes(), action.to_string().as_bytes()))
    };
    assignments.iter().any(|assignment| {
        let own = match assignment.principal {
            Principal::Gid(gid) => subject.groups().contains(&gid),
            Principal::Uid(_) | Principal::Token(_) | Principal::TokenId(_) => {
                assignment.principal == *subject.principal()
            }
        };
        let same = |role: &&RoleDefinition| role.name == assignment.role;
        let role = roles.iter().chain(built_in().iter().map(|role| &**role)).find(same);
        own && naive_covers(&assignment.scope, at)
            && role.is_some_and(|role| named(&role.actions) && !named(&role.not_actions))
    })
}

const ROLES: [&str; 6] = ["r0", "r1", "R2", "Reader", "contributor", "Private Link Approver"];

fn actions() -> impl Strategy<Value = Action> {
    select(every([SQL]))
}

fn patterns() -> impl Strategy<Value = ActionPattern> {
    let cut = (actions(), any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(action, from, to)| {
        let text = action.to_string();
        let (from, to) = (from.index(text.len()), to.index(text.len()));
        format!("{}*{}", &text[..from.min(to)], &text[from.max(to)..])
    });
    let whole = actions().prop_map(|action| action.to_string().to_uppercase());
    let few = select(vec!["*", "*/read", "*/write", "*/*/read", "Microsoft.Network/*", "Privlink/*"]);
    prop_oneof![cut, whole, few.prop_map(str::to_owned)].prop_map(|text| text.parse().unwrap())
}

fn definitions() -> impl Strategy<Value = Vec<RoleDefinition>> {
    let lists = (prop::collection::vec(patterns(), 1..4), prop::collection::vec(patterns(), 0..3));
    prop::collection::vec(lists, 3).prop_map(|lists| {
        let named = lists.into_iter().zip(&ROLES);
        named
            .map(|((actions, not_actions), name)| RoleDefinition { actions, not_actions, ..role(name, &["*"], &[]) })
            .collect()
    })
}

fn scopes() -> impl Strategy<Value = Scope> {
    let parts = (select(vec!["a", "A", "ab", "b"]), select(vec!["g", "gg", "G"]), select(vec!["x", "xy", "X"]), 0..5);
    parts.prop_map(|(subscription, group, name, depth)| {
        let group = format!("/subscriptions/{subscription}/resourceGroups/{group}");
        let thing = format!("{group}/providers/Microsoft.Network/virtualNetworks/{name}");
        scope(&match depth {
            0 => "/".to_owned(),
            1 => format!("/subscriptions/{subscription}"),
            2 => group,
            3 => thing,
            _ => format!("{thing}/subnets/{name}"),
        })
    })
}

fn assignments() -> impl Strategy<Value = Vec<RoleAssignment>> {
    let principals = select(vec!["uid:1", "uid:2", "gid:1", "gid:2", "token:ci"]);
    let one = (principals, select(ROLES.to_vec()), scopes());
    let one = one.prop_map(|(principal, role, at)| assignment(principal, role, &at.to_string()));
    prop::collection::vec(one, 0..8)
}

fn subjects() -> impl Strategy<Value = Subject> {
    let peer = (1_u32..4, subsequence(vec![1_u32, 2, 3], 0..=3)).prop_map(|(uid, groups)| Subject::peer(uid, groups));
    prop_oneof![4 => peer, 1 => Just(Subject::only("token:ci".parse().unwrap()))]
}

/// Nobody but uid 998 is anything by the bootstrap.
const NOBODY: Bootstrap = Bootstrap { daemon: 998, socket_group: None };

proptest! {
    #![proptest_config(crate::testing::cases(256))]

    #[test]
    fn a_pattern_matches_as_the_naive_matcher_does(
        pattern in "[ab*]{1,3}(/[ab*]{1,3}){1,3}", text in "[abAB]{1,3}(/[abAB]{1,3}){1,4}",
    ) {
        let (parsed, action): (ActionPattern, Action) = (pattern.parse().unwrap(), text.parse().unwrap());
        prop_assert_eq!(parsed.matches(&action), naive_match(pattern.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn a_pattern_cut_from_an_action_matches_as_the_naive_matcher_does(pattern in patterns(), action in actions()) {
        let expected = naive_match(pattern.to_string().as_bytes(), action.to_string().as_bytes());
        prop_assert_eq!(pattern.matches(&action), expected, "{} on {}", pattern, action);
    }

    #[test]
    fn one_scope_covers_another_as_its_parts_begin_those_of_the_other(upper in scopes(), lower in scopes()) {
        prop_assert_eq!(upper.covers(&lower), naive_covers(&upper, &lower), "{} over {}", upper, lower);
    }

    #[test]
    fn the_evaluator_decides_as_the_naive_one_does(
        roles in definitions(), assignments in assignments(), subject in subjects(), action in actions(), at in scopes(),
    ) {
        let expected = naive_judge(&roles, &assignments, &subject, &action, &at);
        let access = Access::new(roles, assignments, NOBODY).unwrap();
        let allowances = access.of(&subject);
        let reach = allowances.reach(&action);
        prop_assert_eq!(access.judge(&subject, &action, &at).is_allowed(), expected);
        prop_assert_eq!(allowances.allows(&action, &at), expected);
        prop_assert_eq!(reach.covers(&at), expected);
        prop_assert_eq!(reach.is_everything(), allowances.allows(&action, &Scope::root()));
        prop_assert!(!(expected && reach.is_nothing()));
        prop_assert_eq!(access.demand(&subject, &action, &at).is_ok(), expected);
        let explanation = access.why(&subject, &action, &at, &|_| true);
        prop_assert_eq!(explanation.allowed, expected);
        let nearest = match access.judge(&subject, &action, &at) {
            Verdict::Allowed(_) => Finding::Grants,
            Verdict::Denied { nearest } => nearest.map_or(Finding::OtherPrincipal, |(_, finding)| finding),
        };
        prop_assert_eq!(explanation.considered.first().map(|one| &one.finding), Some(&nearest));
    }

    #[test]
    fn granting_more_never_denies(
        roles in definitions(), some in assignments(), more in assignments(), subject in subjects(),
        action in actions(), at in scopes(),
    ) {
        let before = Access::new(roles.clone(), some.clone(), NOBODY).unwrap();
        let after = Access::new(roles, more.into_iter().chain(some), NOBODY).unwrap();
        if before.judge(&subject, &action, &at).is_allowed() {
            prop_assert!(after.judge(&subject, &action, &at).is_allowed());
        }
    }

    #[test]
    fn the_smallest_grant_allows_what_was_denied(
        roles in definitions(), mut assignments in assignments(), subject in subjects(), action in actions(), at in scopes(),
    ) {
        let explanation = Access::new(roles.clone(), assignments.clone(), NOBODY).unwrap().why(&subject, &action, &at, &|_| true);
        if let Some(grant) = explanation.smallest_grant {
            let principal = subject.principal().clone();
            assignments.push(RoleAssignment { principal, role: grant.role, scope: grant.scope });
            let access = Access::new(roles, assignments, NOBODY).unwrap();
            prop_assert!(access.judge(&subject, &action, &at).is_allowed());
        } else {
            prop_assert!(explanation.allowed);
        }
    }

    #[test]
    fn what_is_stored_is_read_back_the_same(roles in definitions(), assignments in assignments()) {
        let json = serde_json::to_string(&(&roles, &assignments)).unwrap();
        let (roles_read, assignments_read): (Vec<RoleDefinition>, Vec<RoleAssignment>) = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&roles_read, &roles);
        prop_assert_eq!(&assignments_read, &assignments);
        prop_assert_eq!(serde_json::to_string(&(roles_read, assignments_read)).unwrap(), json);
    }
}

#[test]
fn a_pattern_of_many_stars_takes_no_longer() {
    // Backtracking would try some 10^60 ways here and never end.
    let pattern: ActionPattern = format!("{}b", "a*".repeat(120)).parse().unwrap();
    let action: Action = format!("a/{}", "a".repeat(250)).parse().unwrap();
    assert!(!pattern.matches(&action));
}
