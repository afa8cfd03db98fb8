//! The session table against its contenders, hits and misses, on one thread and on two. Names:
//! `metric/stage/packet_who_sessions`.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a bench builds keys from small numbers and measures real time; criterion's macros write undocumented items"
)]

use std::hint::black_box;
use std::io::Write as _;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group};
use dashmap::DashMap;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use privlink::dataplane::handoff::Shared;
use privlink::dataplane::io::batch::FRAMES;
use privlink::dataplane::session::index::{Candidate, Hash};
use privlink::dataplane::session::{Addresses, Admitted, FlowKey, Session, Slot, Table, Tick};
use privlink::snapshot::{AttachmentId, EndpointId, Generation, Protocol, ResourceId, TargetId};
use privlink::wire::Address;

#[path = "common/adversary.rs"]
mod adversary;

/// Sessions of a table whose keys somebody has chosen.
const CHOSEN: u32 = 64_000;

/// Keys asked for: more than any cache holds the lines of.
const KEYS: usize = 1 << 18;
/// Lookups between two looks at the clock.
const BURST: usize = 1 << 10;

fn session(number: u32) -> (Addresses, Session) {
    let addresses = Addresses {
        consumer: Address::v4(0x0A02_0000 + (number >> 14)),
        endpoint: Address::v4(0x0A01_0904),
        nat: Address::v4(0x0AC8_6301 + (number >> 15)),
        backend: Address::v4(0x0AC8_0002),
        consumer_port: 2_000 + (number & 0x3FFF) as u16,
        endpoint_port: 443,
        nat_port: 1_024 + (number & 0x7FFF) as u16,
        backend_port: 443,
    };
    let admitted = Admitted {
        link: 0,
        consumer_attachment: AttachmentId(0),
        provider_attachment: AttachmentId(1),
        endpoint: EndpointId(0),
        generation: Generation(1),
        resource: ResourceId(0),
        target: TargetId(0),
        idle_limit: 2_400,
        is_limited: false,
    };
    (addresses, Session::open(&addresses, Protocol::Tcp, &admitted, Tick(0)))
}

/// Both keys of session `number`.
fn keys_of(number: u32) -> [FlowKey; 2] {
    let (addresses, session) = session(number);
    [session.service_key(&addresses), session.consumer_key(&addresses)]
}

