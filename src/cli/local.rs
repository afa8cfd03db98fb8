//! Commands that need no daemon: `check`, `init`, `clean`.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;

use super::client::Client;
use super::exit::{Error, Exit};
use super::output::{Format, Output, count};
use super::{Cleaned, Daemon};
use crate::types::{List, Plan, PlannedStep};

/// What `check` found in a good file.
#[derive(Debug, Serialize)]
struct Checked {
    file: String,
    vnets: usize,
    resources: usize,
    endpoints: usize,
    /// For `privlink apply`, and no daemon's own file.
    document: bool,
    warnings: Vec<crate::config::Problem>,
}

/// Reads `file` and says what is wrong with it; touches nothing else.
pub(super) fn check(file: &Path, output: &mut Output<'_>) -> Result<(), Error> {
    let loaded = match (crate::config::check(file), output.format) {
        (Ok(loaded), _) => loaded,
        (Err(report), Format::Table | Format::Wide) => return Err(Error::bad_config(&report)),
        (Err(report), Format::Json) => {
            serde_json::to_writer_pretty(&mut *output.data, &report.to_json())?;
            writeln!(output.data)?;
            return Err(Error::new(Exit::BadConfig, ""));
        }
    };
    let checked = Checked {
        file: file.display().to_string(),
        vnets: loaded.model.vnets.len(),
        resources: loaded.model.resources.len(),
        endpoints: loaded.model.endpoints.len(),
        document: loaded.is_document,
        warnings: loaded.warnings,
    };
    if output.format != Format::Json {
        checked.warnings.iter().try_for_each(|warning| writeln!(output.talk, "{warning}"))?;
    }
    output.list(&List::one(checked), |items, out| {
        items.iter().try_for_each(|Checked { file, vnets, resources, endpoints, document, .. }| {
            let number = |number: usize, noun| count(number as u64, noun);
            let (vnets, resources) = (number(*vnets, "VNet"), number(*resources, "resource"));
            let ok = if *document { "ok as a document for `privlink apply`" } else { "ok" };
            writeln!(out, "{file}: {ok}, {vnets}, {resources}, {}", number(*endpoints, "endpoint"))
        })
    })
}

/// Shows what a start would do: to the state beside the result, to the host as the result.
pub(super) fn plan(plan: &Plan, output: &mut Output<'_>) -> Result<(), Error> {
    if output.format != Format::Json {
        super::document::applied(std::slice::from_ref(&plan.file), output.talk)?;
        output.warn(&plan.file.warnings)?;
    }
    output.list(&List::one(plan), |items, out| {
        for Plan { steps, warnings, .. } in items {
            steps.iter().try_for_each(|PlannedStep { namespace, change }| writeln!(out, "{namespace}: {change}"))?;
            warnings.iter().try_for_each(|warning| writeln!(out, "warning: {warning}"))?;
        }
        Ok(())
    })
}

/// Writes a commented configuration that works, and never over another file.
pub(super) fn init(file: &Path, output: &mut Output<'_>) -> Result<(), Error> {
    let template = crate::config::template();
    if file == Path::new("-") {
        output.data.write_all(template.as_bytes())?;
        return Ok(output.data.flush()?);
    }
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .and_then(|mut opened| opened.write_all(template.as_bytes()));
    written.map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            return Error::new(Exit::Conflict, format!("{} exists", file.display())).with_remedy("name another file");
        }
        Error::new(Exit::Failed, format!("{}: {error}", file.display()))
    })?;
    let file = file.display();
    Ok(writeln!(output.talk, "{file} written; next: privlink check {file}, then privlink run -c {file}")?)
}

/// Removes what a dead daemon left behind, as the journal beside its socket tells.
pub(super) fn clean(client: &Client, socket: &Path, daemon: Daemon<'_>, output: &mut Output<'_>) -> Result<(), Error> {
    if client.is_served() {
        return Err(Error::new(Exit::Conflict, format!("a daemon is running on {}", socket.display()))
            .with_remedy("stop it first; what it leaves can be cleaned up then"));
    }
    let directory = socket.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Cleaned { removed, failed } = (daemon.clean)(directory)?;
    output.list(&List::new(removed), |items, out| match items {
        [] if failed.is_empty() => writeln!(out, "nothing to clean up"),
        lines => lines.iter().try_for_each(|line| writeln!(out, "removed {line}")),
    })?;
    if failed.is_empty() {
        return Ok(());
    }
    let message = "not everything could be removed; what is left stays in the journal";
    Err(Error { remedies: failed, ..Error::new(Exit::Failed, message) })
}
