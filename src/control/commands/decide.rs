//! An owner's decisions about connections: about one, or about all that a selection matches.

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::access::rights::{Right, Verb};
use crate::control::codec::Record;
use crate::control::command::{Command, PRECONDITION_FAILED};
use crate::control::difference::of_connection;
use crate::control::outcome::{Decided, DecidedAll};
use crate::control::views::{at, decision_of};
use crate::control::writer::{Planning, PreparedChange, ProposedState};
use crate::model::approval::{self, Action};
use crate::model::error::{Error, ErrorKind};
use crate::model::references::{check_bound, unknown};
use crate::model::sentence::itself;
use crate::model::state::{ChangeExtent, Connection, ControlState, DecidedBy, Item};
use crate::model::{ItemKind, Key, PrivateEndpoint, text, to_hex};
use crate::snapshot::ConnectionState;

/// The request to approve, reject or remove a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The endpoint of the connection.
    pub endpoint: String,
    /// The resource that the endpoint must be bound to, if given. Guards against typing errors.
    pub resource: Option<String>,
    /// The state that the caller saw, if given. The command fails if somebody decided since.
    pub if_state: Option<ConnectionState>,
    /// Stored as the connection's description. Empty: none.
    pub reason: String,
    /// When the approval expires. `None`: never.
    pub until: Option<Until>,
}

/// When an approval expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// This long after the approval.
    For(SignedDuration),
    /// At this time.
    At(Timestamp),
}

/// Selects connections of a resource for one decision. Those that the decision would not change are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The resource.
    pub resource: String,
    /// When given, only endpoints of this subscription.
    pub subscription: Option<String>,
    /// When given, only endpoints in this VNet.
    pub vnet: Option<String>,
    /// When given, only connections in this state.
    pub if_state: Option<ConnectionState>,
    /// The listing that the caller saw ([`DecidedAll::listed`]), if given. The command fails if the selection has
    /// changed.
    pub listed: Option<String>,
    /// Stored as the connections' description. Empty: none.
    pub reason: String,
    /// When the approval expires. `None`: never.
    pub until: Option<Until>,
    /// A dry run: report what would be decided, and change nothing.
    pub dry_run: bool,
}

/// A decision about one connection.
#[derive(Clone, Debug)]
pub struct Decide(Action, Decision);

/// A decision about all selected connections of a resource. It applies to all of them or none.
#[derive(Clone, Debug)]
pub struct DecideAll(Action, Selection);

impl Decide {
    /// Approves the connection: it passes traffic.
    pub fn approve(decision: Decision) -> Self {
        Self(Action::Approve, decision)
    }

    /// Rejects the connection. It may be approved later.
    pub fn reject(decision: Decision) -> Self {
        Self(Action::Reject, decision)
    }

    /// Removes the connection for good: Disconnected.
    pub fn remove(decision: Decision) -> Self {
        Self(Action::Remove, decision)
    }

    /// Whether it is an approval.
    pub fn approves(&self) -> bool {
        self.0 == Action::Approve
    }
}

impl DecideAll {
    /// Approves them.
    pub fn approve(chosen: Selection) -> Self {
        Self(Action::Approve, chosen)
    }

    /// Rejects them.
    pub fn reject(chosen: Selection) -> Self {
        Self(Action::Reject, chosen)
    }

    /// Whether it is an approval.
    pub fn approves(&self) -> bool {
        self.0 == Action::Approve
    }
}

impl Command for Decide {
    type Output = Decided;

    fn prepare(&self, planning: &Planning<'_>) -> Result<PreparedChange<Decided>, Error> {
        let Self(action, decision) = self;
        let now = &planning.in_force.state;
        let model = &now.model;
        let key = planning.find(ItemKind::Endpoint, &decision.endpoint, &model.endpoints)?;
        let found = model.endpoints.get(&key).zip(now.connections.get(&key));
        let (endpoint, before) = found.ok_or_else(|| unknown("endpoint", &key.to_string(), std::iter::empty()))?;
        let bound = (&key, &endpoint.resource);
        check_bound(model, &planning.seen(ItemKind::Resource), bound, decision.resource.as_deref())?;
        planning.rights().demand(&Right::on_connection(model, &key, endpoint, *action))?;
        if decision.if_state.is_some_and(|seen| seen != before.state) {
            return Err(decided_meanwhile(&key, before));
        }
        let judgement =
            Judgement { action: *action, reason: &decision.reason, ends_at: end(planning, *action, decision.until)? };
        let step = step(planning, judgement, &key, endpoint, before)?;
        if !step.decided.changed {
            return Ok(PreparedChange::nothing(step.decided));
        }
        let mut after = ControlState::clone(now);
        after.connections.insert(key.clone(), step.connection);
        planning.change(
            step.decided,
            ProposedState {
                after,
                extent: ChangeExtent::Endpoint(key),
                addresses: None,
                standing: None,
                asks_rights: true,
            },
            vec![step.record],
        )
    }

    fn only_revokes(&self) -> bool {
        !self.approves()
    }
}

impl Command for DecideAll {
    type Output = DecidedAll;

