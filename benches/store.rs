//! The store on a real disk: durable commits by one caller and by sixteen at once, and what a start
//! costs with 100,000 entries of 600 bytes. Names: `metric/what/how`. `TMPDIR` names the disk.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a bench keeps time itself; criterion's macros write undocumented items"
)]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use jiff::Timestamp;
use privlink::store::audit::AuditBody;
use privlink::store::sqlite::SqliteStore;
use privlink::store::{Operation, Outcome, Store, Transaction};

const ENTRIES: u64 = 100_000;
const BYTES: usize = 600;

fn change(n: u64) -> Transaction {
    Transaction {
        operations: vec![Operation::put(format!("endpoint/group-7/{n:06}"), vec![b'x'; BYTES])],
        records: vec![AuditBody { at: Timestamp::UNIX_EPOCH, body: vec![b'y'; 200] }],
        ..Transaction::default()
    }
}

fn commit(store: &SqliteStore, n: u64) {
    let outcome = store.commit(change(n)).expect("committed");
    assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
}

fn bytes_in(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).expect("listed");
    entries.map(|entry| entry.and_then(|entry| entry.metadata()).expect("a file").len()).sum()
}

/// With every entry there already, as in a running daemon.
fn store(c: &mut Criterion) {
    let directory: PathBuf = std::env::temp_dir().join(format!("privlink-bench-store-{}", std::process::id()));
    let open = || SqliteStore::open(&directory).expect("opened").0;
    let store = open();
    for first in (0..ENTRIES).step_by(1000) {
        let operations = (first..first + 1000).flat_map(|n| change(n).operations).collect();
        let records = (first..first + 1000).flat_map(|n| change(n).records).collect();
        let outcome = store.commit(Transaction { operations, records, ..Transaction::default() }).expect("committed");
        assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
    }
    drop(store);
    println!("{} bytes on disk for {ENTRIES} entries of {BYTES} bytes and as many records", bytes_in(&directory));

    let mut group = c.benchmark_group("time");
    group.sample_size(10).throughput(Throughput::Elements(ENTRIES));
    group.bench_function("start/open_and_check", |b| b.iter_batched(|| (), |()| open(), BatchSize::PerIteration));
    let store = Arc::new(open());
    group.bench_function("start/range", |b| b.iter(|| black_box(store.range("").expect("readable"))));
    group.bench_function("audit/verify", |b| b.iter(|| black_box(store.verify().expect("intact"))));
    group.sample_size(100).throughput(Throughput::Elements(1));
    let mut random = fastrand::Rng::with_seed(3);
    group.bench_function("read/get", |b| {
        b.iter(|| black_box(store.get(&format!("endpoint/group-7/{:06}", random.u64(..ENTRIES)))));
    });
    group.sample_size(20);
    for committers in [1, 16] {
        group.bench_function(format!("commit/{committers}_at_once"), |b| {
            b.iter_custom(|times| {
                let (left, start) = (AtomicU64::new(times), Instant::now());
                std::thread::scope(|scope| {
                    for committer in 0..committers {
                        let (store, left) = (&store, &left);
                        scope.spawn(move || {
                            let mut random = fastrand::Rng::with_seed(committer);
                            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
                            {
                                commit(store, random.u64(..ENTRIES));
                            }
                        });
                    }
                });
                start.elapsed()
            });
        });
    }
    group.finish();
    drop(store);
    std::fs::remove_dir_all(&directory).expect("removed");
}

criterion_group!(benches, store);
criterion_main!(benches);
