//! Private names at their size: `cargo bench --bench names`. How soon a name answers after the call that made its
//! endpoint, beside a hundred thousand others, durable commit included. Prints one table; what names take is tested by
//! `tests/allocations.rs`.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark measures real time, prints, and may fail loudly"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use privlink::compile::lint;
use privlink::compile::names::Planner;
use privlink::config;
use privlink::control::codec::{Durable, StateStore as _};
use privlink::control::sinks::{Host, Snapshot, Topology, Workers};
use privlink::control::{ApplyFile, Command, ControlPlane, Decide, Decision, Delete, Prepared, Put, Setup};
use privlink::model::links::LinkKey;
use privlink::model::state::DAEMON;
use privlink::model::state::ItemKind;
use privlink::model::{Bootstrap, Caller, rules};
use privlink::model::{EndpointIp, Key, LinkResource, Model, PrivateEndpoint};
use privlink::store::sqlite::SqliteStore;

const FILE: &str = include_str!("control.toml");
const MANY: usize = 100_000;

struct Willing;
impl Workers for Willing {
    fn publish(&self, _: Snapshot, _: Duration) -> anyhow::Result<()> {
        Ok(())
    }
}
impl Host for Willing {
    fn reconcile(&self, _: &Topology) -> anyhow::Result<()> {
        Ok(())
    }
}

fn start(directory: &Path, file: Model) -> ControlPlane {
    let store = Durable::new(Arc::new(SqliteStore::open(directory).expect("opened").0));
    let found = store.load().expect("loaded");
    let setup = Setup {
        host: Arc::new(config::parse(FILE, "control.toml").expect("sound").host),
        file,
        prune: false,
        dry_run: false,
        workers: 2,
        namespaces: vec![1, 2],
        daemon: Caller::user(0, "root"),
        bootstrap: Bootstrap { daemon: 0, socket_group: None },
        clock: jiff::Timestamp::now,
        validate: |model, host, endpoint| match endpoint {
            Some(key) => rules::endpoint(model, Some(host), key),
            None => rules::validate(model, Some(host)),
        },
        link_key: LinkKey::new([7; 16]),
    };
    let prepared = Prepared::new(setup, found, Box::new(store)).expect("prepared");
    prepared.start(Arc::new(Willing), Arc::new(Willing), Box::new(|_| ())).expect("started")
}

/// One VNet with a resolver, and a service with a name of its own for every endpoint.
fn networks() -> Model {
    let text = FILE.replacen(
        "address_space = [\"10.0.0.0/8\"]",
        "address_space = [\"10.0.0.0/8\"]\ndns = { listen = \"10.0.0.53\" }",
        1,
    );
    config::parse(&text, "control.toml").expect("sound").model
}

fn named(number: usize) -> Key {
    Key::new("default", format!("endpoint-{number}"))
}

fn service(model: &Model, number: usize) -> (Key, LinkResource) {
    let mut service = model.resources.get(&Key::new("default", "service")).expect("there").clone();
    service.fqdns = vec![name(number)];
    service.shared_backend = true;
    service.nat.clear();
    service.vnet = None;
    service.targets.iter_mut().for_each(|target| target.backends.clear());
    service.kind = Some("Microsoft.Storage/storageAccounts".into());
    service.targets.iter_mut().for_each(|target| target.subresource = "blob".into());
    (Key::new("default", format!("account{number}")), service)
}

fn name(number: usize) -> String {
    format!("account{number}.blob.core.windows.net")
}

fn endpoint(number: usize) -> PrivateEndpoint {
    PrivateEndpoint {
        region: "local".into(),
        vnet: Key::new("default", "spoke"),
        subnet: "endpoints".into(),
        addresses: vec![EndpointIp { member: String::new(), ip: None }],
        resource: Key::new("default", format!("account{number}")),
        subresource: "blob".into(),
        manual: false,
        request_message: String::new(),
        status: None,
        reason: String::new(),
        sources: Vec::new(),
        max_sessions: None,
        rates: None,
        accept_names: None,
        zone_group: None,
        labels: None,
    }
}

/// Median and longest of `rounds` runs of `work`.
fn timed(name: &str, rounds: usize, mut work: impl FnMut(usize)) {
    let mut times: Vec<Duration> = (0..rounds)
        .map(|round| {
            let began = Instant::now();
            work(round);
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("{name:<52} median {:>9.3?}  longest {:>9.3?}", times[rounds / 2], times[rounds - 1]);
}

/// Waits until the published plan says of a name what `there` asks.
fn answered(control: &ControlPlane, number: usize, there: bool) {
    let host = format!("account{number}.privatelink.blob.core.windows.net");
    loop {
        let view = control.view();
        let plan = view.dns.resolvers.get("default/spoke").expect("a resolver");
        if plan.names.get(&host).is_some_and(|node| node.owners.iter().any(|owner| plan.tells(owner, false))) == there {
            return;
        }
        std::thread::yield_now();
    }
}

fn main() {
    // `cargo test --benches` runs this too; it has nothing to test.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let directory = std::env::temp_dir().join(format!("privlink-names-{}", std::process::id()));
    let root = Caller::user(0, "root");
    let control = start(&directory, networks());
    let mut file = networks();
    for number in 0..MANY + 50 {
        let (key, resource) = service(&networks_once(), number);
        file.resources.insert(key, resource);
    }
    (0..MANY).for_each(|number| file.endpoints.insert(named(number), endpoint(number)));
    let began = Instant::now();
    let version = ApplyFile { author: DAEMON.into(), model: file, host: None, prune: false, dry_run: false };
    control.apply(&root, version).expect("applied");
    println!("{:<52} {:.1?}", "100 K endpoints with a name each, by one file", began.elapsed());

    timed("create, until the name answers", 50, |round| {
        let mut items = Box::new(Model::default());
        items.endpoints.insert(named(MANY + round), endpoint(MANY + round));
        tell(&control, Put { items, create_only: true });
        answered(&control, MANY + round, true);
    });
    timed("reject, until it answers no more", 50, |round| {
        tell(&control, Decide::reject(Decision { endpoint: named(round * 7).to_string(), ..Decision::default() }));
        answered(&control, round * 7, false);
    });
    timed("delete, until it is gone", 50, |round| {
        tell(&control, Delete { kind: ItemKind::Endpoint, reference: named(MANY + round).to_string() });
        answered(&control, MANY + round, false);
    });
    // What the API does besides: whom a document may speak of, before the call, and what surprises, after it.
    let seen = |_| drop(control.view().seen_by_author(&root, FILE, false));
    timed("what a document may refer to", 20, seen);
    let warned = |_| {
        let view = control.view();
        drop(lint::lint(&view.state, &view.dns));
    };
    timed("what surprises of everything", 20, warned);
    // Last: what it frees again would be tidied up within whatever is measured next.
    let state = Arc::clone(&control.view().state);
    let began = Instant::now();
    let planner = Planner::of(&state, 7);
    println!("{:<52} {:.1?}", "the whole plan made anew", began.elapsed());
    drop((planner, state));
    std::fs::remove_dir_all(directory).expect("removed");
}

/// The networks, read once.
fn networks_once() -> Model {
    static ONCE: std::sync::OnceLock<Model> = std::sync::OnceLock::new();
    ONCE.get_or_init(networks).clone()
}

fn tell(control: &ControlPlane, command: impl Command) {
    control.apply(&Caller::user(0, "root"), command).expect("done");
}
