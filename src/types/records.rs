//! Documents, audit records and quotas as JSON.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A document that is to be applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of one request")]
pub struct Document {
    /// What messages call it.
    pub name: String,
    /// What it says.
    pub document: Body,
    /// Delete what its author's last one named and this one does not.
    #[serde(default)]
    pub prune: bool,
    /// Say what would happen, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Everything that it names must be new; it is not remembered as its author's file.
    #[serde(default)]
    pub create_only: bool,
    /// NAT addresses are taken although a neighbour answers for them.
    #[serde(default)]
    pub force: bool,
}

/// What a document says: the text of a file, or its tables in JSON, by the same keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Body {
    /// TOML.
    Text(String),
    /// Lists of objects by the names of their tables.
    Tables(serde_json::Map<String, Value>),
}

impl Default for Body {
    fn default() -> Self {
        Self::Tables(serde_json::Map::new())
    }
}

impl Body {
    /// As text: TOML or JSON.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Tables(tables) => Cow::Owned(serde_json::to_string(tables).unwrap_or_default()),
        }
    }
}

/// What becomes of a backup that is brought back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// Later decisions that took something away are undone, too.
    pub exactly: bool,
    /// What the backup replaces cannot be read: which later decisions it undoes is unknown.
    pub later_decisions_unknown: bool,
    /// Later decisions that stand, from what the backup holds to what is kept.
    pub kept: Vec<ObjectChange>,
    /// Later decisions that are undone, from what was in force to what the backup makes of it.
    pub undone: Vec<Undone>,
    /// Records of the audit log that came back, with the one of this.
    pub audit_records: u64,
    /// Where the replaced state lies now, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_as: Option<String>,
    /// The SHA-256 of that file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_sha256: Option<String>,
    /// It was only asked what would be.
    pub dry_run: bool,
}

/// A later decision that a backup undoes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Undone {
    /// What of which object.
    #[serde(flatten)]
    pub change: ObjectChange,
    /// It took something away that comes back.
    pub widens: bool,
}

/// The live state, written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exported {
    /// TOML, as an apply takes it.
    pub document: String,
}

/// What a document did, each object with its kind, such as `endpoint default/orders`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApplyReport {
    /// Made.
    pub created: Vec<String>,
    /// Changed.
    pub updated: Vec<String>,
    /// Deleted, since pruning was asked for.
    pub pruned: Vec<String>,
    /// How many stayed as they were.
    pub unchanged: u64,
    /// Where a live decision stands against the document; the live one stays in force.
    pub differences: Vec<String>,
    /// No longer named, and still in force.
    pub kept_unnamed: Vec<String>,
    /// Refused by the live state; the rest is applied.
    pub skipped: Vec<Skipped>,
    /// Settings of the host that take effect at the next start.
    pub needs_restart: Vec<String>,
    /// Warnings for the operator.
    pub warnings: Vec<String>,
    /// Nothing was changed: this is what would be done.
    pub dry_run: bool,
    /// In a dry run: what would change, field by field, as far as the reader may see it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ObjectChange>,
}

impl ApplyReport {
    /// With each reason on one line.
    #[must_use]
    pub fn flat(mut self) -> Self {
        self.skipped.iter_mut().for_each(|skipped| skipped.reason = skipped.reason.replace("\n  ", "; "));
        self
    }

    /// Whether applying the file changed the live state.
    pub fn changed(&self) -> bool {
        !(self.created.is_empty() && self.updated.is_empty() && self.pruned.is_empty())
    }

    /// Every line of the report, most urgent last, without the count of what stayed as it was.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut say = |label: &str, items: &[String]| {
            lines.extend(items.iter().map(|item| format!("{label}: {item}")));
        };
        say("created", &self.created);
        say("updated", &self.updated);
        say("pruned", &self.pruned);
        say("differs", &self.differences);
        say("not named by the file, still in force", &self.kept_unnamed);
        say("needs a restart", &self.needs_restart);
        say("warning", &self.warnings);
        lines.extend(self.skipped.iter().map(|skipped| format!("skipped: {}: {}", skipped.item, skipped.reason)));
        lines
    }
}

