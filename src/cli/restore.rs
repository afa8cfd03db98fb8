//! `privlink restore`.

use std::io::{self, Write};

use super::confirm::agreed;
use super::document::fields;
use super::exit::Error;
use super::output::{Format, Output};
use super::{Daemon, RestoreOptions};
use crate::types::{List, Restored};

/// Brings a backup back: says what that undoes and keeps, asks before it does so, and says where the replaced state
/// lies.
pub(super) fn restore(options: &RestoreOptions, daemon: Daemon<'_>, output: &mut Output<'_>) -> Result<(), Error> {
    let asks = !options.yes;
    let restored = (daemon.restore)(options, &mut |planned| {
        if !asks {
            return Ok(());
        }
        changes(planned, output.talk)?;
        agreed("bring the backup back?", "nothing was changed", output.talk)
    })?;
    // Whoever was asked has seen it.
    let shown = asks && !options.dry_run && output.format != Format::Json;
    output.list(&List::one(restored), |items, out| {
        items.iter().try_for_each(|one| {
            if !shown {
                changes(one, out)?;
            }
            if one.dry_run { writeln!(out, "nothing was changed") } else { ending(one, out) }
        })
    })
}

fn changes(one: &Restored, out: &mut dyn Write) -> io::Result<()> {
    if one.later_decisions_unknown {
        writeln!(out, "what is replaced cannot be read: which later decisions this undoes is unknown")?;
    }
    for change in &one.kept {
        writeln!(out, "kept, since it takes something away: {} ({})", change.object, change.action)?;
        fields(change, out)?;
    }
    for undone in &one.undone {
        let widens = if undone.widens { ", which GIVES BACK what was taken away" } else { "" };
        writeln!(out, "undone{widens}: {} ({})", undone.change.object, undone.change.action)?;
        fields(&undone.change, out)?;
    }
    if one.later_decisions_unknown {
        return Ok(());
    }
    let (kept, undone) = (one.kept.len(), one.undone.len());
    writeln!(out, "later decisions: {kept} kept, {undone} undone")
}

fn ending(one: &Restored, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "restored, with {} audit records; start the daemon now", one.audit_records)?;
    let hash = one.replaced_sha256.as_deref().unwrap_or_default();
    one.kept_as.iter().try_for_each(|path| writeln!(out, "what was there stands in {path}, sha256 {hash}"))
}
