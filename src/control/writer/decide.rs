//! What an owner decides about connections: one, or all that are chosen; and approvals that end by themselves.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::gone;
use super::plan::{Plan, Planning, Steps, Wanted};
use super::{Action, Decisions, Kind, Outcome, Refusal};
use crate::access::rights::{Right, Verb};
use crate::control::command::{Decided, DecidedAll, Decision, MOVED, Selection, Until};
use crate::control::difference::of_connection;
use crate::control::state::Record;
use crate::control::views::{at, decision_of};
use crate::model::decisions::ChangeExtent;
use crate::model::decisions::{Connection, DecidedBy, Item, ItemKind};
use crate::model::references::check_bound;
use crate::model::sentence::itself;
use crate::model::{Key, PrivateEndpoint, text};
use crate::model::{approval, to_hex};
use crate::snapshot::ConnectionState;

/// What the records and the consumer read of an approval whose time is over.
pub(super) const ENDED: &str = "approval ended";

/// A decision about one connection.
#[derive(Clone, Copy, Debug)]
struct Judgement<'a> {
    action: Action,
    reason: &'a str,
    /// When the approval ends by itself.
    ends_at: Option<Timestamp>,
}

/// What a decision makes of one connection.
#[derive(Debug)]
struct Step {
    decided: Decided,
    connection: Connection,
    record: Record,
}

