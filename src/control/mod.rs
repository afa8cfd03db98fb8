//! The control plane: the single writer of everything that may change.
//!
//! A command is authorised, resolved, validated and compiled before anything happens; then it is
//! committed, published and acknowledged by every worker and the host, in the order that `writer`
//! explains. Readers never wait for it: they load the `View` of the last change.

/// What the control plane asks of the packet path and of the host.
pub mod sinks;

/// What a command is.
pub mod command;

/// The commands.
pub mod commands;

/// How commands are answered.
mod outcome;

/// Whether somebody on a link has an address already.
mod neighbours;

/// The file it is remembered in.
pub mod codec;

/// States that an older release wrote.
mod migrate;

/// Older layouts of the store.
mod layouts;

/// The file and the live state.
pub mod apply;

/// What is assigned to tokens.
mod tokens;

/// Refused requests, for the audit log.
mod refused;

/// What differs between an object before and after.
pub mod difference;

/// A backup that is brought back.
pub mod restore;

/// The audit log.
mod audit;

/// How far it was exported.
mod exported;

/// What of the audit log a caller may read.
pub mod audited;

/// What applying a file did.
pub mod report;

/// The order in which a change becomes durable and in force.
mod writer;

/// What listings are answered from.
mod index;

/// What readers see.
pub mod views;

/// What of it a caller may see.
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
pub use report::Report;
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

/// Checks what must hold between the parts of a model: the rules that do not. Whether they refuse a change depends on
/// what stood before it ([`crate::model::rules::tightened`]).
///
/// With a key, only what concerns that one endpoint: everything else is as it was.
pub type Validate = fn(&Model, &HostConfig, Option<&Key>) -> Vec<Violation>;

/// What the control plane is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Host matters of the file.
    pub host: Arc<HostConfig>,
    /// Resources of the file.
    pub file: Model,
    /// Delete what the file does not name.
    pub prune: bool,
    /// Look only: take no lock, move and write nothing.
    pub dry_run: bool,
    /// Data workers, hence queues per device.
    pub workers: u16,
    /// Identity of each attachment's namespace (its inode), in the order of the attachments; two
    /// names of one namespace have one identity.
    pub namespaces: Vec<u64>,
    /// The daemon itself: its uid may do everything.
    pub daemon: Caller,
    /// Who has which role before anybody assigned one.
    pub bootstrap: Bootstrap,
    /// The time (law 8: it enters as an argument).
    pub clock: fn() -> Timestamp,
    /// See [`Validate`].
    pub validate: Validate,
    /// What a state that has none yet makes its link identifiers with: random bytes.
    pub link_key: LinkKey,
}

/// A control plane that has read its state and the file, and has put nothing in force yet.
#[derive(Debug)]
pub struct Prepared {
    writer: Writer,
    setup: Arc<Setup>,
    dry_run: bool,
}

impl Prepared {
    /// Applies the file to the durable state (`found`; `None`: a first start) in memory, validates and compiles.
    ///
    /// # Errors
    /// `Invalid`: the file and the live state together break a rule.
    pub fn new(setup: Setup, found: Option<ControlState>, store: Box<dyn StateStore>) -> Result<Self, Error> {
        let dry_run = setup.dry_run;
        let setup = Arc::new(setup);
        Ok(Self { writer: Writer::open(&setup, found, store)?, setup, dry_run })
    }

    /// What this host must look like; devices are made from it before [`Prepared::start`].
    pub fn topology(&self) -> &Topology {
        self.writer.topology()
    }

    /// What will be in force.
    pub fn view(&self) -> View {
        self.writer.view()
    }

    /// Commits, brings the host up to the topology and publishes the first snapshot.
    ///
    /// `fatal` is called with the reason when a worker has been silent for 2 s: the daemon must stop, closed.
    ///
    /// # Errors
    /// `Storage` or `Unavailable`; nothing passes then. A dry run is never started: `Invalid`.
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
/// A command is planned for what is in force without the writer's lock, and carried out under it if that is in force
/// still. Commands that give something are planned one after the other, for one that is carried out makes all other
/// plans useless; those that only take something away wait for none of them.
#[derive(Debug)]
pub struct ControlPlane {
    setup: Arc<Setup>,
    /// What plans begin from; it may be older than what the writer has.
    in_force: ArcSwap<InForce>,
    /// Held while a change that gives something is planned and carried out.
    changes: Mutex<()>,
    writer: Mutex<Writer>,
    sinks: Sinks,
    view: Arc<ArcSwap<View>>,
    epochs: watch::Sender<u64>,
    journal: Option<Arc<dyn Store>>,
    refused: Refused,
    exports: Exports,
}

/// Stops the daemon, closed, when it is dropped by a panic.
struct StopOnPanic<'a>(&'a ControlPlane);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop_after_panic();
        }
    }
}

