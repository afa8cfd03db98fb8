//! This Linux host: what an attachment needs of it, made at start, followed while it runs, undone at
//! the end or after a kill (law 9).
//!
//! The story: `survey` what the namespaces look like, `plan` the changes, note them in the
//! `journal`, carry them out by `netlink`. Whatever closes a way comes before whatever opens one.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;

use crate::snapshot::steering::Secret;
use crate::snapshot::topology::{AttachmentPlan, OnExit, Topology};

/// Network namespaces.
pub mod netns;

/// What a namespace looks like.
pub mod survey;

/// Changes as data.
pub mod step;

/// From the topology to a list of changes.
pub mod plan;

/// What is in force, on disk.
pub mod journal;

/// Who owns a device or a run directory.
pub mod lock;

/// Asking the kernel.
mod netlink;

/// Values below `/proc/sys`.
mod sysctl;

/// What a start tells apart.
mod errors;

/// Other daemons.
mod rivals;

/// Carrying changes out and undoing them.
mod changes;

/// What a daemon left of which no journal is left.
mod sweep;

/// Who on a link answers for an address.
pub mod neighbours;

/// How much the ways behind an attachment carry.
pub mod path_mtu;

/// Which queue a packet belongs to.
pub mod steering;

/// Who is held up, and who waits for a processor.
pub mod thread;

pub use errors::InUse;
use journal::Journal;
use lock::Lock;
use netlink::Kernel;
use netns::{Namespace, NamespaceId};
use path_mtu::PathWatch;
use plan::Plan;
use steering::Steering;
use step::{Action, Step};
use survey::Survey;

/// The host while the daemon runs.
#[derive(Debug)]
pub struct Host {
    state: Mutex<State>,
    attachments: Vec<Place>,
    paths: PathWatch,
    warnings: Vec<String>,
    on_exit: OnExit,
    /// Released last, when everything else is undone.
    _locks: Vec<Lock>,
}

/// What changes while the daemon runs.
#[derive(Debug)]
struct State {
    journal: Journal,
    /// One per attachment; `None` where the kernel refuses BPF, or there is one queue only.
    steering: Vec<Option<Steering>>,
}

/// Where an attachment is; fixed for the life of the process.
#[derive(Debug)]
struct Place {
    namespace: Namespace,
    device: String,
}

/// Opens the queues of one attachment's device; called inside its namespace.
pub type Open<'a, Q> = dyn Fn(&AttachmentPlan) -> anyhow::Result<Vec<Q>> + Sync + 'a;

impl Host {
    /// The changes a start would make, and the warnings. Changes nothing. A daemon that runs with
    /// `run_dir` is the one whose next start this is about: its devices are in nobody's way.
    ///
    /// # Errors
    /// What would stop the start: one line with its remedy.
    pub fn dry_run(topology: &Topology, run_dir: &Path) -> anyhow::Result<Plan> {
        let namespaces = open_namespaces(topology)?;
        let surveys = survey_all(&namespaces)?;
        let plan = plan::plan(topology, &surveys)?;
        rivals::refuse(plan.steps.iter(), &surveys, |namespace, device| {
            run_dir.join(lock::device_file(namespace, device)).exists()
        })?;
        plan::refuse_taken(plan.steps.iter(), &surveys)?;
        Ok(plan)
    }

