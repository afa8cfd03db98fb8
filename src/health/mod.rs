//! Health checks: repeated TCP connections to servers, with an HTTP request if configured; and the drain time of
//! servers. The control plane compiles the results into the snapshot: a server that is down gets no new sessions, and
//! its old ones are reset.

/// HTTP probes.
mod http;

/// Failures and successes in a row.
mod streak;

pub use http::ask;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::compile::health::{Health, Server};
use crate::compile::retired::{Retired, RetiredAddress};
use crate::control::ControlPlane;
use crate::model::{HealthCheck, Key, Model};
use streak::Streak;

/// The result of a probe; an error describes why the server is not healthy.
pub type Connecting = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Probes servers from within their VNet's network.
pub trait Probe: Send + Sync + 'static {
    /// Whether the VNet is attached to this host. Other servers are not checked.
    fn reaches(&self, vnet: &Key) -> bool;

    /// Connects to `to`, and requests `path` by HTTP if given. It has no time limit of its own.
    fn connect(&self, vnet: &Key, to: SocketAddr, path: Option<&str>) -> Connecting;
}

/// The time between two counts of a retired NAT address's sessions.
const LOOK: Duration = Duration::from_secs(1);

/// How long the count must be zero before the address is free. A worker reports its counts once a second, so by then it
/// has reported a session that began just before the address was retired.
const COUNTED: Duration = Duration::from_secs(3);

/// The servers and addresses that are watched.
#[derive(Debug, Default)]
struct ServerWatcher {
    checks: BTreeMap<Server, Checked>,
    /// Draining servers, and when their drain time ends.
    emptying: BTreeMap<Server, (Instant, Duration)>,
    /// Retired NAT addresses, and since when they have had no session.
    retired: BTreeMap<RetiredAddress, Option<Instant>>,
}

#[derive(Debug)]
struct Checked {
    vnet: Key,
    check: HealthCheck,
    streak: Streak,
    task: AbortHandle,
}

/// A check's result: the server, the check's settings, and the outcome.
type Finding = (Server, HealthCheck, Result<(), String>);

/// The number of an address's NAT ports in use, counted at most a second ago.
pub type Usage = Box<dyn Fn(IpAddr) -> u64 + Send + Sync>;

/// Checks servers and watches draining ones, until it is dropped.
pub async fn follow(control: Arc<ControlPlane>, probe: Arc<dyn Probe>, usage: Usage) {
    let (findings, mut found) = mpsc::channel::<Finding>(64);
    let mut epochs = control.epochs();
    let (mut tasks, mut watch, mut told) = (JoinSet::new(), ServerWatcher::default(), Health::default());
    let (mut followed, mut moved) = (None, true);
    loop {
        let view = control.view();
        if followed != Some(view.epoch) {
            let model = &view.state.model;
            watch.follow(
                model,
                Instant::now(),
                |vnet, address| {
                    let home = view.host.attachment(vnet).zip(model.vnets.get(vnet));
                    probe.reaches(vnet) && home.is_none_or(|(attachment, vnet)| attachment.serves(vnet, address))
                },
                |vnet, server, check| {
                    tasks.spawn(repeat(Arc::clone(&probe), vnet.clone(), server.clone(), check, findings.clone()))
                },
            );
            (followed, moved) = (Some(view.epoch), true);
        }
        // Most results change nothing, and need no new compilation.
        if moved {
            let (health, over) = (watch.health(Instant::now()), watch.over(&view.retired, Instant::now(), &usage));
            if health != told || !over.is_empty() {
                let (control, next) = (Arc::clone(&control), health.clone());
                let observed = tokio::task::spawn_blocking(move || control.observe(&next, &over)).await;
                match observed {
                    Ok(Ok(())) => told = health,
                    // The daemon is stopping: nothing is forwarded any more.
                    Ok(Err(refusal)) => tracing::warn!(%refusal, "what was found of backends is not in force"),
                    Err(error) => tracing::error!(%error, "what was found of backends is not in force"),
                }
            }
        }
        let due = watch.next_due(Instant::now());
        tokio::select! {
            changed = epochs.changed() => if changed.is_err() { return },
            Some((server, check, result)) = found.recv() => moved = watch.note(&server, &check, &result),
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => moved = true,
            // A task ends only when it is told to.
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
        }
    }
}