/// Lines of an outcome that the log tells.
const LOGGED: usize = 20;

/// What the log tells of an outcome, however much that was: the audit log has all of it.
fn first_lines(outcome: &impl Outcome) -> String {
    let text = outcome.to_string();
    let mut lines = text.lines();
    let first: Vec<&str> = lines.by_ref().take(LOGGED).collect();
    match lines.count() {
        0 => text,
        more => format!("{}\nand {more} more lines", first.join("\n")),
    }
}

/// How often a plan is made again because something else was in force first, before the writer waits for it.
const OVERTAKEN: usize = 6;

impl ControlPlane {
    /// Carries `command` out for `caller`. Blocks until it is durable and in force everywhere: call it
    /// from a thread that may wait (`spawn_blocking`).
    ///
    /// # Errors
    /// See [`ErrorKind`]; nothing of a refused command is acknowledged.
    pub fn apply<C: Command>(&self, caller: &Caller, command: C) -> Result<C::Output, Error> {
        self.apply_with(caller, command, false)
    }

    /// Has the writer carry `command` out.
    #[allow(clippy::needless_pass_by_value, reason = "a command is carried out once")]
    fn carry_out<C: Command>(&self, caller: &Caller, command: C) -> Result<C::Output, Error> {
        let plan = |in_force: &InForce| {
            let planning = Planning { setup: &self.setup, in_force, caller };
            planning.refuse_ended_token()?;
            command.prepare(&planning)
        };
        let outcome = self.in_turn(command.only_revokes(), plan, Writer::carry_out);
        // Whoever reads the daemon's own file anew logs what became of it, with what the file itself is to be told.
        let is_own_file = command.is_own_file();
        match &outcome {
            // Who only asks changes nothing that the log had to tell.
            Ok(_) if command.only_asks() => tracing::debug!(%caller, "asked what a command would do"),
            Ok(done) if !is_own_file => tracing::info!(%caller, done = %first_lines(done), "command done"),
            Err(refusal) if !is_own_file => {
                tracing::warn!(%caller, code = refusal.code, %refusal, "command refused");
            }
            Ok(_) | Err(_) => {}
        }
        // The log says it all; the caller is told what it may see.
        let now = self.in_force.load();
        let told = now.told(caller, outcome);
        #[cfg(test)]
        assert_eq!(seen::leaks::found(&self.view(), caller, &command, &told), [""; 0], "{caller} is told: {told:?}");
        told
    }

    /// Plans, and carries out what was planned for what is in force then. A plan that was made for something older is
    /// made again, and after a few times under the writer's lock, so that whoever is always overtaken comes to its turn.
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
            // Also after a refusal: a block may be in force that could not be made durable.
            self.show(&writer);
            return outcome;
        }
    }

    /// Lets readers see what is in force.
    fn show(&self, writer: &Writer) {
        let view = writer.view();
        let epoch = view.epoch;
        self.view.store(Arc::new(view));
        self.in_force.store(Arc::clone(writer.in_force()));
        self.epochs.send_if_modified(|known| std::mem::replace(known, epoch) != epoch);
    }

    /// A command panicked: what it left half done must neither stay in force nor be built upon.
    fn stop_after_panic(&self) {
        let reason = "a command ended in a panic, which is a bug; the log says where; the daemon stops, closed";
        let mut view = View::clone(&self.view());
        view.conditions.insert(0, format!("STOPPING: {reason}"));
        self.view.store(Arc::new(view));
        (self.sinks.fatal)(reason);
    }

    /// Puts in force what has been found out: of servers, and of retired NAT addresses whose last session is `over`.
    /// It is nobody's decision: nothing of it is durable, and it asks no right. Blocks like [`ControlPlane::apply`].
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

    /// Ends every approval whose time is over, as a rejection does. Blocks like [`ControlPlane::apply`].
    ///
    /// # Errors
    /// `Storage`: they are rejected in force, and not durably yet; `Unavailable`: the daemon is stopping.
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

    /// Takes note that a request of `asker` was refused for want of rights or of a good token: the log tells of the first
    /// in each interval, the audit log, by [`ControlPlane::audit_refusals`], of how many there were.
    pub fn note_refused(&self, asker: &Asker, request: impl FnOnce() -> String, now: Timestamp) {
        let log = |request: String| {
            tracing::warn!(%asker, request, "refused; more of the same is counted in the audit log");
            request
        };
        self.refused.note(asker, || log(request()), now);
    }

    /// The number of what is in force, and word of every other one once its view can be read.
    pub fn epochs(&self) -> watch::Receiver<u64> {
        self.epochs.subscribe()
    }

    /// What is in force now; never waits for the writer.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// A handle for readers that outlive a borrow, such as the metrics listener.
    pub fn shared_view(&self) -> Arc<ArcSwap<View>> {
        Arc::clone(&self.view)
    }
}

#[cfg(test)]
mod tests;