    fn prepare(&self, planning: &Planning<'_>) -> Result<PreparedChange<DecidedAll>, Error> {
        let Self(action, chosen) = self;
        let now = &planning.in_force.state;
        let model = &now.model;
        let resource = planning.find(ItemKind::Resource, &chosen.resource, &model.resources)?;
        let rights = planning.rights();
        rights.demand(&Right::approve(model, &resource))?;
        let vnet = chosen.vnet.as_ref().map(|name| planning.find(ItemKind::Vnet, name, &model.vnets)).transpose()?;
        let judgement =
            Judgement { action: *action, reason: &chosen.reason, ends_at: end(planning, *action, chosen.until)? };
        let seen = planning.seen(ItemKind::Endpoint);
        // Only a reader of the endpoint may learn its VNet.
        let reads = |key: &Key| {
            rights.hold(&Right::on(model, &Item { kind: ItemKind::Endpoint, key: key.clone() }, Verb::Read))
        };
        let mut steps = Vec::new();
        for key in planning.in_force.index.bound_to(&resource).filter(|key| seen(key)) {
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
            rights.demand(&Right::on_connection(model, key, endpoint, *action))?;
            let step = step(planning, judgement, key, endpoint, before)?;
            if step.decided.changed {
                steps.push((key.clone(), step));
            }
        }
        let listed = listing(&steps, now);
        if chosen.listed.as_ref().is_some_and(|seen| *seen != listed) {
            let message = itself(format!("the connections of {resource} are not as they were listed"));
            let remedy = "list them again, and decide anew";
            return Err(Error::new(ErrorKind::Conflict, PRECONDITION_FAILED, message, remedy));
        }
        let mut after = ControlState::clone(now);
        let (mut all, mut records) = (DecidedAll { listed, ..DecidedAll::default() }, Vec::new());
        let only = if let [(key, _)] = steps.as_slice() { Some(key.clone()) } else { None };
        for (key, step) in steps {
            after.connections.insert(key, step.connection);
            all.connections.push(step.decided);
            records.push(step.record);
        }
        if chosen.dry_run || records.is_empty() {
            return Ok(if chosen.dry_run { PreparedChange::report(all) } else { PreparedChange::nothing(all) });
        }
        text::judge(now, &after, only.as_ref())?;
        planning.change(all, planning.connections_alone(after, only), records)
    }

    fn only_asks(&self) -> bool {
        self.1.dry_run
    }

    fn only_revokes(&self) -> bool {
        !self.approves()
    }
}

/// The decision, the same for each connection.
#[derive(Clone, Copy, Debug)]
struct Judgement<'a> {
    action: Action,
    reason: &'a str,
    /// When the approval ends by itself.
    ends_at: Option<Timestamp>,
}

/// The effect of a decision on one connection.
#[derive(Debug)]
struct DecisionEffect {
    decided: Decided,
    connection: Connection,
    record: Record,
}

/// When a new approval expires, in whole seconds. Other decisions do not expire.
fn end(planning: &Planning<'_>, action: Action, until: Option<Until>) -> Result<Option<Timestamp>, Error> {
    let now = planning.now();
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
        Error::new(ErrorKind::Invalid, "InvalidLifetime", message, "choose a time such as `--for 8h`")
    })
}

/// Applies the decision to one connection.
fn step(
    planning: &Planning<'_>,
    judgement: Judgement<'_>,
    key: &Key,
    endpoint: &PrivateEndpoint,
    before: &Connection,
) -> Result<DecisionEffect, Error> {
    let Judgement { action, reason, ends_at } = judgement;
    let from = before.state;
    let to = approval::next(from, action).map_err(|_| terminal(key, before, action))?;
    let to = to.ok_or_else(|| terminal(key, before, action))?;
    let mut warnings = Vec::new();
    if to == ConnectionState::Disconnected && from != to {
        warnings.push(format!("{key} passes nothing any more and can only be deleted"));
    }
    let by = DecidedBy::Live(planning.caller.actor());
    let decided = before.decided(to, reason.to_owned(), by, planning.now());
    let connection = Connection { ends_at, ..decided };
    let said = Some(reason.to_owned()).filter(|reason| !reason.is_empty());
    let until = ends_at.map(|end| format!("until {}", at(end)));
    let record = Record {
        from: Some(from.to_string()),
        to: Some(to.to_string()),
        link: Some(connection.link),
        detail: said.into_iter().chain(until).collect::<Vec<_>>().join("; "),
        ..planning.record(action.verb(), format!("connection {key}"))
    };
    let record = record.with(of_connection(Some(before), Some(&connection)));
    let changed = from != to || before.ends_at != ends_at;
    let (endpoint, resource) = (key.clone(), endpoint.resource.clone());
    let decided = Decided { endpoint, resource, from, to, ends_at, changed, warnings };
    Ok(DecisionEffect { decided, connection, record })
}

/// A hash of the selected connections and their states. It changes when any of them does.
fn listing(steps: &[(Key, DecisionEffect)], now: &ControlState) -> String {
    let digest = steps.iter().fold(Sha256::new(), |digest, (key, step)| {
        let ends_at = now.connections.get(key).and_then(|before| before.ends_at);
        let line = format!("{} {} {} {ends_at:?}\n", key.folded(), step.connection.link, step.decided.from);
        digest.chain_update(line)
    });
    to_hex(&digest.finalize()[..16])
}

/// Somebody else decided first.
fn decided_meanwhile(key: &Key, connection: &Connection) -> Error {
    let message = itself(format!("{key} is not as it was seen: it is {} now", decision_of(connection)));
    let remedy = itself(format!("look at it, and decide anew: `privlink connection show {key}`"));
    Error::new(ErrorKind::Conflict, PRECONDITION_FAILED, message, remedy)
}

fn terminal(key: &Key, connection: &Connection, action: Action) -> Error {
    let (verb, decision) = (action.verb(), decision_of(connection));
    Error::new(
        ErrorKind::InvalidTransition,
        "InvalidTransition",
        itself(format!("cannot {verb} {key}: it is {decision}, for good")),
        itself(format!("its consumer can only delete it: `privlink endpoint delete {key}`")),
    )
}
