//! Starts the daemon: configuration → control plane → host → workers → API. Stops it in the reverse order.
//!
//! The order makes it fail closed: unreachable routes before any device, devices before any worker, workers before the
//! first snapshot, and only then the control socket.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::api::listen::{self, ControlSocket};
use crate::api::{self, ApiState, HostFacts, Shortcoming};
use crate::cli::{self, Exit, RunOptions};
use crate::config::{self, Problem};
use crate::control::codec::{Durable, StateStore};
use crate::control::{ControlPlane, Prepared, Setup};
use crate::dataplane::io::tun::{self};
use crate::dataplane::pace::Moment;
use crate::dataplane::record::RecordRing;
use crate::dns::registry::ResolverRegistry;
use crate::host::Host;
use crate::host::netns::Namespace;
use crate::model;
use crate::model::error::ErrorKind;
use crate::model::rules::Violation;
use crate::model::state::ControlState;
use crate::model::{ApiListener, HostConfig, Key, Model};
use crate::model::{Bootstrap, Caller, rules};
use crate::observe::Observer;
use crate::observe::flow_log::{self, FlowLog};
use crate::snapshot::PathMtus;
use crate::store::sqlite::{Opened, SqliteStore};
use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// The workers' threads.
mod worker_pool;

/// Commands that need no running daemon.
mod local;

/// The log.
mod logging;

/// Runs a program for each new request.
mod on_request;

/// A panic for a test.
#[cfg(debug_assertions)]
mod planted;

/// Path MTUs.
mod paths;

/// Health checks.
mod checks;

/// The DNS resolvers.
mod resolvers;

/// The control plane's access to this host.
mod host_sink;

/// Watches for deleted or replaced namespaces.
mod namespaces;

/// Ends approvals when they expire.
mod ends;

/// Reloads the file.
mod reload;

/// Background tasks.
mod tasks;

use crate::observe::hooks::HookCounts;
use checks::NetnsConnector;
use host_sink::HostSink;
pub use local::{clean, plan, restore};
use local::{failure, run_directory};
use on_request::Hook;
use paths::Paths;
use reload::{reload_of, surprises};
use worker_pool::{WorkerPool, now};

/// Runs the daemon until SIGTERM or SIGINT, or until it loses something that it needs.
///
/// # Errors
/// It cannot start, or it lost something that it needs.
pub fn run(options: &RunOptions) -> Result<(), cli::Error> {
    let loaded = config::load(&options.config).map_err(|report| cli::Error::bad_config(&report))?;
    logging::start().map_err(|error| failure(&error))?;
    run_file(options, loaded).map_err(logging::last_word)?;
    logging::flush();
    Ok(())
}

fn run_file(options: &RunOptions, loaded: config::Loaded) -> Result<(), cli::Error> {
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let store = open_state(&loaded.host.state).map_err(|error| failure(&error))?;
    let durable = Durable::new(Arc::clone(&store) as _);
    let found = durable.load().map_err(|error| failure(&error.into()))?;
    let prepared = prepare(options, &loaded.host, loaded.model, (durable, found))?;
    assemble(options, &loaded.host, prepared, store).map_err(|error| failure(&error))
}

fn prepare(
    options: &RunOptions,
    host: &HostConfig,
    file: Model,
    (store, found): (Durable, Option<ControlState>),
) -> Result<Prepared, cli::Error> {
    let mut host = host.clone();
    allow_by_default(&mut host, &file).map_err(|error| failure(&error))?;
    let namespaces = host
        .attachments
        .iter()
        .map(|attachment| Ok(Namespace::open(attachment.netns.as_deref())?.id().key().1))
        .collect::<anyhow::Result<Vec<u64>>>()
        .map_err(|error| failure(&error))?;
    let cores = std::thread::available_parallelism().map_or(1, |count| u16::try_from(count.get()).unwrap_or(1));
    let socket_group = host.socket_group.as_deref().map(listen::gid_of).transpose();
    let socket_group = socket_group.map_err(|error| failure(&error.into()))?;
    let setup = Setup {
        host: Arc::new(host.clone()),
        file,
        prune: options.prune,
        dry_run: options.dry_run,
        workers: host.workers.unwrap_or(cores),
        namespaces,
        daemon: daemon_caller(),
        bootstrap: Bootstrap { daemon: rustix::process::getuid().as_raw(), socket_group },
        clock: jiff::Timestamp::now,
        validate: check,
        link_key: worker_pool::link_key().map_err(|error| failure(&error))?,
    };
    let store: Box<dyn StateStore> = Box::new(store);
    #[cfg(debug_assertions)]
    let store = planted::with_panic(store);
    Prepared::new(setup, found, store).map_err(|refusal| {
        let exit = if refusal.kind == ErrorKind::Invalid { Exit::BadConfig } else { Exit::Failed };
        cli::Error::new(exit, refusal.to_string())
    })
}