impl Planning<'_> {
    /// Approve, reject, remove.
    pub(super) fn decide(&self, action: Action, decision: &Decision) -> Result<Plan, Refusal> {
        let now = &self.in_force.decisions;
        let model = &now.model;
        let key = self.find(ItemKind::Endpoint, &decision.endpoint, &model.endpoints)?;
        let found = model.endpoints.get(&key).zip(now.connections.get(&key));
        let (endpoint, before) = found.ok_or_else(|| gone(&key))?;
        let bound = (&key, &endpoint.resource);
        check_bound(model, &self.seen(ItemKind::Resource), bound, decision.resource.as_deref())?;
        self.rights().demand(&Right::on_connection(model, &key, endpoint, action))?;
        if decision.if_state.is_some_and(|seen| seen != before.state) {
            return Err(decided_meanwhile(&key, before));
        }
        let judgement = Judgement { action, reason: &decision.reason, ends_at: self.end(action, decision.until)? };
        let step = self.step(judgement, &key, endpoint, before)?;
        if !step.decided.changed {
            return Ok(Plan::without_change(Outcome::Decided(step.decided), Steps::Nothing));
        }
        let mut after = Decisions::clone(now);
        after.connections.insert(key.clone(), step.connection);
        self.change(
            Outcome::Decided(step.decided),
            Wanted { after, extent: ChangeExtent::Endpoint(key), addresses: None, standing: None, asks_rights: true },
            vec![step.record],
        )
    }

    /// Approves or rejects every connection of a resource that is chosen, all or none.
    pub(super) fn decide_all(&self, action: Action, chosen: &Selection) -> Result<Plan, Refusal> {
        let now = &self.in_force.decisions;
        let model = &now.model;
        let resource = self.find(ItemKind::Resource, &chosen.resource, &model.resources)?;
        let rights = self.rights();
        rights.demand(&Right::approve(model, &resource))?;
        let vnet = chosen.vnet.as_ref().map(|name| self.find(ItemKind::Vnet, name, &model.vnets)).transpose()?;
        let judgement = Judgement { action, reason: &chosen.reason, ends_at: self.end(action, chosen.until)? };
        let seen = self.seen(ItemKind::Endpoint);
        // Where an endpoint is, is told only to who may read it.
        let reads = |key: &Key| {
            rights.hold(&Right::on(model, &Item { kind: ItemKind::Endpoint, key: key.clone() }, Verb::Read))
        };
        let mut steps = Vec::new();
        for key in self.in_force.index.bound_to(&resource).filter(|key| seen(key)) {
            let Some((endpoint, before)) = model.endpoints.get(key).zip(now.connections.get(key)) else { continue };
            let of = |name: &String| key.subscription.eq_ignore_ascii_case(name);
            let within = |vnet: &Key| endpoint.vnet == *vnet && reads(key);
            if before.state == ConnectionState::Disconnected
                || chosen.if_state.is_some_and(|state| state != before.state)
                || !chosen.subscription.as_ref().is_none_or(of)
                || !vnet.as_ref().is_none_or(within)
            {
                continue;
            }
            rights.demand(&Right::on_connection(model, key, endpoint, action))?;
            let step = self.step(judgement, key, endpoint, before)?;
            if step.decided.changed {
                steps.push((key.clone(), step));
            }
        }
        let listed = listing(&steps, now);
        if chosen.listed.as_ref().is_some_and(|seen| *seen != listed) {
            let message = itself(format!("the connections of {resource} are not as they were listed"));
            let remedy = "list them again, and decide anew";
            return Err(Refusal::new(Kind::Conflict, MOVED, message, remedy));
        }
        let mut after = Decisions::clone(now);
        let (mut all, mut records) = (DecidedAll { listed, ..DecidedAll::default() }, Vec::new());
        let only = if let [(key, _)] = steps.as_slice() { Some(key.clone()) } else { None };
        for (key, step) in steps {
            after.connections.insert(key, step.connection);
            all.connections.push(step.decided);
            records.push(step.record);
        }
        if chosen.dry_run || records.is_empty() {
            let steps = if chosen.dry_run { Steps::Report } else { Steps::Nothing };
            return Ok(Plan::without_change(Outcome::DecidedAll(all), steps));
        }
        text::judge(now, &after, only.as_ref())?;
        self.change(Outcome::DecidedAll(all), self.connections_alone(after, only), records)
    }

    /// Ends every approval whose time is over; `None`: there is none.
    ///
    /// # Errors
    /// It cannot be compiled.
    pub(in crate::control) fn end_approvals(&self) -> Result<Option<Plan>, Refusal> {
        let over: Vec<Key> = self.in_force.index.over(self.now()).cloned().collect();
        let mut after = Decisions::clone(&self.in_force.decisions);
        let records: Vec<Record> = over.iter().filter_map(|key| self.end_approval(&mut after, key)).collect();
        if records.is_empty() {
            return Ok(None);
        }
        let only = if let [key] = over.as_slice() { Some(key.clone()) } else { None };
        let outcome = Outcome::DecidedAll(DecidedAll::default());
        self.change(outcome, self.connections_alone(after, only), records).map(Some)
    }

    /// Ends the approval of the endpoint `key`, if it has one.
    fn end_approval(&self, after: &mut Decisions, key: &Key) -> Option<Record> {
        end_approval(after, key, self.now()).map(|record| Record { by: self.caller.actor(), ..record })
    }

    /// Decisions that differ in connections alone: nothing that is validated has changed, and nothing may hold up what
    /// takes something away.
    fn connections_alone(&self, after: Decisions, only: Option<Key>) -> Wanted {
        let standing = Some(self.in_force.standing.clone());
        let extent = only.map_or(ChangeExtent::Whole, ChangeExtent::Endpoint);
        Wanted { after, extent, addresses: None, standing, asks_rights: false }
    }

    /// When an approval that is given now ends, to the second; nothing else does.
    fn end(&self, action: Action, until: Option<Until>) -> Result<Option<Timestamp>, Refusal> {
        let now = self.now();
        let end = match until.filter(|_| action == Action::Approve) {
            None => return Ok(None),
            Some(Until::For(time)) => now.checked_add(time).ok(),
            Some(Until::At(end)) => Some(end),
        };
        let whole = end.filter(|end| *end > now).and_then(|end| {
            let second = end.as_second() + i64::from(end.subsec_nanosecond() > 0);
            Timestamp::from_second(second).ok()
        });
        whole.map(Some).ok_or_else(|| {
            let message = "an approval cannot end then: its end is not in the future, or too far in it";
            Refusal::new(Kind::Invalid, "InvalidLifetime", message, "choose a time such as `--for 8h`")
        })
    }

    /// What becomes of one connection.
    fn step(
        &self,
        judgement: Judgement<'_>,
        key: &Key,
        endpoint: &PrivateEndpoint,
        before: &Connection,
    ) -> Result<Step, Refusal> {
        let Judgement { action, reason, ends_at } = judgement;
        let from = before.state;
        let to = approval::next(from, action).map_err(|_| terminal(key, before, action))?;
        let to = to.ok_or_else(|| terminal(key, before, action))?;
        let mut warnings = Vec::new();
        if to == ConnectionState::Disconnected && from != to {
            warnings.push(format!("{key} passes nothing any more and can only be deleted"));
        }
        let by = DecidedBy::Live(self.caller.actor());
        let decided = before.decided(to, reason.to_owned(), by, self.now());
        let connection = Connection { ends_at, ..decided };
        let said = Some(reason.to_owned()).filter(|reason| !reason.is_empty());
        let until = ends_at.map(|end| format!("until {}", at(end)));
        let record = Record {
            from: Some(from.to_string()),
            to: Some(to.to_string()),
            link: Some(connection.link),
            detail: said.into_iter().chain(until).collect::<Vec<_>>().join("; "),
            ..self.record(action.verb(), format!("connection {key}"))
        };
        let record = record.with(of_connection(Some(before), Some(&connection)));
        let changed = from != to || before.ends_at != ends_at;
        let (endpoint, resource) = (key.clone(), endpoint.resource.clone());
        let decided = Decided { endpoint, resource, from, to, ends_at, changed, warnings };
        Ok(Step { decided, connection, record })
    }
}

