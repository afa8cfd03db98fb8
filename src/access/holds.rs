//! Whether a caller holds everything that a role gives: nobody may grant more than they hold.

use super::judge::{Access, Grant};
use crate::model::Scope;
use crate::model::Subject;
use crate::model::{ADMINISTRATOR, ActionPattern, OWNER, RoleDefinition, RoleName};

impl Access {
    /// Whether `subject` holds everything that `role` gives at `scope` and below. Each pattern of the role must lie
    /// within one of the subject's own assignments.
    pub fn holds(&self, subject: &Subject, role: &RoleDefinition, scope: &Scope) -> bool {
        let allowances = self.of(subject);
        let grants: Vec<&Grant> = allowances.grants().filter(|grant| grant.assignment.scope.covers(scope)).collect();
        role.actions.iter().all(|pattern| grants.iter().any(|grant| gives(&grant.role, pattern, role)))
    }
}

impl Access {
    /// Whether `subject` may grant any role at `scope`, also one that it does not hold: as Owner or User Access
    /// Administrator.
    pub fn administers(&self, subject: &Subject, scope: &Scope) -> bool {
        let fixed = [OWNER, ADMINISTRATOR].map(RoleName::built_in);
        self.of(subject).grants().any(|grant| fixed.contains(&grant.role.name) && grant.assignment.scope.covers(scope))
    }
}

impl RoleDefinition {
    /// Whether this role gives no more than `older`.
    pub fn is_within(&self, older: &Self) -> bool {
        self.actions.iter().all(|pattern| gives(older, pattern, self))
    }
}

/// Whether `own` gives every action of `pattern`, except those that `role` excludes.
fn gives(own: &RoleDefinition, pattern: &ActionPattern, role: &RoleDefinition) -> bool {
    let taken_back = |taken: &ActionPattern| {
        taken.meets(pattern) && !role.not_actions.iter().any(|also_taken| also_taken.includes(taken))
    };
    own.actions.iter().any(|mine| mine.includes(pattern)) && !own.not_actions.iter().any(taken_back)
}

impl ActionPattern {
    /// Whether this pattern matches every action that `other` matches.
    fn includes(&self, other: &Self) -> bool {
        // A `*` in the other pattern is matched only by a `*` here.
        self.matches_text(other.folded())
    }

    /// Whether some action can match both patterns.
    fn meets(&self, other: &Self) -> bool {
        let (one, other) = (self.folded().as_bytes(), other.folded().as_bytes());
        // For each pair of positions, computed backwards: whether the remaining patterns have a common match.
        let mut below = vec![false; other.len() + 1];
        for at in (0..=one.len()).rev() {
            let mut row = vec![false; other.len() + 1];
            for there in (0..=other.len()).rev() {
                row[there] = match (one.get(at), other.get(there)) {
                    (None, None) => true,
                    (Some(b'*'), None) => below[there],
                    (None, Some(b'*')) => row[there + 1],
                    (Some(b'*'), Some(_)) => below[there] || row[there + 1],
                    (Some(_), Some(b'*')) => row[there + 1] || below[there],
                    (Some(here), Some(same)) => here == same && below[there + 1],
                    (Some(_), None) | (None, Some(_)) => false,
                };
            }
            below = row;
        }
        below[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bootstrap, RoleAssignment};

    const NOBODY: Bootstrap = Bootstrap { daemon: 0, socket_group: None };

    fn role(name: &str, actions: &[&str], not_actions: &[&str]) -> RoleDefinition {
        let texts = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        RoleDefinition {
            name: name.parse().unwrap(),
            description: String::new(),
            actions: texts(actions),
            not_actions: texts(not_actions),
            assignable_scopes: vec!["/".parse().unwrap()],
        }
    }

    #[test]
    fn patterns_include_and_meet_each_other() {
        for (one, other, includes, meets) in [
            ("*", "a/*", true, true),
            ("a/*", "*", false, true),
            ("a/*/read", "a/b/read", true, true),
            ("a/*/read", "a/*/write", false, false),
            ("a/*", "b/*", false, false),
            ("*/read", "a/*", false, true),
            ("*a/b*", "a/b", true, true),
            ("a/b", "A/B", true, true),
        ] {
            let (one, other): (ActionPattern, ActionPattern) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!((one.includes(&other), one.meets(&other)), (includes, meets), "{one} {other}");
            assert_eq!(other.meets(&one), meets, "{other} {one}");
        }
    }

    #[test]
    fn whoever_holds_less_than_a_role_does_not_hold_it() {
        let roles = [
            role("net", &["Microsoft.Network/*"], &["Microsoft.Network/virtualNetworks/delete"]),
            role("read net", &["Microsoft.Network/*/read"], &[]),
            role("no secrets", &["*"], &["Privlink/*"]),
        ];
        let at = |text: &str| text.parse::<Scope>().unwrap();
        let given = |name: &str, scope: &str| RoleAssignment {
            principal: "uid:7".parse().unwrap(),
            role: name.parse().unwrap(),
            scope: at(scope),
        };
        let here = "/subscriptions/a";
        for (own, scope, wanted, expected) in [
            ("net", here, role("x", &["Microsoft.Network/*/read"], &[]), true),
            ("net", here, role("x", &["Microsoft.Network/*"], &[]), false),
            ("net", here, role("x", &["Microsoft.Network/*"], &["Microsoft.Network/virtualNetworks/delete"]), true),
            ("net", here, role("x", &["Microsoft.Network/virtualNetworks/*"], &[]), false),
            ("net", "/subscriptions/b", role("x", &["Microsoft.Network/*/read"], &[]), false),
            ("net", "/", role("x", &["Microsoft.Network/*/read", "Microsoft.Storage/*/read"], &[]), false),
            ("no secrets", "/", role("x", &["*/read"], &[]), false),
            ("no secrets", "/", role("x", &["Microsoft.Network/*"], &[]), true),
            ("Owner", "/", role("x", &["*"], &[]), true),
        ] {
            let access = Access::new(roles.clone(), [given(own, scope)], NOBODY).unwrap();
            let subject = Subject::peer(7, []);
            assert_eq!(access.holds(&subject, &wanted, &at(here)), expected, "{own} at {scope}: {wanted:?}");
        }
    }
}
