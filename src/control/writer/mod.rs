//! The order in which a change becomes durable and in force, so that nothing ever fails open.
//!
//! *Widening* (an approval, a creation, a file that only adds): host routes first, then commit, then publish. A route
//! to an address that is not an endpoint yet leads into the forwarder, which drops its packets as `UnknownEndpoint`. A
//! NAT address in force without its route would send replies another way. An error up to and including the commit
//! leaves the running snapshot untouched, and the routes are removed again.
//!
//! *Revoking* (reject, remove, delete, or that part of a file): publish first, then commit. If the commit fails, the
//! revocation stays in force, and every later commit tries to store it.
//!
//! Unneeded routes are removed last. Until then their packets end in the forwarder.
//!
//! A pure function prepares each change: the command turns the state in force into a [`PreparedChange`]. Checking
//! rights, validating and compiling need no lock. The writer's lock is held only to check that nothing else has
//! changed, and to carry out the plan.

/// Approvals that end by themselves.
mod approvals;

/// Plans a change: validates and compiles it, and chooses the order of its steps.
mod plan;

/// Carries out a plan.
mod force;

/// Merges a file into the live state.
mod fit;

/// Audit records of a change.
mod records;

use std::sync::Arc;

use super::Setup;
use super::apply::{Application, Requester};
use super::codec::{Record, StateStore};
use super::index::Index;
use super::migrate::{Migration, migrate};
use super::outcome::Outcome;
use super::seen;
use super::sinks::{AddressInUse, Host, Workers};
use super::views::View;
use crate::access::rights::Rights;
use crate::access::{Access, Mistake};
use crate::compile::addresses::Allocator;
use crate::compile::health::Health;
use crate::compile::names::Planner;
use crate::compile::retired::Retired;
use crate::compile::{Compiled, Input, Registry, compile};
use crate::model::Caller;
use crate::model::error::{Error, ErrorDetail, ErrorKind};
use crate::model::rules::taken::TAKEN;
use crate::model::rules::tightened::Standing;
use crate::model::rules::{Counts, Severity, Violation, taken};
use crate::model::sentence::{Mention, Named, Sentence, itself, sentence};
use crate::model::state::DAEMON;
use crate::model::state::{ControlState, Item, ItemKind};
use crate::model::{HostConfig, Key, Map};
use crate::snapshot::Snapshot;
use crate::snapshot::topology::Topology;
use crate::types::ApplyReport;
pub(super) use fit::{Before, Fitted};
pub(super) use plan::{Observation, ProposedState};
pub use plan::{Planning, PreparedChange};

/// The interfaces that carry out a change.
pub(super) struct Sinks {
    pub(super) workers: Arc<dyn Workers>,
    pub(super) host: Arc<dyn Host>,
    pub(super) fatal: Box<dyn Fn(&str) + Send + Sync>,
}

impl std::fmt::Debug for Sinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ports").finish_non_exhaustive()
    }
}

/// The state in force, and everything derived from it. It is immutable, so several callers can prepare the next one at
/// once.
#[derive(Clone, Debug)]
pub(super) struct InForce {
    pub(super) state: Arc<ControlState>,
    /// The host settings at start, with later changes to attachments.
    pub(super) host: Arc<HostConfig>,
    pub(super) addresses: Allocator,
    pub(super) index: Index,
    /// Counts for quotas.
    counts: Counts,
    /// Newer rules that the state in force breaks.
    pub(super) standing: Standing,
    /// The plan of the DNS resolvers.
    names: Planner,
    /// Roles and assignments of this state.
    pub(super) access: Arc<Access>,
    registry: Registry,
    /// See [`Health`].
    health: Arc<Health>,
    /// See [`Retired`].
    retired: Arc<Retired>,
    snapshot: Snapshot,
    /// Endpoints whose deletion is in force but not stored yet. Their routes still exist.
    pub(super) deleting: Map<Item>,
}

/// The state in force, and what is needed to change it.
#[derive(Debug)]
pub(super) struct Writer {
    store: Box<dyn StateStore>,
    in_force: Arc<InForce>,
    /// The stored state.
    durable: Arc<ControlState>,
    /// Audit records of this start: about a migration, expired approvals, and the file's changes.
    begun: Vec<Record>,
    /// Why the state in force may differ from the stored one.
    unsaved: Option<String>,
    /// The last topology that the host was asked for.
    topology: Topology,
    first_start: bool,
    /// Why the kernel refused the last change of routes.
    host_behind: Option<String>,
    /// Why the daemon is stopping.
    stopped: Option<String>,
    last_apply: Arc<ApplyReport>,
}

impl InForce {
    /// The result of a command, without what `caller` may not see.
    pub(super) fn told<O: Outcome>(&self, caller: &Caller, outcome: Result<O, Error>) -> Result<O, Error> {
        seen::told(&Rights::of(caller, &self.access), &self.state.model, outcome)
    }
}

