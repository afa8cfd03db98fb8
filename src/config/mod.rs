//! The configuration file: TOML to types that cannot be wrong. Every mistake of a file is reported at
//! once, with its place and a remedy, and nothing of a bad file is applied.
//!
//! ```text
//! text ─ read ▶ tables with places ─ build ▶ model and host ─ control::validate ▶ Loaded, or Report
//! ```

use std::io::Read as _;
use std::path::Path;

use serde_json::{Map, Value};
use toml::de::DeTable;

use crate::model::rules::{Severity as Rule, Violation, validate, validate_items};
use crate::model::{HostConfig, Model};
use build::Builder;
use file::File;
use read::Reader;
use report::{Mistake, Places};

/// How much a document may hold.
mod bounds;

/// From a syntax tree to values.
mod read;

/// A document in JSON.
mod objects;

/// The schemas of kinds.
mod schema;

/// Objects, by the schema of their kind.
mod spec;

/// What stands under keys.
mod values;
mod zones;

/// The tables of the file.
mod file;

/// From tables to the model: names, places, what follows from what.
mod build;

/// Link resources and endpoints.
mod resources;

/// Roles and assignments.
mod access;

/// The daemon and the attachments.
mod host;

/// The live state as a file.
mod export;

/// What is wrong with a file.
pub mod report;

/// Every key.
pub mod reference;

/// A file to begin with, and the schema.
mod template;

pub use crate::model::text;
pub use export::export;
pub use report::{Problem, Report, Severity};
pub use template::{schema, template};

/// Bytes of a file at most: room for some 40,000 endpoints. More of them come over the API.
pub const SIZE_MAX: usize = 4 << 20;

/// A file that may be put in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What concerns this host.
    pub host: HostConfig,
    /// What concerns the networks.
    pub model: Model,
    /// What is most likely not meant.
    pub warnings: Vec<Problem>,
}

/// Reads the file at `path`, to apply it: by tightened rules, whoever applies it judges only what is new.
///
/// # Errors
/// Everything that is wrong with it, or why it cannot be read.
pub fn load(path: &Path) -> Result<Loaded, Report> {
    read(path, |text, name| parse_for(text, name, Purpose::Apply))
}

fn read<T>(path: &Path, judge: impl FnOnce(&str, &str) -> Result<T, Report>) -> Result<T, Report> {
    let name = path.display().to_string();
    let refuse = |message: String, remedy: &str| Err(Report::whole_file(&name, message, remedy.to_owned()));
    let bytes = match read_limited(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let (message, remedy) = unreadable(&error);
            return refuse(message, remedy);
        }
    };
    if bytes.len() > SIZE_MAX {
        return Err(too_large(&name));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => judge(text, &name),
        Err(error) => refuse(
            format!("byte {} is not UTF-8", error.valid_up_to() + 1),
            "save the file as UTF-8; a configuration is plain text",
        ),
    }
}

/// Why a file cannot be read, and what to do.
fn unreadable(error: &std::io::Error) -> (String, &'static str) {
    use std::io::ErrorKind::{IsADirectory, NotFound, PermissionDenied};
    let known = [
        (NotFound, "no such file", "check the path, or write a file to begin with: privlink init > privlink.toml"),
        (PermissionDenied, "permission denied", "run as a user that may read it, or change its mode"),
        (IsADirectory, "is a directory", "name the file in it"),
    ];
    match known.into_iter().find(|(kind, ..)| *kind == error.kind()) {
        Some((_, message, remedy)) => (message.to_owned(), remedy),
        None => (format!("cannot be read: {error}"), "check the path and the file system"),
    }
}

/// At most one byte more than a file may have, whatever the path leads to. Only regular files and what behaves
/// like one (a pipe of a shell) end.
fn read_limited(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = std::fs::File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(std::io::ErrorKind::IsADirectory.into());
    }
    let mut bytes = Vec::new();
    file.take(SIZE_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn too_large(name: &str) -> Report {
    let message = format!("is larger than {} MiB", SIZE_MAX >> 20);
    Report::whole_file(name, message, "check the path; create endpoints with `privlink endpoint create`".to_owned())
}

/// A file that has nothing wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What concerns the networks.
    pub model: Model,
    /// What is most likely not meant.
    pub warnings: Vec<Problem>,
    /// It says nothing of a host: it is a document for `privlink apply`, and no daemon's own file.
    pub is_document: bool,
}

