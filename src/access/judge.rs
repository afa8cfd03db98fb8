//! Decides whether an action is allowed at a scope: if one of the subject's assignments covers the scope and its role
//! gives the action. There are no deny rules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use crate::model::Key;
use crate::model::Scope;
use crate::model::actions::Action;
use crate::model::error::{Error, ErrorDetail, ErrorKind};
use crate::model::sentence::{Mention, itself};
use crate::model::state::ItemKind;
use crate::model::token::Token;
use crate::model::{ActionPattern, Effect, RoleDefinition, RoleName, built_in};
use crate::model::{AssignmentId, Bootstrap, RoleAssignment};
use crate::model::{Principal, Subject, TokenId};

/// All roles and assignments. Rebuilt when one of them changes.
#[derive(Clone, Debug)]
pub struct Access {
    roles: BTreeMap<RoleName, Arc<RoleDefinition>>,
    grants: Vec<Grant>,
    /// Indexes into `grants`, ascending.
    of: BTreeMap<Principal, Vec<usize>>,
    /// The ids of existing tokens. A caller with an older token of the same name has no rights.
    tokens: BTreeMap<Principal, TokenId>,
}

/// An assignment with its role.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Its name.
    pub id: AssignmentId,
    /// Principal, role and scope.
    pub assignment: RoleAssignment,
    /// The role.
    pub role: Arc<RoleDefinition>,
    /// It is built in and cannot be deleted.
    pub built_in: bool,
}

/// Why roles and assignments are inconsistent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// A definition has the name of a built-in role.
    #[error("the role {0} is built in and cannot be defined: choose another name")]
    Reserved(RoleName),
    /// Two definitions have one name.
    #[error("the role {0} is defined twice; names are compared without regard to case")]
    Twice(RoleName),
    /// A definition gives no action.
    #[error("the role {0} has no `actions`, so it would give nothing")]
    Empty(RoleName),
    /// A definition has no assignable scope.
    #[error("the role {0} has no assignable scopes, so it could be assigned nowhere")]
    Nowhere(RoleName),
    /// An assignment is at a scope where its role may not be assigned.
    #[error("the role {role} is not assignable at {scope}: its assignable scopes are {}", listed(assignable))]
    NotAssignable {
        /// Which.
        id: AssignmentId,
        /// Of the assignment.
        role: RoleName,
        /// Of the assignment.
        scope: Scope,
        /// Of the role.
        assignable: Vec<Scope>,
    },
    /// An assignment names a role that does not exist.
    #[error("{principal} is assigned the role {role}, which there is not; roles are {}", listed(known))]
    Unknown {
        /// Which.
        id: AssignmentId,
        /// Of the assignment.
        principal: Principal,
        /// Of the assignment.
        role: RoleName,
        /// The names of all roles.
        known: Vec<RoleName>,
    },
}

impl Mistake {
    /// The assignment that the mistake is about. Roles are public.
    pub fn assignment(&self) -> Option<&AssignmentId> {
        match self {
            Self::NotAssignable { id, .. } | Self::Unknown { id, .. } => Some(id),
            Self::Reserved(_) | Self::Twice(_) | Self::Empty(_) | Self::Nowhere(_) => None,
        }
    }
}

