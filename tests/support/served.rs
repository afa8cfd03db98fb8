//! The API and the control plane in this process: only packets and the host are missing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use privlink::api::{ApiState, HostFacts, Lanes, ReloadFailure, facts};
use privlink::config::{self, Problem};
use privlink::control::codec::Durable;
use privlink::control::sinks::{Host, Snapshot, Topology, Workers};
use privlink::control::{ApplyFile, Prepared, Setup};
use privlink::dataplane::queries::Mailbox;
use privlink::dns::counters::Counters;
use privlink::dns::registry::ResolverRegistry;
use privlink::model::error::Error;
use privlink::model::links::LinkKey;
use privlink::model::rules::{Violation, validate};
use privlink::model::state::DAEMON;
use privlink::model::{Bootstrap, Caller, HostConfig, Key, Model};
use privlink::observe::flow_log::FlowLog;
use privlink::observe::hooks::HookCounts;
use privlink::observe::names::{NameCounts, Source};
use privlink::observe::{Observer, WorkerCounters};
use privlink::store::memory::MemoryStore;
use privlink::types::Body;

/// What is served.
pub(crate) struct Served<'a> {
    /// Holds what belongs to this daemon alone.
    pub(crate) directory: &'a Path,
    /// Name and text of the daemon's file.
    pub(crate) file: (&'a str, &'a str),
    /// Owner of everything.
    pub(crate) uid: u32,
    /// Dates everything that is decided.
    pub(crate) clock: fn() -> Timestamp,
    /// What happens to packets.
    pub(crate) traffic: Traffic,
}

/// What is known of packets and sessions. Nothing unless something is said.
#[derive(Default)]
pub(crate) struct Traffic {
    /// What each worker counts.
    pub(crate) counters: Vec<Arc<WorkerCounters>>,
    /// Who is asked for live sessions.
    pub(crate) mailboxes: Vec<Mailbox>,
    /// Sessions that have ended.
    pub(crate) flow_log: Option<Arc<FlowLog>>,
    /// Runs of `on_request`.
    pub(crate) hooks: Option<Arc<HookCounts>>,
}

/// The packet path: keeps the snapshot in force.
struct Kept(Arc<ArcSwap<Snapshot>>);

impl Workers for Kept {
    fn publish(&self, snapshot: Snapshot, _: Duration) -> anyhow::Result<()> {
        self.0.store(Arc::new(snapshot));
        Ok(())
    }
}

struct AnyHost;

impl Host for AnyHost {
    fn reconcile(&self, _: &Topology) -> anyhow::Result<()> {
        Ok(())
    }
}

/// The rules of a model, as the daemon has them.
fn check(model: &Model, host: &HostConfig, _: Option<&Key>) -> Vec<Violation> {
    validate(model, Some(host))
}

/// What resolvers count, for metrics.
fn answers(registry: Arc<ResolverRegistry>) -> Source {
    Box::new(move || {
        let counts = |(vnet, counters): (String, Arc<Counters>)| NameCounts {
            vnet,
            answers: counters.answers().collect(),
            drops: counters.drops().collect(),
        };
        registry.all().into_iter().map(counts).collect()
    })
}

impl Served<'_> {
    /// What the API's handlers share.
    #[allow(clippy::expect_used, reason = "set-up of a test")]
    pub(crate) fn state(self) -> ApiState {
        let (name, text) = self.file;
        let mut loaded = config::parse(text, name).expect("a sound file");
        loaded.host.state = self.directory.join("state");
        let attachments = loaded.host.attachments.len() as u64;
        let model = loaded.model.clone();
        let setup = Setup {
            host: Arc::new(loaded.host),
            file: loaded.model,
            prune: false,
            dry_run: false,
            workers: 1,
            namespaces: (0..attachments).collect(),
            daemon: Caller::user(0, "root"),
            bootstrap: Bootstrap { daemon: self.uid, socket_group: None },
            clock: self.clock,
            validate: check,
            link_key: LinkKey::new([7; 16]),
        };
        let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::empty()));
        let store = Durable::new(Arc::new(MemoryStore::new()));
        let prepared = Prepared::new(setup, None, Box::new(store)).expect("prepared");
        let workers = Arc::new(Kept(Arc::clone(&snapshot)));
        let control = Arc::new(prepared.start(workers, Arc::new(AnyHost), Box::new(|_| ())).expect("started"));
        let (named, reloaded) = (Arc::clone(&control), Arc::clone(&control));
        let Traffic { counters, mailboxes, flow_log, hooks } = self.traffic;
        let registry = Arc::new(ResolverRegistry::default());
        let observer = Observer::new(snapshot, counters, mailboxes, Box::new(move || facts(&named)));
        let observer = observer.with_hooks(hooks).with_names(answers(Arc::clone(&registry)));
        let observer = flow_log.into_iter().fold(observer, Observer::with_flow_log);
        let reload = move |caller: &Caller| {
            let author = DAEMON.to_owned();
            let version = ApplyFile { author, model: model.clone(), host: None, prune: false, dry_run: false };
            reloaded.apply(caller, version).map_err(ReloadFailure::Refused)
        };
        let copy = self.directory.join("copy");
        std::fs::write(&copy, "a copy of the state\n").expect("written");
        ApiState {
            control,
            observer: Arc::new(observer),
            host: Arc::new(HostFacts { config: name.to_owned(), steering: true, ..HostFacts::default() }),
            ready: Arc::new(AtomicBool::new(true)),
            reload: Arc::new(reload),
            parse: Arc::new(|name, body, live| {
                let document = match body {
                    Body::Text(text) => config::parse_document(text, name, live),
                    Body::Tables(tables) => config::parse_tables(tables, name, live),
                };
                document
                    .map(|d| (d.model, d.warnings.iter().map(Problem::in_one_line).collect()))
                    .map_err(|report| Error::from(&report))
            }),
            export: Arc::new(config::export),
            backup: Arc::new(move || std::fs::File::open(&copy).map_err(|error| error.to_string())),
            authority: None,
            silent: Arc::default(),
            registry,
            lanes: Lanes::start().expect("started"),
            detached: Arc::new(std::collections::BTreeMap::new),
        }
    }
}
