//! How commands are answered.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::report::Report;
use crate::model::sentence::{Named, Sees};
use crate::model::state::Item;
use crate::model::token::{Secret, Token};
use crate::model::{ItemKind, Key, TokenName};
use crate::snapshot::ConnectionState;

/// What an acknowledged command did: durable and in force (law 7).
pub trait Outcome: fmt::Display + fmt::Debug + Send {
    /// What the operator should know besides; `None`: nothing is ever said.
    fn warnings(&mut self) -> Option<&mut Vec<String>>;

    /// Leaves out what its reader may not see: what a change carries along may be somebody else's.
    fn hide(&mut self, _sees: Sees<'_>) {}

    /// What a file did.
    fn report(&self) -> Option<&Report> {
        None
    }

    /// What was deleted.
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
    /// When the approval ends by itself.
    pub ends_at: Option<Timestamp>,
    /// Whether the command changed anything: the state, or the end.
    pub changed: bool,
    /// What the operator should know besides.
    pub warnings: Vec<String>,
}

/// Several connections' change of state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DecidedAll {
    /// Names what was found to be decided: another one as soon as that is another.
    pub listed: String,
    /// By the name of the endpoint.
    pub connections: Vec<Decided>,
    /// What the operator should know besides.
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

/// Objects that were made or changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// New ones.
    pub created: Vec<Item>,
    /// Those that are not as they were.
    pub updated: Vec<Item>,
    /// What the operator should know besides.
    pub warnings: Vec<String>,
}

/// A token that is new, or whose secret is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenCreated {
    /// What is kept of it.
    pub token: Token,
    /// What its holder presents; shown once and kept nowhere.
    #[serde(skip)]
    pub secret: Secret,
    /// It is an older one, with another secret.
    pub rotated: bool,
}

/// A token that is ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Revoked(pub TokenName);

/// An object that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deletion {
    /// Which one.
    pub item: Item,
    /// Endpoints whose connection is Disconnected since.
    pub disconnected: Vec<Key>,
    /// What the operator should know besides.
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

/// Made for its reader.
impl Outcome for Report {
    fn warnings(&mut self) -> Option<&mut Vec<String>> {
        Some(&mut self.warnings)
    }

    fn report(&self) -> Option<&Report> {
        Some(self)
    }
}

fn write_lines(f: &mut fmt::Formatter<'_>, lines: &[String], warnings: &[String]) -> fmt::Result {
    f.write_str(if lines.is_empty() { "no change" } else { "" })?;
    f.write_str(&lines.join("\n"))?;
    warnings.iter().try_for_each(|warning| write!(f, "\nwarning: {warning}"))
}
