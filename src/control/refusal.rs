//! Why a command was refused: one shape for the socket, the command line and the log. It knows no
//! HTTP; `api` maps `Kind` to a status in one place.

use std::fmt;

use serde::Serialize;

/// What sort of refusal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Kind {
    /// The thing named does not exist, or its name is ambiguous.
    NotFound,
    /// The caller lacks the named action.
    Forbidden,
    /// The state it is in does not allow it (DESIGN §4, table of connection states).
    InvalidTransition,
    /// Something exists already, or is in use.
    Conflict,
    /// The request contradicts itself, the model or a quota.
    Invalid,
    /// A worker or the host did not follow; the daemon may be stopping.
    Unavailable,
    /// The durable state could not be written.
    Storage,
}

/// One of several mistakes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BrokenRule {
    /// Names the rule, for programs; stable.
    pub code: &'static str,
    /// What it is about, such as `endpoint default/orders: subnet`.
    pub target: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for BrokenRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.target.as_str() {
            "" => f.write_str(&self.message),
            target => write!(f, "{target}: {}", self.message),
        }
    }
}

/// A refused command: nothing of it is acknowledged. Whether anything of it is in force stands in
/// `message` (law 7: only a revocation can be in force without being acknowledged).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// What sort it is.
    pub kind: Kind,
    /// Stable, in Azure's style, such as `AuthorizationFailed`.
    pub code: &'static str,
    /// What is wrong, naming the thing.
    pub message: String,
    /// What to do about it; empty where nothing helps.
    pub remedy: String,
    /// Every single mistake, where there are several.
    pub details: Vec<BrokenRule>,
}

impl Refusal {
    /// A refusal without details.
    pub fn new(kind: Kind, code: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { kind, code, message: message.into(), remedy: remedy.into(), details: Vec::new() }
    }

    /// The same with every single mistake.
    #[must_use]
    pub fn with_details(mut self, details: Vec<BrokenRule>) -> Self {
        self.details = details;
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        for detail in &self.details {
            write!(f, "\n  {detail}")?;
        }
        if !self.remedy.is_empty() {
            write!(f, "\n  {}", self.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}
