//! The audit log: records chained by their hashes, so that a record deleted, edited, moved or cut off
//! is found. It shows tampering; it cannot stop someone who may rewrite the whole file.

use std::fmt;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// The entry that says what was pruned: number and hash of the last record that is gone.
pub const ANCHOR_KEY: &str = "meta/audit_anchor";

/// What a caller hands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditBody {
    /// By the caller's clock; kept to the microsecond.
    pub at: Timestamp,
    /// JSON by convention, opaque here.
    pub body: Vec<u8>,
}

/// One link of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// 1, 2, 3, … without gaps.
    pub seq: u64,
    /// When, by the clock of who recorded it.
    pub at: Timestamp,
    /// As handed in.
    pub body: Vec<u8>,
    /// Hash of the record before; zeros for the first.
    pub previous: ChainHash,
    /// SHA-256 of `previous`, `seq`, `at` (microseconds since 1970) and `body`, the numbers as 8 bytes big-endian.
    pub hash: ChainHash,
}

/// Which records to list.
#[derive(Clone, Copy, Debug)]
pub struct AuditQuery {
    /// From this sequence number on.
    pub from: u64,
    /// Only those below this sequence number.
    pub before: Option<u64>,
    /// Only those at this time or later.
    pub since: Option<Timestamp>,
    /// At most so many.
    pub limit: usize,
    /// From the newest backwards.
    pub newest_first: bool,
}

/// An intact chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Number of records.
    pub count: u64,
    /// Hash of the last; zeros if there is none. Noted elsewhere, it shows a later rewrite of the whole log.
    pub last_hash: ChainHash,
}

/// A chain that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit log is broken at record {seq}: {why}")]
pub struct ChainBroken {
    /// The first record that is not what it must be.
    pub seq: u64,
    /// In which way.
    pub why: &'static str,
}

/// A SHA-256 hash, shown in hexadecimal.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ChainHash(pub [u8; 32]);

impl fmt::Display for ChainHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl AuditRecord {
    /// The record that follows on a chain which ends at `end`.
    pub(super) fn after(end: Verified, body: AuditBody) -> Self {
        let AuditBody { at, body } = body;
        // Hashed as it can be read back.
        let at = Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at);
        let mut record = Self { seq: end.count + 1, at, body, previous: end.last_hash, hash: ChainHash::default() };
        record.hash = record.computed_hash();
        record
    }

    fn computed_hash(&self) -> ChainHash {
        let mut hasher = Sha256::new();
        hasher.update(self.previous.0);
        hasher.update(self.seq.to_be_bytes());
        hasher.update(self.at.as_microsecond().to_be_bytes());
        hasher.update(&self.body);
        ChainHash(hasher.finalize().into())
    }
}

impl Verified {
    /// As the value of [`ANCHOR_KEY`].
    pub(super) fn to_bytes(self) -> Vec<u8> {
        [self.count.to_be_bytes().as_slice(), &self.last_hash.0].concat()
    }

    /// From the value of [`ANCHOR_KEY`]; without one nothing was pruned. `None`: it cannot be.
    pub(super) fn from_anchor(value: Option<&[u8]>) -> Option<Self> {
        let Some(value) = value else { return Some(Self::default()) };
        let (count, hash) = value.split_first_chunk()?;
        Some(Self { count: u64::from_be_bytes(*count), last_hash: ChainHash(hash.try_into().ok()?) })
    }

    /// Takes the next record into the chain.
    pub(super) fn extend(&mut self, record: &AuditRecord) -> Result<(), ChainBroken> {
        let seq = self.count + 1;
        let broken = |why| Err(ChainBroken { seq, why });
        if record.seq != seq {
            return broken("it is missing");
        }
        if record.previous != self.last_hash {
            return broken("it does not follow the record before it");
        }
        if record.computed_hash() != record.hash {
            return broken("its content does not match its hash");
        }
        *self = Self { count: seq, last_hash: record.hash };
        Ok(())
    }

    /// Holds the walked chain against the end that was noted with the last commit.
    pub(super) fn ends_at(self, noted: Self) -> Result<Self, ChainBroken> {
        if self == noted {
            return Ok(self);
        }
        let (seq, why) = match self.count.cmp(&noted.count) {
            std::cmp::Ordering::Less => (self.count + 1, "it and what followed are missing"),
            std::cmp::Ordering::Equal => (self.count, "it is not the record that was written last"),
            std::cmp::Ordering::Greater => (noted.count + 1, "it was never committed"),
        };
        Err(ChainBroken { seq, why })
    }
}
