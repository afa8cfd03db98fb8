//! Creates, rotates and revokes bearer tokens. They affect no packet, so a commit alone puts them in force.

use jiff::SignedDuration;

use crate::access::rights::Right;
use crate::control::codec::Record;
use crate::control::command::Command;
use crate::control::difference::{of_item, of_token};
use crate::control::outcome::{Revoked, TokenCreated};
use crate::control::tokens::{forget, is_to};
use crate::control::writer::{Planning, PreparedChange};
use crate::model::error::{Error, ErrorKind};
use crate::model::sentence::itself;
use crate::model::state::{ControlState, Item};
use crate::model::token::{Token, mint};
use crate::model::{ItemKind, RoleAssignment, TokenName, actions};

/// Creates a bearer token. Only the caller sees the secret.
#[derive(Clone, Debug)]
pub struct CreateToken {
    /// The name that role assignments use.
    pub name: TokenName,
    /// How long it is valid.
    pub lifetime: SignedDuration,
    /// 256 random bits.
    pub random: Box<[u8; 32]>,
}

/// Gives a token a new secret. Its roles and its expiry stay.
#[derive(Clone, Debug)]
pub struct RotateToken {
    /// The token.
    pub name: TokenName,
    /// 256 random bits.
    pub random: Box<[u8; 32]>,
}

/// Ends a token and its role assignments at once.
#[derive(Clone, Debug)]
pub struct RevokeToken {
    /// The token.
    pub name: TokenName,
}

impl Command for CreateToken {
    type Output = TokenCreated;

    fn prepare(&self, planning: &Planning<'_>) -> Result<PreparedChange<TokenCreated>, Error> {
        let Self { name, lifetime, random } = self;
        let maker = planning.maker();
        maker.rights.demand(&Right::anywhere(actions::write(actions::TOKENS)))?;
        if planning.in_force.state.tokens.contains_key(name) {
            let message = itself(format!("there is a token {name}"));
            let remedy = "revoke it first, or choose another name; `privlink token rotate` gives it another secret";
            return Err(Error::new(ErrorKind::Conflict, "AlreadyExists", message, remedy));
        }
        let principal = planning.caller.subject.principal().clone();
        let (token, secret) = mint(name.clone(), principal, maker.now, *lifetime, random).map_err(|bad| {
            Error::new(ErrorKind::Invalid, "InvalidLifetime", itself(bad.to_string()), "choose another `--expires`")
        })?;
        let mut after = ControlState::clone(&planning.in_force.state);
        // Normally a no-op: revoking a token removes its assignments, and none can be made to a token that does not
        // exist.
        forget(&mut after, &token);
        after.tokens.insert(name.clone(), token.clone());
        let detail = format!("id {}, good until {}", token.id, token.expires_at);
        let changes = of_token(None, Some(&token));
        let record = Record { detail, ..planning.record("create", format!("token {name}")) }.with(changes);
        let outcome = TokenCreated { token, secret, rotated: false };
        planning.keep(outcome, after, vec![record])
    }
}

/// The new secret gives all rights of the token, so the caller must have all of them.
impl Command for RotateToken {
    type Output = TokenCreated;

    fn prepare(&self, planning: &Planning<'_>) -> Result<PreparedChange<TokenCreated>, Error> {
        let Self { name, random } = self;
        planning.rights().demand(&Right::anywhere(actions::write(actions::TOKENS)))?;
        let before = planning.in_force.state.tokens.get(name).ok_or_else(|| absent(name))?;
        demand_all_of(planning, before)?;
        if before.expires_at <= planning.now() {
            let message =
                itself(format!("the token {name} expired at {}: no secret of it is accepted", before.expires_at));
            return Err(Error::new(ErrorKind::Invalid, "TokenExpired", message, "revoke it, and make another"));
        }
        let (token, secret) = before.rotated(random);
        let mut after = ControlState::clone(&planning.in_force.state);
        after.tokens.insert(name.clone(), token.clone());
        let record = planning.record("rotate", format!("token {name}")).with(of_token(Some(before), Some(&token)));
        let outcome = TokenCreated { token, secret, rotated: true };
        planning.keep(outcome, after, vec![record])
    }
}

impl Command for RevokeToken {
    type Output = Revoked;

    fn prepare(&self, planning: &Planning<'_>) -> Result<PreparedChange<Revoked>, Error> {
        let Self { name } = self;
        planning.rights().demand(&Right::anywhere(actions::delete(actions::TOKENS)))?;
        let before = &planning.in_force.state;
        let mut after = ControlState::clone(before);
        let token = before.tokens.get(name).ok_or_else(|| absent(name))?;
        after.tokens.remove(name);
        let gone = forget(&mut after, token);
        let gone = gone.into_iter().map(|(key, given)| {
            let item = Item { kind: ItemKind::Assignment, key };
            // The caller may know the token's id only, so its name is left out.
            let detail = format!("{} of {}, with {}", given.role, given.scope, given.principal);
            let changes = of_item(&before.model, &after.model, &item);
            Record { detail, scope: Some(given.scope), ..planning.record("delete", item.to_string()) }.with(changes)
        });
        let revoked = planning.record("revoke", format!("token {name}")).with(of_token(Some(token), None));
        let records = std::iter::once(revoked).chain(gone).collect();
        planning.keep(Revoked(name.clone()), after, records)
    }

    fn only_revokes(&self) -> bool {
        true
    }
}

fn demand_all_of(planning: &Planning<'_>, token: &Token) -> Result<(), Error> {
    let caller = planning.caller;
    let held = planning.in_force.state.model.assignments.values().filter(|given| is_to(given, token));
    for RoleAssignment { role, scope, .. } in held {
        let whole = planning
            .in_force
            .access
            .role(role)
            .is_some_and(|role| planning.in_force.access.holds(&caller.subject, role, scope));
        if !whole {
            let message = itself(format!("{caller} does not hold all that the token {} holds", token.name));
            let remedy = "ask somebody who does, such as an Owner of everything";
            return Err(Error::new(ErrorKind::Forbidden, "AuthorizationFailed", message, remedy));
        }
    }
    Ok(())
}

fn absent(name: &TokenName) -> Error {
    let message = itself(format!("there is no token {name}"));
    Error::new(ErrorKind::NotFound, "NotFound", message, "`privlink token list` shows what there is")
}
