//! Bearer tokens: made, given another secret, revoked. They move no packet, so the commit alone puts them in force.

use jiff::SignedDuration;

use super::plan::{Plan, Planning};
use super::{Decisions, Kind, Outcome, Refusal};
use crate::access::rights::Right;
use crate::control::command::TokenCreated;
use crate::control::difference::{of_item, of_token};
use crate::control::state::Record;
use crate::control::tokens::{forget, is_to};
use crate::model::decisions::{Item, ItemKind};
use crate::model::sentence::itself;
use crate::model::token::{Token, mint};
use crate::model::{RoleAssignment, TokenName, actions};

impl Planning<'_> {
    /// Checks that the token by which the caller is known still is one: a request may have waited while it ended.
    pub(super) fn refuse_ended_token(&self) -> Result<(), Refusal> {
        let caller = self.caller;
        let Some(presented) = caller.subject.token() else { return Ok(()) };
        let now = self.now();
        if self.in_force.decisions.tokens.values().any(|token| token.id == *presented && now < token.expires_at) {
            return Ok(());
        }
        let message = itself(format!("the token of {caller} was revoked or has expired meanwhile"));
        let remedy = "ask for a new one (`privlink token create`)";
        Err(Refusal::new(Kind::Forbidden, "InvalidAuthenticationToken", message, remedy))
    }

    pub(super) fn mint(&self, name: &TokenName, lifetime: SignedDuration, random: &[u8; 32]) -> Result<Plan, Refusal> {
        let maker = self.maker();
        maker.rights.demand(&Right::anywhere(actions::write(actions::TOKENS)))?;
        if self.in_force.decisions.tokens.contains_key(name) {
            let message = itself(format!("there is a token {name}"));
            let remedy = "revoke it first, or choose another name; `privlink token rotate` gives it another secret";
            return Err(Refusal::new(Kind::Conflict, "AlreadyExists", message, remedy));
        }
        let principal = self.caller.subject.principal().clone();
        let (token, secret) = mint(name.clone(), principal, maker.now, lifetime, random).map_err(|bad| {
            Refusal::new(Kind::Invalid, "InvalidLifetime", itself(bad.to_string()), "choose another `--expires`")
        })?;
        let mut after = Decisions::clone(&self.in_force.decisions);
        // There is nothing of that name: revoking took it away, and nothing is assigned to an absent token.
        forget(&mut after, &token);
        after.tokens.insert(name.clone(), token.clone());
        let detail = format!("id {}, good until {}", token.id, token.expires_at);
        let changes = of_token(None, Some(&token));
        let record = Record { detail, ..self.record("create", format!("token {name}")) }.with(changes);
        let outcome = Outcome::TokenCreated(TokenCreated { token, secret, warnings: Vec::new() });
        self.keep(outcome, after, vec![record])
    }

    /// Whoever knows the secret can do all that the token may, so the caller must hold all of it.
    pub(super) fn rotate(&self, name: &TokenName, random: &[u8; 32]) -> Result<Plan, Refusal> {
        self.rights().demand(&Right::anywhere(actions::write(actions::TOKENS)))?;
        let before = self.in_force.decisions.tokens.get(name).ok_or_else(|| absent(name))?;
        self.demand_all_of(before)?;
        if before.expires_at <= self.now() {
            let message =
                itself(format!("the token {name} expired at {}: no secret of it is accepted", before.expires_at));
            return Err(Refusal::new(Kind::Invalid, "TokenExpired", message, "revoke it, and make another"));
        }
        let (token, secret) = before.rotated(random);
        let mut after = Decisions::clone(&self.in_force.decisions);
        after.tokens.insert(name.clone(), token.clone());
        let record = self.record("rotate", format!("token {name}")).with(of_token(Some(before), Some(&token)));
        let outcome = Outcome::Rotated(TokenCreated { token, secret, warnings: Vec::new() });
        self.keep(outcome, after, vec![record])
    }

    fn demand_all_of(&self, token: &Token) -> Result<(), Refusal> {
        let caller = self.caller;
        let held = self.in_force.decisions.model.assignments.values().filter(|given| is_to(given, token));
        for RoleAssignment { role, scope, .. } in held {
            let whole = self
                .in_force
                .access
                .role(role)
                .is_some_and(|role| self.in_force.access.holds(&caller.subject, role, scope));
            if !whole {
                let message = itself(format!("{caller} does not hold all that the token {} holds", token.name));
                let remedy = "ask somebody who does, such as an Owner of everything";
                return Err(Refusal::new(Kind::Forbidden, "AuthorizationFailed", message, remedy));
            }
        }
        Ok(())
    }

    pub(super) fn revoke_token(&self, name: &TokenName) -> Result<Plan, Refusal> {
        self.rights().demand(&Right::anywhere(actions::delete(actions::TOKENS)))?;
        let before = &self.in_force.decisions;
        let mut after = Decisions::clone(before);
        let token = before.tokens.get(name).ok_or_else(|| absent(name))?;
        after.tokens.remove(name);
        let gone = forget(&mut after, token);
        let gone = gone.into_iter().map(|(key, given)| {
            let item = Item { kind: ItemKind::Assignment, key };
            // Whoever named it by its id need not know what it is called.
            let detail = format!("{} of {}, with {}", given.role, given.scope, given.principal);
            let changes = of_item(&before.model, &after.model, &item);
            Record { detail, scope: Some(given.scope), ..self.record("delete", item.to_string()) }.with(changes)
        });
        let revoked = self.record("revoke", format!("token {name}")).with(of_token(Some(token), None));
        let records = std::iter::once(revoked).chain(gone).collect();
        self.keep(Outcome::Revoked(name.clone()), after, records)
    }
}

fn absent(name: &TokenName) -> Refusal {
    let message = itself(format!("there is no token {name}"));
    Refusal::new(Kind::NotFound, "NotFound", message, "`privlink token list` shows what there is")
}
