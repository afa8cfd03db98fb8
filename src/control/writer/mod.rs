//! The order in which a change becomes durable and in force, so that nothing ever fails open.
//!
//! *Widening* (an approval, a file that only adds): host routes first, then commit, then publish. A route to an
//! address that is no endpoint yet leads into the forwarder, which answers `UnknownEndpoint`; a NAT
//! address in force without its route would let replies take another one. What is refused before the
//! commit, the commit included, leaves the running snapshot untouched, and the routes are taken back.
//!
//! *Revoking* (reject, remove, delete, and the part of a file that does so): publish first, then commit. If
//! the commit fails, the block stays in force, and every later commit tries to make it durable with the rest.
//!
//! Routes that nothing needs any more go last: until then their packets end in the forwarder.

/// One file.
mod file;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::access::Right;
use super::apply::{Application, merge};
use super::approval::{self, Action};
use super::command::{Caller, Command, Decided, Decision, Deletion, Outcome};
use super::compile::{Compiled, Input, Registry, compile, compile_state};
use super::decisions::{Connection, Damage, DecidedBy, Decisions, Deleted};
use super::model::{Key, Map};
use super::ports::{Host, Workers};
use super::references::{check_bound, resolve};
use super::refusal::{Kind, Refusal};
use super::report::Report;
use super::state::{DecisionStore, StateLoad};
use super::views::{View, at, decision_of};
use super::{SILENCE, Setup};
use crate::snapshot::Snapshot;
use crate::snapshot::topology::Topology;

/// Who carries a change out.
pub(super) struct Ports {
    pub(super) workers: Arc<dyn Workers>,
    pub(super) host: Arc<dyn Host>,
    pub(super) fatal: Box<dyn Fn(&str) + Send + Sync>,
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ports").finish_non_exhaustive()
    }
}

/// What is in force, and what is needed to change it.
#[derive(Debug)]
pub(super) struct Writer {
    setup: Setup,
    store: Box<dyn DecisionStore>,
    decisions: Arc<Decisions>,
    registry: Registry,
    snapshot: Snapshot,
    topology: Topology,
    first_start: bool,
    /// What is in force may differ from what the next start reads, for this reason.
    unsaved: Option<String>,
    /// Deleted in force, and not durably when the caller was answered; their routes still stand.
    deleting: Map<()>,
    /// The kernel refused the last change of routes.
    host_behind: Option<String>,
    /// The daemon is stopping, for this reason.
    stopped: Option<String>,
    last_apply: Arc<Report>,
}

impl Writer {
    /// Applies the file to what was found, in memory; also says whether that differs from what was found.
    pub(super) fn prepare(
        setup: Setup,
        found: StateLoad,
        kept_as: Option<String>,
        store: Box<dyn DecisionStore>,
    ) -> Result<(Self, bool), Refusal> {
        let now = (setup.clock)();
        let first_start = matches!(found, StateLoad::Absent);
        let distrust = matches!(found, StateLoad::Damaged(_));
        let (before, committed) = match found {
            StateLoad::Absent => (Decisions::default(), None),
            StateLoad::Loaded(decisions) => (Decisions::clone(&decisions), Some(decisions)),
            StateLoad::Damaged(reason) => {
                (Decisions { damaged: Some(Damage { reason, at: now, kept_as }), ..Decisions::default() }, None)
            }
        };
        let application = Application { file: &setup.file, prune: setup.prune, distrust, now };
        let (decisions, report) = merge(&before, &application);
        let mut registry = Registry::default();
        let compiled = checked(&setup, &decisions, &mut registry, 1)?;
        let differs = committed.as_deref() != Some(&decisions);
        let writer = Self {
            setup,
            store,
            decisions: Arc::new(decisions),
            registry,
            snapshot: compiled.snapshot,
            topology: compiled.topology,
            first_start,
            unsaved: None,
            deleting: Map::default(),
            host_behind: None,
            stopped: None,
            last_apply: Arc::new(report),
        };
        Ok((writer, differs))
    }

    /// Commit, host, publish: nothing is in force before, so this order widens nothing early.
    pub(super) fn start(&mut self, ports: &Ports, differs: bool) -> Result<(), Refusal> {
        if differs {
            self.unsaved = Some("nothing has been written yet".into());
            self.save_unsaved()?;
        }
        ports.host.reconcile(&self.topology).map_err(|error| host_refused(&error))?;
        let snapshot = self.snapshot.clone();
        self.publish(ports, snapshot)
    }

