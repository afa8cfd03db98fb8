//! A backup that is brought back: which later decisions it would undo, and which of both stays. Pure: who holds the state
//! directory reads the states, and writes what is made of them here.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::codec::{Change, FORMAT, Record, operations_of, record_bodies};
use super::difference::{self, Changed, FieldChange, Object, ObjectChange};
use super::migrate::{Migration, migrate};
use crate::model::Actor;
use crate::model::Model;
use crate::model::error::{Error, ErrorDetail, ErrorKind};
use crate::model::links::LinkKey;
use crate::model::rules::tightened::not_in;
use crate::model::rules::{Severity, validate};
use crate::model::state::ChangeExtent;
use crate::model::state::{ControlState, Item, ItemKind};
use crate::store::Transaction;

/// The restrictive of two states.
mod restrictive;

/// Which of two rule sets lets more through.
mod rules;

/// What is to be brought back, and beside what.
#[derive(Debug)]
pub struct RestoreRequest {
    /// The backup's decisions.
    pub backup: ControlState,
    /// Their layout.
    pub format: u32,
    /// What it replaces.
    pub now: Now,
    /// Undo also the decisions that take something away.
    pub exactly: bool,
    /// Who brings it back.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
    /// What a state without a key of its own makes identifiers with.
    pub link_key: LinkKey,
}

/// What a backup replaces.
#[derive(Debug)]
pub enum Now {
    /// Nothing.
    Nothing,
    /// These decisions, and their layout.
    Known(Box<ControlState>, u32),
    /// It cannot be read, for this reason.
    Unknown(String),
}

/// What becomes of a backup.
#[derive(Debug)]
pub struct Restoration {
    /// What differs from the backup, since it takes something away that the backup would give back.
    pub kept: Vec<ObjectChange>,
    /// What differs from now.
    pub undone: Vec<Undone>,
    /// What is decided later cannot be known.
    pub later_is_unknown: bool,
    /// The backup as it was found.
    found: ControlState,
    /// What the next start reads.
    after: ControlState,
    /// The state was written by an older release, and is migrated with this.
    pub migrated: bool,
    records: Vec<Record>,
    by: Actor,
    at: Timestamp,
    exactly: bool,
}

/// A decision that a backup undoes.
#[derive(Clone, Debug)]
pub struct Undone {
    /// From what is in force now to what the backup makes of it.
    pub change: ObjectChange,
    /// It took something away that comes back.
    pub widens: bool,
}

impl Restoration {
    /// Compares the backup with what it replaces.
    ///
    /// # Errors
    /// What it replaces cannot be read, or what was decided since does not fit the backup; `exactly` brings it back all the
    /// same.
    pub fn of(wanted: RestoreRequest) -> Result<Self, Error> {
        let RestoreRequest { backup: found, format, now, exactly, by, at, link_key } = wanted;
        let bring = |state: &ControlState, format| migrate(&Migration { by: &by, at, link_key }, format, state);
        let (now, later_is_unknown) = match now {
            Now::Nothing => (None, false),
            Now::Known(now, format) => (Some(bring(&now, format).0), false),
            Now::Unknown(_) if exactly => (None, true),
            Now::Unknown(why) => return Err(unknown(&why)),
        };
        let (backup, migrations) = bring(&found, format);
        let narrow = now.as_ref().map(|now| narrowed(&backup, now)).transpose();
        let narrow = if exactly { narrow.unwrap_or_default() } else { narrow? };
        // What nobody decided against comes back to the byte.
        let narrow = narrow.filter(|narrow| *narrow != backup);
        let kept = narrow.as_ref().map(|narrow| difference::between(&backup, narrow)).unwrap_or_default();
        let chosen = narrow.filter(|_| !exactly);
        let migrated = chosen.is_some() && format < FORMAT;
        let after = chosen.as_ref().unwrap_or(&backup);
        let undone = now.as_ref().map(|now| difference::between(now, after)).unwrap_or_default();
        let widening: BTreeSet<String> = kept.iter().map(|one| one.object.to_string()).collect();
        let undone = undone
            .iter()
            .map(|one| Undone { change: one.told(), widens: exactly && widening.contains(&one.object.to_string()) });
        Ok(Self {
            kept: kept.iter().filter(|_| !exactly).map(Changed::told).collect(),
            undone: undone.collect(),
            later_is_unknown,
            after: chosen.unwrap_or_else(|| found.clone()),
            found,
            migrated,
            records: if migrated { migrations } else { Vec::new() },
            by,
            at,
            exactly,
        })
    }

