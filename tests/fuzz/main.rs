//! Replays what fuzzing found worth keeping: `tests/fuzz/corpus/TARGET.txt`, and every input that once failed, in
//! `tests/fuzz/regressions/TARGET.txt`; each line is an input in hexadecimal. Finding more needs `scripts/fuzz.sh`; this
//! needs nothing.

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
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fuzz/{kept}/{target}.txt"));
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        for (line, number) in text.lines().zip(1..) {
            // The line of the input that fails stands above its panic.
            eprintln!("{}:{number}", file.display());
            run(&bytes(line).unwrap_or_else(|| panic!("{}:{number}: no hexadecimal number", file.display())));
            inputs += 1;
        }
    }
    inputs
}

/// The bytes that a line holds.
fn bytes(line: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = line.chars().map(|digit| Some(digit.to_digit(16)? as u8)).collect();
    digits?.chunks(2).map(|pair| Some(pair[0] << 4 | pair.get(1)?)).collect()
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