fn listed(names: &[impl ToString]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Access {
    /// Combines these definitions and assignments with the built-in ones. Duplicate assignments count once.
    ///
    /// # Errors
    /// All mistakes.
    pub fn new(
        definitions: impl IntoIterator<Item = RoleDefinition>,
        assignments: impl IntoIterator<Item = RoleAssignment>,
        bootstrap: Bootstrap,
    ) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let roles = collect_roles(definitions, &mut mistakes);
        let mut grants = Vec::new();
        let mut seen = BTreeSet::new();
        let fixed = bootstrap.assignments().into_iter().map(|assignment| (assignment, true));
        for (assignment, built_in) in fixed.chain(assignments.into_iter().map(|assignment| (assignment, false))) {
            let id = assignment.id();
            let Some(role) = roles.get(&assignment.role) else {
                let RoleAssignment { principal, role, .. } = assignment;
                mistakes.push(Mistake::Unknown { id, principal, role, known: roles.keys().cloned().collect() });
                continue;
            };
            if !role.assignable_at(&assignment.scope) {
                let RoleAssignment { role: name, scope, .. } = assignment;
                let assignable = role.assignable_scopes.clone();
                mistakes.push(Mistake::NotAssignable { id, role: name, scope, assignable });
                continue;
            }
            if seen.insert(id.clone()) {
                grants.push(Grant { id, assignment, role: Arc::clone(role), built_in });
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let mut of: BTreeMap<Principal, Vec<usize>> = BTreeMap::new();
        for (at, grant) in grants.iter().enumerate() {
            of.entry(grant.assignment.principal.clone()).or_default().push(at);
        }
        Ok(Self { roles, grants, of, tokens: BTreeMap::new() })
    }

    /// Adds the existing tokens.
    #[must_use]
    pub fn with_tokens<'a>(self, tokens: impl IntoIterator<Item = &'a Token>) -> Self {
        Self { tokens: tokens.into_iter().map(|token| (token.principal(), token.id.clone())).collect(), ..self }
    }

    /// Every role, by name.
    pub fn roles(&self) -> impl Iterator<Item = &RoleDefinition> {
        self.roles.values().map(|role| &**role)
    }

    /// The role of that name.
    pub fn role(&self, name: &RoleName) -> Option<&RoleDefinition> {
        self.roles.get(name).map(|role| &**role)
    }

    /// Every assignment, the built-in ones first.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Checks that the role `name` may be deleted.
    ///
    /// # Errors
    /// The role does not exist, is built in, or is assigned.
    pub fn may_remove_role(&self, name: &RoleName) -> Result<(), Error> {
        self.may_change_role(name)?;
        let assigned: Vec<_> = self.grants.iter().filter(|grant| grant.assignment.role == *name).collect();
        if assigned.is_empty() {
            return Ok(());
        }
        let message = itself(format!("the role {name} is assigned"));
        let details = assigned.iter().map(|grant| {
            let RoleAssignment { principal, scope, .. } = &grant.assignment;
            let message = format!("{} to {principal} at {scope}", grant.id);
            let assignment = Key::global(grant.id.to_string());
            ErrorDetail::new("RoleAssigned", Mention::of(ItemKind::Assignment, &assignment, message))
        });
        Err(Error::new(ErrorKind::Invalid, "RoleDefinitionHasAssignments", message, "delete its assignments first")
            .with_details(details.collect()))
    }

    /// Checks that the role `name` may be changed.
    ///
    /// # Errors
    /// It does not exist, or it is built in.
    pub fn may_change_role(&self, name: &RoleName) -> Result<(), Error> {
        if !self.roles.contains_key(name) {
            // The list of roles is public.
            let remedy = itself(format!("roles are {}", listed(&self.roles.keys().cloned().collect::<Vec<_>>())));
            let message = itself(format!("there is no role {name}"));
            return Err(Error::new(ErrorKind::NotFound, "RoleDefinitionDoesNotExist", message, remedy));
        }
        if built_in().iter().any(|role| role.name == *name) {
            let message = itself(format!("the role {name} is built in: it can be neither changed nor deleted"));
            return Err(Error::new(ErrorKind::Invalid, "BuiltInRole", message, "define a role of another name"));
        }
        Ok(())
    }

    /// Checks that the assignment `id` may be deleted.
    ///
    /// # Errors
    /// It does not exist, or it is built in.
    pub fn may_remove_assignment(&self, id: &AssignmentId) -> Result<(), Error> {
        match self.grants.iter().find(|grant| grant.id == *id) {
            None => Err(Error::new(
                ErrorKind::NotFound,
                "RoleAssignmentNotFound",
                itself(format!("there is no assignment {id}")),
                "`privlink assignment list` shows what there is",
            )),
            Some(grant) if grant.built_in => {
                let RoleAssignment { principal, role, .. } = &grant.assignment;
                let message = itself(format!("{principal} is {role} of everything by the daemon's own settings"));
                let remedy = "it follows from whom the daemon runs as and from `socket_group`, and cannot be deleted";
                Err(Error::new(ErrorKind::Invalid, "BuiltInAssignment", message, remedy))
            }
            Some(_) => Ok(()),
        }
    }

    /// The grants of `subject`. Collected once for many checks.
    pub fn of(&self, subject: &Subject) -> Allowances<'_> {
        if subject.token().is_some_and(|token| self.tokens.get(subject.principal()) != Some(token)) {
            return Allowances { grants: Vec::new() };
        }
        let principals = self.principals(subject);
        let mut places: Vec<usize> =
            principals.iter().filter_map(|principal| self.of.get(principal)).flatten().copied().collect();
        places.sort_unstable();
        places.dedup();
        Allowances { grants: places.into_iter().filter_map(|at| self.grants.get(at)).collect() }
    }

    /// Every principal whose assignments apply to `subject`. A token has two: its name and its id.
    pub(super) fn principals(&self, subject: &Subject) -> Vec<Principal> {
        let mut all: Vec<Principal> = subject.principals().collect();
        match subject.principal() {
            // The subject may be the object of a question, without an id.
            Principal::Token(_) if subject.token().is_none() => {
                all.extend(self.tokens.get(subject.principal()).cloned().map(Principal::TokenId));
            }
            Principal::TokenId(id) => {
                all.extend(self.tokens.iter().find(|(_, other)| *other == id).map(|(named, _)| named.clone()));
            }
            Principal::Token(_) | Principal::Uid(_) | Principal::Gid(_) => {}
        }
        all
    }

    /// Whether `subject` may perform `action` at `scope`, and by which assignment.
    pub fn judge(&self, subject: &Subject, action: &Action, scope: &Scope) -> Verdict<'_> {
        self.of(subject).judge(action, scope)
    }

    /// The same, as an error if it may not.
    ///
    /// # Errors
    /// `Forbidden`, naming principal, action and scope.
    pub fn demand(&self, subject: &Subject, action: &Action, scope: &Scope) -> Result<(), Error> {
        match self.judge(subject, action, scope) {
            Verdict::Allowed(_) => Ok(()),
            Verdict::Denied { nearest } => Err(refusal(subject, action, scope, nearest.as_ref())),
        }
    }
}

