//! Commands that need no running daemon: the plan of a start, clean-up, restore.

use std::path::Path;
use std::sync::Arc;

use crate::api::listen::ListenError;
use crate::cli::{self, Cleaned, Exit, RestoreOptions, RunOptions};
use crate::config;
use crate::control::codec::{Durable, StateStore as _};
use crate::control::restore::{Now, Restoration, RestoreRequest};
use crate::host::{self, Host};
use crate::model;
use crate::model::Caller;
use crate::model::HostConfig;
use crate::model::error::ErrorKind;
use crate::snapshot::topology::AddressInUse;
use crate::store::StoreError;
use crate::store::sqlite::{self, look};
use crate::types::{ApplyReport, Plan, PlannedStep, Restored};

/// What a start would do. Creates, locks and writes nothing, so a daemon may run.
///
/// # Errors
/// The file, the state or this host does not permit a start.
pub fn plan(options: &RunOptions) -> Result<Plan, cli::Error> {
    let loaded = config::load(&options.config).map_err(|report| cli::Error::bad_config(&report))?;
    let broken = |error: anyhow::Error| failure(&error);
    let host = &loaded.host;
    let found = if host.state.exists() { look(&host.state).map_err(|error| broken(error.into()))? } else { None };
    let store = Durable::new(Arc::new(found.unwrap_or_default()));
    let found = store.load().map_err(|error| broken(error.into()))?;
    let prepared = super::prepare(options, host, loaded.model, (store, found))?;
    let planned = Host::dry_run(prepared.topology(), run_directory(host)).map_err(broken)?;
    let step = |step: &host::step::Step| PlannedStep {
        namespace: step.namespace.to_string(),
        change: step.action.to_string(),
    };
    Ok(Plan {
        file: ApplyReport::clone(&prepared.view().last_apply).flat(),
        steps: planned.steps.iter().map(step).collect(),
        warnings: loaded.warnings.iter().map(config::Problem::in_one_line).chain(planned.warnings).collect(),
    })
}

/// The directory of journal and locks: that of the control socket.
pub(super) fn run_directory(host: &HostConfig) -> &Path {
    host.socket.parent().unwrap_or(Path::new("/run/privlink"))
}

/// Removes what a dead daemon left on this host.
///
/// # Errors
/// Its journal cannot be read, or a daemon is running.
pub fn clean(run_directory: &Path) -> anyhow::Result<Cleaned> {
    let host::Report { lines: removed, failed } = host::clean(run_directory).map_err(|error| failure(&error))?;
    Ok(Cleaned { removed, failed })
}

/// Replaces the state by a backup, after `agree` has accepted the list of undone and kept decisions.
///
/// # Errors
/// The backup cannot be read or does not fit, a daemon is running, or `agree` refused. The state is unchanged.
pub fn restore(
    options: &RestoreOptions,
    agree: &mut dyn FnMut(&Restored) -> Result<(), cli::Error>,
) -> Result<Restored, cli::Error> {
    let failed = |error: StoreError| failure(&error.into());
    let broken = |error: std::io::Error| failure(&error.into());
    let mut held = sqlite::Restoration::begin(&options.file, &options.state).map_err(|error| {
        if matches!(error, StoreError::Damaged { .. }) {
            return cli::Error::new(Exit::Failed, error.to_string()).with_remedy("choose another backup");
        }
        failed(error)
    })?;
    let backup = Durable::new(Arc::new(held.backup().map_err(failed)?));
    let uid = rustix::process::getuid().as_raw();
    let name = std::env::var("USER").unwrap_or_else(|_| format!("uid:{uid}"));
    let wanted = RestoreRequest {
        format: backup.format().map_err(broken)?,
        backup: backup.load().map_err(broken)?.unwrap_or_default(),
        now: replaced(&mut held),
        exactly: options.exactly,
        by: Caller::user(uid, name).actor(),
        at: jiff::Timestamp::now(),
        link_key: super::worker_pool::link_key().map_err(|error| failure(&error))?,
    };
    let restoration = Restoration::of(wanted).map_err(|refusal| refused(&refusal))?;
    let mut restored = Restored {
        exactly: options.exactly,
        later_decisions_unknown: restoration.later_is_unknown,
        kept: restoration.kept.clone(),
        undone: restoration.undone.clone(),
        dry_run: options.dry_run,
        ..Restored::default()
    };
    if options.dry_run {
        return Ok(restored);
    }
    agree(&restored)?;
    let source =
        format!("the backup {} (sha256 {})", options.file.display(), sqlite::sha256(&options.file).map_err(failed)?);
    let make = |replaced: &sqlite::Replaced| {
        let made = restoration.transaction(&source, &described(replaced));
        made.map_err(|error| StoreError::Failed(error.to_string()))
    };
    let done = held.finish(make, restoration.migrated).map_err(failed)?;
    restored.audit_records = done.audit.count;
    restored.kept_as = done.kept_as.map(|path| path.display().to_string());
    restored.replaced_sha256 = Some(done.replaced.sha256).filter(|hash| !hash.is_empty());
    Ok(restored)
}

/// The state that a backup replaces.
fn replaced(held: &mut sqlite::Restoration) -> Now {
    let load = |found| -> std::io::Result<Now> {
        let store = Durable::new(Arc::new(found));
        let (format, state) = (store.format()?, store.load()?);
        Ok(Now::Known(Box::new(state.unwrap_or_default()), format))
    };
    match held.replaced() {
        Ok(None) => Now::Nothing,
        Ok(Some(found)) => load(found).unwrap_or_else(|error| Now::Unknown(error.to_string())),
        Err(error) => Now::Unknown(error.to_string()),
    }
}

/// A description of the replaced state, for the audit log.
fn described(replaced: &sqlite::Replaced) -> String {
    let sqlite::Replaced { sha256, audit } = replaced;
    match (sha256.as_str(), audit) {
        ("", _) => "nothing".to_owned(),
        (hash, None) => format!("a state that cannot be read (sha256 {hash})"),
        (hash, Some(audit)) => {
            format!("a state (sha256 {hash}) whose audit log ends with record {}, {}", audit.count, audit.last_hash)
        }
    }
}

fn refused(refusal: &model::Error) -> cli::Error {
    let exit = if refusal.kind == ErrorKind::Conflict { Exit::Conflict } else { Exit::Failed };
    let message = model::Error { remedy: "".into(), ..refusal.clone() };
    cli::Error::new(exit, message.to_string()).with_remedy(refusal.remedy.to_string())
}

/// The exit for `error`. It has a code of its own if another process has what this one needs.
pub(super) fn failure(error: &anyhow::Error) -> cli::Error {
    let held = matches!(error.downcast_ref(), Some(StoreError::Held(_)));
    let listened = matches!(error.downcast_ref(), Some(ListenError::Running(_) | ListenError::AddressInUse(_)));
    let exit = if held || listened || error.is::<host::InUse>() || error.is::<AddressInUse>() {
        Exit::Conflict
    } else {
        Exit::Failed
    };
    let failure = cli::Error::new(exit, format!("{error:#}"));
    match error.downcast_ref().and_then(StoreError::remedy) {
        Some(remedy) => failure.with_remedy(remedy),
        None => failure,
    }
}
