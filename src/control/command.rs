//! What may be asked of the control plane, by whom, and how it answers.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::report::Report;
use crate::model::decisions::{Decisions, Item, ItemKind};
use crate::model::token::{Secret, Token};
use crate::model::{HostConfig, Key, Model, TokenName};
use crate::snapshot::ConnectionState;

/// Code of the refusal of [`Command::Unchanged`].
pub const MOVED: &str = "Changed";

/// A change. Endpoints are named by `name` or `group/name`, without regard to case.
#[derive(Clone, Debug)]
pub enum Command {
    /// The owner lets the endpoint's connection pass traffic.
    Approve(Decision),
    /// The owner refuses it; may be approved later.
    Reject(Decision),
    /// The owner lets all chosen connections of a resource pass traffic, all or none.
    ApproveAll(Selection),
    /// The owner refuses all chosen connections of a resource, all or none.
    RejectAll(Selection),
    /// The owner removes it for good: Disconnected.
    Remove(Decision),
    /// Makes or changes every object that `items` names, all or none.
    Put {
        /// The objects, whole; everything else of the model stays as it is.
        items: Box<Model>,
        /// Refuse where one of them exists.
        create_only: bool,
    },
    /// Does `then` if none of `items` has changed since `seen` was in force; what follows from a reading is right then.
    Unchanged {
        /// The objects that were looked at, also those that were not there.
        items: Vec<Item>,
        /// What was in force then.
        seen: std::sync::Arc<Decisions>,
        /// What follows.
        then: Box<Command>,
    },
    /// Deletes an object; an endpoint in any state.
    Delete {
        /// What it is.
        kind: ItemKind,
        /// Which one: `name`, `group/name` or `subscription/group/name`.
        reference: String,
    },
    /// Makes a bearer token; only its holder ever sees the secret.
    CreateToken {
        /// What roles are assigned to.
        name: TokenName,
        /// How long it is good.
        lifetime: SignedDuration,
        /// 256 bits that nobody can guess.
        random: Box<[u8; 32]>,
    },
    /// Gives a token another secret; what it holds and how long it is good stays.
    RotateToken {
        /// Which one.
        name: TokenName,
        /// 256 bits that nobody can guess.
        random: Box<[u8; 32]>,
    },
    /// Ends a token at once, and what is assigned to it.
    RevokeToken {
        /// Which one.
        name: TokenName,
    },
    /// A file speaks (start, SIGHUP, `apply`): a command only where it differs from its author's last version.
    ApplyFile(Box<FileVersion>),
}

impl Command {
    /// Whether it only asks what it would do, and changes nothing.
    pub(super) fn only_asks(&self) -> bool {
        match self {
            Self::ApproveAll(chosen) | Self::RejectAll(chosen) => chosen.dry_run,
            Self::ApplyFile(version) => version.dry_run,
            Self::Unchanged { then, .. } => then.only_asks(),
            Self::Approve(_)
            | Self::Reject(_)
            | Self::Remove(_)
            | Self::Put { .. }
            | Self::Delete { .. }
            | Self::CreateToken { .. }
            | Self::RotateToken { .. }
            | Self::RevokeToken { .. } => false,
        }
    }

    /// Whether it takes something away from one endpoint, a token, or whoever a role is assigned to, and gives nothing: it
    /// must not wait for whatever gives something.
    pub(super) fn only_revokes(&self) -> bool {
        match self {
            Self::Reject(_) | Self::Remove(_) | Self::RejectAll(_) | Self::RevokeToken { .. } => true,
            Self::Delete { kind, .. } => matches!(kind, ItemKind::Endpoint | ItemKind::Assignment),
            Self::Unchanged { then, .. } => then.only_revokes(),
            Self::Approve(_)
            | Self::ApproveAll(_)
            | Self::Put { .. }
            | Self::CreateToken { .. }
            | Self::RotateToken { .. }
            | Self::ApplyFile(_) => false,
        }
    }
}

/// What approve, reject and remove are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The endpoint whose connection it is.
    pub endpoint: String,
    /// When given, the resource it must be bound to: guards against a slip of the keyboard.
    pub resource: Option<String>,
    /// When given, the state that the caller has seen: another decision since then is not overturned unseen.
    pub if_state: Option<ConnectionState>,
    /// Kept as the connection's description; empty: none.
    pub reason: String,
    /// When an approval ends by itself; `None`: it is for good.
    pub until: Option<Until>,
}

