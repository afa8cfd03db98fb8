//! The stored form of [`ControlState`]: one key per object, so that a change writes only what it changes.

use std::sync::Arc;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::difference::bounded;
use super::exported::{EXPORTED_KEY, Exported};
use super::layouts;
use crate::model::registry::{Listed as _, each_kind};
use crate::model::state::ChangeExtent;
use crate::model::state::ControlState;
use crate::model::{Actor, Key, Map, PrivateEndpoint, Scope, TokenName};
use crate::store::audit::{ANCHOR_KEY, AuditBody};
use crate::store::{Operation, Outcome, Store, StoreError, Transaction};
use crate::types::FieldChange;

/// Layout of the objects in the store. [`super::migrate`] upgrades older ones.
pub(super) const FORMAT: u32 = layouts::SPECS;
/// The oldest layout that is read.
const OLDEST_FORMAT: u32 = 1;
const FORMAT_KEY: &str = "meta/format";
const LINK_KEY: &str = "meta/last_link";
const LINKS_KEY: &str = "meta/links";

/// Stores a [`ControlState`].
pub trait StateStore: Send + std::fmt::Debug {
    /// Writes `change.after` and the records, or neither.
    ///
    /// # Errors
    /// Nothing was written.
    fn commit(&mut self, change: &Change<'_>) -> std::io::Result<()>;

    /// Reads the stored state. `None`: nothing was ever written.
    ///
    /// # Errors
    /// The state cannot be read or is invalid. Nothing may be put in force then.
    fn load(&self) -> std::io::Result<Option<ControlState>>;

    /// The layout of the stored state. `control::migrate` upgrades older ones once.
    ///
    /// # Errors
    /// It cannot be read.
    fn format(&self) -> std::io::Result<u32> {
        Ok(FORMAT)
    }

    /// The underlying store, with the audit log. `None`: there is none.
    fn journal(&self) -> Option<Arc<dyn Store>> {
        None
    }
}

/// One commit.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The stored state.
    pub before: &'a ControlState,
    /// The new state.
    pub after: &'a ControlState,
    /// Which objects differ.
    pub extent: &'a ChangeExtent,
    /// Audit records of the change.
    pub records: &'a [Record],
}

/// The `action` of records about refused requests.
pub(super) const REFUSE: &str = "refuse";

/// One entry of the audit log: who did what to which object, and the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: Actor,
    /// The action: `approve`, `create`, `delete`, ….
    pub action: String,
    /// The object's kind and name.
    pub object: String,
    /// The link identifier, if the object is a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<u32>,
    /// The Azure type of a resource. A later resource with the same key may have another one.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub resource_type: Option<String>,
    /// The scope of a role assignment, which is not known after its deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// State before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// State since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The given reason, or other details.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The changed fields, up to the size limits of a record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<FieldChange>,
    /// How many changed fields did not fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes_left_out: Option<usize>,
}

impl Record {
    /// A record without details: `by` did `action` to `object`.
    pub fn new(at: Timestamp, by: Actor, action: impl Into<String>, object: impl Into<String>) -> Self {
        Self {
            at,
            by,
            action: action.into(),
            object: object.into(),
            link: None,
            resource_type: None,
            scope: None,
            from: None,
            to: None,
            detail: String::new(),
            changes: Vec::new(),
            changes_left_out: None,
        }
    }

    /// Adds the changed fields.
    #[must_use]
    pub fn with(self, changes: Vec<FieldChange>) -> Self {
        let (changes, left_out) = bounded(changes);
        Self { changes, changes_left_out: Some(left_out).filter(|left_out| *left_out > 0), ..self }
    }
}

/// A [`ControlState`] in a [`Store`].
#[derive(Clone, Debug)]
pub struct Durable {
    store: Arc<dyn Store>,
    /// Whether the store's layout is known to be the current one.
    current: bool,
}

impl Durable {
    /// Keeps the state in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, current: false }
    }

    fn stored_format(&self) -> std::io::Result<Option<u32>> {
        let found = self.store.get(FORMAT_KEY).map_err(other)?;
        found.map(|entry| serde_json::from_slice(&entry.value)).transpose().map_err(other)
    }
}

