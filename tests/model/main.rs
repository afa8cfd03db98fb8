//! A naive reference model of the forwarder, and seeded random traffic through both. After every step
//! the model has predicted what leaves, bit for bit, and every counter; regularly also every session.
//!
//! A run takes a quarter of its steps, or all with `PRIVLINK_TESTS=full`. `PRIVLINK_MODEL_SEED=n` repeats one run,
//! `PRIVLINK_MODEL_STEPS=n` sets its length (one that is shorter still need not reach every case); a seed that fails
//! goes into `regressions.txt`. That these tests can fail is
//! itself tested: `scripts/planted.sh` plants bugs one by one and names the test that finds each.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "a test builds packets from small numbers, and may fail loudly"
)]

/// What all tests share.
#[path = "../support/mod.rs"]
mod support;

/// Frames, naive checksums.
mod packet;

/// Rules as plain lists; the linear policy scan.
mod rules;

/// The reference: a map of sessions.
mod oracle;

/// The code under test.
mod world;

/// Random changes and packets.
mod traffic;

/// ICMP errors.
mod errors;

/// Segments in the name of others.
mod forged;

/// Fragments.
mod pieces;

/// Limits.
mod bounds;

/// What does not fit its way.
mod path_mtu;

/// All ports of a NAT address.
mod ports;

/// Bits that pass an endpoint.
mod rates;

/// Steps through both, and the comparison after each.
mod run;

use rules::Families;
use run::{Case, Run};

fn seeds(from: u64) -> Vec<u64> {
    let one = std::env::var("PRIVLINK_MODEL_SEED").ok().and_then(|text| text.parse().ok());
    one.map_or_else(|| (from..from + 8).collect(), |seed| vec![seed])
}

/// Steps per seed in a whole run; eight seeds for each of the tests make two million.
const WHOLE: usize = 64_000;

/// Steps per seed in a sample.
const SAMPLE: usize = 16_000;

/// What of a step shows that it forwarded something.
const FORWARDED: [Case; 5] = [Case::Opened, Case::Passed, Case::Returned, Case::Error, Case::Whole];

