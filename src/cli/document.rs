//! `privlink apply`, `backup` and `restore`.

use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::client::Client;
use super::exit::{Exit, Failure};
use super::output::Output;
use crate::interface::{Applied, Document, Done, Skipped};

/// A document to apply.
#[derive(Debug, clap::Args)]
pub(super) struct Apply {
    /// The document; `-` reads standard input
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// Delete what your last document named and this one does not
    #[arg(long)]
    prune: bool,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Applies a document as its author's file.
pub(super) fn apply(options: &Apply, client: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let (name, document) = if options.file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        ("standard input".to_owned(), text)
    } else {
        let name = options.file.display().to_string();
        let text = std::fs::read_to_string(&options.file).map_err(|error| {
            Failure::new(Exit::BadConfig, format!("{name}: cannot be read: {error}")).with_remedy("check the path")
        })?;
        (name, text)
    };
    let (prune, dry_run) = (options.prune, options.dry_run);
    let document = Document { name, document, prune, dry_run, create_only: false };
    let done = client.post::<Applied>("/apply", &document)?;
    output.list(&done, applied)?;
    output.warn(done.items.iter().flat_map(|one| &one.warnings))
}

/// What a document did, line by line, and how much.
pub(super) fn applied(items: &[Applied], out: &mut dyn Write) -> io::Result<()> {
    for one in items {
        let lists = [
            ("created", &one.created),
            ("updated", &one.updated),
            ("pruned", &one.pruned),
            ("differs", &one.differences),
            ("not named by the file, still in force", &one.kept_unnamed),
            ("needs a restart", &one.needs_restart),
        ];
        for (label, list) in lists {
            list.iter().try_for_each(|item| writeln!(out, "{label}: {item}"))?;
        }
        one.skipped.iter().try_for_each(|Skipped { item, reason }| writeln!(out, "skipped: {item}: {reason}"))?;
        let would = if one.dry_run { "would apply" } else { "applied" };
        let (created, updated, pruned) = (one.created.len(), one.updated.len(), one.pruned.len());
        writeln!(out, "{would}: {created} created, {updated} updated, {pruned} pruned, {} unchanged", one.unchanged)?;
    }
    Ok(())
}

/// Copies the daemon's state to a new file.
pub(super) fn backup(file: &Path, client: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let file = std::path::absolute(file)?;
    output.list(&client.post::<Done>("/backup", &json!({ "file": file }))?, super::access::done)
}

/// Says what became of a restored state.
pub(super) fn restored(lines: &[String], output: &mut Output<'_>) -> Result<(), Failure> {
    Ok(lines.iter().try_for_each(|line| writeln!(output.data, "{line}"))?)
}