    pub(super) fn apply(&mut self, ports: &Ports, caller: &Caller, command: Command) -> Result<Outcome, Refusal> {
        if let Some(reason) = &self.stopped {
            return Err(stopping(reason));
        }
        match command {
            Command::Approve(decision) => self.decide(ports, caller, Action::Approve, &decision),
            Command::Reject(decision) => self.decide(ports, caller, Action::Reject, &decision),
            Command::Remove(decision) => self.decide(ports, caller, Action::Remove, &decision),
            Command::DeleteEndpoint { endpoint } => self.delete(ports, caller, &endpoint),
            Command::ApplyFile(version) => self.apply_file(ports, caller, &version),
        }
    }

    pub(super) fn topology(&self) -> &Topology {
        &self.topology
    }

    pub(super) fn view(&self) -> View {
        View {
            decisions: Arc::clone(&self.decisions),
            host: Arc::new(self.setup.host.clone()),
            endpoint_ids: Arc::new(self.registry.endpoint_ids()),
            resource_ids: Arc::new(self.registry.resource_ids()),
            epoch: self.snapshot.epoch,
            first_start: self.first_start,
            conditions: self.conditions(),
            last_apply: Arc::clone(&self.last_apply),
        }
    }

    /// Approve, reject, remove.
    fn decide(
        &mut self,
        ports: &Ports,
        caller: &Caller,
        action: Action,
        decision: &Decision,
    ) -> Result<Outcome, Refusal> {
        let model = &self.decisions.model;
        let key = resolve("endpoint", &decision.endpoint, &model.endpoints)?.clone();
        let (endpoint, before) = self.endpoint(&key)?;
        check_bound(model, &key, &endpoint.resource, decision.resource.as_deref())?;
        let resource = endpoint.resource.clone();
        Right::on_connection(model, &key, endpoint, action).demand(caller, &self.setup.daemon)?;
        let from = before.state;
        let to = approval::next(from, action).map_err(|_| terminal(&key, before, action))?;
        let to = to.ok_or_else(|| terminal(&key, before, action))?;
        let connection = Connection {
            state: to,
            link: before.link,
            description: decision.reason.clone(),
            decided_by: DecidedBy::Live(caller.clone()),
            decided_at: self.now(),
            created_at: before.created_at,
        };
        if from == to {
            // The same command again is how a caller retries what could not be made durable.
            self.save_unsaved()?;
        } else {
            self.restate(ports, &key, connection)?;
        }
        let mut warnings = self.warnings();
        if to == crate::snapshot::ConnectionState::Disconnected && from != to {
            warnings.push(format!("{key} passes nothing any more and can only be deleted"));
        }
        Ok(Outcome::Decided(Decided { endpoint: key, resource, from, to, warnings }))
    }

    /// Puts one connection into another state: the small change that every worker sees fast.
    fn restate(&mut self, ports: &Ports, key: &Key, connection: Connection) -> Result<(), Refusal> {
        let state = connection.state;
        let mut after = Decisions::clone(&self.decisions);
        after.connections.insert(key.clone(), connection);
        let mut registry = self.registry.clone();
        let snapshot = compile_state(&self.snapshot, &mut registry, self.snapshot.epoch + 1, key, state)
            .map_err(not_compiled)?
            .ok_or_else(|| super::references::unknown("endpoint", &key.to_string(), std::iter::empty()))?;
        if state == crate::snapshot::ConnectionState::Approved {
            self.commit_or_keep(&after)?;
            self.in_force(after, registry, snapshot.clone());
            return self.publish(ports, snapshot);
        }
        self.block_then_commit(ports, after, registry, snapshot)
    }