/// Reads the file at `path`, to say what is wrong with it: all of it counts as new.
///
/// # Errors
/// Everything that is wrong with it, or why it cannot be read.
pub fn check(path: &Path) -> Result<Checked, Report> {
    read(path, check_text)
}

/// [`check`] of `text`, which messages call `name`. One that has none of the tables that only a daemon's own file has is
/// judged as a document: what it refers to may be in the live state, and so may be what permits it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn check_text(text: &str, name: &str) -> Result<Checked, Report> {
    let places = Places::Text(text);
    let (root, _) = DeTable::parse_recoverable(text);
    if HOST_TABLES.iter().any(|table| root.get_ref().contains_key(*table)) {
        let Loaded { model, warnings, .. } = parse(text, name)?;
        return Ok(Checked { model, warnings, is_document: false });
    }
    let (mut builder, _) = begin(&syntax_tree(text, name)?, &places, name, Beside::Unknown)?;
    let mut violations = validate(&builder.model, None);
    for violation in violations.iter_mut().filter(|violation| violation.severity == Rule::Tightened) {
        // The daemon's file may allow it, and what stands before the rule may go on.
        violation.severity = Rule::Warning;
    }
    builder.violations(violations);
    let (model, warnings) = finish(&places, name, builder)?;
    Ok(Checked { model, warnings, is_document: true })
}

/// Tables that concern the host, and stand in a daemon's own file only.
const HOST_TABLES: [&str; 3] = ["daemon", "attachment", "resource_type"];

/// What a file's references may lead to besides itself.
#[derive(Clone, Copy)]
enum Beside<'a> {
    /// Nothing: it stands for itself.
    Nothing,
    /// These objects.
    Live(&'a Model),
    /// Objects that only the daemon knows.
    Unknown,
}

/// Reads `text`, which messages call `file_name`. All of it counts as new.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str, file_name: &str) -> Result<Loaded, Report> {
    parse_for(text, file_name, Purpose::Check)
}

/// What a file is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To say what is wrong with it.
    Check,
    /// To put it in force beside what is there.
    Apply,
}

fn parse_for(text: &str, file_name: &str, purpose: Purpose) -> Result<Loaded, Report> {
    let places = Places::Text(text);
    let (mut builder, file) = begin(&syntax_tree(text, file_name)?, &places, file_name, Beside::Nothing)?;
    let host = builder.host(&file);
    builder.model.cloud = host.cloud;
    builder.imply_nat();
    let mut violations = validate(&builder.model, Some(&host));
    match purpose {
        Purpose::Check => violations.iter_mut().for_each(refuse_tightened),
        Purpose::Apply => violations.retain(|violation| violation.severity != Rule::Tightened),
    }
    builder.violations(violations);
    let (model, warnings) = finish(&places, file_name, builder)?;
    Ok(Loaded { host, model, warnings })
}

/// Without a state beside it, whatever a tightened rule forbids is new.
fn refuse_tightened(violation: &mut Violation) {
    if violation.severity == Rule::Tightened {
        violation.severity = Rule::Error;
    }
}

/// One author's part of the whole: a provider's or a consumer's half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The objects that the document names, and no others.
    pub model: Model,
    /// What is most likely not meant.
    pub warnings: Vec<Problem>,
}

/// Reads `text`, which messages call `name`: resources without host matters. References and defaults are looked up
/// in the document first, then in `live`, what is in force. Each object is judged as it would stand among the
/// live ones; rules between objects (addresses used twice, shared backends, quotas) are left to whoever puts the
/// result in force, and so is what only a change may not bring (tightened rules).
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_document(text: &str, name: &str, live: &Model) -> Result<Document, Report> {
    document(&syntax_tree(text, name)?, &Places::Text(text), name, live)
}