    /// Makes this host what `topology` says, and returns the queues that `open` made, in the order of
    /// the attachments. Packets are steered to them by `secret`. `run_dir` is the directory of the control socket; journal and locks lie there.
    /// What a killed predecessor left is taken over where it is still wanted, so that its blocked
    /// addresses stay blocked all the while, and undone where it is not.
    ///
    /// # Errors
    /// One line with its remedy; everything done until then is undone.
    pub fn set_up<Q: AsFd + Send>(
        topology: &Topology,
        run_dir: &Path,
        secret: &Secret,
        open: &Open<'_, Q>,
    ) -> anyhow::Result<(Self, Vec<Vec<Q>>)> {
        let namespaces = open_namespaces(topology)?;
        fs::create_dir_all(run_dir).map_err(errors::unwritable(run_dir))?;
        let locks = take_locks(topology, &namespaces, run_dir)?;
        let mut journal = Journal::open(run_dir)?;
        let inherited: BTreeSet<Step> = settle_inheritance(&mut journal);
        let surveys = survey_all(&namespaces)?;
        let plan = plan::plan(topology, &surveys)?;
        plan::refuse_existing_devices(&plan.steps, &surveys)?;
        // None of this daemon's devices exists yet.
        rivals::refuse(plan.steps.iter(), &surveys, |_, _| false)?;
        plan::refuse_taken(plan.steps.iter(), &surveys)?;

        let mut queues: Vec<Vec<Q>> = topology.attachments.iter().map(|_| Vec::new()).collect();
        let mut steering: Vec<Option<Steering>> = topology.attachments.iter().map(|_| None).collect();
        let done = carry_out_plan(&plan, topology, &namespaces, &mut journal, &mut |position, plan| {
            queues[position] = open(plan)?;
            steering[position] = steer(plan, (topology.workers, secret), &queues[position]);
            Ok(())
        });
        if let Err(error) = done {
            drop(queues); // the devices go first: an unreachable route stands behind each of theirs
            let ours: Vec<Step> = journal.entries().keys().filter(|s| !inherited.contains(*s)).cloned().collect();
            changes::undo(&ours, &mut journal);
            return Err(error);
        }
        let wanted: BTreeSet<&Step> = plan.steps.iter().collect();
        let stale: Vec<Step> = inherited.into_iter().filter(|step| !wanted.contains(step)).collect();
        changes::undo(&stale, &mut journal);
        for warning in &plan.warnings {
            tracing::warn!("{warning}");
        }
        let devices = topology.attachments.iter().map(|attachment| attachment.device.clone());
        let paths = PathWatch::new(namespaces.clone(), topology, &plan.steps);
        let attachments = namespaces.into_iter().zip(devices);
        let host = Self {
            paths,
            state: Mutex::new(State { journal, steering }),
            attachments: attachments.map(|(namespace, device)| Place { namespace, device }).collect(),
            warnings: plan.warnings,
            on_exit: topology.on_exit,
            _locks: locks,
        };
        Ok((host, queues))
    }

    /// What the user should know about this host: who needs forwarding, for one.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Who finds out how much the ways behind the attachments carry, while the daemon runs.
    pub fn paths(&self) -> PathWatch {
        self.paths.clone()
    }

    /// The namespaces of the attachments, in their order.
    pub fn namespaces(&self) -> Vec<Namespace> {
        self.attachments.iter().map(|place| place.namespace.clone()).collect()
    }

    /// Whether the kernel brings every packet to the worker that owns its session.
    pub fn steers(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        !state.steering.is_empty() && state.steering.iter().all(Option::is_some)
    }

