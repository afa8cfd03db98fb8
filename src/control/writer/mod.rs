//! The order in which a change becomes durable and in force, so that nothing ever fails open.
//!
//! *Widening* (an approval, a creation, a file that only adds): host routes first, then commit, then publish. A route
//! to an address that is no endpoint yet leads into the forwarder, which answers `UnknownEndpoint`; a NAT
//! address in force without its route would let replies take another one. What is refused before the
//! commit, the commit included, leaves the running snapshot untouched, and the routes are taken back.
//!
//! *Revoking* (reject, remove, delete, and the part of a file that does so): publish first, then commit. If
//! the commit fails, the block stays in force, and every later commit tries to make it durable with the rest.
//!
//! Routes that nothing needs any more go last: until then their packets end in the forwarder.
//!
//! A change is prepared by a pure function over what is in force (each command makes a [`PreparedChange`] of it): judged,
//! validated and compiled while nobody waits. The writer's lock is held only to see that nothing else has changed
//! meanwhile, and to carry the plan out.

/// Approvals that end by themselves.
mod approvals;

/// What follows from a wanted state: validated, compiled, and in which order it is put in force.
mod plan;

/// From a plan to durable and in force.
mod force;

/// A file among live objects.
mod fit;

/// What the audit log keeps of a change.
mod records;

use std::sync::Arc;

use super::Setup;
use super::apply::{Application, Requester};
use super::codec::{Record, StateStore};
use super::index::Index;
use super::migrate::{Migration, migrate};
use super::outcome::Outcome;
use super::report::Report;
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
pub(super) use fit::{Before, Fitted};
pub(super) use plan::{Observation, ProposedState};
pub use plan::{Planning, PreparedChange};

/// Who carries a change out.
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

/// What is in force, and all that follows from it. It never changes: whoever has it can prepare the next one while
/// others do the same.
#[derive(Clone, Debug)]
pub(super) struct InForce {
    pub(super) state: Arc<ControlState>,
    /// Host matters as the daemon was started with, and what its file has since said of its attachments.
    pub(super) host: Arc<HostConfig>,
    pub(super) addresses: Allocator,
    pub(super) index: Index,
    /// What quotas count.
    counts: Counts,
    /// Rules that what is in force breaks, and that came later.
    pub(super) standing: Standing,
    /// What resolvers answer.
    names: Planner,
    /// Who may do what, by these decisions.
    pub(super) access: Arc<Access>,
    registry: Registry,
    /// See [`Health`].
    health: Arc<Health>,
    /// See [`Retired`].
    retired: Arc<Retired>,
    snapshot: Snapshot,
    /// Deleted in force, and not durably when the caller was answered; their routes still stand.
    pub(super) deleting: Map<Item>,
}

/// What is in force, and what is needed to change it.
#[derive(Debug)]
pub(super) struct Writer {
    store: Box<dyn StateStore>,
    in_force: Arc<InForce>,
    /// What the next start reads.
    durable: Arc<ControlState>,
    /// What the audit log is to keep of this start: of a migration, of approvals that ended meanwhile, and of what the file
    /// changed after that.
    begun: Vec<Record>,
    /// What is in force may differ from what the next start reads, for this reason.
    unsaved: Option<String>,
    /// What the host was last asked to look like.
    topology: Topology,
    first_start: bool,
    /// The kernel refused the last change of routes.
    host_behind: Option<String>,
    /// The daemon is stopping, for this reason.
    stopped: Option<String>,
    last_apply: Arc<Report>,
}

impl InForce {
    /// What came of a command, as `caller` may read it.
    pub(super) fn told<O: Outcome>(&self, caller: &Caller, outcome: Result<O, Error>) -> Result<O, Error> {
        seen::told(&Rights::of(caller, &self.access), &self.state.model, outcome)
    }
}

impl Writer {
    /// Applies the file to what was found (`None`: a first start), in memory.
    pub(super) fn open(setup: &Setup, found: Option<ControlState>, store: Box<dyn StateStore>) -> Result<Self, Error> {
        let first_start = found.is_none();
        let mut durable = found.unwrap_or_default();
        durable.model.cloud = setup.host.cloud;
        let format = store.format().map_err(|error| unreadable(&error))?;
        let (by, at) = (&setup.daemon.actor(), (setup.clock)());
        let migration = Migration { by, at, link_key: setup.link_key };
        let (mut before, mut begun) = migrate(&migration, format, &durable);
        // Whatever ended while the daemon was down: nothing of it passes.
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

    /// Commit, host, publish: nothing is in force before, so this order widens nothing early.
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

    /// What an operator must know, loudest first.
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
    /// What has been found out besides.
    fn found(&self) -> Found<'_> {
        Found { health: &self.health, retired: &self.retired }
    }

    /// Checks `after` as a whole. What breaks a tightened rule and is in force already is returned, anything else refused.
    fn checked(&self, setup: &Setup, after: &ControlState) -> Result<Standing, Error> {
        let before = fit::Before { state: &self.state, host: &self.host, standing: Some(&self.standing) };
        before.judge(setup, after).map_err(|violations| refused(&violations))
    }

    /// The same by what the daemon's `file` says now of its attachments: what they allow no more stood before all the same.
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

/// What has been found out, an input to compilation beside what was decided.
#[derive(Clone, Copy)]
struct Found<'a> {
    health: &'a Health,
    retired: &'a Retired,
}

/// What of a change breaks a rule.
fn refused(violations: &[Violation]) -> Error {
    // One answer to everybody, whoever has it and whatever else is wrong.
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

/// Known by the one rule that is broken, where it is one.
fn broken(violations: Vec<ErrorDetail>) -> Error {
    let message = "the result would break these rules, so nothing is applied:";
    let remedy =
        "correct what is asked for; where something is in force that is no longer named, name it again or delete it";
    Error::of_rules(message, remedy, violations)
}

#[allow(clippy::needless_pass_by_value, reason = "it is the function of a map_err")]
fn not_compiled(error: crate::compile::CompileError) -> Error {
    // What does not fit may be anybody's.
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