/// The steps that somebody asks for, or `usual`.
fn steps_or(usual: usize) -> usize {
    std::env::var("PRIVLINK_MODEL_STEPS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// One run, all its steps taken.
fn run(seed: u64, workers: u16, table: u32, steps: usize) -> Run {
    println!("PRIVLINK_MODEL_SEED={seed}, {workers} workers, table of {table}");
    // The four pairs of families take turns.
    let families = Families { consumer: seed & 1 != 0, provider: seed & 2 != 0 };
    let mut run = Run::new(seed, workers, table, families);
    (0..steps).for_each(|_| run.step());
    run
}

fn compare(workers: u16, table: u32, from: u64, minimums: &[(Case, u64)]) {
    let mut reached = run::Reached::default();
    let (seeds, steps) = (seeds(from), steps_or(if support::wanted::full() { WHOLE } else { SAMPLE }));
    for &seed in &seeds {
        run(seed, workers, table, steps).finish(&mut reached);
    }
    println!("{reached:?}");
    if steps < SAMPLE {
        return;
    }
    let forwarded: u64 = FORWARDED.iter().filter_map(|case| reached.get(case)).sum();
    let all = (steps * seeds.len()) as u64;
    assert!(steps < WHOLE || forwarded * 10 >= all * 3, "{forwarded} of {all} steps forwarded something: {reached:?}");
    for &(case, at_least) in minimums {
        let count = reached.get(&case).copied().unwrap_or(0);
        let at_least = at_least * steps as u64 / WHOLE as u64;
        assert!(count >= at_least, "the generator reached {case:?} only {count} times: {reached:?}");
    }
}

const USUAL: &[(Case, u64)] = &[
    (Case::Error, 5_000),
    (Case::Whole, 1_000),
    (Case::Drop("fragment_duplicate"), 100),
    (Case::Drop("fragment_overlap"), 100),
    (Case::Drop("fragment_dead"), 100),
    (Case::Drop("fragment_tiny"), 100),
    (Case::Drop("fragment_oversize"), 100),
    (Case::Drop("fragment_too_many"), 100),
    (Case::Drop("fragment_timeout"), 100),
    (Case::Drop("packet_too_big"), 100),
    (Case::Narrowed, 1_000),
    (Case::Cut, 100),
    (Case::Segmented, 100),
    (Case::Drop("write_failed"), 100),
    (Case::Drop("icmp_unmatched"), 100),
    (Case::Asked, 100),
    (Case::Forged("acknowledgement"), 100),
    (Case::Forged("data"), 100),
    (Case::Forged("reset"), 100),
    (Case::Forged("fin"), 100),
    (Case::Forged("syn"), 100),
    (Case::Forged("syn-ack"), 100),
    (Case::Forged("no flags"), 100),
    (Case::Forged("reset with a bad checksum"), 100),
    (Case::Forged("fin with a bad checksum"), 100),
    (Case::Opened, 5_000),
    (Case::Passed, 20_000),
    (Case::Returned, 20_000),
    (Case::Revoked, 1_000),
    (Case::BothEndsReset, 20),
    (Case::IdleReset, 10),
    (Case::Expired, 100),
    (Case::Partial, 200),
    (Case::StillWrong, 50),
    (Case::ExactClose, 20),
    (Case::Answered, 200),
    (Case::Malformed, 100),
    (Case::Drop("malformed"), 100),
    (Case::Drop("unsupported_protocol"), 100),
    (Case::Drop("source_route"), 100),
    (Case::Drop("extension_header"), 100),
    (Case::Drop("spoofed_source"), 100),
    (Case::Drop("unknown_endpoint"), 100),
    (Case::Drop("not_approved_pending"), 100),
    (Case::Drop("not_approved_rejected"), 100),
    (Case::Drop("not_approved_disconnected"), 100),
    (Case::Drop("source_not_allowed"), 100),
    (Case::Drop("workload_excluded"), 100),
    (Case::Drop("denied_by_rule"), 100),
    (Case::Drop("port_not_exposed"), 100),
    (Case::Drop("not_syn"), 100),
    (Case::Drop("no_backend"), 100),
    (Case::Drop("rate_limited"), 100),
    (Case::Drop("session_limit"), 100),
    (Case::Drop("session_ended"), 100),
    (Case::Drop("no_session"), 100),
    (Case::Drop("ttl_expired"), 100),
];

#[test]
fn what_once_failed_does_what_the_model_says() {
    let lines = include_str!("regressions.txt").lines().filter(|line| !line.starts_with('#'));
    for line in lines {
        let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().expect("a number")).collect();
        let [seed, workers, table] = numbers[..] else { panic!("seed, workers and table: {line}") };
        run(seed, workers as u16, table as u32, steps_or(WHOLE)).finish(&mut run::Reached::default());
    }
}

#[test]
fn one_worker_does_what_the_model_says() {
    compare(1, 1 << 20, 1, &[USUAL, &[(Case::Drop("fragment_full"), 100)]].concat());
}

#[test]
fn two_workers_do_what_the_model_says() {
    compare(2, 1 << 20, 101, &[USUAL, &[(Case::Drop("handover_full"), 100)]].concat());
}

#[test]
fn four_workers_do_what_the_model_says() {
    compare(4, 1 << 20, 201, USUAL);
}

#[test]
fn a_small_table_evicts_closed_sessions_and_never_live_ones() {
    compare(
        1,
        5,
        301,
        &[(Case::Evicted, 20), (Case::HalfOpenGave, 20), (Case::Drop("table_full"), 100), (Case::Opened, 100)],
    );
}

#[test]
fn every_port_is_used_once_before_one_is_refused() {
    ports::every_port_is_used_once();
}

#[test]
fn bits_pass_as_the_model_says() {
    rates::what_passes_is_what_plain_buckets_hold();
}