/// Ends the approval of the endpoint `key` at `now`, if it has one; what the audit log keeps of it has no author yet.
pub(super) fn end_approval(decisions: &mut Decisions, key: &Key, now: Timestamp) -> Option<Record> {
    let before = decisions.connections.get(key)?.clone();
    let end = before.ends_at?;
    let after = before.decided(ConnectionState::Rejected, ENDED.to_owned(), DecidedBy::ApprovalEnded, now);
    let record = Record {
        link: Some(after.link),
        resource_type: None,
        scope: None,
        from: Some(before.state.to_string()),
        to: Some(after.state.to_string()),
        detail: format!("{ENDED}: it was given until {}", at(end)),
        ..Record::new(now, after.requester.clone(), "end", format!("connection {key}"))
    };
    let record = record.with(of_connection(Some(&before), Some(&after)));
    decisions.connections.insert(key.clone(), after);
    Some(record)
}

/// Names what is about to be decided: another one as soon as a connection of it is another.
fn listing(steps: &[(Key, Step)], now: &Decisions) -> String {
    let digest = steps.iter().fold(Sha256::new(), |digest, (key, step)| {
        let ends_at = now.connections.get(key).and_then(|before| before.ends_at);
        let line = format!("{} {} {} {ends_at:?}\n", key.folded(), step.connection.link, step.decided.from);
        digest.chain_update(line)
    });
    to_hex(&digest.finalize()[..16])
}

/// Somebody else was faster than the caller.
fn decided_meanwhile(key: &Key, connection: &Connection) -> Refusal {
    let message = itself(format!("{key} is not as it was seen: it is {} now", decision_of(connection)));
    let remedy = itself(format!("look at it, and decide anew: `privlink connection show {key}`"));
    Refusal::new(Kind::Conflict, MOVED, message, remedy)
}

fn terminal(key: &Key, connection: &Connection, action: Action) -> Refusal {
    let (verb, decision) = (action.verb(), decision_of(connection));
    Refusal::new(
        Kind::InvalidTransition,
        "InvalidTransition",
        itself(format!("cannot {verb} {key}: it is {decision}, for good")),
        itself(format!("its consumer can only delete it: `privlink endpoint delete {key}`")),
    )
}
