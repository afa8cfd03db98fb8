//! The report of applying a file.

use std::fmt;

use serde::Serialize;

use super::difference::ObjectChange;

/// Names are given with their kind, such as `endpoint default/orders`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Named by the file for the first time, and made.
    pub created: Vec<String>,
    /// Changed in the file, and changed in the live state.
    pub updated: Vec<String>,
    /// Named by the file as it was when last applied, or already as the file says.
    pub unchanged: usize,
    /// Where a live decision stands against what the file says; the live decision stays in force.
    pub differences: Vec<String>,
    /// No longer named by the file, and still in force.
    pub kept_unnamed: Vec<String>,
    /// No longer named by the file, and deleted because pruning was asked for.
    pub pruned: Vec<String>,
    /// Refused by the live state, with the reason; the rest of the file is applied.
    pub skipped: Vec<Skipped>,
    /// Settings of this host that take effect at the next start only.
    pub needs_restart: Vec<String>,
    /// What the operator should know besides.
    pub warnings: Vec<String>,
    /// Nothing was changed: this is what would be done.
    pub dry_run: bool,
    /// Of a dry run: what would change, field by field, as far as its reader may read it.
    pub changes: Vec<ObjectChange>,
}

/// An item of the file that was not applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Which one.
    pub item: String,
    /// Why, and what to do.
    pub reason: String,
}

impl Report {
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

impl fmt::Display for Report {
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
