//! Starts, updates and stops the resolvers of this host's VNets.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::api::Silent;
use crate::control::{ControlPlane, View};
use crate::dns::counters::Counters;
use crate::dns::registry::ResolverRegistry;
use crate::dns::resolver::Resolver;
use crate::dns::server;
use crate::host::netns::Namespace;
use crate::observe::names::{NameCounts, Source};
use crate::snapshot::dns::{DnsPlan, ResolverPlan};
use arc_swap::ArcSwap;
use tokio::sync::oneshot;

/// The delay before a failed resolver is started again.
const AGAIN: Duration = Duration::from_secs(5);

/// A running resolver, with the settings whose change needs a restart.
struct Running {
    listen: Vec<IpAddr>,
    upstream: Vec<IpAddr>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Running {
    fn serves(&self, plan: &ResolverPlan) -> bool {
        self.listen == plan.listen && self.upstream == plan.upstream && !self.thread.is_finished()
    }

    async fn end(self) {
        drop(self.stop);
        // A panicked one has ended too.
        let _ = tokio::task::spawn_blocking(move || self.thread.join()).await;
    }
}

/// Follows the configuration until it is dropped. `doors` are the VNets' namespaces.
pub(super) async fn follow(
    control: Arc<ControlPlane>,
    doors: BTreeMap<String, Namespace>,
    (silent, registry): (Silent, Arc<ResolverRegistry>),
) {
    let plan: Arc<ArcSwap<DnsPlan>> = Arc::default();
    // Publish new names first, so that they do not wait for a resolver that starts or stops.
    tokio::select! {
        () = publish(&control, &plan) => {}
        () = run(&control, &plan, &doors, (&silent, &registry)) => {}
    }
}

/// Gives every new plan to the resolvers.
async fn publish(control: &ControlPlane, plan: &ArcSwap<DnsPlan>) {
    let mut epochs = control.epochs();
    loop {
        plan.store(carried(&control.view()));
        if epochs.changed().await.is_err() {
            return;
        }
    }
}

/// The plan without addresses that the daemon's file excludes on this host.
fn carried(view: &View) -> Arc<DnsPlan> {
    let mut plan = Arc::clone(&view.dns);
    for attachment in &view.host.attachments {
        let (vnet, carries) = (attachment.vnet.to_string(), |address: &IpAddr| attachment.carries(&(*address).into()));
        if plan.resolvers.get(&vnet).is_some_and(|resolver| !resolver.listen.iter().all(carries))
            && let Some(resolver) = Arc::make_mut(&mut plan).resolvers.get_mut(&vnet)
        {
            Arc::make_mut(resolver).listen.retain(carries);
        }
    }
    plan
}

/// Starts and ends resolvers.
async fn run(
    control: &ControlPlane,
    plan: &Arc<ArcSwap<DnsPlan>>,
    doors: &BTreeMap<String, Namespace>,
    (silent, registry): (&Silent, &ResolverRegistry),
) {
    let mut running: BTreeMap<String, Running> = BTreeMap::new();
    let mut epochs = control.epochs();
    loop {
        let view = control.view();
        let next = carried(&view);
        // Resolvers that start below find themselves in this plan.
        plan.store(Arc::clone(&next));
        let over: Vec<String> = running
            .iter()
            .filter(|(vnet, running)| next.resolvers.get(*vnet).is_none_or(|plan| !running.serves(plan)))
            .map(|(vnet, _)| vnet.clone())
            .collect();
        for vnet in over {
            if let Some(resolver) = running.remove(&vnet) {
                resolver.end().await;
            }
        }
        for (vnet, resolver) in &next.resolvers {
            if running.contains_key(vnet) || resolver.listen.is_empty() {
                continue;
            }
            if let Some(started) =
                doors.get(vnet).and_then(|door| start(vnet, door, resolver, plan, (silent, registry)))
            {
                running.insert(vnet.clone(), started);
            }
        }
        heard(silent).retain(|vnet, _| running.contains_key(vnet));
        tokio::select! {
            changed = epochs.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN), if !next.resolvers.is_empty() => {}
        }
    }
}

/// The counts of every resolver, for metrics.
pub(super) fn counted(registry: Arc<ResolverRegistry>) -> Source {
    Box::new(move || {
        let counts = |(vnet, counters): (String, Arc<Counters>)| NameCounts {
            vnet,
            answers: counters.answers().collect(),
            drops: counters.drops().collect(),
        };
        registry.all().into_iter().map(counts).collect()
    })
}

fn heard(silent: &Silent) -> MutexGuard<'_, BTreeMap<String, String>> {
    silent.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(
    vnet: &str,
    door: &Namespace,
    planned: &ResolverPlan,
    plan: &Arc<ArcSwap<DnsPlan>>,
    (silent, registry): (&Silent, &ResolverRegistry),
) -> Option<Running> {
    let (stop, stopped) = oneshot::channel();
    let (name, door, silent) = (vnet.to_owned(), door.clone(), Arc::clone(silent));
    let resolver = Arc::new(Resolver::new(vnet, Arc::clone(plan), registry.counters(vnet))?);
    let asks = registry.open(vnet);
    let serve = move || {
        let listening = || _ = heard(&silent).remove(&name);
        if let Err(error) = door.run(|| server::serve(&resolver, asks, stopped, listening)) {
            let why = format!("{error:#}");
            tracing::error!(vnet = name, "resolver: {why}; tried again in {AGAIN:?}");
            heard(&silent).insert(name.clone(), why);
        }
    };
    match std::thread::Builder::new().name("dns".to_owned()).spawn(serve) {
        Ok(thread) => {
            Some(Running { listen: planned.listen.clone(), upstream: planned.upstream.clone(), stop, thread })
        }
        Err(error) => {
            tracing::error!(vnet, "resolver: no thread: {error}");
            None
        }
    }
}