    /// What is to be written to the backup before it takes its place: what is kept, and a record of it all. `source` is
    /// what was brought back, `replaced` what it replaces, each with its hash.
    ///
    /// # Errors
    /// Something of it cannot be written as JSON.
    pub fn transaction(&self, source: &str, replaced: &str) -> std::io::Result<Transaction> {
        let Self { kept, undone, found, after, records, .. } = self;
        let counts = format!("{} kept, {} undone", kept.len(), undone.len());
        let how = match (self.exactly, self.later_is_unknown) {
            (true, true) => "exactly; what was decided since is unknown".to_owned(),
            (true, false) => format!("exactly: {counts}"),
            (false, _) => format!("but for what was taken away since: {counts}"),
        };
        let detail = format!("{source} is brought back {how}; it replaces {replaced}");
        let named = |word: &str, change: &ObjectChange| -> Vec<FieldChange> {
            let field = |one: &FieldChange| FieldChange {
                field: format!("{word}: {}: {}", change.object, one.field),
                ..one.clone()
            };
            change.fields.iter().map(field).collect()
        };
        let kept = kept.iter().flat_map(|change| named("kept", change));
        let undone = undone.iter().flat_map(|one| named("undone", &one.change));
        let record = Record { detail, ..Record::new(self.at, self.by.clone(), "restore", "state") };
        let mut all = records.clone();
        all.push(record.with(kept.chain(undone).collect()));
        let change = Change { before: found, after, extent: &ChangeExtent::Whole, records: &all };
        let operations = operations_of(&change, self.migrated)?;
        Ok(Transaction { compares: Vec::new(), operations, records: record_bodies(&all)? })
    }
}

fn unknown(why: &str) -> Error {
    let message = format!("what the backup would replace cannot be read, so what was decided since is unknown: {why}");
    let remedy = "`--exactly` brings the backup back as it is, later rejections and revocations undone";
    Error::new(ErrorKind::Conflict, "LaterDecisionsUnknown", crate::model::sentence::itself(message), remedy)
}

/// The restrictive of both, which holds together.
///
/// # Errors
/// Which rules it breaks that the backup by itself keeps.
fn narrowed(backup: &ControlState, now: &ControlState) -> Result<ControlState, Error> {
    let mut narrow = restrictive::restrictive(backup, now);
    let kept = difference::between(backup, &narrow);
    remember(&kept, now, &mut narrow);
    let errors = |model: &Model| {
        let mut found = validate(model, None);
        found.retain(|violation| violation.severity == Severity::Error);
        found
    };
    let broken = not_in(&errors(&narrow.model), &errors(&backup.model));
    if broken.is_empty() {
        return Ok(narrow);
    }
    let message = "the backup and what was taken away since do not fit together:";
    let remedy = "bring it back with `--exactly`, which undoes that, and take away again what must not pass";
    Err(Error::of_rules(message, remedy, broken.iter().map(ErrorDetail::from).collect()))
}

/// Files are remembered to have said of what is `kept` what they said last: a start must not take it for a new wish.
fn remember(kept: &[Changed], now: &ControlState, narrow: &mut ControlState) {
    let items = kept.iter().filter_map(|changed| match &changed.object {
        Object::Item(item) => Some(item.clone()),
        Object::Connection(key) => Some(Item { kind: ItemKind::Endpoint, key: key.clone() }),
        Object::Token(_) | Object::ResourceType(_) => None,
    });
    let items: Vec<Item> = items.collect();
    let gone = |author: &&String| author.starts_with("token:") && !now.files.contains_key(author);
    let gone: Vec<String> = narrow.files.keys().filter(gone).cloned().collect();
    for author in &gone {
        narrow.files.remove(author);
    }
    let authors: Vec<String> = narrow.files.keys().cloned().collect();
    for author in authors {
        let last = now.files.get(&author);
        let Some(file) = narrow.files.get_mut(&author) else { continue };
        for item in &items {
            file.model.copy(last.map(|last| &last.model), item);
        }
    }
}

#[cfg(test)]
mod tests;
