//! Reloads the daemon's own file: on SIGHUP, and for `privlink reload`, which waits for the result.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::api::{self, ReloadFailure};
use crate::compile::lint;
use crate::config;
use crate::control::{ApplyFile, ControlPlane};
use crate::model::Caller;
use crate::model::state::DAEMON;
use crate::observe::Observer;
use crate::observe::reloads::LastReload;
use crate::types::ApplyReport;

/// Applies the file at `path`, logs the result, and keeps it for `status` and metrics.
pub(super) fn reload_of(path: PathBuf, control: Arc<ControlPlane>, observer: Arc<Observer>) -> api::Reload {
    Arc::new(move |caller| {
        observer.refresh();
        let outcome = apply(&path, caller, &control);
        observer.refresh();
        let said = match &outcome {
            Ok(report) => {
                let said = report.to_string();
                tracing::info!(%caller, "configuration applied\n{said}");
                said
            }
            Err(failure) => {
                let said = text_of(failure);
                tracing::error!(%caller, "configuration refused, nothing changed: {said}");
                said
            }
        };
        let at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        observer.reloads().note(LastReload { at, by: caller.to_string(), applied: outcome.is_ok(), said });
        outcome
    })
}

fn apply(path: &Path, caller: &Caller, control: &ControlPlane) -> Result<ApplyReport, ReloadFailure> {
    let mut loaded = config::load(path).map_err(|report| ReloadFailure::BadConfig(report.to_string()))?;
    super::allow_by_default(&mut loaded.host, &loaded.model)
        .map_err(|error| ReloadFailure::BadConfig(format!("{error:#}")))?;
    let version = ApplyFile {
        author: DAEMON.to_owned(),
        model: loaded.model,
        host: Some(loaded.host),
        prune: false,
        dry_run: false,
    };
    match control.apply(caller, version) {
        Ok(mut report) => {
            report.warnings.extend(loaded.warnings.iter().map(config::Problem::in_one_line));
            report.warnings.extend(surprises(control, &report));
            Ok(report)
        }
        Err(refusal) => Err(ReloadFailure::Refused(refusal)),
    }
}

fn text_of(failure: &ReloadFailure) -> String {
    match failure {
        ReloadFailure::BadConfig(text) => text.clone(),
        ReloadFailure::Refused(refusal) => refusal.to_string(),
    }
}

/// DNS warnings about objects that a file has changed.
pub(super) fn surprises(control: &ControlPlane, report: &ApplyReport) -> Vec<String> {
    let changed: BTreeSet<&str> = report.created.iter().chain(&report.updated).map(String::as_str).collect();
    if changed.is_empty() {
        return Vec::new();
    }
    let view = control.view();
    let found = lint::lint(&view.state, &view.dns).into_iter();
    found.filter(|surprise| surprise.concerns(&changed)).map(|surprise| surprise.to_string()).collect()
}
