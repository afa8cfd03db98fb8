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
use harness::Reached;

/// Runs every input of a target, and sums up what they reached.
fn replay(target: &str, run: fn(&[u8]) -> Reached) -> (usize, Reached) {
    let (mut inputs, mut all) = (0, Reached::default());
    for kept in ["corpus", "regressions"] {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kept).join(target);
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries {
            let path = entry.expect("an entry").path();
            let data = std::fs::read(&path).expect("readable");
            // The name of the input that fails stands above its panic.
            eprintln!("{}", path.display());
            let reached = run(&data);
            inputs += 1;
            all.read += reached.read;
            all.forwarded += reached.forwarded;
            all.dropped += reached.dropped;
            all.answered += reached.answered;
            all.sound += reached.sound;
        }
    }
    (inputs, all)
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