impl StateStore for Durable {
    fn commit(&mut self, change: &Change<'_>) -> std::io::Result<()> {
        // The first commit of a process writes the layout's number, after a migration has removed everything old. A
        // crash before that repeats the migration.
        let migrates = !self.current && self.stored_format()?.is_some_and(|format| format < FORMAT);
        let mut operations = operations(change, migrates)?;
        if !self.current && !migrates {
            operations.push(Operation::put(FORMAT_KEY, serde_json::to_vec(&FORMAT)?));
        }
        let transaction = Transaction { compares: Vec::new(), operations, records: record_bodies(change.records)? };
        match self.store.commit(transaction) {
            Ok(Outcome::Committed(_)) if migrates => {
                self.store.scrub().map_err(other)?;
                let operations = vec![Operation::put(FORMAT_KEY, serde_json::to_vec(&FORMAT)?)];
                let today = Transaction { compares: Vec::new(), operations, records: Vec::new() };
                self.current = matches!(self.store.commit(today).map_err(other)?, Outcome::Committed(_));
                Ok(())
            }
            Ok(Outcome::Committed(_)) => {
                self.current = true;
                Ok(())
            }
            Ok(Outcome::Conflict { key, .. }) => Err(other(format!("{key} was changed by somebody else"))),
            Err(error) => Err(other(error)),
        }
    }

    fn journal(&self) -> Option<Arc<dyn Store>> {
        Some(Arc::clone(&self.store))
    }

    fn format(&self) -> std::io::Result<u32> {
        Ok(self.stored_format()?.unwrap_or(FORMAT))
    }

    fn load(&self) -> std::io::Result<Option<ControlState>> {
        let mut loaded = ControlState::default();
        let (format, mut wrong) = (self.stored_format()?, None);
        let old = format.is_some_and(|format| format < FORMAT);
        let scanned: Result<_, StoreError> = self.store.scan("", &mut |entry| {
            let read = match entry.key.as_str() {
                // These keys are handled above, or belong to the store.
                FORMAT_KEY | ANCHOR_KEY => Ok(()),
                EXPORTED_KEY => serde_json::from_slice::<Exported>(&entry.value).map(drop),
                key if old => {
                    let table = key.split('/').next().unwrap_or_default();
                    layouts::upgraded(table, &entry.value).and_then(|value| take_in(&mut loaded, key, &value))
                }
                key => take_in(&mut loaded, key, &entry.value),
            };
            if let Err(error) = read {
                wrong.get_or_insert(format!("{}: {error}", entry.key));
            }
        });
        scanned.map_err(other)?;
        match (wrong, format) {
            (Some(wrong), _) => Err(other(format!("the state says what cannot be: {wrong}"))),
            (None, Some(OLDEST_FORMAT..=FORMAT)) => Ok(Some(loaded)),
            (None, None) if loaded == ControlState::default() => Ok(None),
            (None, found) => Err(other(format!(
                "the state has layout {found:?}, and this version knows {OLDEST_FORMAT} to {FORMAT}"
            ))),
        }
    }
}

/// Appends `records` to the audit log of `store` only.
pub(super) fn append(store: &dyn Store, records: &[Record]) -> std::io::Result<()> {
    let transaction = Transaction { records: record_bodies(records)?, ..Transaction::default() };
    store.commit(transaction).map(|_| ()).map_err(other)
}

/// Whether the body of an audit record is about refused requests.
pub(super) fn is_refusal(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct RecordAction<'a> {
        action: std::borrow::Cow<'a, str>,
    }
    serde_json::from_slice(body).is_ok_and(|told: RecordAction<'_>| told.action == REFUSE)
}

/// The records as JSON bodies for the audit log.
pub(super) fn record_bodies(records: &[Record]) -> std::io::Result<Vec<AuditBody>> {
    records.iter().map(|record| Ok(AuditBody { at: record.at, body: serde_json::to_vec(record)? })).collect()
}

fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> std::io::Error {
    std::io::Error::other(error)
}

/// An object with its key as users wrote it. The store's key is in lower case.
#[derive(Serialize, Deserialize)]
struct Stored<K, V> {
    key: K,
    value: V,
}

/// The transaction that changes a store from one state to the other. With `migrates`, it also sets the current layout.
pub(super) fn operations_of(change: &Change<'_>, migrates: bool) -> std::io::Result<Vec<Operation>> {
    let mut made = operations(change, migrates)?;
    if migrates {
        made.push(Operation::put(FORMAT_KEY, serde_json::to_vec(&FORMAT)?));
    }
    Ok(made)
}

