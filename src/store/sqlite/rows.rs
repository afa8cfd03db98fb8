//! The rows as tables of SQL.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::store::audit::{AuditRecord, ChainHash, Verified};
use crate::store::draft::{Found, Head, Lease, Rows, checksum};
use crate::store::{Entry, LeaseId, Revision, StoreError};

/// The tables of one connection.
pub(super) struct Tables<'c>(pub(super) &'c Connection);

/// Columns of [`entry_of`].
pub(super) const ENTRY: &str = "key, value, create_revision, mod_revision, lease, checksum";
/// Columns of [`record_of`].
pub(super) const RECORD: &str = "seq, at, body, previous, hash";

/// An entry and the checksum that it matches.
pub(super) fn entry_of(row: &Row<'_>) -> Result<(Entry, u64), StoreError> {
    let entry = Entry {
        key: row.get(0)?,
        value: row.get(1)?,
        create_revision: Revision(unsigned(row, 2)?),
        mod_revision: Revision(unsigned(row, 3)?),
    };
    let lease = row.get::<_, Option<i64>>(4)?.map(|id| LeaseId(id.cast_unsigned()));
    let noted = unsigned(row, 5)?;
    if checksum(&entry, lease) != noted {
        return Err(damaged(format!("the entry {} does not match its checksum", entry.key)));
    }
    Ok((entry, noted))
}

pub(super) fn record_of(row: &Row<'_>) -> Result<AuditRecord, StoreError> {
    Ok(AuditRecord {
        seq: unsigned(row, 0)?,
        at: timestamp(row.get(1)?)?,
        body: row.get(2)?,
        previous: ChainHash(row.get(3)?),
        hash: ChainHash(row.get(4)?),
    })
}

impl Tables<'_> {
    /// The checksums of all leases, combined.
    pub(super) fn lease_digest(&self) -> Result<u64, StoreError> {
        let mut statement = self.0.prepare("SELECT id FROM lease")?;
        let mut rows = statement.query([])?;
        let mut digest = 0;
        while let Some(row) = rows.next()? {
            let id = LeaseId(unsigned(row, 0)?);
            digest ^= self.lease(id)?.map_or(0, |terms| terms.checksum(id));
        }
        Ok(digest)
    }

    pub(super) fn head(&self) -> Result<Head, StoreError> {
        let mut statement = self.0.prepare_cached(
            "SELECT revision, last_lease, audit_count, audit_hash, digest, checksum FROM head WHERE one = 1",
        )?;
        let mut rows = statement.query([])?;
        let row = rows.next()?.ok_or_else(|| damaged("its head is missing".to_owned()))?;
        let head = Head {
            revision: Revision(unsigned(row, 0)?),
            last_lease: unsigned(row, 1)?,
            audit: Verified { count: unsigned(row, 2)?, last_hash: ChainHash(row.get(3)?) },
            digest: unsigned(row, 4)?,
        };
        if head.checksum() != unsigned(row, 5)? {
            return Err(damaged("its head does not match its checksum".to_owned()));
        }
        Ok(head)
    }

    pub(super) fn put_head(&self, head: &Head) -> Result<(), StoreError> {
        let mut statement = self.0.prepare_cached("INSERT OR REPLACE INTO head VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)")?;
        statement.execute(params![
            head.revision.0.cast_signed(),
            head.last_lease.cast_signed(),
            head.audit.count.cast_signed(),
            head.audit.last_hash.0,
            head.digest.cast_signed(),
            head.checksum().cast_signed(),
        ])?;
        Ok(())
    }
}

