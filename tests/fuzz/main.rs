//! Replays what fuzzing found worth keeping: `fuzz/corpus/TARGET`, and every input that once failed in
//! `fuzz/regressions/TARGET`. Finding more needs `scripts/fuzz.sh`; this needs nothing.

#![allow(
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    missing_docs,
    reason = "a test builds packets from small numbers, and may fail loudly"
)]

use std::path::Path;

mod harness;
mod names;
use harness::Reached;

/// Runs every input of a target, and sums up what they reached.
fn replay(target: &str, run: fn(&[u8]) -> Reached) -> (usize, Reached) {
    let mut all = Reached::default();
    let inputs = for_each(target, |data| {
        let reached = run(data);
        all.read += reached.read;
        all.forwarded += reached.forwarded;
        all.dropped += reached.dropped;
        all.answered += reached.answered;
        all.sound += reached.sound;
    });
    (inputs, all)
}

/// Every input of a target; how many there are.
fn for_each(target: &str, mut run: impl FnMut(&[u8])) -> usize {
    let mut inputs = 0;
    for kept in ["corpus", "regressions"] {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kept).join(target);
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries {
            let path = entry.expect("an entry").path();
            let data = std::fs::read(&path).expect("readable");
            // The name of the input that fails stands above its panic.
            eprintln!("{}", path.display());
            run(&data);
            inputs += 1;
        }
    }
    inputs
}

#[test]
fn packets() {
    let (inputs, reached) = replay("packets", harness::packets);
    assert!(
        inputs >= 100 && reached.forwarded > 500 && reached.dropped > 500 && reached.answered > 100,
        "{inputs} {reached:?}"
    );
}

#[test]
fn icmp() {
    let (inputs, reached) = replay("icmp", harness::icmp);
    // Furnishing forwards 24 packets each.
    let errors = reached.forwarded.saturating_sub(24 * inputs as u64);
    assert!(inputs >= 100 && errors > 100 && reached.dropped > 500, "{inputs} {reached:?}");
}

#[test]
fn fragments() {
    let (inputs, reached) = replay("fragments", harness::fragments);
    let datagrams = reached.forwarded.saturating_sub(24 * inputs as u64);
    assert!(inputs >= 100 && datagrams > 100 && reached.dropped > 500, "{inputs} {reached:?}");
}

#[test]
fn configuration() {
    let (inputs, reached) = replay("configuration", harness::configuration);
    assert!(inputs >= 100 && reached.sound >= 3, "{inputs} {reached:?}");
}

#[test]
fn dns() {
    let mut all = names::Told::default();
    let inputs = for_each("dns", |data| {
        let told = names::dns(data);
        all.answered += told.answered;
        all.silent += told.silent;
        all.later += told.later;
        all.addresses += told.addresses;
    });
    assert!(
        inputs >= 100 && all.answered > 80 && all.silent > 3 && all.later > 3 && all.addresses > 5,
        "{inputs} {all:?}"
    );
}
