//! What happened, for whoever looks: counters of all workers added up, metrics, flows, explanations.
//!
//! Observing takes no part in forwarding. Workers publish counters and answer questions between
//! batches; here they are only read, added and given names.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

pub use crate::dataplane::counters::{EndpointTotals, FullPool, NatPortUse, NatPorts, WorkerCounters};
use crate::dataplane::counters::{Probes, VerdictCounts};
use crate::dataplane::queries::Mailbox;
use crate::snapshot::DropReason;
use crate::snapshot::steering::NAT_PORTS;
use crate::snapshot::{EndpointId, Rates, Snapshot};
use crate::types::{self, Totals, Traffic};
use flow_log::FlowLog;

/// `judge()` in words, on the snapshot in force.
pub mod explain;

/// Live sessions of all workers.
pub mod flows;

/// Sessions that have ended.
pub mod flow_log;

/// Runs of `on_request`.
pub mod hooks;

/// The daemon's file, read anew.
pub mod reloads;

/// The daemon's log, which never holds up what it tells of.
pub mod log_writer;

/// Who used a NAT address and port.
pub mod who;

/// Prometheus text.
pub mod metrics;

/// What became of names that were asked for.
pub mod names;

/// Names of what the counters count. Counters know ids, people know names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Every endpoint there is.
    pub endpoints: Vec<EndpointFacts>,
    /// Every link resource there is, `group/name`.
    pub resources: Vec<String>,
    /// Every backend that is checked.
    pub backends: Vec<BackendFacts>,
    /// Every NAT address of a resource, and how often its ports can be given out: over protocols, backends and their ports.
    pub nat_pools: BTreeMap<IpAddr, u64>,
}

/// One backend that is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendFacts {
    /// Its resource, `group/name`.
    pub resource: String,
    /// Subresource and member, such as `blob/a`; empty for a private link service of one's own.
    pub target: String,
    /// Its address.
    pub address: IpAddr,
    /// Whether its checks succeed.
    pub up: bool,
}

/// One endpoint's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointFacts {
    /// Its identity in the counters; never given out twice.
    pub id: EndpointId,
    /// `group/name`.
    pub name: String,
    /// Resource it is bound to, `group/name`.
    pub resource: String,
    /// Network identifier of its connection.
    pub link: u32,
}

/// Reads what the workers publish and knows whose it is.
pub struct Observer {
    snapshot: Arc<ArcSwap<Snapshot>>,
    workers: Vec<Arc<WorkerCounters>>,
    mailboxes: Vec<Mailbox>,
    facts: Box<dyn Fn() -> Facts + Send + Sync>,
    known: Mutex<Known>,
    flow_log: Option<Arc<FlowLog>>,
    hooks: Option<Arc<hooks::HookCounts>>,
    log: Arc<log_writer::LogCounts>,
    names: names::Source,
    reloads: reloads::Reloads,
}

/// All endpoints ever heard of: a deleted one's traffic still counts for its resource.
#[derive(Clone, Debug, Default)]
struct Known {
    names: HashMap<EndpointId, EndpointFacts>,
    live: BTreeSet<EndpointId>,
    resources: BTreeSet<String>,
    backends: Vec<BackendFacts>,
    nat_pools: BTreeMap<IpAddr, u64>,
}

/// Every counter at one moment, with names.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Verdicts by worker; each consistent in itself (law 4).
    pub workers: Vec<VerdictCounts>,
    /// How far searches of each worker's session table go.
    pub probes: Vec<Probes>,
    /// Traffic of the endpoints there are, by `group/name`.
    pub endpoints: BTreeMap<String, EndpointTotals>,
    /// Traffic of resources, by `group/name`, through deleted endpoints too: these totals never fall.
    pub resources: BTreeMap<String, EndpointTotals>,
    /// Rates of endpoints and of resources, by `group/name`.
    pub rates: [Vec<(Arc<str>, Rates)>; 2],
    /// NAT port use by address, over all workers.
    pub nat_ports: Vec<NatPortUse>,
    /// The endpoints there are, by `group/name`.
    pub links: BTreeMap<String, EndpointFacts>,
    /// The backends that are checked.
    pub backends: Vec<BackendFacts>,
    /// Records that the flow log has written and lost; `None`: there is no flow log.
    pub flow_log: Option<(u64, u64)>,
    /// Runs of `on_request` by how they ended; `None`: there is no such program.
    pub hooks: Option<[(&'static str, u64); 5]>,
    /// Lines that the daemon's log could not keep.
    pub log_lost: u64,
    /// What became of names that were asked for, by VNet.
    pub names: Vec<names::NameCounts>,
    /// What became of the daemon's file each time it was read anew.
    pub reloads: reloads::Results,
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer").field("workers", &self.workers.len()).finish_non_exhaustive()
    }
}

