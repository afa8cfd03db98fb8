//! Carries out a plan: makes it durable and puts it in force.

use std::sync::Arc;

use super::plan::{Next, Observation, PreparedChange, Steps};
use super::{ControlState, InForce, host_refused, stopping};
use super::{Error, ErrorKind, Sinks, Topology, Writer};
use crate::compile::union;
use crate::control::WORKER_TIMEOUT;
use crate::control::codec::{Change, Record};
use crate::control::outcome::Outcome;
use crate::model::sentence::{Mention, Named, Sentence, sentence};
use crate::model::state::{ChangeExtent, ItemKind};
use crate::snapshot::ConnectionState;

/// The part of a plan that is stored.
struct Written<'a> {
    extent: &'a ChangeExtent,
    records: &'a [Record],
}

impl Writer {
    /// Makes a plan durable and puts it in force, in the right order for widening or revoking. The plan was made for
    /// the state in force now.
    ///
    /// # Errors
    /// The store, a worker or the host failed. A revocation may be in force anyway; the error says so.
    pub(in crate::control) fn carry_out<O: Outcome>(
        &mut self,
        sinks: &Sinks,
        plan: PreparedChange<O>,
    ) -> Result<O, Error> {
        if let Some(reason) = &self.stopped {
            return Err(stopping(reason));
        }
        let PreparedChange { mut outcome, steps, extent, records, own_file } = plan;
        let written = Written { extent: &extent, records: &records };
        let done = match steps {
            Steps::Report => return Ok(outcome),
            Steps::Nothing => self.repeat(sinks, &outcome),
            Steps::DeleteAgain(key, topology) => self.save_unsaved().map(|()| {
                self.settle_host(sinks, topology);
                Arc::make_mut(&mut self.in_force).deleting.remove(&key);
            }),
            Steps::Keep(next) => self.keep(*next, &written),
            Steps::Widen(next) => self.widen(sinks, *next, &written),
            Steps::Revoke(next) => self.revoke(sinks, *next, &written),
            Steps::Block(blocked, next) => self.block_and_widen(sinks, *blocked, *next, &written),
        };
        if let Err(refusal) = done {
            self.keep_route(&outcome);
            return Err(refusal);
        }
        tell_of_requests(sinks, &records);
        if let Some(warnings) = outcome.warnings() {
            warnings.splice(..0, self.warnings());
        }
        if let (true, Some(report)) = (own_file, outcome.report()) {
            self.last_apply = Arc::new(report.clone());
        }
        Ok(outcome)
    }

    /// Puts observations in force. This changes neither the store nor the host's routes.
    pub(in crate::control) fn take_in(&mut self, sinks: &Sinks, observed: Observation) -> Result<(), Error> {
        if let Some(reason) = &self.stopped {
            return Err(stopping(reason));
        }
        let Next { in_force, topology } = *observed.0;
        self.in_force = Arc::new(in_force);
        self.publish(sinks)?;
        if let Some(topology) = topology {
            self.settle_host(sinks, topology);
        }
        Ok(())
    }

    /// Adds routes, commits, publishes, and last removes routes that are no longer needed.
    fn widen(&mut self, sinks: &Sinks, next: Next, written: &Written<'_>) -> Result<(), Error> {
        let both = next.topology.as_ref().map(|topology| union(&self.topology, topology));
        let more = both.filter(|both| *both != self.topology);
        if let Some(both) = &more
            && let Err(error) = sinks.host.reconcile(both)
        {
            self.take_back(sinks);
            self.save_unsaved().ok();
            return Err(host_refused(&error));
        }
        if let Err(error) = self.commit(&next.in_force.state, written) {
            if more.is_some() {
                self.take_back(sinks);
            }
            return Err(not_durable("nothing new is in force: this", &error));
        }
        self.in_force = Arc::new(next.in_force);
        self.publish(sinks)?;
        if let Some(both) = more {
            self.topology = both;
        }
        next.topology.into_iter().for_each(|topology| self.settle_host(sinks, topology));
        Ok(())
    }

    /// Publishes, then commits. After an error the revocation stays in force.
    fn revoke(&mut self, sinks: &Sinks, next: Next, written: &Written<'_>) -> Result<(), Error> {
        self.in_force = Arc::new(next.in_force);
        let published = self.publish(sinks);
        // Commit even if a worker is silent: the next start must not restore what was revoked.
        let committed = self.commit(&Arc::clone(&self.in_force.state), written);
        published?;
        if let Err(error) = committed {
            self.unsaved = Some(error.to_string());
            return Err(Error::new(
                ErrorKind::Storage,
                "NotDurable",
                sentence!("blocked in force, but not durable: {}", Mention::new(Named::Host, error)),
                "make room on the state directory's disk and repeat the command; until then a restart undoes it",
            ));
        }
        next.topology.into_iter().for_each(|topology| self.settle_host(sinks, topology));
        Ok(())
    }

