//! Why a command was refused: one shape for the socket, the command line and the log. It knows no
//! HTTP; `api` maps `ErrorKind` to a status in one place.

use std::fmt;

use serde::Serialize;

use super::sentence::{Sees, Sentence, UNSEEN, sentence};

/// What sort of refusal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum ErrorKind {
    /// The thing named does not exist, or its name is ambiguous.
    NotFound,
    /// The caller lacks the named action.
    Forbidden,
    /// The state it is in does not allow it (`approval::next`).
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorDetail {
    /// Names the rule, for programs; stable.
    pub code: &'static str,
    /// Where it shows, such as `endpoint default/orders: subnet`; the reader is told the first that it may see. Empty:
    /// nowhere in particular.
    pub places: Vec<Sentence>,
    /// What is wrong, and what to do.
    pub message: Sentence,
}

/// Code of every rule that shows only where the reader sees nothing.
pub const UNSEEN_RULE: &str = "InUse";

impl ErrorDetail {
    /// A rule that shows nowhere in particular.
    pub fn new(code: &'static str, message: impl Into<Sentence>) -> Self {
        Self { code, places: Vec::new(), message: message.into() }
    }

    /// The same, which shows at `place` too.
    #[must_use]
    pub fn at(mut self, place: impl Into<Sentence>) -> Self {
        self.places.push(place.into());
        self
    }

    /// Where it shows.
    pub fn target(&self) -> String {
        self.places.first().map(ToString::to_string).unwrap_or_default()
    }

    /// The rule as who `sees` may read it; where its places are all unseen, no more than that there is one.
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

/// A refused command: nothing of it is acknowledged. Whether anything of it is in force stands in
/// `message` (law 7: only a revocation can be in force without being acknowledged).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What sort it is.
    pub kind: ErrorKind,
    /// Stable, in Azure's style, such as `AuthorizationFailed`.
    pub code: &'static str,
    /// What is wrong, naming the thing.
    pub message: Sentence,
    /// What to do about it; empty where nothing helps.
    pub remedy: Sentence,
    /// Every single mistake, where there are several.
    pub details: Vec<ErrorDetail>,
}

/// Code of a refusal for several broken rules.
pub const SEVERAL: &str = "InvalidModel";

impl Error {
    /// A refusal without details.
    pub fn new(kind: ErrorKind, code: &'static str, message: impl Into<Sentence>, remedy: impl Into<Sentence>) -> Self {
        Self { kind, code, message: message.into(), remedy: remedy.into(), details: Vec::new() }
    }

    /// The same with every single mistake.
    #[must_use]
    pub fn with_details(mut self, details: Vec<ErrorDetail>) -> Self {
        self.details = details;
        self
    }

    /// For broken rules, by the code that they share.
    pub fn of_rules(message: impl Into<Sentence>, remedy: impl Into<Sentence>, rules: Vec<ErrorDetail>) -> Self {
        Self::new(ErrorKind::Invalid, common_code(&rules), message, remedy).with_details(rules)
    }

    /// The refusal as who `sees` may read it: nothing in it needs to be hidden any more.
    #[must_use]
    pub fn told(&self, sees: Sees<'_>) -> Self {
        let mut details: Vec<ErrorDetail> = Vec::new();
        for rule in self.details.iter().map(|rule| rule.told(sees)) {
            // How many rules of the same words there are tells how much the reader does not see.
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

/// The code of the one rule that is broken, where it is one.
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