/// Keys of both directions in random order, and as many that no session has.
fn keys(count: u32) -> [(&'static str, Vec<FlowKey>); 2] {
    let mut random = fastrand::Rng::with_seed(1);
    let hits: Vec<_> = (0..KEYS).map(|_| keys_of(random.u32(..count))[usize::from(random.bool())]).collect();
    let misses =
        hits.iter().map(|key| FlowKey { source: Address::v4(key.source.low() ^ 0x4000_0000), ..*key }).collect();
    [("hit", hits), ("miss", misses)]
}

/// A map from keys to slots.
trait Contender: Sync {
    const NAME: &str;
    /// Holds both keys of every slot.
    fn of(slots: &[Slot]) -> Self;
    fn find(&self, key: &FlowKey) -> Option<Slot>;
}

impl Contender for HashMap<FlowKey, Slot, RandomState> {
    const NAME: &str = "hashbrown";
    fn of(slots: &[Slot]) -> Self {
        (0..).zip(slots).flat_map(|(number, slot)| keys_of(number).map(|key| (key, *slot))).collect()
    }
    fn find(&self, key: &FlowKey) -> Option<Slot> {
        self.get(key).copied()
    }
}

impl Contender for DashMap<FlowKey, Slot, RandomState> {
    const NAME: &str = "dashmap";
    fn of(slots: &[Slot]) -> Self {
        (0..).zip(slots).flat_map(|(number, slot)| keys_of(number).map(|key| (key, *slot))).collect()
    }
    fn find(&self, key: &FlowKey) -> Option<Slot> {
        self.get(key).map(|slot| *slot)
    }
}

impl Contender for papaya::HashMap<FlowKey, Slot, RandomState> {
    const NAME: &str = "papaya";
    fn of(slots: &[Slot]) -> Self {
        (0..).zip(slots).flat_map(|(number, slot)| keys_of(number).map(|key| (key, *slot))).collect()
    }
    fn find(&self, key: &FlowKey) -> Option<Slot> {
        self.pin().get(key).copied()
    }
}

fn lookup(c: &mut Criterion) {
    for (name, count) in [("1k", 1_000), ("64k", 64_000), ("1m", 1_000_000), ("10m", 10_000_000)] {
        let (table, slots) = ours(count);
        let keys = keys(count);
        for (kind, keys) in &keys {
            // Every contender ends by reading the session's line that a hit reads next.
            let scalar = |keys: &[FlowKey]| {
                keys.iter()
                    .filter_map(|key| table.find_any(black_box(key)))
                    .fold(0, |sum, hit| sum ^ touch(&table, hit.session))
            };
            time(c, kind, &format!("tcp4_ours_{name}"), keys, &scalar);
            // As a worker does it: all hashes of a batch, then all lines of the index, then the sessions.
            let batched =
                |keys: &[FlowKey]| keys.chunks_exact(FRAMES).fold(0, |sum, keys| sum ^ find_batch(&table, keys));
            time(c, kind, &format!("tcp4_ours-batched_{name}"), keys, &batched);
        }
        contend::<HashMap<_, _, _>>(c, &keys, &table, &slots, name);
        contend::<DashMap<_, _, _>>(c, &keys, &table, &slots, name);
        contend::<papaya::HashMap<_, _, _>>(c, &keys, &table, &slots, name);
    }
}

/// A full table of sessions whose keys were chosen by who knows the code, against one whose were not: `random`.
fn chosen(c: &mut Criterion) {
    for (family, tuple) in adversary::FAMILIES {
        let keys: Vec<_> = (0..CHOSEN).map(|number| chosen_session(tuple(number), number)).collect();
        let mut table = Table::new(CHOSEN, [3, 5]);
        let mut asked = Vec::with_capacity(KEYS);
        for (addresses, session) in keys {
            let key = session.service_key(&addresses);
            // A port may come twice in a family: a session is one all the same.
            if table.find_any(&key).is_none() {
                table.insert(&addresses, session).expect("room");
                asked.push(key);
            }
        }
        let mut random = fastrand::Rng::with_seed(1);
        let keys: Vec<_> = (0..KEYS).map(|_| asked[random.usize(..asked.len())]).collect();
        let find = |keys: &[FlowKey]| {
            keys.iter()
                .filter_map(|key| table.find_any(black_box(key)))
                .fold(0, |sum, hit| sum ^ touch(&table, hit.session))
        };
        time(c, "chosen", family, &keys, &find);
        // What workers ask before they hand a packet over, as if every session had been admitted elsewhere.
        let shared = Shared::new(Vec::new());
        for key in &asked {
            shared.settle(*key, 1);
        }
        let owner = |keys: &[FlowKey]| {
            keys.iter().filter_map(|key| shared.owner_of(black_box(key))).fold(0, |sum, worker| sum ^ u32::from(worker))
        };
        time(c, "chosen_elsewhere", family, &keys, &owner);
    }
}

/// A session of the consumer that a tuple names.
fn chosen_session(([source, destination], ports): adversary::Tuple, number: u32) -> (Addresses, Session) {
    let address = |bits| Address::from(std::net::IpAddr::from(std::net::Ipv6Addr::from_bits(bits)).to_canonical());
    let (ours, like) = session(number);
    let addresses = Addresses {
        consumer: address(source),
        endpoint: address(destination),
        consumer_port: ports[0],
        endpoint_port: ports[1],
        ..ours
    };
    let admitted = Admitted {
        link: 0,
        consumer_attachment: like.consumer_attachment,
        provider_attachment: like.provider_attachment,
        endpoint: like.endpoint,
        generation: like.generation,
        resource: like.resource,
        target: like.target,
        idle_limit: like.idle_limit,
        is_limited: false,
    };
    let session = Session::open(&addresses, Protocol::Tcp, &admitted, Tick(0));
    (addresses, session)
}

/// A full table, and the slots of its sessions.
fn ours(count: u32) -> (Table, Vec<Slot>) {
    let mut table = Table::new(count, [3, 5]);
    let insert = |number| {
        let (addresses, session) = session(number);
        table.insert(&addresses, session).expect("room")
    };
    let slots = (0..count).map(insert).collect();
    (table, slots)
}

fn find_batch(table: &Table, keys: &[FlowKey]) -> u32 {
    let mut parsed = [(Hash::NONE, Candidate::NONE); FRAMES];
    for ((hash, _), key) in parsed.iter_mut().zip(keys) {
        *hash = table.hash(black_box(key));
        table.prefetch_index(*hash);
    }
    for (hash, candidate) in &mut parsed {
        *candidate = table.prefetch_session(*hash, Protocol::Udp);
    }
    let found = keys.iter().zip(parsed).filter_map(|(key, (hash, candidate))| table.find(key, hash, candidate));
    found.fold(0, |sum, hit| sum ^ touch(table, hit.session))
}

fn touch(table: &Table, slot: Slot) -> u32 {
    table.get(slot).map_or(0, |session| session.idle_limit)
}

fn contend<M: Contender>(c: &mut Criterion, keys: &[(&str, Vec<FlowKey>)], table: &Table, slots: &[Slot], name: &str) {
    let map = M::of(slots);
    for (kind, keys) in keys {
        let scalar = |keys: &[FlowKey]| {
            keys.iter().filter_map(|key| map.find(black_box(key))).fold(0, |sum, slot| sum ^ touch(table, slot))
        };
        time(c, kind, &format!("tcp4_{}_{name}", M::NAME), keys, &scalar);
    }
}

/// Times `find` over the keys in turn: on one thread, and on two that begin at different keys.
fn time(c: &mut Criterion, kind: &str, who: &str, keys: &[FlowKey], find: &(dyn Fn(&[FlowKey]) -> u32 + Sync)) {
    for (threads, suffix) in [(1, ""), (2, "_2threads")] {
        let mut group = c.benchmark_group(format!("time/lookup_{kind}{suffix}"));
        group.throughput(Throughput::Elements(BURST as u64));
        group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(700));
        group.bench_function(who, |b| b.iter_custom(|bursts| on_threads(threads, bursts, keys, find)));
        group.finish();
    }
}