/// [`parse_document`] of the tables of a file in JSON.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_tables(tables: &Map<String, Value>, name: &str, live: &Model) -> Result<Document, Report> {
    let numbers = objects::numbers(tables);
    let (root, fields) = objects::tree(tables, &numbers);
    document(&root, &Places::Fields(&fields), name, live)
}

fn document(root: &DeTable<'_>, places: &Places<'_>, name: &str, live: &Model) -> Result<Document, Report> {
    let (mut builder, _) = begin(root, places, name, Beside::Live(live))?;
    let mut violations = validate_items(&builder.model, live);
    violations.retain(|violation| violation.severity != Rule::Tightened);
    builder.violations(violations);
    let (model, warnings) = finish(places, name, builder)?;
    Ok(Document { model, warnings })
}

/// The tables of `text`.
fn syntax_tree<'t>(text: &'t str, name: &str) -> Result<DeTable<'t>, Report> {
    if text.len() > SIZE_MAX {
        return Err(too_large(name));
    }
    let (root, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        // What a damaged tree seems to say would only confuse.
        return Err(report::report(&Places::Text(text), name, syntax_errors(syntax)));
    }
    Ok(root.into_inner())
}

/// Reads the tables of `root` and builds their objects. A file that does not stand for itself is anybody's: it has
/// bounds, and tables about the host are mistakes.
fn begin(root: &DeTable<'_>, places: &Places<'_>, name: &str, beside: Beside<'_>) -> Result<(Builder, File), Report> {
    let own = matches!(beside, Beside::Nothing);
    if !own {
        bounds::judge(root).map_err(|beyond| report::report(places, name, vec![beyond]))?;
    }
    let mut reader = Reader::default();
    let file = File::from_table(root, 0..0, &mut reader);
    let of_host = |key: &str| HOST_TABLES.contains(&key);
    for (key, _) in root.iter().filter(|(key, _)| !own && of_host(key.get_ref().as_ref())) {
        let message = format!("`{}` concerns the host, and this document does not", key.get_ref());
        reader.error(key.span(), message, "remove it: host matters belong to the daemon's own file");
    }
    let live = match beside {
        Beside::Live(live) => live.clone(),
        Beside::Nothing | Beside::Unknown => Model::default(),
    };
    let cloud = live.cloud;
    let mut builder = Builder::new(reader.mistakes, live);
    builder.model.cloud = cloud;
    builder.unknown_may_live = matches!(beside, Beside::Unknown);
    file.build(&mut builder);
    Ok((builder, file))
}

/// What is built and its warnings, or the report.
fn finish(places: &Places<'_>, name: &str, builder: Builder) -> Result<(Model, Vec<Problem>), Report> {
    let refused = builder.refused();
    let report = report::report(places, name, builder.mistakes);
    if refused { Err(report) } else { Ok((builder.model, report.problems)) }
}

/// Every repeated key, and the first other error: whatever comes after that one may follow from it.
fn syntax_errors(mut errors: Vec<toml::de::Error>) -> Vec<Mistake> {
    let repeated = |error: &toml::de::Error| error.message().contains("duplicate key");
    errors.sort_by_key(|error| error.span().map(|span| span.start));
    let known = errors.iter().position(|error| !repeated(error)).map_or(errors.len(), |first| first + 1);
    errors.truncate(known);
    errors.iter().map(syntax_error).collect()
}

fn syntax_error(error: &toml::de::Error) -> Mistake {
    let remedy = if error.message().contains("duplicate key") {
        "a key stands once in its table: remove one of the two, or begin another table with `[[…]]`"
    } else if error.message().contains("array") {
        "close the list that begins above with `]`, or put a comma between its elements"
    } else {
        "correct the TOML syntax here; strings stand in double quotes, lists in square brackets"
    };
    Mistake::error(error.span().unwrap_or(0..0), error.message(), remedy)
}

#[cfg(test)]
mod tests;