/// A VNet in the daemon's own namespace uses the attachment settings of the daemon's file.
fn allow_by_default(host: &mut HostConfig, file: &Model) -> anyhow::Result<()> {
    let own = Namespace::open(None)?;
    let is_own = |name: Option<&str>| Namespace::open(name).is_ok_and(|other| other.id() == own.id());
    host.allow_by_default(file, |attachment| is_own(attachment.netns.as_deref()));
    Ok(())
}

/// Opens and reads the stored state. A state that cannot be trusted ends the start: with an empty one, the file would
/// override live decisions (law 7).
fn open_state(directory: &Path) -> anyhow::Result<Arc<SqliteStore>> {
    let (store, opened) = SqliteStore::open(directory)?;
    match &opened {
        Opened::FirstStart => tracing::info!("first start: {} held no state", directory.display()),
        Opened::Existing => {}
        Opened::Migrated { from, backup } => {
            tracing::info!("the state was of layout {from}; as it was, it stands in {}", backup.display());
        }
    }
    Ok(Arc::new(store))
}

fn daemon_caller() -> Caller {
    Caller::user(rustix::process::getuid().as_raw(), "privlink")
}

/// Checks the rules of a model. With a key, only those of that endpoint; the writer checks its quotas.
fn check(model: &Model, host: &HostConfig, endpoint: Option<&Key>) -> Vec<Violation> {
    match endpoint {
        Some(key) => rules::endpoint(model, Some(host), key),
        None => rules::validate(model, Some(host)),
    }
}

/// Starts everything, serves until it is told to stop, and stops everything.
fn assemble(
    options: &RunOptions,
    config: &HostConfig,
    prepared: Prepared,
    store: Arc<SqliteStore>,
) -> anyhow::Result<()> {
    let topology = prepared.topology().clone();
    let run_directory = run_directory(config);
    let socket = ControlSocket::bind(&config.socket, config.socket_group.as_deref())?;
    let metrics = config.metrics.map(listen::bind_metrics).transpose()?;
    let network = config.api.as_ref().map(|api| network(api, &config.state)).transpose()?;
    let hooks = Arc::new(HookCounts::default());
    let on_request = Hook::start(&config.on_request, &hooks)?;
    let hooks = on_request.is_some().then_some(hooks);
    let secret = worker_pool::steering_secret()?;
    let (host, queues) = Host::set_up(&topology, run_directory, &secret, &|plan| {
        tun::open(&plan.device, plan.mtu, topology.workers, topology.offload)
            .with_context(|| format!("device {} cannot be opened", plan.device))
    })?;
    let facts = host_facts(options, &host, topology.workers);
    let paths = Paths { watch: host.paths(), mtus: Arc::new(PathMtus::new(topology.attachments.len())) };
    paths.measure();
    let vnets = topology.attachments.iter().map(|attachment| attachment.vnet.clone());
    let doors = NetnsConnector(vnets.zip(host.namespaces()).collect());
    let places = doors.0.clone();
    let host = Arc::new(HostSink { host: Mutex::new(Some(host)), places, on_request });

    let (stop, stopped) = watch::channel(false);
    let began = now();
    let log = flow_log(config, topology.workers, began);
    let logged = config.flow_log.is_some();
    let writing = logged.then(|| log.start()).transpose()?;
    let worker_pool = WorkerPool::start(
        queues,
        config.max_sessions,
        logged.then(|| log.rings()),
        (Arc::clone(&paths.mtus), secret),
        began,
        &stop,
    )?;
    let lost = stop.clone();
    let fatal = Box::new(move |reason: &str| {
        tracing::error!("{reason}");
        // This fails only if the daemon is stopping already.
        let _ = lost.send(true);
    });
    let started = prepared.start(Arc::clone(&worker_pool.port) as _, Arc::clone(&host) as _, fatal);
    let served = started.map_err(|refusal| anyhow::anyhow!("{refusal}")).and_then(|control| {
        for surprise in surprises(&control, &control.view().last_apply) {
            tracing::warn!("{surprise}");
        }
        let host = Arc::clone(&host);
        let service = Service {
            options,
            facts,
            worker_pool: &worker_pool,
            host,
            paths,
            doors,
            store,
            log,
            hooks,
            socket,
            metrics,
            network,
        };
        serve(service, &Arc::new(control), &stop, stopped)
    });
    let failed = worker_pool.stop(served.is_ok());
    // The workers have written their last flow records.
    drop(writing);
    host.on_request.iter().for_each(Hook::end);
    if let Some(host) = host.host.lock().unwrap_or_else(PoisonError::into_inner).take() {
        host.tear_down()?;
    }
    // If a worker ended, its reason is the daemon's.
    failed.and(served)
}

