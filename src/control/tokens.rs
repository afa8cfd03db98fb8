//! Role assignments to tokens. A role is assigned to a token's id: the assignment ends with that token, and a later
//! token with the same name does not get it.

use std::collections::BTreeSet;

use crate::model::error::{Error, ErrorKind};
use crate::model::sentence::itself;
use crate::model::state::ControlState;
use crate::model::token::Token;
use crate::model::{Key, Map, Model, Principal, RoleAssignment, TokenName};
use crate::types::Skipped;

/// Whether an assignment is for `token`, by its name or by its id.
pub(super) fn is_to(given: &RoleAssignment, token: &Token) -> bool {
    match &given.principal {
        Principal::Token(name) => *name == token.name,
        Principal::TokenId(id) => *id == token.id,
        Principal::Uid(_) | Principal::Gid(_) => false,
    }
}

/// The file without assignments to tokens that do not exist, and those assignments.
pub(super) fn resolve(file: &Model, state: &ControlState) -> (Model, Vec<Skipped>) {
    let (mut resolved, mut skipped) = (file.clone(), Vec::new());
    for (key, given) in &file.assignments {
        let Some(name) = given.token().filter(|name| !state.tokens.contains_key(*name)) else { continue };
        resolved.assignments.remove(key);
        let RoleAssignment { role, scope, .. } = given;
        skipped.push(Skipped {
            item: format!("assignment {key}"),
            reason: format!(
                "{role} at {scope} is for token:{name}, and there is no token {name}; \
                 make it (`privlink token create {name}`), and apply the file again"
            ),
        });
    }
    (resolved, skipped)
}

impl ControlState {
    /// Checks that the tokens of `assignments` exist.
    pub(super) fn refuse_absent_tokens(&self, assignments: &Map<RoleAssignment>) -> Result<(), Error> {
        match assignments.values().filter_map(RoleAssignment::token).find(|name| !self.tokens.contains_key(*name)) {
            None => Ok(()),
            Some(name) => Err(Error::new(
                ErrorKind::Invalid,
                "PrincipalNotFound",
                itself(format!("there is no token {name} that a role could be assigned to")),
                itself(format!("make it first: `privlink token create {name}`")),
            )),
        }
    }
}

/// Removes the assignments to `token`, also from remembered files: a file that is applied again means the token of that
/// time. The file that the token itself applied is forgotten, too.
pub(super) fn forget(after: &mut ControlState, token: &Token) -> Vec<(Key, RoleAssignment)> {
    forget_those(after, &token.name, |given| is_to(given, token))
}

fn forget_those(
    after: &mut ControlState,
    name: &TokenName,
    held: impl Fn(&RoleAssignment) -> bool,
) -> Vec<(Key, RoleAssignment)> {
    let gone = remove(&mut after.model, &held);
    let authors: Vec<String> = after.files.keys().cloned().collect();
    for author in authors {
        if author == Principal::Token(name.clone()).to_string() {
            after.files.remove(&author);
        } else if let Some(file) = after.files.get_mut(&author) {
            remove(&mut file.model, &held);
        }
    }
    gone
}

/// Removes assignments to tokens that do not exist.
pub(super) fn forget_absent(after: &mut ControlState) -> Vec<(Key, RoleAssignment)> {
    let present: BTreeSet<TokenName> = after.tokens.keys().cloned().collect();
    let absent =
        after.model.assignments.values().filter_map(RoleAssignment::token).filter(|name| !present.contains(*name));
    let absent: BTreeSet<TokenName> = absent.cloned().collect();
    let mut gone = Vec::new();
    for name in &absent {
        gone.extend(forget_those(after, name, |given| given.token() == Some(name)));
    }
    gone
}

fn remove(model: &mut Model, held: impl Fn(&RoleAssignment) -> bool) -> Vec<(Key, RoleAssignment)> {
    let held = model.assignments.iter().filter(|(_, given)| held(given));
    let held: Vec<_> = held.map(|(key, given)| (key.clone(), given.clone())).collect();
    for (key, _) in &held {
        model.assignments.remove(key);
    }
    held
}