/// The built-in roles and `definitions`, by name.
fn collect_roles(
    definitions: impl IntoIterator<Item = RoleDefinition>,
    mistakes: &mut Vec<Mistake>,
) -> BTreeMap<RoleName, Arc<RoleDefinition>> {
    let fixed = || built_in().iter().map(|role| (role.name.clone(), Arc::clone(role)));
    let mut roles: BTreeMap<_, _> = fixed().collect();
    for definition in definitions {
        let name = definition.name.clone();
        if fixed().any(|(reserved, _)| reserved == name) {
            mistakes.push(Mistake::Reserved(name));
        } else if definition.actions.is_empty() {
            mistakes.push(Mistake::Empty(name));
        } else if definition.assignable_scopes.is_empty() {
            mistakes.push(Mistake::Nowhere(name));
        } else if roles.insert(name.clone(), Arc::new(definition)).is_some() {
            mistakes.push(Mistake::Twice(name));
        }
    }
    roles
}

/// A decision and its reason.
#[derive(Clone, Debug)]
pub enum Verdict<'a> {
    /// By the first assignment that allows it.
    Allowed(&'a Grant),
    /// No assignment allows it.
    Denied {
        /// The subject's assignment that came nearest, and what it lacks.
        nearest: Option<(&'a Grant, Finding)>,
    },
}

impl Verdict<'_> {
    /// Whether it is allowed.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }
}

/// How an assignment relates to an action at a scope. Later variants are nearer to allowing it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "finding", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Finding {
    /// It belongs to another subject.
    OtherPrincipal,
    /// It is for another scope.
    ScopeElsewhere {
        /// Its role would give the action there.
        role_gives_it: bool,
    },
    /// Its role does not name the action.
    RoleLacksAction,
    /// Its role lists the action in `actions` and excludes it in `not_actions`.
    TakenBack {
        /// By which pattern.
        by: ActionPattern,
    },
    /// It allows it.
    Grants,
}