impl Observer {
    /// An observer of `workers`. `facts` tells what exists now; it is asked at every reading.
    pub fn new(
        snapshot: Arc<ArcSwap<Snapshot>>,
        workers: Vec<Arc<WorkerCounters>>,
        mailboxes: Vec<Mailbox>,
        facts: Box<dyn Fn() -> Facts + Send + Sync>,
    ) -> Self {
        let (known, names) = (Mutex::new(Known::default()), Box::new(Vec::new));
        Self {
            snapshot,
            workers,
            mailboxes,
            facts,
            known,
            flow_log: None,
            hooks: None,
            log: Arc::default(),
            names,
            reloads: reloads::Reloads::default(),
        }
    }

    /// Finds ended sessions in `log`, too.
    #[must_use]
    pub fn with_flow_log(self, log: Arc<FlowLog>) -> Self {
        Self { flow_log: Some(log), ..self }
    }

    /// What became of the runs of `on_request`; `None`: there is no such program.
    pub fn hooks(&self) -> Option<&hooks::HookCounts> {
        self.hooks.as_deref()
    }

    /// What became of the daemon's file each time it was read anew.
    pub fn reloads(&self) -> &reloads::Reloads {
        &self.reloads
    }

    /// Counts the runs of `on_request`, too.
    #[must_use]
    pub fn with_hooks(self, counts: Option<Arc<hooks::HookCounts>>) -> Self {
        Self { hooks: counts, ..self }
    }

    /// Knows what the daemon's log has lost, too.
    #[must_use]
    pub fn with_log(self, log: Arc<log_writer::LogCounts>) -> Self {
        Self { log, ..self }
    }

    /// Lines that the daemon's log could not keep since the start.
    pub fn log_lost(&self) -> u64 {
        self.log.lost()
    }

    /// Counts what `source` tells of names, too.
    #[must_use]
    pub fn with_names(self, source: names::Source) -> Self {
        Self { names: source, ..self }
    }

    /// Number of data workers.
    pub fn worker_count(&self) -> usize {
        self.workers.len()
    }

    /// Takes note of what exists now. Called before and after anything that may delete many
    /// endpoints, so that none comes and goes unseen between two readings; before the deletion of one,
    /// [`Observer::note`] does.
    pub fn refresh(&self) {
        let facts = (self.facts)();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.live = facts.endpoints.iter().map(|endpoint| endpoint.id).collect();
        known.resources.extend(facts.resources);
        known.backends = facts.backends;
        known.nat_pools = facts.nat_pools;
        for endpoint in facts.endpoints {
            known.resources.insert(endpoint.resource.clone());
            known.names.insert(endpoint.id, endpoint);
        }
    }

