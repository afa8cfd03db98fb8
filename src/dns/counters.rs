//! Counts of queries.

use std::sync::atomic::{AtomicU64, Ordering};

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Source {
    /// The plan alone.
    Private,
    /// A cached answer of an upstream.
    Cached,
    /// An upstream, just now.
    Forwarded,
    /// The query is invalid, or its sender may not ask.
    Refused,
}

/// Why a message got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Unanswered {
    /// It is not a query: it is too short, or it is an answer.
    NoQuery,
    /// Too many others wait for an upstream.
    Busy,
    /// Its answer could not be sent.
    Unsent,
}

/// One resolver's counts.
#[derive(Debug, Default)]
pub struct Counters {
    answered: [[AtomicU64; CODES.len()]; SOURCES.len()],
    dropped: [AtomicU64; REASONS.len()],
}

const SOURCES: [&str; 4] = ["private", "cached", "forwarded", "refused"];

const REASONS: [&str; 3] = ["no_query", "busy", "unsent"];

/// Response codes of a resolver (RFC 1035 §4.1.1, RFC 6891 §9), and all others of upstreams together.
const CODES: [(u8, &str); 8] = [
    (0, "NOERROR"),
    (1, "FORMERR"),
    (2, "SERVFAIL"),
    (3, "NXDOMAIN"),
    (4, "NOTIMP"),
    (5, "REFUSED"),
    (16, "BADVERS"),
    (u8::MAX, "OTHER"),
];

fn place_of(code: u8) -> usize {
    CODES.iter().position(|(known, _)| *known == code).unwrap_or(CODES.len() - 1)
}

impl Counters {
    /// Counts an answer.
    pub fn answered(&self, source: Source, code: u8) {
        self.answered[source as usize][place_of(code)].fetch_add(1, Ordering::Relaxed);
    }

    /// The name of a code.
    pub fn code_name(code: u8) -> &'static str {
        CODES[place_of(code)].1
    }

    /// Counts a message without one.
    pub fn dropped(&self, why: Unanswered) {
        self.dropped[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts of answers: source, code, number.
    pub fn answers(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        SOURCES.iter().zip(&self.answered).flat_map(|(source, counts)| {
            let count =
                |((_, code), count): (&(u8, &'static str), &AtomicU64)| (*source, *code, count.load(Ordering::Relaxed));
            CODES.iter().zip(counts).map(count)
        })
    }

    /// Counts of messages without an answer: reason, number.
    pub fn drops(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REASONS.iter().zip(&self.dropped).map(|(why, count)| (*why, count.load(Ordering::Relaxed)))
    }
}
