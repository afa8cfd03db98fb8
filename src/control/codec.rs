//! The durable form of the decisions: one key per object in the store, so that a change writes what it changes.

use std::sync::Arc;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::difference::{FieldChange, bounded};
use super::exported::{EXPORTED_KEY, Exported};
use super::layouts;
use crate::model::registry::{Kind as _, each_kind};
use crate::model::state::ChangeExtent;
use crate::model::state::ControlState;
use crate::model::{Actor, Key, Map, PrivateEndpoint, Scope, TokenName};
use crate::store::audit::{ANCHOR_KEY, AuditBody};
use crate::store::{Operation, Outcome, Store, StoreError, Transaction};

/// Layout of the objects in the store. What an older one means is brought up to date by [`super::migrate`].
pub(super) const FORMAT: u32 = layouts::SPECS;
/// The oldest layout that is read.
const OLDEST_FORMAT: u32 = 1;
const FORMAT_KEY: &str = "meta/format";
const LINK_KEY: &str = "meta/last_link";
const LINKS_KEY: &str = "meta/links";

/// Where decisions are made durable.
pub trait StateStore: Send + std::fmt::Debug {
    /// Makes `change.after` what the next start reads, together with the records, or nothing of both.
    ///
    /// # Errors
    /// Nothing is durable of it.
    fn commit(&mut self, change: &Change<'_>) -> std::io::Result<()>;

    /// Reads what is durable; `None`: nothing was ever written.
    ///
    /// # Errors
    /// It cannot be read, or says what cannot be. Nothing may be put in force then.
    fn load(&self) -> std::io::Result<Option<ControlState>>;

    /// The layout of what is durable: older ones are migrated once, by `control::migrate`.
    ///
    /// # Errors
    /// It cannot be read.
    fn format(&self) -> std::io::Result<u32> {
        Ok(FORMAT)
    }

    /// The store behind it, whose audit log can be read; `None`: there is none.
    fn journal(&self) -> Option<Arc<dyn Store>> {
        None
    }
}

/// One commit.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// What is durable now.
    pub before: &'a ControlState,
    /// What is to be.
    pub after: &'a ControlState,
    /// Where the two differ.
    pub extent: &'a ChangeExtent,
    /// What the audit log keeps of it.
    pub records: &'a [Record],
}

/// The action of records of refused requests.
pub(super) const REFUSE: &str = "refuse";

/// One entry of the audit log: who did what to what, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: Actor,
    /// What was done: `approve`, `create`, `delete`, ….
    pub action: String,
    /// To what: kind and name.
    pub object: String,
    /// The link identifier, where it is a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<u32>,
    /// The type of a resource in Azure's words: what has its key later may be of another one.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub resource_type: Option<String>,
    /// Where an assignment holds: that is not known any more once it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// State before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// State since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The reason given, or what else is to be known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The fields of the object that are not as they were, as far as a record takes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<FieldChange>,
    /// How many more there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes_left_out: Option<usize>,
}

impl Record {
    /// That `by` did `action` to `object`, with nothing else to be known.
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

    /// The same, with what of the object is not as it was.
    #[must_use]
    pub fn with(self, changes: Vec<FieldChange>) -> Self {
        let (changes, left_out) = bounded(changes);
        Self { changes, changes_left_out: Some(left_out).filter(|left_out| *left_out > 0), ..self }
    }
}

/// Decisions in a [`Store`].
#[derive(Clone, Debug)]
pub struct Durable {
    store: Arc<dyn Store>,
    /// The store says that it has today's layout.
    current: bool,
}

impl Durable {
    /// Decisions in `store`.
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
        // The first commit of a process says how whoever reads later has to read: after a migration, once nothing is
        // left of what it removed. A crash in between migrates anew.
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
                // Read above, and the store's own.
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

/// Appends `records` to the audit log of `store`, and changes nothing else.
pub(super) fn append(store: &dyn Store, records: &[Record]) -> std::io::Result<()> {
    let transaction = Transaction { records: record_bodies(records)?, ..Transaction::default() };
    store.commit(transaction).map(|_| ()).map_err(other)
}

/// Whether the body of an audit record tells of refused requests.
pub(super) fn is_refusal(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Told<'a> {
        action: std::borrow::Cow<'a, str>,
    }
    serde_json::from_slice(body).is_ok_and(|told: Told<'_>| told.action == REFUSE)
}

/// The records as the audit log keeps them.
pub(super) fn record_bodies(records: &[Record]) -> std::io::Result<Vec<AuditBody>> {
    records.iter().map(|record| Ok(AuditBody { at: record.at, body: serde_json::to_vec(record)? })).collect()
}

fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> std::io::Error {
    std::io::Error::other(error)
}

/// An object under its key as it is shown; the store's own key is in lower case.
#[derive(Serialize, Deserialize)]
struct Stored<K, V> {
    key: K,
    value: V,
}

/// What takes a store from one state to the other; where that `migrates` it, it has today's layout since.
pub(super) fn operations_of(change: &Change<'_>, migrates: bool) -> std::io::Result<Vec<Operation>> {
    let mut made = operations(change, migrates)?;
    if migrates {
        made.push(Operation::put(FORMAT_KEY, serde_json::to_vec(&FORMAT)?));
    }
    Ok(made)
}

/// What takes the store from one state to the other; where `anew`, everything is written, in today's form.
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

/// One object of the store to where it belongs.
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
    /// What did not change is written too.
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

/// What an object is called in the store.
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