    /// Puts the revoking part in force before anything is durable, and then the rest.
    fn block_and_widen(
        &mut self,
        sinks: &Sinks,
        blocked: InForce,
        next: Next,
        written: &Written<'_>,
    ) -> Result<(), Error> {
        self.in_force = Arc::new(blocked);
        self.unsaved = Some("a block is not written yet".into());
        if let Err(silent) = self.publish(sinks) {
            // The daemon stops. The next start must not restore what was revoked.
            self.save_unsaved().ok();
            return Err(silent);
        }
        self.widen(sinks, next, written).map_err(|refusal| {
            let blocked = Sentence::from("what this revokes is blocked in force; the rest was refused: ");
            Error { message: blocked.and(refusal.message), ..refusal }
        })
    }

    /// Commits a change that affects no packet, then puts it in force.
    fn keep(&mut self, next: InForce, written: &Written<'_>) -> Result<(), Error> {
        let committed = self.commit(&next.state, written);
        committed.map_err(|error| not_durable("nothing new is in force: this", &error))?;
        self.in_force = Arc::new(next);
        Ok(())
    }

    /// The wanted state is in force already. Makes it durable if it is not.
    fn repeat(&mut self, sinks: &Sinks, outcome: &impl Outcome) -> Result<(), Error> {
        self.save_unsaved()?;
        if outcome.report().is_some() && self.host_behind.is_some() {
            let topology = self.topology.clone();
            self.settle_host(sinks, topology);
        }
        Ok(())
    }

    /// The route of a deleted endpoint stays until the deletion is durable. Until then its packets end in the
    /// forwarder.
    fn keep_route(&mut self, outcome: &impl Outcome) {
        if let Some(item) = outcome.deleted()
            && item.kind == ItemKind::Endpoint
            && !self.in_force.state.model.has(item)
        {
            Arc::make_mut(&mut self.in_force).deleting.insert(item.key.clone(), item.clone());
        }
    }

    /// Stores `after` with its records, or nothing.
    fn commit(&mut self, after: &Arc<ControlState>, written: &Written<'_>) -> std::io::Result<()> {
        // Also write what an earlier failure left unsaved.
        let extent = if self.unsaved.is_none() { written.extent } else { &ChangeExtent::Whole };
        let change = Change { before: &self.durable, after, extent, records: written.records };
        let committed = self.store.commit(&change);
        if committed.is_ok() {
            self.durable = Arc::clone(after);
            self.unsaved = None;
        } else if let Ok(found) = self.store.load() {
            // A failed commit may be durable anyway, so the next one starts from what the store really has.
            let mut found = found.unwrap_or_default();
            found.model.cloud = self.in_force.host.cloud;
            self.durable = Arc::new(found);
            if *self.durable != *self.in_force.state {
                self.unsaved = Some("an earlier commit failed".into());
            }
        }
        committed
    }

    /// Stores the state in force, if it is not stored.
    fn save_unsaved(&mut self) -> Result<(), Error> {
        self.save_with(&[])
    }

    /// As [`Self::save_unsaved`], with audit records.
    pub(super) fn save_with(&mut self, records: &[Record]) -> Result<(), Error> {
        if self.unsaved.is_none() {
            return Ok(());
        }
        let after = Arc::clone(&self.in_force.state);
        self.commit(&after, &Written { extent: &ChangeExtent::Whole, records }).map_err(|error| {
            self.unsaved = Some(error.to_string());
            not_durable("what is in force", &error)
        })
    }

    /// Publishes the state in force and waits for every worker. A silent one stops the daemon.
    pub(super) fn publish(&mut self, sinks: &Sinks) -> Result<(), Error> {
        sinks.workers.publish(self.in_force.snapshot.clone(), WORKER_TIMEOUT).map_err(|error| {
            let reason = format!("{error:#}");
            self.stopped = Some(reason.clone());
            (sinks.fatal)(&reason);
            stopping(&reason)
        })
    }

    /// Changes the host to match `topology`. After an error, unneeded routes remain that lead into the forwarder. The
    /// change stays, and `status` shows the error.
    fn settle_host(&mut self, sinks: &Sinks, topology: Topology) {
        if topology != self.topology || self.host_behind.is_some() {
            self.host_behind = sinks.host.reconcile(&topology).err().map(|error| format!("{error:#}"));
        }
        self.topology = topology;
    }

    /// Removes the routes of a refused change.
    fn take_back(&mut self, sinks: &Sinks) {
        self.host_behind = sinks.host.reconcile(&self.topology).err().map(|error| format!("{error:#}"));
    }
}

/// Reports every new pending connection to the host.
pub(super) fn tell_of_requests(sinks: &Sinks, records: &[Record]) {
    let pending = ConnectionState::Pending.to_string();
    let asks = |record: &&Record| record.from.is_none() && record.to.as_ref() == Some(&pending);
    records.iter().filter(asks).for_each(|request| sinks.host.requested(request));
}

fn not_durable(what: &'static str, error: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::Storage,
        "NotDurable",
        sentence!("{} cannot be made durable: {}", what, Mention::new(Named::Host, error)),
        "make room on the state directory's disk, see that the daemon may write there, and repeat the command",
    )
}
