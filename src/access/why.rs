//! Explains a decision: how each assignment relates to it, and the smallest assignment that would allow the action.

use serde::Serialize;

use super::judge::{Access, Finding, Grant, quoted};
use crate::model::AssignmentId;
use crate::model::Scope;
use crate::model::actions::Action;
use crate::model::{Principal, Subject};
use crate::model::{RoleName, built_in};

/// Why a subject may or may not perform an action at a scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The subject.
    pub principal: Principal,
    /// Its groups.
    pub groups: Vec<u32>,
    /// The action.
    pub action: Action,
    /// The scope.
    pub scope: Scope,
    /// Whether it is allowed.
    pub allowed: bool,
    /// Every assignment that the asking caller may see, nearest to allowing it first.
    pub considered: Vec<Considered>,
    /// If it is denied: the smallest built-in role that would allow it.
    pub smallest_grant: Option<SmallestGrant>,
}

/// How one assignment relates to the action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Considered {
    /// Its name.
    pub assignment: AssignmentId,
    /// Its principal.
    pub principal: Principal,
    /// Its role.
    pub role: RoleName,
    /// The scope.
    pub scope: Scope,
    /// It is built in.
    pub built_in: bool,
    /// How it relates to the action.
    #[serde(flatten)]
    pub finding: Finding,
}

/// An assignment that would allow the denied action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SmallestGrant {
    /// The least powerful built-in role that gives the action.
    pub role: RoleName,
    /// The scope of the action itself.
    pub scope: Scope,
    /// The command that creates it.
    pub command: String,
}

impl Access {
    /// Why `subject` may or may not perform `action` at `scope`: by its own assignments, and by others that are `seen`.
    pub fn why(&self, subject: &Subject, action: &Action, scope: &Scope, seen: &dyn Fn(&Grant) -> bool) -> Explanation {
        let own = self.principals(subject);
        let shown = self.grants().iter().filter(|grant| own.contains(&grant.assignment.principal) || seen(grant));
        let consider = |grant: &Grant| Considered {
            assignment: grant.id.clone(),
            principal: grant.assignment.principal.clone(),
            role: grant.assignment.role.clone(),
            scope: grant.assignment.scope.clone(),
            built_in: grant.built_in,
            finding: if own.contains(&grant.assignment.principal) {
                grant.finding(action, scope)
            } else {
                Finding::OtherPrincipal
            },
        };
        let mut considered: Vec<Considered> = shown.map(consider).collect();
        considered.sort_by(|one, other| other.finding.cmp(&one.finding));
        let allowed = considered.iter().any(|one| one.finding == Finding::Grants);
        Explanation {
            principal: subject.principal().clone(),
            groups: subject.groups().to_vec(),
            action: action.clone(),
            scope: scope.clone(),
            allowed,
            considered,
            smallest_grant: if allowed { None } else { smallest_grant(subject.principal(), action, scope) },
        }
    }
}

fn smallest_grant(principal: &Principal, action: &Action, scope: &Scope) -> Option<SmallestGrant> {
    let role = built_in().iter().find(|role| role.gives(action))?.name.clone();
    // Names of built-in roles need no quoting in a shell.
    let at = quoted(scope);
    let command = format!("privlink assignment create --principal {principal} --role \"{role}\" --scope {at}");
    Some(SmallestGrant { role, scope: scope.clone(), command })
}