/// The API's network listener, and its certificate authority.
fn network(api: &ApiListener, state: &Path) -> anyhow::Result<(listen::NetworkListener, Option<api::tls::Authority>)> {
    if api.plain {
        return Ok((listen::NetworkListener::bind(api.address, None)?, None));
    }
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let identity = match &api.certificate {
        Some((certificate, key)) => api::tls::Identity::named(certificate, key)?,
        None => api::tls::Identity::own(state, api.address, hostname.trim(), jiff::Timestamp::now())?,
    };
    Ok((listen::NetworkListener::bind(api.address, Some(identity.server))?, identity.authority))
}

fn host_facts(options: &RunOptions, host: &Host, workers: u16) -> HostFacts {
    let steering = host.steers();
    let shortcomings = if steering || workers == 1 {
        Vec::new()
    } else {
        vec![Shortcoming {
            code: "SteeringOff".to_owned(),
            message: "the kernel refuses the steering program: packets are handed over between workers".to_owned(),
            remedy: "run as root, or with CAP_BPF and CAP_NET_ADMIN, outside a user namespace".to_owned(),
        }]
    };
    HostFacts { config: options.config.display().to_string(), shortcomings, steering }
}

/// The log of ended sessions, with a ring for every worker.
fn flow_log(config: &HostConfig, workers: u16, began: Instant) -> Arc<FlowLog> {
    let rings = (0..workers).map(|_| Arc::new(RecordRing::new(flow_log::RING))).collect();
    let clock = Box::new(move || (Moment::after(now() - began).tick().0, jiff::Timestamp::now()));
    let limits = config.flow_log.as_ref().map_or_else(flow_log::Limits::default, |log| flow_log::Limits {
        retain: log.retain,
        max_bytes: log.max_bytes,
    });
    Arc::new(FlowLog::new(&config.state, limits, rings, clock))
}

/// Parses a document of any author by the rules of the configuration file.
fn parse_document(name: &str, body: &crate::types::Body, live: &Model) -> Result<(Model, Vec<String>), model::Error> {
    use crate::types::Body;
    let document = match body {
        Body::Text(text) => config::parse_document(text, name, live),
        Body::Tables(tables) => config::parse_tables(tables, name, live),
    };
    let document = document.map_err(|report| model::Error::from(&report))?;
    Ok((document.model, document.warnings.iter().map(Problem::in_one_line).collect()))
}

fn backup_of(store: Arc<SqliteStore>) -> api::Backup {
    Arc::new(move || store.copy().map_err(|error| error.to_string()))
}

/// The services that start when everything else is ready.
struct Service<'a> {
    options: &'a RunOptions,
    facts: HostFacts,
    worker_pool: &'a WorkerPool,
    host: Arc<HostSink>,
    paths: Paths,
    doors: NetnsConnector,
    store: Arc<SqliteStore>,
    log: Arc<FlowLog>,
    hooks: Option<Arc<HookCounts>>,
    socket: ControlSocket,
    metrics: Option<std::net::TcpListener>,
    network: Option<(listen::NetworkListener, Option<api::tls::Authority>)>,
}