impl Grant {
    /// How this assignment relates to the action, for its own principal.
    pub(super) fn finding(&self, action: &Action, scope: &Scope) -> Finding {
        match self.role.effect(action) {
            effect if !self.assignment.scope.covers(scope) => {
                Finding::ScopeElsewhere { role_gives_it: effect == Effect::Gives }
            }
            Effect::Lacks => Finding::RoleLacksAction,
            Effect::TakesBack(pattern) => Finding::TakenBack { by: pattern.clone() },
            Effect::Gives => Finding::Grants,
        }
    }

    fn allows(&self, action: &Action, scope: &Scope) -> bool {
        self.assignment.scope.covers(scope) && self.role.gives(action)
    }
}

/// The grants of one subject.
#[derive(Clone, Debug)]
pub struct Allowances<'a> {
    grants: Vec<&'a Grant>,
}

impl<'a> Allowances<'a> {
    pub(super) fn grants(&self) -> impl Iterator<Item = &'a Grant> {
        self.grants.iter().copied()
    }

    /// Whether it may perform `action` at `scope`.
    pub fn allows(&self, action: &Action, scope: &Scope) -> bool {
        self.grants.iter().any(|grant| grant.allows(action, scope))
    }

    /// The same, with the assignment.
    pub fn judge(&self, action: &Action, scope: &Scope) -> Verdict<'a> {
        if let Some(grant) = self.grants.iter().find(|grant| grant.allows(action, scope)) {
            return Verdict::Allowed(grant);
        }
        let findings = self.grants.iter().map(|grant| (*grant, grant.finding(action, scope)));
        Verdict::Denied { nearest: findings.max_by(|(_, one), (_, other)| one.cmp(other)) }
    }

    /// Whether any role gives more than reading, at any scope.
    pub fn any_write(&self) -> bool {
        self.grants.iter().any(|grant| grant.role.writes())
    }

    /// Whether nothing has been granted.
    pub fn is_nothing(&self) -> bool {
        self.grants.is_empty()
    }

    /// The scopes at which it may perform `action`. For filtering long lists.
    pub fn reach(&self, action: &Action) -> Reach<'a> {
        let giving = self.grants.iter().filter(|grant| grant.role.gives(action));
        let scopes: BTreeSet<&Scope> = giving.map(|grant| &grant.assignment.scope).collect();
        // Drop a scope below another one.
        let widest = |scope: &Scope| !scopes.iter().any(|other| *other != scope && other.covers(scope));
        Reach { scopes: scopes.iter().copied().filter(|scope| widest(scope)).collect() }
    }
}

/// The scopes at and below which one subject may perform one action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach<'a> {
    scopes: Vec<&'a Scope>,
}

impl Reach<'_> {
    /// Whether it may at `scope`.
    pub fn covers(&self, scope: &Scope) -> bool {
        self.scopes.iter().any(|reached| reached.covers(scope))
    }

    /// Whether it may at every scope.
    pub fn is_everything(&self) -> bool {
        self.scopes.iter().any(|reached| reached.is_root())
    }

    /// Whether it may at no scope.
    pub fn is_nothing(&self) -> bool {
        self.scopes.is_empty()
    }
}

/// Quotes a scope for a shell. Parentheses are the only characters in it with a meaning there.
pub(super) fn quoted(scope: &Scope) -> String {
    let text = scope.to_string();
    if text.contains(['(', ')']) { format!("'{text}'") } else { text }
}

/// The error that refuses `action` at `scope`, with what the caller's nearest assignment lacks.
fn refusal(subject: &Subject, action: &Action, scope: &Scope, nearest: Option<&(&Grant, Finding)>) -> Error {
    let nearest = nearest.map_or_else(String::new, |(grant, finding)| {
        let at = &grant.assignment.scope;
        let lack = match finding {
            Finding::ScopeElsewhere { .. } => "is for another scope".to_owned(),
            Finding::TakenBack { by } => format!("takes it back by {by}"),
            Finding::OtherPrincipal | Finding::RoleLacksAction | Finding::Grants => "does not give it".to_owned(),
        };
        format!("; its nearest role, {} at {at}, {lack}", grant.assignment.role)
    });
    Error::new(
        ErrorKind::Forbidden,
        "AuthorizationFailed",
        itself(format!("{subject} may not perform {action} at {scope}{nearest}")),
        itself(format!("`privlink access why {subject} {action} {}` says what would allow it", quoted(scope))),
    )
}
