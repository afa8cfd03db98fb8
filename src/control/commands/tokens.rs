//! Bearer tokens: made, given another secret, revoked. They move no packet, so the commit alone puts them in force.

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

/// Makes a bearer token; only its holder ever sees the secret.
#[derive(Clone, Debug)]
pub struct CreateToken {
    /// What roles are assigned to.
    pub name: TokenName,
    /// How long it is good.
    pub lifetime: SignedDuration,
    /// 256 bits that nobody can guess.
    pub random: Box<[u8; 32]>,
}

/// Gives a token another secret; what it holds and how long it is good stays.
#[derive(Clone, Debug)]
pub struct RotateToken {
    /// Which one.
    pub name: TokenName,
    /// 256 bits that nobody can guess.
    pub random: Box<[u8; 32]>,
}

/// Ends a token at once, and what is assigned to it.
#[derive(Clone, Debug)]
pub struct RevokeToken {
    /// Which one.
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
        // There is nothing of that name: revoking took it away, and nothing is assigned to an absent token.
        forget(&mut after, &token);
        after.tokens.insert(name.clone(), token.clone());
        let detail = format!("id {}, good until {}", token.id, token.expires_at);
        let changes = of_token(None, Some(&token));
        let record = Record { detail, ..planning.record("create", format!("token {name}")) }.with(changes);
        let outcome = TokenCreated { token, secret, rotated: false };
        planning.keep(outcome, after, vec![record])
    }
}

/// Whoever knows the secret can do all that the token may, so the caller must hold all of it.
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
            // Whoever named it by its id need not know what it is called.
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