fn serve(
    service: Service<'_>,
    control: &Arc<ControlPlane>,
    stop: &watch::Sender<bool>,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let known = Arc::clone(control);
    let observer = Observer::new(
        service.worker_pool.port.publisher.shared(),
        service.worker_pool.counters.clone(),
        service.worker_pool.mailboxes.clone(),
        Box::new(move || api::facts(&known)),
    );
    let registry = Arc::new(ResolverRegistry::default());
    let observer = observer.with_flow_log(service.log).with_hooks(service.hooks).with_log(logging::counts());
    let observer = Arc::new(observer.with_names(resolvers::counted(Arc::clone(&registry))));
    let reload = reload_of(service.options.config.clone(), Arc::clone(control), Arc::clone(&observer));
    let counted = Arc::clone(&observer);
    let usage =
        Box::new(move |nat| counted.nat_ports().iter().find(|ports| ports.nat_ip == nat).map_or(0, |ports| ports.used));
    let state = ApiState {
        control: Arc::clone(control),
        observer,
        host: Arc::new(service.facts),
        ready: Arc::new(AtomicBool::new(true)),
        reload: Arc::clone(&reload),
        parse: Arc::new(parse_document),
        export: Arc::new(config::export),
        backup: backup_of(service.store),
        silent: api::Silent::default(),
        detached: namespaces::detachments(service.doors.0.clone()),
        registry: Arc::clone(&registry),
        lanes: api::Lanes::start()?,
        authority: service.network.as_ref().and_then(|(_, authority)| authority.clone()).map(Arc::new),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let served = runtime.block_on(async {
        let ending = |mut stopped: watch::Receiver<bool>| async move {
            // An error means that the sender is gone, which also means the end.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        // Install the handlers before anybody can know the daemon: an unhandled signal would kill it.
        let signals = Signals::new()?;
        let socket = tokio::spawn(service.socket.serve(api::router(state.clone()), ending(stopped.clone())));
        let metrics = service.metrics.map(|listener| {
            tokio::spawn(listen::serve_metrics(listener, api::metrics_router(state.clone()), ending(stopped.clone())))
        });
        let network = service
            .network
            .map(|(listener, _)| tokio::spawn(listener.serve(api::router(state.clone()), ending(stopped.clone()))));
        let host = service.host;
        tasks::spawn("routes and links", stop, service.paths.follow(move || host.mend()));
        let names = (Arc::clone(&state.silent), registry);
        tasks::spawn("namespaces", stop, namespaces::follow(Arc::clone(&state.detached)));
        tasks::spawn("names", stop, resolvers::follow(Arc::clone(control), service.doors.0.clone(), names));
        tasks::spawn("servers", stop, crate::health::follow(Arc::clone(control), Arc::new(service.doors), usage));
        tasks::spawn("approvals that end", stop, ends::follow(Arc::clone(control)));
        tasks::spawn("the audit log", stop, api::keep_audit(Arc::clone(control)));
        let view = control.view();
        tracing::info!(
            endpoints = view.state.model.endpoints.len(),
            workers = service.worker_pool.counters.len(),
            "ready"
        );
        signals.follow(&reload, stop, stopped).await?;
        socket.await??;
        for task in [metrics, network].into_iter().flatten() {
            task.await??;
        }
        Ok(())
    });
    tasks::note_last_refusals(control);
    served
}

/// SIGHUP reloads the file. SIGTERM and SIGINT stop the daemon.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn follow(
        mut self,
        reload: &api::Reload,
        stop: &watch::Sender<bool>,
        mut stopped: watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {
                    let reload = Arc::clone(reload);
                    // The result is logged there.
                    let _ = tokio::task::spawn_blocking(move || reload(&daemon_caller())).await?;
                }
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                lost = stopped.wait_for(|stop| *stop) => {
                    lost?;
                    anyhow::bail!("the daemon stops, closed");
                }
            }
        }
        stop.send(true)?;
        Ok(())
    }
}