/// Checks one server repeatedly.
async fn repeat(probe: Arc<dyn Probe>, vnet: Key, server: Server, check: HealthCheck, findings: mpsc::Sender<Finding>) {
    // A random delay, so that servers of one resource are not all checked at the same moment.
    tokio::time::sleep(check.interval.mul_f64(fastrand::f64())).await;
    let mut ticks = tokio::time::interval(check.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let connecting = probe.connect(&vnet, SocketAddr::new(server.address, check.port), check.path.as_deref());
        let result = tokio::time::timeout(check.timeout, connecting).await;
        let result = result.unwrap_or_else(|_| Err(format!("no answer within {:?}", check.timeout)));
        if findings.send((server.clone(), check.clone(), result)).await.is_err() {
            return;
        }
    }
}

impl ServerWatcher {
    /// Watches the servers of `model` from now on. New ones start as healthy.
    fn follow(
        &mut self,
        model: &Model,
        now: Instant,
        reaches: impl Fn(&Key, IpAddr) -> bool,
        mut start: impl FnMut(&Key, &Server, HealthCheck) -> AbortHandle,
    ) {
        let (mut checked, mut emptying) = (BTreeSet::new(), BTreeSet::new());
        for (key, resource) in &model.resources {
            let Some(vnet) = resource.vnet.as_ref() else { continue };
            for target in &resource.targets {
                for backend in target.backends.iter().filter(|backend| reaches(vnet, backend.address)) {
                    let server = Server::of(key, target, backend);
                    if backend.drain {
                        let end = (now + resource.drain, resource.drain);
                        let known = self.emptying.entry(server.clone()).or_insert(end);
                        if known.1 != resource.drain {
                            // A new drain time counts from the original start.
                            *known = (known.0 - known.1 + resource.drain, resource.drain);
                        }
                        emptying.insert(server.clone());
                    }
                    for (name, check) in target.checks() {
                        let server = server.clone().by(name);
                        let known = self.checks.get(&server).filter(|known| known.vnet == *vnet);
                        if known.is_none_or(|known| known.check != *check) {
                            let task = start(vnet, &server, check.clone());
                            // New settings keep the state of the same server.
                            let streak = known.map(|known| known.streak).unwrap_or_default();
                            let anew = Checked { vnet: vnet.clone(), check: check.clone(), streak, task };
                            if let Some(old) = self.checks.insert(server.clone(), anew) {
                                old.task.abort();
                            }
                        }
                        checked.insert(server);
                    }
                }
            }
        }
        self.emptying.retain(|server, _| emptying.contains(server));
        self.checks.retain(|server, known| {
            let stays = checked.contains(server);
            if !stays {
                known.task.abort();
            }
            stays
        });
    }

    /// Takes over a result, unless its settings are outdated. Returns whether the server's state has changed.
    fn note(&mut self, server: &Server, check: &HealthCheck, result: &Result<(), String>) -> bool {
        let Some(known) = self.checks.get_mut(server).filter(|known| known.check == *check) else { return false };
        let turned = known.streak.note(result.is_ok(), check);
        let Server { resource, address, .. } = server;
        match result {
            Ok(()) if turned => tracing::info!(%resource, %address, port = check.port, "backend is up again"),
            Err(why) if turned => tracing::warn!(%resource, %address, port = check.port, "backend is down: {why}"),
            Ok(()) | Err(_) => {}
        }
        turned
    }

    fn health(&self, now: Instant) -> Health {
        let down = self.checks.iter().filter(|(_, known)| known.streak.is_down());
        let drained = self.emptying.iter().filter(|(_, (end, _))| *end <= now);
        Health { down: down.map(|(s, _)| s.clone()).collect(), drained: drained.map(|(s, _)| s.clone()).collect() }
    }

    /// The addresses of `retired` whose last session has ended.
    fn over(&mut self, retired: &Retired, now: Instant, usage: &Usage) -> BTreeSet<RetiredAddress> {
        let known = std::mem::take(&mut self.retired);
        let since = |one: RetiredAddress| {
            let before = known.get(&one).copied().flatten();
            let empty = usage(one.1) == 0;
            (one, empty.then(|| before.unwrap_or(now)))
        };
        self.retired = retired.iter().map(since).collect();
        let empty = |since: &Option<Instant>| since.is_some_and(|since| now - since >= COUNTED);
        self.retired.iter().filter(|(_, since)| empty(since)).map(|(one, _)| one.clone()).collect()
    }

    /// When something is due next: the end of a drain time, or a count of sessions.
    fn next_due(&self, now: Instant) -> Option<Instant> {
        let count = (!self.retired.is_empty()).then_some(now + LOOK);
        self.emptying.values().map(|(end, _)| *end).filter(|end| *end > now).chain(count).min()
    }
}

#[cfg(test)]
mod tests;
