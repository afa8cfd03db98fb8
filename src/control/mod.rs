//! The control plane: the single writer of everything that may change.
//!
//! A command is authorised, resolved, validated and compiled before anything happens; then it is
//! committed, published and acknowledged by every worker and the host, in the order that `writer`
//! explains. Readers never wait for it: they load the `View` of the last change.

/// Interfaces to the packet path and to the host.
pub mod sinks;

/// The trait of commands.
pub mod command;

/// The commands.
pub mod commands;

/// Results of commands.
mod outcome;

/// Probes whether a neighbour already uses an address.
mod neighbours;

/// The stored form of the state.
pub mod codec;

/// Migrates states of older releases.
mod migrate;

/// Older layouts of the store.
mod layouts;

/// Merges a file into the live state.
pub mod apply;

/// Role assignments to tokens.
mod tokens;

/// Refused requests, for the audit log.
mod refused;

/// Compares objects before and after a change.
pub mod difference;

/// Restores a backup.
pub mod restore;

/// The audit log.
mod audit;

/// How far the audit log was exported.
mod exported;

/// Which audit records a caller may read.
pub mod audited;

/// The order in which a change becomes durable and in force.
mod writer;

/// An index for listings.
mod index;

/// What readers see.
pub mod views;

/// What a caller may see of a view.
pub mod seen;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::watch;

pub use audit::{AuditEntry, AuditVerified};
#[cfg(test)]
pub(crate) use command::any::{AnyCommand, AnyOutcome, any};
pub use command::{Command, Unchanged, Vanishing};
pub use commands::{
    ApplyFile, CreateToken, Decide, DecideAll, Decision, Delete, Put, RevokeToken, RotateToken, Selection, Until,
};
pub use exported::Missed;
pub use outcome::{Changed, Decided, DecidedAll, Deletion, Outcome, Revoked, TokenCreated};
pub use refused::{Asker, REFUSALS_INTERVAL};
pub use views::{ConnectionView, EndpointView, ResourceView, ServerView, Status, View, VnetView};

use crate::compile::health::Health;
use crate::compile::retired::RetiredAddress;
use crate::model::error::{Error, ErrorKind};
use crate::model::links::LinkKey;
use crate::model::rules::Violation;
use crate::model::state::ControlState;
use crate::model::{Bootstrap, Caller, HostConfig, Key, Model};
use crate::snapshot::topology::Topology;
use crate::store::Store;
use codec::StateStore;
use exported::Exports;
use refused::Refused;
use sinks::{Host, Workers};
use writer::{InForce, Observation, Sinks, Writer};
pub use writer::{Planning, PreparedChange};

/// How long a worker may be silent before the daemon stops, closed (law 5).
const WORKER_TIMEOUT: Duration = Duration::from_secs(2);

/// Checks the rules between the parts of a model, and returns the broken ones. Whether a broken rule refuses a change
/// depends on the state before it ([`crate::model::rules::tightened`]).
///
/// With a key, it checks only that endpoint: nothing else has changed.
pub type Validate = fn(&Model, &HostConfig, Option<&Key>) -> Vec<Violation>;

/// What the control plane is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Host settings of the file.
    pub host: Arc<HostConfig>,
    /// Objects of the file.
    pub file: Model,
    /// Delete objects that the file no longer names.
    pub prune: bool,
    /// Read only: take no lock, and write nothing.
    pub dry_run: bool,
    /// Number of workers, and of queues per device.
    pub workers: u16,
    /// Identity of each attachment's namespace (its inode), in the order of the attachments; two
    /// names of one namespace have one identity.
    pub namespaces: Vec<u64>,
    /// The daemon itself. Its uid may do everything.
    pub daemon: Caller,
    /// The initial role assignments.
    pub bootstrap: Bootstrap,
    /// The time (law 8: it enters as an argument).
    pub clock: fn() -> Timestamp,
    /// See [`Validate`].
    pub validate: Validate,
    /// Random bytes: the key for link identifiers, for a state that has none.
    pub link_key: LinkKey,
}

/// A control plane that has read its state and the file, but has put nothing in force.
#[derive(Debug)]
pub struct Prepared {
    writer: Writer,
    setup: Arc<Setup>,
    dry_run: bool,
}

impl Prepared {
    /// Applies the file to the stored state (`found`; `None`: a first start) in memory, validates and compiles.
    ///
    /// # Errors
    /// `Invalid`: the file and the live state together break a rule.
    pub fn new(setup: Setup, found: Option<ControlState>, store: Box<dyn StateStore>) -> Result<Self, Error> {
        let dry_run = setup.dry_run;
        let setup = Arc::new(setup);
        Ok(Self { writer: Writer::open(&setup, found, store)?, setup, dry_run })
    }