    /// Brings routes, neighbours and steering to `topology`, whose attachments are those of the
    /// start. Rules and sysctls that keep the sides apart are added when they become necessary and
    /// stay until the end.
    ///
    /// # Errors
    /// One line with its remedy; nothing is changed then. A removal that the kernel refuses is no
    /// error: it stays in the journal and is tried again by the next call and by the clean-up.
    pub fn reconcile(&self, topology: &Topology) -> anyhow::Result<()> {
        self.refuse_other_attachments(topology)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { journal, steering } = &mut *state;
        let namespaces: Vec<Namespace> = self.attachments.iter().map(|place| place.namespace.clone()).collect();
        let surveys = survey_all(&namespaces)?;
        let plan = plan::plan(topology, &surveys)?;
        self.paths.follow(topology, &plan.steps);

        let wanted: BTreeSet<&Step> = plan.steps.iter().filter(|step| step.action.outlives_us()).collect();
        let added: Vec<Step> =
            plan.steps.iter().filter(|s| wanted.contains(s) && !journal.entries().contains_key(*s)).cloned().collect();
        let stays = |action: &Action| matches!(action, Action::Rule(_) | Action::Sysctl { .. });
        let removed: Vec<Step> =
            journal.entries().keys().filter(|s| !stays(&s.action) && !wanted.contains(s)).cloned().collect();

        plan::refuse_taken(added.iter(), &surveys)?;
        rivals::refuse(added.iter(), &surveys, |namespace, device| {
            self.attachments.iter().any(|place| place.namespace.id() == namespace && place.device == device)
        })?;
        plan::refuse_others(added.iter(), &surveys, topology)?;
        if let Err(error) = changes::carry_out(&added, &namespaces, journal) {
            changes::undo(&added, journal);
            return Err(error);
        }
        changes::undo(&removed, journal);
        for (attachment, steering) in topology.attachments.iter().zip(steering) {
            // A packet that is steered wrong is handed over between workers: slower, not lost.
            if let Some(Err(error)) = steering.as_mut().map(|steering| steering.set_nat(&attachment.nat_addresses)) {
                tracing::warn!("{}: the steering program misses NAT addresses: {error}", attachment.device);
            }
        }
        Ok(())
    }

    /// Puts routes back to devices that are up: setting a device down takes its routes away, and only the kernel's
    /// own come back with it. Until then the unreachable ones behind them answer (law 9).
    ///
    /// # Errors
    /// A route that the kernel refuses.
    pub fn mend(&self) -> anyhow::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let namespaces: Vec<Namespace> = self.attachments.iter().map(|place| place.namespace.clone()).collect();
        let surveys = survey_all(&namespaces)?;
        let is_up = |home: &NamespaceId, device: &str| {
            let survey = surveys.iter().find(|survey| survey.namespace == *home);
            survey.and_then(|survey| survey.interface(device)).is_some_and(|device| device.up)
        };
        let lost =
            |step: &&Step| matches!(&step.action, Action::Route { device, .. } if is_up(&step.namespace, device));
        let steps: Vec<Step> = state.journal.entries().keys().filter(lost).cloned().collect();
        changes::carry_out(&steps, &namespaces, &mut state.journal)
    }

    fn refuse_other_attachments(&self, topology: &Topology) -> anyhow::Result<()> {
        let asked = topology.attachments.iter().map(|attachment| &attachment.device);
        anyhow::ensure!(
            asked.eq(self.attachments.iter().map(|place| &place.device)),
            "attachments have changed: restart privlink to apply that"
        );
        Ok(())
    }

    /// Ends: `OnExit::Block` leaves the unreachable routes and the rules, and their journal;
    /// `OnExit::Undo` leaves nothing. Drop the queues first: the devices go with them.
    ///
    /// # Errors
    /// Changes that could not be undone; they stay in the journal for `privlink clean`.
    pub fn tear_down(self) -> anyhow::Result<()> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut journal = state.journal;
        let keep = self.on_exit == OnExit::Block;
        let over: Vec<Step> = journal.entries().keys().filter(|s| !(keep && s.action.blocks())).cloned().collect();
        match changes::undo(&over, &mut journal).failed.as_slice() {
            [] => Ok(()),
            // The log has named each.
            failed => anyhow::bail!("{} changes could not be undone; `privlink clean` tries again", failed.len()),
        }
    }
}

/// What a clean-up found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Changes undone, one line each, and namespaces that are gone.
    pub lines: Vec<String>,
    /// Changes that could not be undone, with the reason; they stay in the journal.
    pub failed: Vec<String>,
}