impl Writer {
    /// Applies the file to the stored state (`None`: a first start), in memory.
    pub(super) fn open(setup: &Setup, found: Option<ControlState>, store: Box<dyn StateStore>) -> Result<Self, Error> {
        let first_start = found.is_none();
        let mut durable = found.unwrap_or_default();
        durable.model.cloud = setup.host.cloud;
        let format = store.format().map_err(|error| unreadable(&error))?;
        let (by, at) = (&setup.daemon.actor(), (setup.clock)());
        let migration = Migration { by, at, link_key: setup.link_key };
        let (mut before, mut begun) = migrate(&migration, format, &durable);
        // Approvals that expired while the daemon was down must not pass packets.
        let (now, by) = ((setup.clock)(), setup.daemon.actor());
        let over: Vec<Key> = Index::of(&before).over(now).cloned().collect();
        let ended = over.iter().filter_map(|key| approvals::end_approval(&mut before, key, now));
        begun.extend(ended.map(|record| Record { by: by.clone(), ..record }));
        let access = access(setup, &before)?;
        let rights = Rights::of(&setup.daemon, &access);
        let maker = Requester { rights, now: (setup.clock)(), dry_run: false };
        let application = Application::of(&setup.file, DAEMON, setup.prune, maker);
        let found_before = fit::Before { state: &before, host: &setup.host, standing: None };
        let fit::Fitted { state, mut report, standing } = found_before.fit(setup, application)?;
        let access = Arc::new(self::access(setup, &state)?);
        let mut registry = Registry::default();
        let found = Found { health: &Health::default(), retired: &Retired::default() };
        let compiled = compile(&input(setup, &setup.host, &state, found), &mut registry, 1).map_err(not_compiled)?;
        let Compiled { snapshot, topology } = compiled;
        let unsaved = (durable != state).then(|| "nothing has been written yet".into());
        let in_force = InForce {
            host: Arc::clone(&setup.host),
            standing,
            addresses: Allocator::new(&state.model),
            index: Index::of(&state),
            counts: Counts::of(&state.model),
            names: Planner::of(&state, 1),
            access,
            state: Arc::new(state),
            registry,
            health: Arc::default(),
            retired: Arc::default(),
            snapshot,
            deleting: Map::default(),
        };
        let planning = Planning { setup, in_force: &in_force, caller: &setup.daemon };
        begun.extend(planning.file_records(DAEMON, (&before, &in_force.state), &report));
        if setup.dry_run {
            report.changes = planning.readable_changes(&before, &in_force.state);
        }
        Ok(Self {
            store,
            in_force: Arc::new(in_force),
            durable: Arc::new(durable),
            begun,
            unsaved,
            topology,
            first_start,
            host_behind: None,
            stopped: None,
            last_apply: Arc::new(report),
        })
    }

    /// Commits, changes the host, publishes. Nothing was in force before, so this order widens nothing early.
    pub(super) fn start(&mut self, sinks: &Sinks) -> Result<(), Error> {
        let records = std::mem::take(&mut self.begun);
        self.save_with(&records)?;
        sinks.host.reconcile(&self.topology).map_err(|error| host_refused(&error))?;
        self.publish(sinks)?;
        force::tell_of_requests(sinks, &records);
        Ok(())
    }

    pub(super) fn in_force(&self) -> &Arc<InForce> {
        &self.in_force
    }

    pub(super) fn journal(&self) -> Option<Arc<dyn crate::store::Store>> {
        self.store.journal()
    }

    pub(super) fn topology(&self) -> &Topology {
        &self.topology
    }

    pub(super) fn view(&self) -> View {
        let now = &*self.in_force;
        let InForce { state, index, names, registry, access, snapshot, health, retired, .. } = now;
        View {
            state: Arc::clone(state),
            index: index.clone(),
            dns: Arc::clone(names.plan()),
            host: Arc::clone(&now.host),
            registry: registry.clone(),
            access: Arc::clone(access),
            epoch: snapshot.epoch,
            first_start: self.first_start,
            conditions: self.conditions(),
            last_apply: Arc::clone(&self.last_apply),
            health: Arc::clone(health),
            retired: Arc::clone(retired),
            standing: now.standing.clone(),
            seen: Arc::default(),
            unread: Arc::default(),
        }
    }

    fn warnings(&self) -> Vec<String> {
        self.host_behind.iter().map(|error| format!("routes that are no longer needed remain: {error}")).collect()
    }

    /// Problems that an operator must know, most urgent first.
    fn conditions(&self) -> Vec<String> {
        let stopped = self.stopped.as_ref().map(|reason| format!("STOPPING: {reason}"));
        let unsaved = self.unsaved.as_ref().map(|error| {
            format!("NOT DURABLE: what is in force could not be written, a restart may undo it: {error}; the next command tries again")
        });
        let behind = self
            .host_behind
            .as_ref()
            .map(|error| format!("HOST BEHIND: the kernel refused a change of routes: {error}"));
        stopped.into_iter().chain(unsaved).chain(behind).collect()
    }
}

