//! The decision explained: what each assignment has to do with it, and the smallest one that would allow it.

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
    /// Who.
    pub principal: Principal,
    /// The groups it was judged by besides.
    pub groups: Vec<u32>,
    /// What.
    pub action: Action,
    /// Where.
    pub scope: Scope,
    /// Whether it may.
    pub allowed: bool,
    /// Every assignment that whoever asks may see, those that came nearest to allowing it first.
    pub considered: Vec<Considered>,
    /// Where it may not: what would allow it, and no more than a built-in role must.
    pub smallest_grant: Option<SmallestGrant>,
}

/// What one assignment has to do with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Considered {
    /// Its name.
    pub assignment: AssignmentId,
    /// Whose it is.
    pub principal: Principal,
    /// What it gives.
    pub role: RoleName,
    /// Where.
    pub scope: Scope,
    /// It comes with the system.
    pub built_in: bool,
    /// What it has to do with it.
    #[serde(flatten)]
    pub finding: Finding,
}

/// An assignment that would allow what is denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SmallestGrant {
    /// The least powerful built-in role that gives the action.
    pub role: RoleName,
    /// The scope of the action itself.
    pub scope: Scope,
    /// The command that makes it.
    pub command: String,
}

impl Access {
    /// Why `subject` may or may not perform `action` at `scope`, by its own assignments and those others that are
    /// `seen`.
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
    // Nothing in the name of a built-in role means anything to a shell.
    let at = quoted(scope);
    let command = format!("privlink assignment create --principal {principal} --role \"{role}\" --scope {at}");
    Some(SmallestGrant { role, scope: scope.clone(), command })
}