    /// Takes note of one endpoint that is about to vanish: its traffic still counts for its resource.
    pub fn note(&self, endpoint: EndpointFacts) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.resources.insert(endpoint.resource.clone());
        known.names.insert(endpoint.id, endpoint);
    }

    /// Reads everything.
    #[must_use]
    pub fn sample(&self) -> Sample {
        let known = self.known();
        let mut resources: BTreeMap<String, EndpointTotals> =
            known.resources.into_iter().map(|name| (name, EndpointTotals::default())).collect();
        let (mut endpoints, mut links) = (BTreeMap::new(), BTreeMap::new());
        for (id, facts) in known.names {
            let totals = self.endpoint(id);
            let past = EndpointTotals { sessions: 0, ..totals };
            let live = known.live.contains(&id);
            *resources.entry(facts.resource.clone()).or_default() += if live { totals } else { past };
            if live {
                endpoints.insert(facts.name.clone(), totals);
                links.insert(facts.name.clone(), facts);
            }
        }
        let flow_log = self.flow_log.as_ref().map(|log| (log.records(), log.lost()));
        let hooks = self.hooks.as_ref().map(|counts| counts.read());
        let nat_ports = with_free(self.nat_ports(), &known.nat_pools);
        let backends = known.backends;
        Sample {
            workers: self.verdicts(),
            probes: self.workers.iter().map(|worker| worker.probes()).collect(),
            endpoints,
            resources,
            rates: self.snapshot.load().rates(),
            nat_ports,
            links,
            backends,
            flow_log,
            hooks,
            log_lost: self.log_lost(),
            names: (self.names)(),
            reloads: self.reloads.read(),
        }
    }

    /// Verdicts by worker.
    #[must_use]
    pub fn verdicts(&self) -> Vec<VerdictCounts> {
        self.workers.iter().map(|worker| worker.verdicts()).collect()
    }

    /// Traffic of one endpoint over all workers.
    #[must_use]
    pub fn endpoint(&self, id: EndpointId) -> EndpointTotals {
        self.workers.iter().fold(EndpointTotals::default(), |mut sum, worker| {
            sum += worker.endpoint(id);
            sum
        })
    }

    /// NAT port use by address over all workers, as last published.
    #[must_use]
    pub fn nat_ports(&self) -> Vec<NatPortUse> {
        let mut sums = BTreeMap::new();
        for ports in self.workers.iter().map(|worker| worker.nat_ports()) {
            for &NatPortUse { nat_ip, used, quarantined, free } in &ports.by_address {
                let sum = sums.entry(nat_ip).or_insert(NatPortUse { nat_ip, used: 0, quarantined: 0, free: 0 });
                sum.used += used;
                sum.quarantined += quarantined;
                sum.free += free;
            }
        }
        sums.into_values().collect()
    }

    /// The pools that leave a resource with these NAT addresses no port at all: full at every address of the server's
    /// family in every worker, since a worker without a port hands admission on. As last published.
    #[must_use]
    pub fn exhausted(&self, nat: &[IpAddr]) -> Vec<FullPool> {
        let workers: Vec<_> = self.workers.iter().map(|worker| worker.nat_ports()).collect();
        let everywhere = |pool: &&FullPool| {
            let usable = || nat.iter().filter(|nat| nat.is_ipv4() == pool.backend.is_ipv4());
            workers.iter().all(|ports| usable().all(|&nat_ip| ports.full.contains(&FullPool { nat_ip, ..**pool })))
        };
        // Each is found under the first address of its family.
        let first = |pool: &&FullPool| nat.iter().find(|nat| nat.is_ipv4() == pool.backend.is_ipv4());
        let named = workers.first().into_iter().flat_map(|ports| &ports.full);
        named.filter(|pool| first(pool) == Some(&pool.nat_ip)).filter(everywhere).copied().collect()
    }

    fn known(&self) -> Known {
        self.refresh();
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The use of every address that has ports; workers know of those only that a session has had.
fn with_free(used: Vec<NatPortUse>, all: &BTreeMap<IpAddr, u64>) -> Vec<NatPortUse> {
    let mut ports: BTreeMap<IpAddr, NatPortUse> = used.into_iter().map(|ports| (ports.nat_ip, ports)).collect();
    for (&nat_ip, &pools) in all {
        let ports = ports.entry(nat_ip).or_insert(NatPortUse { nat_ip, used: 0, quarantined: 0, free: 0 });
        ports.free = (pools * u64::from(NAT_PORTS)).saturating_sub(ports.used + ports.quarantined);
    }
    ports.into_values().collect()
}

/// Verdicts of all workers as one sum.
#[must_use]
pub fn totals(workers: &[VerdictCounts]) -> Totals {
    let mut totals = Totals::default();
    for counts in workers {
        totals.read += counts.read;
        totals.handed_in += counts.handed_in;
        totals.forwarded += counts.forwarded;
        totals.dropped += counts.dropped_total();
        totals.handed_out += counts.handed_out;
        totals.held += counts.held;
        totals.answered += counts.answered;
        totals.originated += counts.originated;
        for reason in DropReason::ALL {
            let count = counts.dropped[reason as usize];
            if count > 0 {
                *totals.drops.entry(reason.name().to_owned()).or_default() += count;
            }
        }
    }
    totals
}

/// Rates as JSON.
#[must_use]
pub fn rates(Rates { bits_per_second, new_sessions_per_second }: Rates) -> types::Rates {
    types::Rates { bits_per_second, new_sessions_per_second }
}

/// Traffic as JSON.
#[must_use]
pub fn traffic(totals: EndpointTotals) -> Traffic {
    let EndpointTotals {
        packets_to_service,
        bytes_to_service,
        packets_to_consumer,
        bytes_to_consumer,
        sessions_opened,
        sessions,
        rate_limited,
    } = totals;
    Traffic {
        packets_to_service,
        bytes_to_service,
        packets_to_consumer,
        bytes_to_consumer,
        sessions_opened,
        sessions,
        rate_limited,
    }
}

#[cfg(test)]
pub(crate) mod tests;