impl InForce {
    /// The current observations.
    fn found(&self) -> Found<'_> {
        Found { health: &self.health, retired: &self.retired }
    }

    /// Checks `after` as a whole. Returns objects in force that break a tightened rule; any other violation is an
    /// error.
    fn checked(&self, setup: &Setup, after: &ControlState) -> Result<Standing, Error> {
        let before = fit::Before { state: &self.state, host: &self.host, standing: Some(&self.standing) };
        before.judge(setup, after).map_err(|violations| refused(&violations))
    }

    /// The same with the attachments of the daemon's new `file`. Objects that they no longer allow still count as
    /// older.
    pub(super) fn followed(&self, setup: &Setup, file: &HostConfig) -> Self {
        let mut host = HostConfig::clone(&self.host);
        host.follow(file);
        if host == *self.host {
            return self.clone();
        }
        let found = (setup.validate)(&self.state.model, &host, None);
        let tightened = found.into_iter().filter(|violation| violation.severity == Severity::Tightened);
        Self { standing: Standing::from(tightened.collect::<Vec<_>>()), host: Arc::new(host), ..self.clone() }
    }
}

/// Who may do what by `decisions`.
pub(super) fn access(setup: &Setup, state: &ControlState) -> Result<Access, Error> {
    let (roles, assignments) = (state.model.roles.values().cloned(), state.model.assignments.values().cloned());
    let access = Access::new(roles, assignments, setup.bootstrap).map_err(|mistakes| {
        let told = |mistake: &Mistake| -> Sentence {
            let id = mistake.assignment().map(|id| Key::global(id.to_string()));
            match id {
                Some(id) => Mention::of(ItemKind::Assignment, &id, mistake).into(),
                None => itself(mistake.to_string()).into(),
            }
        };
        broken(mistakes.iter().map(|mistake| ErrorDetail::new("InvalidRole", told(mistake))).collect())
    })?;
    Ok(access.with_tokens(state.tokens.values()))
}

/// Observations: an input for the compiler besides the stored state.
#[derive(Clone, Copy)]
struct Found<'a> {
    health: &'a Health,
    retired: &'a Retired,
}

/// The error for broken rules.
fn refused(violations: &[Violation]) -> Error {
    // The same error for everybody: it must not reveal who uses the address.
    if let Some(found) = violations.iter().find(|violation| violation.code == TAKEN) {
        return Error::new(ErrorKind::Conflict, TAKEN, itself(taken::message(&found.value)), taken::REMEDY);
    }
    broken(violations.iter().map(ErrorDetail::from).collect())
}

fn input<'a>(setup: &'a Setup, host: &'a HostConfig, state: &'a ControlState, found: Found<'a>) -> Input<'a> {
    Input {
        health: found.health,
        retired: found.retired,
        model: &state.model,
        connections: &state.connections,
        host,
        namespaces: &setup.namespaces,
        workers: setup.workers,
    }
}

/// If only one rule is broken, the error has its code.
fn broken(violations: Vec<ErrorDetail>) -> Error {
    let message = "the result would break these rules, so nothing is applied:";
    let remedy =
        "correct what is asked for; where something is in force that is no longer named, name it again or delete it";
    Error::of_rules(message, remedy, violations)
}

#[allow(clippy::needless_pass_by_value, reason = "it is the function of a map_err")]
fn not_compiled(error: crate::compile::CompileError) -> Error {
    // The cause may be anybody's object.
    let cause = Mention::new(Named::Host, error);
    Error::new(
        ErrorKind::Invalid,
        "NotCompiled",
        sentence!("it cannot be put in force: {}", cause),
        "nothing was changed",
    )
}

fn host_refused(error: &anyhow::Error) -> Error {
    if let Some(AddressInUse(what)) = error.downcast_ref() {
        let remedy = "nothing new is in force; `privlink run --dry-run` lists what the daemon asks of the kernel";
        return Error::new(ErrorKind::Conflict, "AddressInUse", itself(format!("address in use: {what}")), remedy);
    }
    Error::new(
        ErrorKind::Unavailable,
        "HostRefused",
        sentence!("the host refused the routes that this needs: {}", Mention::new(Named::Host, format!("{error:#}"))),
        "nothing new is in force; `privlink run --dry-run` lists what the daemon asks of the kernel",
    )
}

fn stopping(reason: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "WorkerSilent",
        sentence!(
            "the daemon stops, closed: {}; whether the change is in force shows after the next start",
            Mention::new(Named::Host, reason)
        ),
        "start the daemon again, and look at `privlink status`",
    )
}

fn unreadable(error: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::Storage,
        "StateUnreadable",
        sentence!("the layout of the state cannot be read: {}", Mention::new(Named::Host, error)),
        "restore a backup: privlink restore",
    )
}
