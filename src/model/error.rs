//! The error of a refused command: the same for the API, the command line and the log. It knows no HTTP; `api` maps
//! `ErrorKind` to a status.

use std::fmt;

use serde::Serialize;

use super::sentence::{Sees, Sentence, UNSEEN, sentence};

/// The kind of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum ErrorKind {
    /// The object does not exist, or its name is ambiguous.
    NotFound,
    /// The caller lacks the named action.
    Forbidden,
    /// The object's state does not allow it (`approval::next`).
    InvalidTransition,
    /// Something exists already, or is in use.
    Conflict,
    /// The request contradicts itself or the model, or exceeds a quota.
    Invalid,
    /// A worker or the host failed. The daemon may be stopping.
    Unavailable,
    /// The state could not be stored.
    Storage,
}

/// One of several mistakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorDetail {
    /// The rule's stable code, for programs.
    pub code: &'static str,
    /// Its places, such as `endpoint default/orders: subnet`. The reader gets the first that it may see. Empty: no
    /// particular place.
    pub places: Vec<Sentence>,
    /// What is wrong, and what to do.
    pub message: Sentence,
}

/// The code of a rule whose places are all invisible to the reader.
pub const UNSEEN_RULE: &str = "InUse";

impl ErrorDetail {
    /// A detail without a place.
    pub fn new(code: &'static str, message: impl Into<Sentence>) -> Self {
        Self { code, places: Vec::new(), message: message.into() }
    }

    /// Adds a place.
    #[must_use]
    pub fn at(mut self, place: impl Into<Sentence>) -> Self {
        self.places.push(place.into());
        self
    }

    /// The first place.
    pub fn target(&self) -> String {
        self.places.first().map(ToString::to_string).unwrap_or_default()
    }

    /// The detail without what the reader may not see. If all its places are invisible, only a general message remains.
    #[must_use]
    pub fn told(&self, sees: Sees<'_>) -> Self {
        let place = self.places.iter().find(|place| place.is_seen(sees));
        if place.is_none() && !self.places.is_empty() {
            return Self::new(UNSEEN_RULE, sentence!("error: {} depends on what this changes", UNSEEN));
        }
        Self {
            code: self.code,
            places: place.into_iter().map(|place| place.told(sees)).collect(),
            message: self.message.told(sees),
        }
    }
}

impl fmt::Display for ErrorDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.target().as_str() {
            "" => write!(f, "{}", self.message),
            target => write!(f, "{target}: {}", self.message),
        }
    }
}

/// The error of a refused command. No part of the command is acknowledged. `message` says whether a part of it is in
/// force (law 7: only a revocation can be in force without being acknowledged).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Its kind.
    pub kind: ErrorKind,
    /// A stable code in Azure's style, such as `AuthorizationFailed`.
    pub code: &'static str,
    /// What is wrong, naming the thing.
    pub message: Sentence,
    /// What to do about it. Empty: nothing helps.
    pub remedy: Sentence,
    /// All mistakes, if there are several.
    pub details: Vec<ErrorDetail>,
}

/// The code for several broken rules with different codes.
pub const SEVERAL: &str = "InvalidModel";

impl Error {
    /// An error without details.
    pub fn new(kind: ErrorKind, code: &'static str, message: impl Into<Sentence>, remedy: impl Into<Sentence>) -> Self {
        Self { kind, code, message: message.into(), remedy: remedy.into(), details: Vec::new() }
    }

    /// Adds all mistakes.
    #[must_use]
    pub fn with_details(mut self, details: Vec<ErrorDetail>) -> Self {
        self.details = details;
        self
    }

    /// An error for broken rules, with their common code.
    pub fn of_rules(message: impl Into<Sentence>, remedy: impl Into<Sentence>, rules: Vec<ErrorDetail>) -> Self {
        Self::new(ErrorKind::Invalid, common_code(&rules), message, remedy).with_details(rules)
    }

    /// The error without what the reader may not see.
    #[must_use]
    pub fn told(&self, sees: Sees<'_>) -> Self {
        let mut details: Vec<ErrorDetail> = Vec::new();
        for rule in self.details.iter().map(|rule| rule.told(sees)) {
            // Equal general messages appear once: their number would reveal how much is hidden.
            if !(rule.code == UNSEEN_RULE && details.contains(&rule)) {
                details.push(rule);
            }
        }
        let by_rules = !self.details.is_empty() && self.code == common_code(&self.details);
        let visible: Vec<ErrorDetail> = details.iter().filter(|rule| rule.code != UNSEEN_RULE).cloned().collect();
        let code = match (by_rules, visible.is_empty()) {
            (true, true) => UNSEEN_RULE,
            (true, false) => common_code(&visible),
            (false, _) => self.code,
        };
        Self { kind: self.kind, code, message: self.message.told(sees), remedy: self.remedy.told(sees), details }
    }
}

/// The common code of the rules, or [`SEVERAL`].
fn common_code(rules: &[ErrorDetail]) -> &'static str {
    let code = rules.first().map(|first| first.code);
    code.filter(|code| rules.iter().all(|other| other.code == *code)).unwrap_or(SEVERAL)
}

impl fmt::Display for Error {
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

impl std::error::Error for Error {}