    fn delete(&mut self, ports: &Ports, caller: &Caller, reference: &str) -> Result<Outcome, Refusal> {
        let key = match resolve("endpoint", reference, &self.decisions.model.endpoints) {
            Ok(key) => key.clone(),
            Err(unknown) => return self.delete_again(ports, caller, reference, unknown),
        };
        let (endpoint, _) = self.endpoint(&key)?;
        Right::on_connection(&self.decisions.model, &key, endpoint, Action::Delete)
            .demand(caller, &self.setup.daemon)?;
        let mut after = Decisions::clone(&self.decisions);
        after.model.endpoints.remove(&key);
        after.connections.remove(&key);
        if after.file.as_ref().is_some_and(|file| file.endpoints.contains_key(&key)) {
            after.deleted.insert(key.clone(), Deleted { by: caller.clone(), at: self.now() });
        }
        let mut registry = self.registry.clone();
        let Compiled { snapshot, topology } = self.compile(&after, &mut registry)?;
        if let Err(refusal) = self.block_then_commit(ports, after, registry, snapshot) {
            // The route stays until the deletion is durable: its packets end in the forwarder.
            self.deleting.insert(key, ());
            return Err(refusal);
        }
        self.settle_host(ports, topology);
        Ok(self.deleted(key))
    }

    /// A deletion that is in force and could not be made durable is retried by the same command.
    fn delete_again(
        &mut self,
        ports: &Ports,
        caller: &Caller,
        reference: &str,
        unknown: Refusal,
    ) -> Result<Outcome, Refusal> {
        let Ok(key) = resolve("endpoint", reference, &self.deleting).cloned() else { return Err(unknown) };
        Right::delete(&key).demand(caller, &self.setup.daemon)?;
        self.save_unsaved()?;
        let decisions = Arc::clone(&self.decisions);
        let topology = self.compile(&decisions, &mut self.registry.clone())?.topology;
        self.settle_host(ports, topology);
        self.deleting.remove(&key);
        Ok(self.deleted(key))
    }

    fn deleted(&mut self, key: Key) -> Outcome {
        let item = format!("endpoint {key}");
        Arc::make_mut(&mut self.last_apply).kept_unnamed.retain(|kept| *kept != item);
        Outcome::Deleted(Deletion { endpoint: key, warnings: self.warnings() })
    }

    /// Puts a block in force, then makes it durable. When this returns an error the block stays in force.
    fn block_then_commit(
        &mut self,
        ports: &Ports,
        after: Decisions,
        registry: Registry,
        snapshot: Snapshot,
    ) -> Result<(), Refusal> {
        self.in_force(after, registry, snapshot.clone());
        let published = self.publish(ports, snapshot);
        // Also when a worker is silent: the next start must not revive what was revoked.
        let committed = self.save();
        published?;
        committed.map_err(|error| {
            Refusal::new(
                Kind::Storage,
                "NotDurable",
                format!("blocked in force, but not durable: {error}"),
                "make room on the state directory's disk and repeat the command; until then a restart undoes it",
            )
        })
    }

    /// Commits what is not in force yet. A refused commit changes nothing, on disk neither: where the
    /// file may have been replaced all the same, it is replaced again.
    fn commit_or_keep(&mut self, after: &Decisions) -> Result<(), Refusal> {
        let Err(error) = self.store.commit(after) else {
            self.unsaved = None;
            return Ok(());
        };
        self.save().ok();
        Err(Refusal::new(
            Kind::Storage,
            "NotDurable",
            format!("nothing was changed: the decision cannot be made durable: {error}"),
            "make room on the state directory's disk and repeat the command",
        ))
    }

    /// Makes what is in force durable.
    fn save(&mut self) -> std::io::Result<()> {
        let saved = self.store.commit(&self.decisions);
        self.unsaved = saved.as_ref().err().map(ToString::to_string);
        saved
    }

    fn save_unsaved(&mut self) -> Result<(), Refusal> {
        if self.unsaved.is_none() {
            return Ok(());
        }
        self.save().map_err(|error| {
            Refusal::new(
                Kind::Storage,
                "NotDurable",
                format!("what is in force cannot be made durable: {error}"),
                "make room on the state directory's disk, and see that the daemon may write there",
            )
        })
    }

    fn in_force(&mut self, decisions: Decisions, registry: Registry, snapshot: Snapshot) {
        self.decisions = Arc::new(decisions);
        self.registry = registry;
        self.snapshot = snapshot;
    }

    /// Publishes and waits for every worker; a silent one stops the daemon.
    fn publish(&mut self, ports: &Ports, snapshot: Snapshot) -> Result<(), Refusal> {
        ports.workers.publish(snapshot, SILENCE).map_err(|error| {
            let reason = format!("{error:#}");
            self.stopped = Some(reason.clone());
            (ports.fatal)(&reason);
            stopping(&reason)
        })
    }