/// The operations that change the store from one state to the other. With `anew`, they write every object in the
/// current layout.
fn operations(change: &Change<'_>, anew: bool) -> serde_json::Result<Vec<Operation>> {
    let Change { before, after, extent, .. } = *change;
    let mut made = Operations { made: Vec::new(), anew };
    match if anew { &ChangeExtent::Whole } else { extent } {
        ChangeExtent::Endpoint(key) => {
            made.one(PrivateEndpoint::PLURAL, key, &before.model.endpoints, &after.model.endpoints)?;
            made.one("connections", key, &before.connections, &after.connections)?;
            made.one("deleted", key, &before.deleted, &after.deleted)?;
        }
        ChangeExtent::Whole => {
            let (old, new) = (&before.model, &after.model);
            made.all("resource_types", &old.resource_types, &new.resource_types)?;
            each_kind!(K => made.all(K::PLURAL, K::map(old), K::map(new))?);
            made.all("tokens", &before.tokens, &after.tokens)?;
            made.all("former_resources", &old.former_resources, &new.former_resources)?;
            made.all("connections", &before.connections, &after.connections)?;
            made.all("deleted", &before.deleted, &after.deleted)?;
            made.all("files", &before.files, &after.files)?;
        }
    }
    if before.last_link != after.last_link {
        made.made.push(Operation::put(LINK_KEY, serde_json::to_vec(&after.last_link)?));
    }
    if before.links != after.links {
        made.made.push(Operation::put(LINKS_KEY, serde_json::to_vec(&after.links)?));
    }
    Ok(made.made)
}

/// Puts one stored object into `state`.
fn take_in(state: &mut ControlState, key: &str, value: &[u8]) -> serde_json::Result<()> {
    let model = &mut state.model;
    let table = key.split('/').next().unwrap_or_default();
    each_kind!(K => if table == K::PLURAL {
        return take(K::map_mut(model), value);
    });
    match table {
        "resource_types" => take(&mut model.resource_types, value),
        "tokens" => take(&mut state.tokens, value),
        "former_resources" => take(&mut model.former_resources, value),
        "connections" => take(&mut state.connections, value),
        "deleted" => take(&mut state.deleted, value),
        "files" => take(&mut state.files, value),
        _ if key == LINKS_KEY => serde_json::from_slice(value).map(|links| state.links = links),
        _ if key == LINK_KEY => serde_json::from_slice(value).map(|link| state.last_link = link),
        _ => Err(serde::de::Error::custom("nothing of this kind is known")),
    }
}

fn take<K: Ord + Clone + DeserializeOwned, V: DeserializeOwned>(
    map: &mut Map<V, K>,
    value: &[u8],
) -> serde_json::Result<()> {
    serde_json::from_slice(value).map(|Stored { key, value }| map.insert(key, value))
}

struct Operations {
    made: Vec<Operation>,
    /// Also writes objects that did not change.
    anew: bool,
}

impl Operations {
    fn all<K: Ord + StoreKey + Serialize, V: Serialize + PartialEq>(
        &mut self,
        table: &str,
        before: &Map<V, K>,
        after: &Map<V, K>,
    ) -> serde_json::Result<()> {
        let changes = before.changes(after);
        if !self.anew {
            return changes.into_iter().try_for_each(|(key, value)| self.change(table, key, value));
        }
        let gone = changes.into_iter().filter(|(_, value)| value.is_none());
        gone.chain(after.iter().map(|(key, value)| (key, Some(value))))
            .try_for_each(|(key, value)| self.change(table, key, value))
    }

    fn one<V: Serialize>(&mut self, table: &str, key: &Key, before: &Map<V>, after: &Map<V>) -> serde_json::Result<()> {
        match (before.contains_key(key), after.entry(key)) {
            (false, None) => Ok(()),
            (true, None) => self.change::<_, V>(table, key, None),
            (_, Some((key, value))) => self.change(table, key, Some(value)),
        }
    }

    fn change<K: StoreKey + Serialize, V: Serialize>(
        &mut self,
        table: &str,
        key: &K,
        value: Option<&V>,
    ) -> serde_json::Result<()> {
        let name = format!("{table}/{}", key.store_key());
        self.made.push(match value {
            Some(value) => Operation::put(name, serde_json::to_vec(&Stored { key, value })?),
            None => Operation::delete(name),
        });
        Ok(())
    }
}

/// The key of an object in the store.
trait StoreKey {
    fn store_key(&self) -> &str;
}
impl StoreKey for Key {
    fn store_key(&self) -> &str {
        self.folded()
    }
}
impl StoreKey for TokenName {
    fn store_key(&self) -> &str {
        self.as_str()
    }
}
impl StoreKey for String {
    fn store_key(&self) -> &str {
        self
    }
}

#[cfg(test)]
mod tests;
