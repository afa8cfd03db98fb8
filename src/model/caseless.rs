//! Text that is compared without case, and shown as it was written.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// An invalid text. Only a short part without control characters is shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{shown}` is not a valid {what}: {remedy}")]
pub struct Malformed {
    shown: String,
    what: &'static str,
    remedy: &'static str,
}

impl Malformed {
    pub(crate) fn new(text: &str, what: &'static str, remedy: &'static str) -> Self {
        const SHOWN: usize = 100;
        let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
        if text.chars().nth(SHOWN).is_some() {
            shown.push('…');
        }
        Self { shown, what, remedy }
    }

    /// What is wrong.
    pub fn message(&self) -> String {
        format!("`{}` is not a valid {}", self.shown, self.what)
    }

    /// What to do.
    pub fn remedy(&self) -> &'static str {
        self.remedy
    }
}

/// See the module. The lower-case form is computed once, so that a comparison compares bytes.
#[derive(Clone)]
pub(crate) struct Caseless {
    written: Box<str>,
    folded: Box<str>,
}

impl Caseless {
    pub(crate) fn new(text: &str) -> Self {
        Self { written: text.into(), folded: text.to_lowercase().into() }
    }

    pub(crate) fn written(&self) -> &str {
        &self.written
    }

    pub(crate) fn folded(&self) -> &str {
        &self.folded
    }
}

impl PartialEq for Caseless {
    fn eq(&self, other: &Self) -> bool {
        self.folded == other.folded
    }
}
impl Eq for Caseless {}
impl PartialOrd for Caseless {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Caseless {
    fn cmp(&self, other: &Self) -> Ordering {
        self.folded.cmp(&other.folded)
    }
}
impl Hash for Caseless {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded.hash(state);
    }
}
impl fmt::Debug for Caseless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written.fmt(f)
    }
}

/// Declares a type of checked [`Caseless`] text, stored as a string. `$check` returns what is wrong with a text.
macro_rules! caseless {
    ($(#[$attribute:meta])* $name:ident, $check:path) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(crate::model::caseless::Caseless);

        impl std::str::FromStr for $name {
            type Err = crate::model::caseless::Malformed;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $check(text)?;
                Ok(Self(crate::model::caseless::Caseless::new(text)))
            }
        }
        impl TryFrom<String> for $name {
            type Error = crate::model::caseless::Malformed;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0.written().to_owned()
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.0.written())
            }
        }
    };
}
pub(crate) use caseless;

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}
