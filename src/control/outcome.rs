//! Results of commands.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::model::sentence::{Named, Sees};
use crate::model::state::Item;
use crate::model::token::{Secret, Token};
use crate::model::{ItemKind, Key, TokenName};
use crate::snapshot::ConnectionState;
use crate::types::ApplyReport;

/// The result of a command that is durable and in force (law 7).
pub trait Outcome: fmt::Display + fmt::Debug + Send {
    /// Warnings for the operator. `None`: this command has none.
    fn warnings(&mut self) -> Option<&mut Vec<String>>;

    /// Removes what the reader may not see: a change may also affect objects of others.
    fn hide(&mut self, _sees: Sees<'_>) {}

    /// The report of an applied file.
    fn report(&self) -> Option<&ApplyReport> {
        None
    }

    /// The deleted object.
    fn deleted(&self) -> Option<&Item> {
        None
    }
}

/// A connection's change of state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decided {
    /// The endpoint.
    pub endpoint: Key,
    /// The resource it is bound to.
    pub resource: Key,
    /// State before.
    pub from: ConnectionState,
    /// State now.
    pub to: ConnectionState,
    /// When the approval expires.
    pub ends_at: Option<Timestamp>,
    /// Whether the command changed the state or the expiry.
    pub changed: bool,
    /// Warnings for the operator.
    pub warnings: Vec<String>,
}

/// Several connections' change of state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DecidedAll {
    /// A hash of the selected connections. It changes when they do.
    pub listed: String,
    /// Sorted by endpoint.
    pub connections: Vec<Decided>,
    /// Warnings for the operator.
    pub warnings: Vec<String>,
}

impl Decided {
    fn line(&self) -> String {
        let Self { endpoint, from, to, ends_at, changed, .. } = self;
        let line = match changed {
            true if from == to => format!("{endpoint}: {to}"),
            true => format!("{endpoint}: {from} → {to}"),
            false => format!("{endpoint}: already {to}, no change"),
        };
        ends_at.map_or(line.clone(), |end| format!("{line}, until {end:.0}"))
    }
}

impl fmt::Display for Decided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_lines(f, &[self.line()], &self.warnings)
    }
}

/// Created and changed objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// New objects.
    pub created: Vec<Item>,
    /// Changed objects.
    pub updated: Vec<Item>,
    /// Warnings for the operator.
    pub warnings: Vec<String>,
}

/// A new token, or one with a new secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenCreated {
    /// The stored token.
    pub token: Token,
    /// The secret. It is shown once, and never stored.
    #[serde(skip)]
    pub secret: Secret,
    /// An existing token got a new secret.
    pub rotated: bool,
}

/// A revoked token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Revoked(pub TokenName);

/// A deleted object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deletion {
    /// The object.
    pub item: Item,
    /// Endpoints whose connections became Disconnected.
    pub disconnected: Vec<Key>,
    /// Warnings for the operator.
    pub warnings: Vec<String>,
}

impl Outcome for Decided {
    fn warnings(&mut self) -> Option<&mut Vec<String>> {
        Some(&mut self.warnings)
    }
}

impl fmt::Display for DecidedAll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_lines(f, &self.connections.iter().map(Decided::line).collect::<Vec<_>>(), &self.warnings)
    }
}

impl Outcome for DecidedAll {
    fn warnings(&mut self) -> Option<&mut Vec<String>> {
        Some(&mut self.warnings)
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let created = self.created.iter().map(|item| format!("{item}: created"));
        let updated = self.updated.iter().map(|item| format!("{item}: updated"));
        write_lines(f, &created.chain(updated).collect::<Vec<_>>(), &self.warnings)
    }
}

impl Outcome for Changed {
    fn warnings(&mut self) -> Option<&mut Vec<String>> {
        Some(&mut self.warnings)
    }

    fn hide(&mut self, sees: Sees<'_>) {
        let visible = |item: &Item| sees(&Named::Item(item.clone()));
        self.created.retain(visible);
        self.updated.retain(visible);
    }
}

impl fmt::Display for Deletion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut_off = |endpoint: &Key| format!("endpoint {endpoint}: Disconnected, and can only be deleted");
        let gone = std::iter::once(format!("{}: deleted", self.item));
        write_lines(f, &gone.chain(self.disconnected.iter().map(cut_off)).collect::<Vec<_>>(), &self.warnings)
    }
}

impl Outcome for Deletion {
    fn warnings(&mut self) -> Option<&mut Vec<String>> {
        Some(&mut self.warnings)
    }

    fn hide(&mut self, sees: Sees<'_>) {
        self.disconnected.retain(|key| sees(&Named::Item(Item { kind: ItemKind::Endpoint, key: key.clone() })));
    }

    fn deleted(&self) -> Option<&Item> {
        Some(&self.item)
    }
}

impl fmt::Display for TokenCreated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let did = if self.rotated { "has another secret" } else { "created" };
        write!(f, "token {}: {did}, good until {:.0}", self.token.name, self.token.expires_at)
    }
}

impl Outcome for TokenCreated {
    fn warnings(&mut self) -> Option<&mut Vec<String>> {
        None
    }
}

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "token {}: revoked", self.0)
    }
}

impl Outcome for Revoked {
    fn warnings(&mut self) -> Option<&mut Vec<String>> {
        None
    }
}

/// A report is made for its reader, so it hides nothing.
impl Outcome for ApplyReport {
    fn warnings(&mut self) -> Option<&mut Vec<String>> {
        Some(&mut self.warnings)
    }

    fn report(&self) -> Option<&ApplyReport> {
        Some(self)
    }
}

fn write_lines(f: &mut fmt::Formatter<'_>, lines: &[String], warnings: &[String]) -> fmt::Result {
    f.write_str(if lines.is_empty() { "no change" } else { "" })?;
    f.write_str(&lines.join("\n"))?;
    warnings.iter().try_for_each(|warning| write!(f, "\nwarning: {warning}"))
}
