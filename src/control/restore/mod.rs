//! Restores a backup: finds the later decisions that this would undo, and keeps those that restrict. Pure: the caller
//! reads both states and writes the result.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::codec::{Change, FORMAT, Record, operations_of, record_bodies};
use super::difference::{self, Changed, Object};
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
use crate::types::{FieldChange, ObjectChange, Undone};

/// The narrower of two states.
mod restrictive;

/// Which of two rule sets allows more.
mod rules;

/// The backup to restore, and the state it replaces.
#[derive(Debug)]
pub struct RestoreRequest {
    /// The backup's state.
    pub backup: ControlState,
    /// Its layout.
    pub format: u32,
    /// The state that it replaces.
    pub now: Now,
    /// Also undo later decisions that revoked something.
    pub exactly: bool,
    /// Who restores it.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
    /// The key for link identifiers, for a state that has none.
    pub link_key: LinkKey,
}

/// The state that a backup replaces.
#[derive(Debug)]
pub enum Now {
    /// Nothing.
    Nothing,
    /// This state, with its layout.
    Known(Box<ControlState>, u32),
    /// The state cannot be read, for this reason.
    Unknown(String),
}

/// The result of a restore.
#[derive(Debug)]
pub struct Restoration {
    /// Later revocations that stay: differences from the backup.
    pub kept: Vec<ObjectChange>,
    /// Later decisions that are undone: differences from the current state.
    pub undone: Vec<Undone>,
    /// The later decisions are unknown.
    pub later_is_unknown: bool,
    /// The backup as it was found.
    found: ControlState,
    /// The state for the next start.
    after: ControlState,
    /// The backup is from an older release, and is migrated too.
    pub migrated: bool,
    records: Vec<Record>,
    by: Actor,
    at: Timestamp,
    exactly: bool,
}

impl Restoration {
    /// Compares the backup with what it replaces.
    ///
    /// # Errors
    /// The current state cannot be read, or later revocations do not fit the backup. `exactly` restores the backup
    /// anyway.
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
        // Without later revocations the backup is restored unchanged.
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

    /// The transaction for the backup before it becomes the state: the kept revocations, and an audit record. `source`
    /// describes the backup and `replaced` the current state, each with its hash.
    ///
    /// # Errors
    /// An object cannot be written as JSON.
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

/// The narrower of both states, which must be valid.
///
/// # Errors
/// The rules that the result breaks and the backup does not.
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

/// Keeps the latest remembered entries of files for `kept` objects, so that the next start does not treat them as new
/// requests.
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
