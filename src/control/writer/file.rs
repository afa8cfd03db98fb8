//! One version of the file, from merging to its report.

use super::{Application, Arc, BTreeSet, Caller, Compiled, Decisions, Key, Outcome, Ports, Refusal, Registry, Writer};
use super::{Right, host_refused, merge};
use crate::control::apply::needs_restart;
use crate::control::command::FileVersion;
use crate::control::compile::union;
use crate::control::report::Report;
use crate::snapshot::ConnectionState;

impl Writer {
    pub(super) fn apply_file(
        &mut self,
        ports: &Ports,
        caller: &Caller,
        version: &FileVersion,
    ) -> Result<Outcome, Refusal> {
        Right::everything().demand(caller, &self.setup.daemon)?;
        let application = Application { file: &version.model, prune: version.prune, distrust: false, now: self.now() };
        let (after, mut report) = merge(&self.decisions, &application);
        report.needs_restart = version.host.iter().flat_map(|host| needs_restart(&self.setup.host, host)).collect();
        report.dry_run = version.dry_run;
        let mut registry = self.registry.clone();
        let compiled = self.compile(&after, &mut registry)?;
        if !version.dry_run {
            self.take_over(ports, after, compiled, registry)?;
            report.warnings = self.warnings();
            self.last_apply = Arc::new(Report::clone(&report));
        }
        Ok(Outcome::Applied(report))
    }

    fn take_over(
        &mut self,
        ports: &Ports,
        after: Decisions,
        compiled: Compiled,
        registry: Registry,
    ) -> Result<(), Refusal> {
        if after == *self.decisions {
            self.settle_host(ports, compiled.topology);
            return self.save_unsaved();
        }
        let losing = self.losing(&after);
        if losing.is_empty() {
            return self.widen(ports, after, compiled, registry);
        }
        self.block(ports, &after, &losing)?;
        // Compiled anew: generations have moved, and those of the block must hold.
        let mut registry = self.registry.clone();
        let compiled = self.compile(&after, &mut registry)?;
        self.widen(ports, after, compiled, registry).map_err(|refusal| {
            let message =
                format!("what the file revokes is blocked in force; the rest was refused: {}", refusal.message);
            Refusal { message, ..refusal }
        })
    }

    /// Endpoints that pass traffic now and will not after.
    fn losing(&self, after: &Decisions) -> BTreeSet<Key> {
        let approved = |decisions: &Decisions, key: &Key| {
            decisions.connections.get(key).is_some_and(|connection| connection.state == ConnectionState::Approved)
        };
        let keys = self.decisions.connections.keys();
        keys.filter(|key| approved(&self.decisions, key) && !approved(after, key)).cloned().collect()
    }

    /// Puts in force what `after` takes away, before any of it is durable.
    fn block(&mut self, ports: &Ports, after: &Decisions, losing: &BTreeSet<Key>) -> Result<(), Refusal> {
        let mut blocked = Decisions::clone(&self.decisions);
        for key in losing {
            if let Some(connection) = after.connections.get(key) {
                blocked.connections.insert(key.clone(), connection.clone());
            } else {
                blocked.connections.remove(key);
                blocked.model.endpoints.remove(key);
            }
        }
        let mut registry = self.registry.clone();
        let snapshot = self.compile(&blocked, &mut registry)?.snapshot;
        self.in_force(blocked, registry, snapshot.clone());
        self.unsaved = Some("a block of this file is not written yet".into());
        let published = self.publish(ports, snapshot);
        if published.is_err() {
            // The daemon stops; the next start must not revive what was revoked.
            self.save().ok();
        }
        published
    }

    /// Routes, commit, publish, and last the routes that nothing needs any more.
    fn widen(
        &mut self,
        ports: &Ports,
        after: Decisions,
        compiled: Compiled,
        registry: Registry,
    ) -> Result<(), Refusal> {
        let Compiled { snapshot, topology } = compiled;
        let both = union(&self.topology, &topology);
        if both != self.topology
            && let Err(error) = ports.host.reconcile(&both)
        {
            self.take_back(ports);
            self.save_unsaved().ok();
            return Err(host_refused(&error));
        }
        if let Err(refusal) = self.commit_or_keep(&after) {
            if both != self.topology {
                self.take_back(ports);
            }
            return Err(refusal);
        }
        self.in_force(after, registry, snapshot.clone());
        self.publish(ports, snapshot)?;
        self.topology = both;
        self.settle_host(ports, topology);
        Ok(())
    }

    /// Removes the routes of a change that was refused.
    fn take_back(&mut self, ports: &Ports) {
        self.host_behind = ports.host.reconcile(&self.topology).err().map(|error| format!("{error:#}"));
    }
}