fn on_threads(threads: usize, bursts: u64, keys: &[FlowKey], find: &(dyn Fn(&[FlowKey]) -> u32 + Sync)) -> Duration {
    let run = |first: usize| {
        let began = Instant::now();
        for burst in 0..bursts {
            let at = (first + burst as usize * BURST) & (KEYS - 1);
            black_box(find(&keys[at..at + BURST]));
        }
        began.elapsed()
    };
    if threads == 1 {
        return run(0);
    }
    std::thread::scope(|scope| {
        let others: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread * KEYS / threads))).collect();
        others.into_iter().map(|other| other.join().expect("a time")).max().unwrap_or_default()
    })
}

/// Bytes of memory this process has now.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Bytes per session among a million: of our table with the sessions, of the others with both keys alone.
fn bytes_per_session(who: &str) -> u64 {
    let slots = vec![Slot::NONE; 1_000_000];
    let before = resident();
    let held: Box<dyn std::any::Any> = match who {
        "ours" => Box::new(ours(1_000_000).0),
        "hashbrown" => Box::new(HashMap::of(&slots)),
        "dashmap" => Box::new(DashMap::of(&slots)),
        _ => Box::new(papaya::HashMap::of(&slots)),
    };
    let bytes = resident().saturating_sub(before) / 1_000_000;
    drop(held);
    bytes
}

/// Leaves the bytes per session for the report; each is counted in a process of its own, where nothing was freed.
fn memory() -> std::io::Result<()> {
    let folder = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into()) + "/criterion";
    std::fs::create_dir_all(&folder)?;
    let mut file = std::fs::File::create(format!("{folder}/memory.tsv"))?;
    for who in ["ours", "hashbrown", "dashmap", "papaya"] {
        let output = std::process::Command::new(std::env::current_exe()?).args(["--memory", who]).output()?;
        write!(file, "{who}\t{}", String::from_utf8_lossy(&output.stdout))?;
    }
    Ok(())
}

criterion_group!(benches, lookup, chosen);

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--memory");
    if let (Some(_), Some(who)) = (arguments.next(), arguments.next()) {
        println!("{}", bytes_per_session(&who));
        return;
    }
    if std::env::args().any(|argument| argument == "--bench") {
        memory().expect("the target folder can be written");
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