/// Undoes what a dead daemon left in `run_dir` (`privlink clean`). Where it left no journal, routes and rules with our
/// protocol are found in every namespace, but for those where a daemon lives.
///
/// # Errors
/// A daemon that uses the directory is alive, or the journal cannot be read.
pub fn clean(run_dir: &Path) -> anyhow::Result<Report> {
    if run_dir.exists() {
        let _lock = Lock::run_directory(run_dir)?;
        let mut journal = Journal::open(run_dir)?;
        let all: Vec<Step> = journal.entries().keys().cloned().collect();
        if !all.is_empty() {
            return Ok(changes::undo(&all, &mut journal));
        }
    }
    Ok(sweep::sweep())
}

fn open_namespaces(topology: &Topology) -> anyhow::Result<Vec<Namespace>> {
    topology
        .attachments
        .iter()
        .map(|attachment| {
            Namespace::open(attachment.netns.as_deref()).with_context(|| format!("attachment {}", attachment.vnet))
        })
        .collect()
}

/// One survey per attachment; a namespace that several share is read once.
fn survey_all(namespaces: &[Namespace]) -> anyhow::Result<Vec<Arc<Survey>>> {
    let mut surveys: Vec<Arc<Survey>> = Vec::with_capacity(namespaces.len());
    for namespace in namespaces {
        let known = surveys.iter().find(|survey| survey.namespace == *namespace.id()).cloned();
        surveys.push(match known {
            Some(survey) => survey,
            None => Arc::new(namespace.run(|| Kernel::open()?.survey(namespace.id()))?),
        });
    }
    Ok(surveys)
}

/// Devices first: "device in use" says more than "directory in use".
fn take_locks(topology: &Topology, namespaces: &[Namespace], run_dir: &Path) -> anyhow::Result<Vec<Lock>> {
    let devices = topology.attachments.iter().zip(namespaces);
    devices
        .map(|(attachment, namespace)| Lock::device(run_dir, namespace.id(), &attachment.device))
        .chain(std::iter::once_with(|| Lock::run_directory(run_dir)))
        .collect()
}

/// Sysctls of a predecessor go back at once, so that the plan starts from the user's own values; what
/// blocks stays until the new set-up stands.
fn settle_inheritance(journal: &mut Journal) -> BTreeSet<Step> {
    let sysctls: Vec<Step> =
        journal.entries().keys().filter(|s| matches!(s.action, Action::Sysctl { .. })).cloned().collect();
    changes::undo(&sysctls, journal);
    journal.entries().keys().cloned().collect()
}

/// Carries out a whole plan; `device` is called inside the namespace for each device to make.
fn carry_out_plan(
    plan: &Plan,
    topology: &Topology,
    namespaces: &[Namespace],
    journal: &mut Journal,
    device: &mut (dyn FnMut(usize, &AttachmentPlan) -> anyhow::Result<()> + Send),
) -> anyhow::Result<()> {
    let position_of = |namespace: &NamespaceId, name: &str| {
        let mut homes = topology.attachments.iter().zip(namespaces);
        homes.position(|(attachment, home)| home.id() == namespace && attachment.device == name)
    };
    changes::carry_out_with(&plan.steps, namespaces, journal, &mut |step| {
        if let Action::Device { device: name, .. } = &step.action
            && let Some(position) = position_of(&step.namespace, name)
        {
            device(position, &topology.attachments[position])?;
        }
        Ok(())
    })
}

/// Steering is an optimisation: where the kernel refuses it, workers hand packets over.
fn steer<Q: AsFd>(plan: &AttachmentPlan, (workers, secret): (u16, &Secret), queues: &[Q]) -> Option<Steering> {
    let queue = queues.first().filter(|_| workers > 1)?;
    let attached = Steering::load(workers, secret).and_then(|mut steering| {
        steering.set_nat(&plan.nat_addresses)?;
        steering.attach(queue)?;
        Ok(steering)
    });
    attached
        .inspect_err(|error| {
            tracing::info!("{}: no steering, workers hand packets over ({error}; needs CAP_BPF)", plan.device);
        })
        .ok()
}
