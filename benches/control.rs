//! The control plane at its size: `cargo bench --bench control`. Measures with the real store, durable commits
//! included; workers and host answer at once. Prints one table; nothing here is asserted.

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

use privlink::compile::health::Health;
use privlink::compile::retired::Retired;
use privlink::compile::{Input, Registry, compile};
use privlink::config;
use privlink::control::codec::{Durable, StateStore as _};
use privlink::control::sinks::{Host, Snapshot, Topology, Workers};
use privlink::control::{ApplyFile, Command, ControlPlane, Decide, Decision, Delete, Prepared, Put, Setup};
use privlink::model::links::LinkKey;
use privlink::model::rules::Violation;
use privlink::model::state::DAEMON;
use privlink::model::state::{Connection, DecidedBy, ItemKind};
use privlink::model::{Bootstrap, Caller, rules};
use privlink::model::{EndpointIp, HostConfig, Key, Model, PrivateEndpoint, Subnet};
use privlink::snapshot::ConnectionState;
use privlink::store::sqlite::SqliteStore;

const FILE: &str = include_str!("control.toml");

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

fn check(model: &Model, host: &HostConfig, endpoint: Option<&Key>) -> Vec<Violation> {
    match endpoint {
        Some(key) => rules::endpoint(model, Some(host), key),
        None => rules::validate(model, Some(host)),
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
        daemon: root(),
        bootstrap: Bootstrap { daemon: 0, socket_group: None },
        clock: jiff::Timestamp::now,
        validate: check,
        link_key: LinkKey::new([7; 16]),
    };
    let prepared = Prepared::new(setup, found, Box::new(store)).expect("prepared");
    prepared.start(Arc::new(Willing), Arc::new(Willing), Box::new(|_| ())).expect("started")
}

fn root() -> Caller {
    Caller::user(0, "root")
}

/// The networks of the file, without endpoints.
fn networks() -> Model {
    config::parse(FILE, "control.toml").expect("sound").model
}

fn named(number: usize) -> Key {
    Key::new("default", format!("endpoint-{number}"))
}

fn endpoint(ip: Option<std::net::IpAddr>) -> PrivateEndpoint {
    let subnet: &Subnet = &networks().vnets.get(&Key::new("default", "spoke")).expect("there").subnets[0].clone();
    PrivateEndpoint {
        region: "local".into(),
        vnet: Key::new("default", "spoke"),
        subnet: subnet.name.clone(),
        addresses: vec![EndpointIp { member: String::new(), ip }],
        resource: Key::new("default", "service"),
        subresource: String::new(),
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

fn create(control: &ControlPlane, key: Key, wanted: &PrivateEndpoint) {
    let mut items = Box::new(Model::default());
    items.endpoints.insert(key, wanted.clone());
    control.apply(&root(), Put { items, create_only: true }).expect("created");
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
    println!("{name:<44} median {:>9.3?}  longest {:>9.3?}", times[rounds / 2], times[rounds - 1]);
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// 100 K Approved endpoints made into a snapshot: whole, by a compiler that knows none of them, and by one that knows
/// them all.
fn compiled() {
    let mut model = networks();
    for number in 0..100_000 {
        let address = std::net::Ipv4Addr::from(0x0A40_0004 + number);
        model.endpoints.insert(named(number as usize), endpoint(Some(address.into())));
    }
    let connection = |link| Connection {
        link,
        state: ConnectionState::Approved,
        description: String::new(),
        decided_by: DecidedBy::Nobody,
        decided_at: jiff::Timestamp::UNIX_EPOCH,
        created_at: jiff::Timestamp::UNIX_EPOCH,
        requester: root().actor(),
        by_id: false,
        history: Vec::new(),
        ends_at: None,
    };
    let connections = (1..).zip(model.endpoints.keys()).map(|(link, key)| (key.clone(), connection(link))).collect();
    let host = config::parse(FILE, "control.toml").expect("sound").host;
    let input = Input {
        model: &model,
        connections: &connections,
        host: &host,
        namespaces: &[1, 2],
        workers: 2,
        health: &Health::default(),
        retired: &Retired::default(),
    };
    timed("validate 100 K endpoints", 10, |_| {
        assert!(check(&model, &host, None).iter().all(|one| one.severity == rules::Severity::Warning));
    });
    timed("compile 100 K endpoints, all new", 10, |_| {
        drop(compile(&input, &mut Registry::default(), 1).expect("compiled"));
    });
    let mut registry = Registry::default();
    timed("compile 100 K endpoints, all known", 11, |round| {
        let made = compile(&input, &mut registry, round as u64 + 1).expect("compiled");
        assert_eq!(made.snapshot.generations().len(), 100_000);
    });
}

/// What a daemon does on the state in `large`.
fn measure(large: &Path) {
    let wanted = endpoint(None);
    let began = Instant::now();
    let control = start(large, networks());
    println!("{:<44} {:.1?}", "start with 100 K endpoints", began.elapsed());
    println!("{:<44} {} MB", "resident with 100 K endpoints", resident());
    let decision = |round: usize| Decision { endpoint: named(round * 7).to_string(), ..Decision::default() };

    timed("reject at 100 K", 50, |round| tell(&control, Decide::reject(decision(round))));
    timed("approve at 100 K", 50, |round| tell(&control, Decide::approve(decision(round))));
    timed("create at 100 K", 50, |round| create(&control, named(200_000 + round), &wanted));
    timed("delete at 100 K", 50, |round| {
        tell(&control, Delete { kind: ItemKind::Endpoint, reference: named(200_000 + round).to_string() });
    });
    timed("show one of 100 K", 50, |round| drop(control.view().endpoint(&named(round).to_string()).expect("there")));
    timed("list the pending of 100 K", 50, |_| drop(control.view().connections(true)));
}

fn main() {
    // `cargo test --benches` runs this too; it has nothing to test.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    if let Some(large) = std::env::args().skip_while(|argument| argument != "--at").nth(1) {
        return measure(Path::new(&large));
    }
    compiled();
    let directory = std::env::temp_dir().join(format!("privlink-bench-{}", std::process::id()));
    let wanted = endpoint(None);
    let control = start(&directory.join("small"), networks());
    let began = Instant::now();
    (0..10_000).for_each(|number| create(&control, named(number), &wanted));
    println!("{:<44} {:.1?}", "10 K endpoints created one by one", began.elapsed());
    drop(control);

    let large = directory.join("large");
    let control = start(&large, networks());
    let mut file = networks();
    (0..100_000).for_each(|number| file.endpoints.insert(named(number), wanted.clone()));
    let began = Instant::now();
    let version = ApplyFile { author: DAEMON.into(), model: file.clone(), host: None, prune: false, dry_run: false };
    control.apply(&root(), version).expect("applied");
    println!("{:<44} {:.1?}", "100 K endpoints applied by one file", began.elapsed());
    drop((control, file));

    // In a process of its own: what this one has freed is none of a daemon's.
    let program = std::env::current_exe().expect("known");
    let child = std::process::Command::new(program).args(["--bench", "--at"]).arg(&large).status().expect("run");
    assert!(child.success());
    std::fs::remove_dir_all(directory).expect("removed");
}

fn tell(control: &ControlPlane, command: impl Command) {
    control.apply(&root(), command).expect("done");
}
