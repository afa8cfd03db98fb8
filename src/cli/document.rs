//! `privlink apply`, `export` and `backup`.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::client::Client;
use super::exit::{Error, Exit};
use super::output::Output;
use crate::types::{ApplyReport, Body, Document, Done, Exported, List, ObjectChange, Skipped};

/// A document to apply.
#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of one command")]
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
    /// End with 9 if something would change, and with 0 if nothing would
    #[arg(long, requires = "dry_run")]
    exit_code: bool,
    /// Take NAT addresses although a neighbour answers for them
    #[arg(long)]
    force: bool,
}

/// Applies a document as its author's file.
pub(super) fn apply(options: &Apply, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    let (name, document) = if options.file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        ("standard input".to_owned(), text)
    } else {
        let name = options.file.display().to_string();
        let text = std::fs::read_to_string(&options.file).map_err(|error| {
            Error::new(Exit::BadConfig, format!("{name}: cannot be read: {error}")).with_remedy("check the path")
        })?;
        (name, text)
    };
    let (prune, dry_run) = (options.prune, options.dry_run);
    let document =
        Document { name, document: Body::Text(document), prune, dry_run, create_only: false, force: options.force };
    let done = client.post::<ApplyReport>("/apply", &document)?;
    output.list(&done, applied)?;
    output.warn(done.items.iter().flat_map(|one| &one.warnings))?;
    let changes = |one: &ApplyReport| !(one.created.is_empty() && one.updated.is_empty() && one.pruned.is_empty());
    if options.exit_code && done.items.iter().any(changes) {
        // All has been said.
        return Err(Error::new(Exit::Differs, ""));
    }
    Ok(())
}

/// What a document did, line by line, and how much.
pub(super) fn applied(items: &[ApplyReport], out: &mut dyn Write) -> io::Result<()> {
    for one in items {
        let lists = [
            ("created", &one.created),
            ("updated", &one.updated),
            ("pruned", &one.pruned),
            ("differs", &one.differences),
            ("not named by the file, still in force", &one.kept_unnamed),
            ("needs a restart", &one.needs_restart),
        ];
        let mut told = vec![false; one.changes.len()];
        for (label, list) in lists {
            for item in list {
                writeln!(out, "{label}: {item}")?;
                let at = one.changes.iter().position(|change| change.object == *item);
                if let Some((at, change)) = at.and_then(|at| Some((at, one.changes.get(at)?))) {
                    told.get_mut(at).into_iter().for_each(|told| *told = true);
                    fields(change, out)?;
                }
            }
        }
        for (change, _) in one.changes.iter().zip(told).filter(|(_, told)| !told) {
            writeln!(out, "{}d: {}", change.action, change.object)?;
            fields(change, out)?;
        }
        one.skipped.iter().try_for_each(|Skipped { item, reason }| writeln!(out, "skipped: {item}: {reason}"))?;
        let would = if one.dry_run { "would apply" } else { "applied" };
        let (created, updated, pruned) = (one.created.len(), one.updated.len(), one.pruned.len());
        let skipped = if one.skipped.is_empty() { String::new() } else { format!(", {} skipped", one.skipped.len()) };
        let unchanged = one.unchanged;
        writeln!(
            out,
            "{would}: {created} created, {updated} updated, {pruned} pruned, {unchanged} unchanged{skipped}"
        )?;
    }
    Ok(())
}

/// The fields of one object, below its line.
pub(super) fn fields(change: &ObjectChange, out: &mut dyn Write) -> io::Result<()> {
    change.fields.iter().try_for_each(|field| writeln!(out, "  {field}"))
}

/// Copies the daemon's state to `file`, or to standard output. The file is there when it is whole, and its owner's alone.
pub(super) fn backup(file: &Path, force: bool, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    if file.as_os_str() == "-" {
        if io::stdout().is_terminal() {
            let message = "a backup is no text for a terminal";
            return Err(Error::new(Exit::Usage, message).with_remedy("name a file, or pipe it somewhere"));
        }
        return client.download("/backup", &mut io::stdout().lock());
    }
    if !force && file.symlink_metadata().is_ok() {
        return Err(exists(file).with_remedy(REPLACE));
    }
    put(file, force, |open| client.download("/backup", open))?;
    let line = format!("the state of now stands in {}", file.display());
    output.list(&List::one(Done { lines: vec![line] }), super::output::done)
}

/// Writes what the caller may read of the live state to `file`, or to standard output, as a document.
pub(super) fn export(file: &Path, force: bool, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    let to_file = file.as_os_str() != "-";
    if to_file && !force && file.symlink_metadata().is_ok() {
        return Err(exists(file).with_remedy(REPLACE));
    }
    // Word for word: it is read again.
    let exported = client.clone().for_people(false).get::<Exported>("/export")?;
    if !to_file {
        return output
            .list(&exported, |items, out| items.iter().try_for_each(|one| out.write_all(one.document.as_bytes())));
    }
    put(file, force, |open| {
        let written = exported.items.iter().try_for_each(|one| open.write_all(one.document.as_bytes()));
        written.map_err(Error::from)
    })?;
    let line = format!("the live state stands in {}, for `privlink check` and `privlink apply`", file.display());
    output.list(&List::one(Done { lines: vec![line] }), super::output::done)
}

/// Puts what `write` writes in the place of `file`, whole or not at all; it is its owner's alone.
fn put(file: &Path, force: bool, write: impl FnOnce(&mut File) -> Result<(), Error>) -> Result<(), Error> {
    let name = file.file_name().ok_or_else(|| Error::new(Exit::Usage, format!("{} names no file", file.display())))?;
    let mut part = name.to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let part = file.with_file_name(part);
    let written = written(&part, file, force, write);
    if written.is_err() {
        // It may be in its place by now, or was never made.
        let _ = std::fs::remove_file(&part);
    }
    written
}

/// Fills the new file `part`, and puts it in the place of `file`.
fn written(
    part: &Path,
    file: &Path,
    force: bool,
    write: impl FnOnce(&mut File) -> Result<(), Error>,
) -> Result<(), Error> {
    let at = |error: io::Error| Error::new(Exit::Failed, format!("{}: {error}", file.display()));
    let mut open = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(part).map_err(at)?;
    write(&mut open)?;
    open.sync_all().map_err(at)?;
    let keep = if force { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    match rustix::fs::renameat_with(CWD, part, CWD, file, keep) {
        Err(Errno::EXIST) => Err(exists(file).with_remedy(REPLACE)),
        // A file system without this: the file was not there a moment ago.
        Err(Errno::INVAL) => std::fs::rename(part, file).map_err(at),
        renamed => renamed.map_err(|error| at(error.into())),
    }
}

/// How a file is replaced all the same.
const REPLACE: &str = "name another file, or replace it with `--force`";

/// Nothing takes the place of a file unasked.
pub(super) fn exists(file: &Path) -> Error {
    Error::new(Exit::Conflict, format!("{} exists, and is left as it is", file.display()))
}