/// When an approval ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// So long after it was given.
    For(SignedDuration),
    /// Then.
    At(Timestamp),
}

/// What one decision about several connections is about: those of a resource that it would change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The resource.
    pub resource: String,
    /// When given, only endpoints of this subscription.
    pub subscription: Option<String>,
    /// When given, only endpoints in this VNet.
    pub vnet: Option<String>,
    /// When given, only connections in this state.
    pub if_state: Option<ConnectionState>,
    /// When given, what the caller has seen ([`DecidedAll::listed`]): anything else is refused.
    pub listed: Option<String>,
    /// Kept as the connections' description; empty: none.
    pub reason: String,
    /// When an approval ends by itself; `None`: it is for good.
    pub until: Option<Until>,
    /// Report what would be decided, and decide nothing.
    pub dry_run: bool,
}

/// One version of somebody's file, parsed.
#[derive(Clone, Debug)]
pub struct FileVersion {
    /// Whose file it is: each author's file is compared with its own last version.
    pub author: String,
    /// Its resources.
    pub model: Model,
    /// Its host matters: those that differ from the running ones are reported, not applied.
    pub host: Option<HostConfig>,
    /// Delete what it does not name.
    pub prune: bool,
    /// Report what would happen, and change nothing.
    pub dry_run: bool,
}

/// An acknowledged command: durable and in force (law 7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// Of approve, reject and remove.
    Decided(Decided),
    /// Of a decision about several connections.
    DecidedAll(DecidedAll),
    /// Of objects made or changed.
    Put(Changed),
    /// Of a deletion.
    Deleted(Deletion),
    /// Of a token made.
    TokenCreated(TokenCreated),
    /// Of a token with another secret.
    Rotated(TokenCreated),
    /// Of a token revoked.
    Revoked(TokenName),
    /// Of a file.
    Applied(Report),
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

impl std::fmt::Display for Decided {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { endpoint, from, to, ends_at, changed, .. } = self;
        match changed {
            true if from == to => write!(f, "{endpoint}: {to}")?,
            true => write!(f, "{endpoint}: {from} → {to}")?,
            false => write!(f, "{endpoint}: already {to}, no change")?,
        }
        ends_at.map_or(Ok(()), |end| write!(f, ", until {end:.0}"))
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
    /// What the operator should know besides.
    pub warnings: Vec<String>,
}

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

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let warnings = match self {
            Self::Decided(decided) => {
                write!(f, "{decided}")?;
                &decided.warnings
            }
            Self::DecidedAll(all) => {
                let lines: Vec<String> = all.connections.iter().map(ToString::to_string).collect();
                f.write_str(if lines.is_empty() { "no change" } else { "" })?;
                f.write_str(&lines.join("\n"))?;
                &all.warnings
            }
            Self::Put(changed) => {
                let (created, updated) = (changed.created.iter(), changed.updated.iter());
                let lines = created.map(|item| format!("{item}: created"));
                let lines: Vec<_> = lines.chain(updated.map(|item| format!("{item}: updated"))).collect();
                f.write_str(if lines.is_empty() { "no change" } else { "" })?;
                f.write_str(&lines.join("\n"))?;
                &changed.warnings
            }
            Self::TokenCreated(minted) => {
                write!(f, "token {}: created, good until {:.0}", minted.token.name, minted.token.expires_at)?;
                &minted.warnings
            }
            Self::Rotated(TokenCreated { token, warnings, .. }) => {
                write!(f, "token {}: has another secret, good until {:.0}", token.name, token.expires_at)?;
                warnings
            }
            Self::Revoked(name) => return write!(f, "token {name}: revoked"),
            Self::Deleted(deletion) => {
                write!(f, "{}: deleted", deletion.item)?;
                for endpoint in &deletion.disconnected {
                    write!(f, "\nendpoint {endpoint}: Disconnected, and can only be deleted")?;
                }
                &deletion.warnings
            }
            Self::Applied(report) => return report.fmt(f),
        };
        warnings.iter().try_for_each(|warning| write!(f, "\nwarning: {warning}"))
    }
}