    /// Brings the host to `topology`. A refusal here leaves routes that nothing needs, which lead into the
    /// forwarder: the change stands, and `status` tells.
    fn settle_host(&mut self, ports: &Ports, topology: Topology) {
        if topology != self.topology || self.host_behind.is_some() {
            self.host_behind = ports.host.reconcile(&topology).err().map(|error| format!("{error:#}"));
        }
        self.topology = topology;
    }

    fn compile(&self, decisions: &Decisions, registry: &mut Registry) -> Result<Compiled, Refusal> {
        checked(&self.setup, decisions, registry, self.snapshot.epoch + 1)
    }

    fn endpoint(&self, key: &Key) -> Result<(&super::model::PrivateEndpoint, &Connection), Refusal> {
        let endpoint = self.decisions.model.endpoints.get(key).zip(self.decisions.connections.get(key));
        endpoint.ok_or_else(|| super::references::unknown("endpoint", &key.to_string(), std::iter::empty()))
    }

    fn now(&self) -> Timestamp {
        (self.setup.clock)()
    }

    fn warnings(&self) -> Vec<String> {
        self.host_behind.iter().map(|error| format!("routes that are no longer needed remain: {error}")).collect()
    }

    /// What an operator must know, loudest first.
    fn conditions(&self) -> Vec<String> {
        let damaged = self.decisions.damaged.as_ref().map(|damage| {
            let kept = damage.kept_as.as_ref().map(|name| {
                let path = self.setup.host.state.join(name);
                format!("; once all is decided anew, remove {} to end this warning", path.display())
            });
            let (reason, found) = (&damage.reason, at(damage.at));
            format!(
                "STATE DAMAGED (found {found}): {reason}. Every endpoint started Pending, whatever the file says{}",
                kept.unwrap_or_default()
            )
        });
        let unsaved = self.unsaved.as_ref().map(|error| {
            format!("NOT DURABLE: what is in force could not be written, a restart may undo it: {error}; the next command tries again")
        });
        let behind = self
            .host_behind
            .as_ref()
            .map(|error| format!("HOST BEHIND: the kernel refused a change of routes: {error}"));
        let stopped = self.stopped.as_ref().map(|reason| format!("STOPPING: {reason}"));
        damaged.into_iter().chain(stopped).chain(unsaved).chain(behind).collect()
    }
}

/// Validates and compiles: the one place where either is called.
fn checked(setup: &Setup, after: &Decisions, registry: &mut Registry, epoch: u64) -> Result<Compiled, Refusal> {
    (setup.validate)(&after.model, &setup.host).map_err(|violations| {
        let message = "the result would break these rules, so nothing is applied:";
        let remedy =
            "correct the file; where something is in force that the file no longer names, name it again or prune";
        Refusal::new(Kind::Invalid, "InvalidModel", message, remedy).with_details(violations)
    })?;
    let input = Input {
        model: &after.model,
        connections: &after.connections,
        host: &setup.host,
        namespaces: &setup.namespaces,
        workers: setup.workers,
    };
    compile(&input, registry, epoch).map_err(not_compiled)
}

#[allow(clippy::needless_pass_by_value, reason = "it is the function of a map_err")]
fn not_compiled(error: super::compile::CompileError) -> Refusal {
    Refusal::new(Kind::Invalid, "NotCompiled", error.to_string(), "nothing was changed")
}

fn terminal(key: &Key, connection: &Connection, action: Action) -> Refusal {
    let (verb, decision) = (action.verb(), decision_of(connection));
    Refusal::new(
        Kind::InvalidTransition,
        "InvalidTransition",
        format!("cannot {verb} {key}: it is {decision}, for good"),
        format!("its consumer can only delete it: `privlink endpoint delete {key}`"),
    )
}

fn host_refused(error: &anyhow::Error) -> Refusal {
    Refusal::new(
        Kind::Unavailable,
        "HostRefused",
        format!("the host refused the routes that this needs: {error:#}"),
        "nothing new is in force; `privlink run --dry-run` lists what the daemon asks of the kernel",
    )
}

fn stopping(reason: &str) -> Refusal {
    Refusal::new(
        Kind::Unavailable,
        "WorkerSilent",
        format!("the daemon stops, closed: {reason}; whether the change is in force shows after the next start"),
        "start the daemon again, and look at `privlink status`",
    )
}
