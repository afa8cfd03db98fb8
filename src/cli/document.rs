//! `privlink apply`, `backup` and `restore`.

use std::io::{self, IsTerminal as _, Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::client::Client;
use super::exit::{Exit, Failure};
use super::output::Output;
use crate::interface::{Applied, Document, Done, List, Skipped};

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
    /// Take NAT addresses although a neighbour answers for them
    #[arg(long)]
    force: bool,
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
    let document = Document { name, document, prune, dry_run, create_only: false, force: options.force };
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

/// Copies the daemon's state to `file`, or to standard output. The file is there when it is whole, and its owner's alone.
pub(super) fn backup(file: &Path, force: bool, client: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    if file.as_os_str() == "-" {
        if io::stdout().is_terminal() {
            let message = "a backup is no text for a terminal";
            return Err(Failure::new(Exit::Usage, message).with_remedy("name a file, or pipe it somewhere"));
        }
        return client.download("/backup", &mut io::stdout().lock());
    }
    if !force && file.symlink_metadata().is_ok() {
        return Err(exists(file));
    }
    let name =
        file.file_name().ok_or_else(|| Failure::new(Exit::Usage, format!("{} names no file", file.display())))?;
    let mut part = name.to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let part = file.with_file_name(part);
    let written = written(&part, file, force, client);
    if written.is_err() {
        // It may be in its place by now, or was never made.
        let _ = std::fs::remove_file(&part);
    }
    written?;
    let line = format!("the state of now stands in {}", file.display());
    output.list(&List::one(Done { lines: vec![line] }), super::access::done)
}

/// Fills the new file `part`, and puts it in the place of `file`.
fn written(part: &Path, file: &Path, force: bool, client: &Client) -> Result<(), Failure> {
    let at = |error: io::Error| Failure::new(Exit::Failed, format!("{}: {error}", file.display()));
    let mut open = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(part).map_err(at)?;
    client.download("/backup", &mut open)?;
    open.sync_all().map_err(at)?;
    let keep = if force { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    match rustix::fs::renameat_with(CWD, part, CWD, file, keep) {
        Err(Errno::EXIST) => Err(exists(file)),
        // A file system without this: the file was not there a moment ago.
        Err(Errno::INVAL) => std::fs::rename(part, file).map_err(at),
        renamed => renamed.map_err(|error| at(error.into())),
    }
}

fn exists(file: &Path) -> Failure {
    Failure::new(Exit::Conflict, format!("{} exists, and is left as it is", file.display()))
        .with_remedy("name another file, or replace it with `--force`")
}

/// Says what became of a restored state.
pub(super) fn restored(lines: &[String], output: &mut Output<'_>) -> Result<(), Failure> {
    Ok(lines.iter().try_for_each(|line| writeln!(output.data, "{line}"))?)
}
