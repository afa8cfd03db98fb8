//! Names that a network accepts for private endpoints: its consent to names that somebody else chose.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::domain::domain_name;
use crate::snapshot::dns::enclosing;

/// Whole names, and `*.suffix` for every name below the suffix; in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AcceptedNames(BTreeSet<String>);

impl AcceptedNames {
    /// The form of an entry, for messages.
    pub const FORM: &'static str = "a whole name (\"api.example.com\"), or every name below one (\"*.example.com\")";

    /// Reads entries as users write them.
    ///
    /// # Errors
    /// The index of the first entry that is neither a name nor `*.suffix`.
    pub fn read<T: AsRef<str>>(texts: &[T]) -> Result<Self, usize> {
        let one = |(index, text): (usize, &T)| domain_name(text.as_ref(), true).filter(|name| name != "*").ok_or(index);
        texts.iter().enumerate().map(one).collect::<Result<_, _>>().map(Self)
    }

    /// Whether `name`, in lower case, is accepted.
    #[must_use]
    pub fn accept(&self, name: &str) -> bool {
        if self.0.is_empty() {
            return false;
        }
        self.0.contains(name) || enclosing(name).skip(1).any(|parent| self.0.contains(&format!("*.{parent}")))
    }

    /// Whether some entries are not in `known`.
    #[must_use]
    pub fn exceed(&self, known: Option<&Self>) -> bool {
        known.map_or(!self.0.is_empty(), |known| !self.0.is_subset(&known.0))
    }

    /// Every entry, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Adds `others`.
    pub fn add(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Removes `others`.
    pub fn take(&mut self, others: &Self) {
        self.0.retain(|one| !others.0.contains(one));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_accepted_by_itself_or_below_a_suffix() {
        let accepted = AcceptedNames::read(&["Login.Example.com.", "*.apps.example"]).expect("names");
        for (name, expected) in [
            ("login.example.com", true),
            ("x.login.example.com", false),
            ("example.com", false),
            ("a.apps.example", true),
            ("a.b.apps.example", true),
            ("apps.example", false),
            ("myapps.example", false),
            ("*.apps.example", true),
        ] {
            assert_eq!(accepted.accept(name), expected, "{name}");
        }
        assert!(!AcceptedNames::default().accept("login.example.com"));
    }

    #[test]
    fn what_is_no_name_is_refused_with_its_place() {
        for (texts, expected) in [
            (vec!["a.example", "*"], Err(1)),
            (vec!["a.*.example"], Err(0)),
            (vec![""], Err(0)),
            (vec!["a b.example"], Err(0)),
            (vec!["*.example"], Ok(())),
            (vec![], Ok(())),
        ] {
            assert_eq!(AcceptedNames::read(&texts).map(drop), expected, "{texts:?}");
        }
    }

    #[test]
    fn only_what_is_new_exceeds() {
        let read = |texts: &[&str]| AcceptedNames::read(texts).expect("names");
        let known = read(&["a.example", "b.example"]);
        assert!(!read(&["b.example"]).exceed(Some(&known)) && !read(&[]).exceed(None));
        assert!(read(&["*.example"]).exceed(Some(&known)) && read(&["a.example"]).exceed(None));
    }
}