impl fmt::Display for ApplyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines() {
            writeln!(f, "{line}")?;
        }
        let (created, updated, pruned) = (self.created.len(), self.updated.len(), self.pruned.len());
        let would = if self.dry_run { "would apply" } else { "applied" };
        write!(f, "{would}: {created} created, {updated} updated, {pruned} pruned, {} unchanged", self.unchanged)?;
        if self.skipped.is_empty() { Ok(()) } else { write!(f, ", {} skipped", self.skipped.len()) }
    }
}

/// The fields of one object that are not as they were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectChange {
    /// Kind and name, such as `vnet default/core`.
    pub object: String,
    /// `create`, `update` or `delete`.
    pub action: String,
    /// In the order of their names.
    pub fields: Vec<FieldChange>,
}

/// One field that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// Where it is in the object, such as `subnets[endpoints].prefixes`.
    pub field: String,
    /// What stood there; absent: nothing.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub before: Value,
    /// What stands there since; absent: nothing.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub after: Value,
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Value| if value.is_null() { "nothing".to_owned() } else { value.to_string() };
        write!(f, "{}: {} → {}", self.field, text(&self.before), text(&self.after))
    }
}

/// An object that was not applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Skipped {
    /// Which one.
    pub item: String,
    /// Why, and what to do.
    pub reason: String,
}

/// What a start of the daemon would do to this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// What applying the file would do.
    pub file: ApplyReport,
    /// Changes to the host, in the order in which they would be made.
    pub steps: Vec<PlannedStep>,
    /// What the operator should know besides.
    pub warnings: Vec<String>,
}

/// One change to a network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedStep {
    /// Name of the namespace.
    pub namespace: String,
    /// The command that would make it.
    pub change: String,
}

/// The state of everything, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Epoch {
    /// Another one after every change; the numbers begin anew with the daemon.
    pub epoch: u64,
}

/// One entry of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// 1, 2, 3, … without gaps; for who may read every object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Of it and everything before it, hexadecimal; for who may read every object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// What it says.
    #[serde(flatten)]
    pub record: Record,
}

/// One entry of the audit log as it is stored: `hash` is the SHA-256 of the bytes of `previous`, of `seq` and
/// `at_microseconds` as 8 bytes big-endian each, and of `body`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportedRecord {
    /// 1, 2, 3, … without gaps.
    pub seq: u64,
    /// When, in microseconds since 1970.
    pub at_microseconds: i64,
    /// The hash of the record before, hexadecimal.
    pub previous: String,
    /// Of it and everything before it, hexadecimal.
    pub hash: String,
    /// The JSON of a [`Record`], to the letter.
    pub body: String,
}

/// Who did what to what, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// RFC 3339.
    pub at: String,
    /// Who.
    pub by: Actor,
    /// `approve`, `create`, `delete`, …
    pub action: String,
    /// Kind and name.
    pub object: String,
    /// The link identifier, where it is a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<u32>,
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
    pub changes_left_out: Option<u64>,
}

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Actor {
    /// `uid:1000`, `token:ci`.
    pub principal: String,
    /// Name, for people.
    pub name: String,
}

/// An intact audit chain, from where it was pruned to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// Number of records.
    pub count: u64,
    /// Hash of the last one: noted elsewhere, it shows a later rewrite of the whole log.
    pub last_hash: String,
    /// Records before them that are gone.
    #[serde(default)]
    pub pruned: u64,
    /// Hash of the last of those.
    #[serde(default)]
    pub anchor: String,
}

/// One quota and what counts against it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Such as `endpoints_per_vnet`.
    pub quota: String,
    /// Of what.
    pub scope: String,
    /// How many there are; absent: the caller may not see all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// How many there may be; absent: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// Who vouches for the daemon's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authority {
    /// `sha256:` and the hexadecimal digest of its certificate.
    pub fingerprint: String,
    /// The certificate, PEM.
    pub certificate: String,
}