impl Rows for Tables<'_> {
    fn find(&self, key: &str) -> Result<Option<Found>, StoreError> {
        let sql = "SELECT create_revision, mod_revision, checksum FROM entry WHERE key = ?1";
        let found = |row: &Row<'_>| {
            Ok(Found {
                create_revision: Revision(unsigned(row, 0)?),
                mod_revision: Revision(unsigned(row, 1)?),
                checksum: unsigned(row, 2)?,
            })
        };
        Ok(self.0.prepare_cached(sql)?.query_row([key], found).optional()?)
    }

    fn put(&mut self, entry: &Entry, lease: Option<LeaseId>, checksum: u64) -> Result<(), StoreError> {
        let sql = format!(
            "INSERT INTO entry ({ENTRY}) VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (key) DO UPDATE SET \
             (value, create_revision, mod_revision, lease, checksum) = (?2, ?3, ?4, ?5, ?6)"
        );
        self.0.prepare_cached(&sql)?.execute(params![
            entry.key,
            entry.value,
            entry.create_revision.0.cast_signed(),
            entry.mod_revision.0.cast_signed(),
            lease.map(|lease| lease.0.cast_signed()),
            checksum.cast_signed(),
        ])?;
        Ok(())
    }

    fn delete(&mut self, key: &str) -> Result<(), StoreError> {
        self.0.prepare_cached("DELETE FROM entry WHERE key = ?1")?.execute([key])?;
        Ok(())
    }

    fn bound_to(&self, lease: LeaseId) -> Result<Vec<String>, StoreError> {
        let mut statement = self.0.prepare_cached("SELECT key FROM entry WHERE lease = ?1 ORDER BY key")?;
        let keys = statement.query_map([lease.0.cast_signed()], |row| row.get(0))?;
        Ok(keys.collect::<Result<_, _>>()?)
    }

    fn append(&mut self, record: &AuditRecord) -> Result<(), StoreError> {
        let sql = format!("INSERT INTO audit ({RECORD}) VALUES (?1, ?2, ?3, ?4, ?5)");
        self.0.prepare_cached(&sql)?.execute(params![
            record.seq.cast_signed(),
            record.at.as_microsecond(),
            record.body,
            record.previous.0,
            record.hash.0,
        ])?;
        Ok(())
    }

    fn audit_hash(&self, seq: u64) -> Result<Option<ChainHash>, StoreError> {
        let mut statement = self.0.prepare_cached("SELECT hash FROM audit WHERE seq = ?1")?;
        Ok(statement.query_row([seq.cast_signed()], |row| row.get(0).map(ChainHash)).optional()?)
    }

    fn prune(&mut self, through: u64) -> Result<(), StoreError> {
        self.0.prepare_cached("DELETE FROM audit WHERE seq <= ?1")?.execute([through.cast_signed()])?;
        Ok(())
    }

    fn lease(&self, lease: LeaseId) -> Result<Option<Lease>, StoreError> {
        let mut statement = self.0.prepare_cached("SELECT ttl, ends FROM lease WHERE id = ?1")?;
        let terms = |row: &Row<'_>| Ok((unsigned(row, 0)?, row.get(1)?));
        let found: Option<(u64, i64)> = statement.query_row([lease.0.cast_signed()], terms).optional()?;
        found
            .map(|(ttl, ends)| Ok(Lease { ttl: std::time::Duration::from_micros(ttl), ends: timestamp(ends)? }))
            .transpose()
    }

    fn put_lease(&mut self, lease: LeaseId, terms: Lease) -> Result<(), StoreError> {
        let ttl = i64::try_from(terms.ttl.as_micros()).unwrap_or(i64::MAX);
        let mut statement =
            self.0.prepare_cached("INSERT OR REPLACE INTO lease (id, ttl, ends) VALUES (?1, ?2, ?3)")?;
        statement.execute(params![lease.0.cast_signed(), ttl, terms.ends.as_microsecond()])?;
        Ok(())
    }

    fn delete_lease(&mut self, lease: LeaseId) -> Result<(), StoreError> {
        self.0.prepare_cached("DELETE FROM lease WHERE id = ?1")?.execute([lease.0.cast_signed()])?;
        Ok(())
    }

    fn first_lease(&self) -> Result<Option<(LeaseId, Timestamp)>, StoreError> {
        let mut statement = self.0.prepare_cached("SELECT id, ends FROM lease ORDER BY ends, id LIMIT 1")?;
        let found = statement.query_row([], |row| Ok((LeaseId(unsigned(row, 0)?), row.get(1)?))).optional()?;
        found.map(|(lease, ends)| Ok((lease, timestamp(ends)?))).transpose()
    }
}

/// SQL has signed numbers only; all 64 bits are kept.
fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

fn timestamp(microseconds: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(microseconds).map_err(|error| damaged(format!("a time in it cannot be: {error}")))
}

/// The place is filled in by whoever knows it.
pub(super) fn damaged(reason: String) -> StoreError {
    StoreError::Damaged { place: String::new(), reason }
}
