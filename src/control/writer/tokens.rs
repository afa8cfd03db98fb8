//! Bearer tokens: made, revoked. They move no packet, so the commit alone puts them in force.

use jiff::SignedDuration;

use super::force::Wanted;
use super::{Arc, Caller, Decisions, Kind, Outcome, Refusal, Writer};
use crate::control::access::tokens::mint;
use crate::control::access::{Principal, TokenName, actions};
use crate::control::command::Minted;
use crate::control::rights::Right;
use crate::control::state::{Extent, Record};

impl Writer {
    pub(super) fn mint(
        &mut self,
        caller: &Caller,
        name: TokenName,
        lifetime: SignedDuration,
        random: &[u8; 32],
    ) -> Result<Outcome, Refusal> {
        let maker = self.maker(caller);
        maker.rights.demand(&Right::anywhere(actions::write(actions::TOKENS)))?;
        if self.decisions.tokens.contains_key(&name) {
            let message = format!("there is a token {name}");
            return Err(Refusal::new(
                Kind::Conflict,
                "AlreadyExists",
                message,
                "revoke it first, or choose another name",
            ));
        }
        let principal = caller.subject.principal().clone();
        let (token, secret) = mint(name.clone(), principal, maker.now, lifetime, random).map_err(|bad| {
            Refusal::new(Kind::Invalid, "InvalidLifetime", bad.to_string(), "choose another `--expires`")
        })?;
        let mut after = Decisions::clone(&self.decisions);
        after.tokens.insert(name.clone(), token.clone());
        let detail = format!("good until {}", token.expires_at);
        let record = Record { detail, ..self.record(caller, "create", format!("token {name}")) };
        self.keep(after, record)?;
        let held = Principal::Token(name);
        let assigned = self.decisions.model.assignments.values().filter(|given| given.principal == held);
        let warnings =
            assigned.map(|given| format!("it is {} of {} by an earlier assignment", given.role, given.scope));
        Ok(Outcome::Minted(Minted { token, secret, warnings: warnings.collect() }))
    }

    pub(super) fn revoke_token(&mut self, caller: &Caller, name: TokenName) -> Result<Outcome, Refusal> {
        self.maker(caller).rights.demand(&Right::anywhere(actions::delete(actions::TOKENS)))?;
        let mut after = Decisions::clone(&self.decisions);
        if !after.tokens.remove(&name) {
            let message = format!("there is no token {name}");
            return Err(Refusal::new(Kind::NotFound, "NotFound", message, "`privlink token list` shows what there is"));
        }
        let record = self.record(caller, "revoke", format!("token {name}"));
        self.keep(after, record)?;
        Ok(Outcome::Revoked(name))
    }

    /// Makes what concerns no packet durable, and then in force.
    fn keep(&mut self, after: Decisions, record: Record) -> Result<(), Refusal> {
        let wanted = Wanted { after, extent: Extent::Whole, records: vec![record] };
        self.commit(&wanted).map_err(|error| super::force::not_durable("nothing new is in force: this", &error))?;
        self.decisions = Arc::new(wanted.after);
        Ok(())
    }
}