    /// The wanted topology of this host. Devices are created from it before [`Prepared::start`].
    pub fn topology(&self) -> &Topology {
        self.writer.topology()
    }

    /// The view after the start.
    pub fn view(&self) -> View {
        self.writer.view()
    }

    /// Commits, brings the host up to the topology and publishes the first snapshot.
    ///
    /// `fatal` is called with the reason when a worker has been silent for 2 s. The daemon must then stop, closed.
    ///
    /// # Errors
    /// `Storage` or `Unavailable`: no packet passes. `Invalid`: a dry run cannot be started.
    pub fn start(
        self,
        workers: Arc<dyn Workers>,
        host: Arc<dyn Host>,
        fatal: Box<dyn Fn(&str) + Send + Sync>,
    ) -> Result<ControlPlane, Error> {
        if self.dry_run {
            return Err(Error::new(ErrorKind::Invalid, "DryRun", "a dry run holds no lock and cannot be started", ""));
        }
        let mut writer = self.writer;
        let sinks = Sinks { workers, host, fatal };
        writer.start(&sinks)?;
        let first = writer.view();
        let epochs = watch::Sender::new(first.epoch);
        let view = Arc::new(ArcSwap::from_pointee(first));
        let (journal, refused) = (writer.journal(), Refused::default());
        let exports = Exports::of(journal.as_deref());
        let in_force = ArcSwap::new(Arc::clone(writer.in_force()));
        let (setup, changes, writer) = (self.setup, Mutex::new(()), Mutex::new(writer));
        Ok(ControlPlane { setup, in_force, changes, writer, sinks, view, epochs, journal, refused, exports })
    }
}

/// The single writer, and the view that its last change left behind.
///
/// A command is planned without the writer's lock. It is carried out under the lock, if the state it was planned for is
/// still in force. Commands that grant something are planned one at a time, because each change makes other plans
/// outdated. Commands that only revoke wait for none of them.
#[derive(Debug)]
pub struct ControlPlane {
    setup: Arc<Setup>,
    /// The state that plans start from. It may be older than the writer's.
    in_force: ArcSwap<InForce>,
    /// Held while a change that grants something is planned and carried out.
    changes: Mutex<()>,
    writer: Mutex<Writer>,
    sinks: Sinks,
    view: Arc<ArcSwap<View>>,
    epochs: watch::Sender<u64>,
    journal: Option<Arc<dyn Store>>,
    refused: Refused,
    exports: Exports,
}

/// Stops the daemon, closed, if a panic drops this guard.
struct StopOnPanic<'a>(&'a ControlPlane);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop_after_panic();
        }
    }
}

/// The most lines of an outcome in the log.
const LOGGED: usize = 20;

/// The first lines of an outcome, for the log. The audit log has all of it.
fn first_lines(outcome: &impl Outcome) -> String {
    let text = outcome.to_string();
    let mut lines = text.lines();
    let first: Vec<&str> = lines.by_ref().take(LOGGED).collect();
    match lines.count() {
        0 => text,
        more => format!("{}\nand {more} more lines", first.join("\n")),
    }
}

/// How often an overtaken command is planned again without the lock. After that it is planned under the lock.
const OVERTAKEN: usize = 6;

impl ControlPlane {
    /// Carries out `command` for `caller`. Blocks until it is durable and in force everywhere: call it from a thread
    /// that may wait (`spawn_blocking`).
    ///
    /// # Errors
    /// See [`ErrorKind`]; nothing of a refused command is acknowledged.
    pub fn apply<C: Command>(&self, caller: &Caller, command: C) -> Result<C::Output, Error> {
        self.apply_with(caller, command, false)
    }

    /// Plans `command` and lets the writer carry it out.
    #[allow(clippy::needless_pass_by_value, reason = "a command is carried out once")]
    fn carry_out<C: Command>(&self, caller: &Caller, command: C) -> Result<C::Output, Error> {
        let plan = |in_force: &InForce| {
            let planning = Planning { setup: &self.setup, in_force, caller };
            planning.refuse_ended_token()?;
            command.prepare(&planning)
        };
        let outcome = self.in_turn(command.only_revokes(), plan, Writer::carry_out);
        // The code that reloads the daemon's own file logs the result, with further warnings.
        let is_own_file = command.is_own_file();
        match &outcome {
            // A dry run changes nothing, so the log need not show it.
            Ok(_) if command.only_asks() => tracing::debug!(%caller, "asked what a command would do"),
            Ok(done) if !is_own_file => tracing::info!(%caller, done = %first_lines(done), "command done"),
            Err(refusal) if !is_own_file => {
                tracing::warn!(%caller, code = refusal.code, %refusal, "command refused");
            }
            Ok(_) | Err(_) => {}
        }
        // The log shows everything. The caller gets only what it may see.
        let now = self.in_force.load();
        let told = now.told(caller, outcome);
        #[cfg(test)]
        assert_eq!(seen::leaks::found(&self.view(), caller, &command, &told), [""; 0], "{caller} is told: {told:?}");
        told
    }

