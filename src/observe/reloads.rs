//! What became of the daemon's own file each time it was read anew.

use std::sync::{Mutex, PoisonError};

/// Counts, and the last result.
#[derive(Debug, Default)]
pub struct Reloads(Mutex<Results>);

/// What [`Reloads`] tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Results {
    /// Times that the file was applied.
    pub applied: u64,
    /// Times that it was refused, and nothing changed.
    pub refused: u64,
    /// The last time; `None`: it was not read anew since the start.
    pub last: Option<LastReload>,
}

/// One reading of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastReload {
    /// RFC 3339.
    pub at: String,
    /// Who asked for it.
    pub by: String,
    /// Whether it is in force.
    pub applied: bool,
    /// What it did, or why it was refused.
    pub said: String,
}

impl Reloads {
    /// Takes note of one.
    pub fn note(&self, reload: LastReload) {
        let mut results = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if reload.applied {
            results.applied += 1;
        } else {
            results.refused += 1;
        }
        results.last = Some(reload);
    }

    /// All of it, as of now.
    pub fn read(&self) -> Results {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_result_is_counted_and_the_last_one_stands() {
        let reloads = Reloads::default();
        assert_eq!(reloads.read(), Results::default());
        for (applied, said) in [(true, "applied"), (false, "2:1: error"), (false, "3:1: error")] {
            reloads.note(LastReload { at: String::new(), by: "root".to_owned(), applied, said: said.to_owned() });
        }
        let Results { applied, refused, last } = reloads.read();
        assert_eq!((applied, refused), (1, 2));
        assert_eq!(last.map(|last| (last.applied, last.said)), Some((false, "3:1: error".to_owned())));
    }
}