    /// Plans a command and carries it out. If another change came first, the plan is made again; after a few attempts
    /// it is made under the writer's lock, so that no command starves.
    fn in_turn<P, T>(
        &self,
        revokes: bool,
        plan: impl Fn(&InForce) -> Result<P, Error>,
        carry_out: impl FnOnce(&mut Writer, &Sinks, P) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _turn = (!revokes).then(|| self.changes.lock().unwrap_or_else(PoisonError::into_inner));
        let mut overtaken = 0;
        loop {
            let base = self.in_force.load_full();
            let planned = plan(&base)?;
            let Ok(mut writer) = self.writer.lock() else {
                let message = "an earlier command ended in the middle; nothing more is changed";
                return Err(Error::new(ErrorKind::Unavailable, "WriterLost", message, "restart the daemon"));
            };
            let _guard = StopOnPanic(self);
            let planned = if Arc::ptr_eq(&base, writer.in_force()) {
                planned
            } else if overtaken < OVERTAKEN {
                overtaken += 1;
                continue;
            } else {
                plan(writer.in_force())?
            };
            let outcome = carry_out(&mut writer, &self.sinks, planned);
            // Also after an error: a revocation may be in force that could not be stored.
            self.show(&writer);
            return outcome;
        }
    }

    /// Publishes the view of the state in force.
    fn show(&self, writer: &Writer) {
        let view = writer.view();
        let epoch = view.epoch;
        self.view.store(Arc::new(view));
        self.in_force.store(Arc::clone(writer.in_force()));
        self.epochs.send_if_modified(|known| std::mem::replace(known, epoch) != epoch);
    }

    /// After a panic in a command: its half-done change must neither stay in force nor serve as a base.
    fn stop_after_panic(&self) {
        let reason = "a command ended in a panic, which is a bug; the log says where; the daemon stops, closed";
        let mut view = View::clone(&self.view());
        view.conditions.insert(0, format!("STOPPING: {reason}"));
        self.view.store(Arc::new(view));
        (self.sinks.fatal)(reason);
    }

    /// Puts observations in force: the health of servers, and retired NAT addresses whose last session is `over`. These
    /// are no decisions: they are not stored and need no right. Blocks like [`ControlPlane::apply`].
    ///
    /// # Errors
    /// `Unavailable`: the daemon is stopping.
    pub fn observe(&self, health: &Health, over: &BTreeSet<RetiredAddress>) -> Result<(), Error> {
        let plan = |in_force: &InForce| {
            Planning { setup: &self.setup, in_force, caller: &self.setup.daemon }.observe(health, over)
        };
        let take_in = |writer: &mut Writer, sinks: &Sinks, observed: Option<Observation>| {
            observed.map_or(Ok(()), |observed| writer.take_in(sinks, observed))
        };
        self.in_turn(false, plan, take_in)
    }

    /// Rejects every connection whose approval has expired. Blocks like [`ControlPlane::apply`].
    ///
    /// # Errors
    /// `Storage`: the rejections are in force, but not stored yet. `Unavailable`: the daemon is stopping.
    pub fn end_approvals(&self) -> Result<(), Error> {
        let plan =
            |in_force: &InForce| Planning { setup: &self.setup, in_force, caller: &self.setup.daemon }.end_approvals();
        let carry_out = |writer: &mut Writer, sinks: &Sinks, plan: Option<PreparedChange<DecidedAll>>| {
            plan.map_or(Ok(()), |plan| writer.carry_out(sinks, plan).map(|_| ()))
        };
        self.in_turn(true, plan, carry_out)
    }

    /// The time by the daemon's clock.
    pub fn now(&self) -> Timestamp {
        (self.setup.clock)()
    }

    /// Notes that a request of `asker` was refused for lack of rights or of a valid token. The log shows the first one
    /// in each interval; [`ControlPlane::audit_refusals`] writes their number to the audit log.
    pub fn note_refused(&self, asker: &Asker, request: impl FnOnce() -> String, now: Timestamp) {
        let log = |request: String| {
            tracing::warn!(%asker, request, "refused; more of the same is counted in the audit log");
            request
        };
        self.refused.note(asker, || log(request()), now);
    }

    /// The number of the view in force, and a notification when a new view can be read.
    pub fn epochs(&self) -> watch::Receiver<u64> {
        self.epochs.subscribe()
    }

    /// The view in force. Never waits for the writer.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }
}

#[cfg(test)]
mod tests;
