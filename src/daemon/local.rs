//! What is done for the command line where no daemon runs: the plan of a start, clean-up, restore.

use std::path::Path;
use std::sync::Arc;

use privlink::api::listen::ListenError;
use privlink::cli::{Cleaned, Exit, Failure, RunOptions};
use privlink::config;
use privlink::control::model::HostConfig;
use privlink::control::state::{DecisionStore as _, Durable};
use privlink::host::{self, Host};
use privlink::interface::{Applied, Plan, PlannedStep};
use privlink::snapshot::topology::AddressInUse;
use privlink::store::StoreError;
use privlink::store::sqlite::look;

/// What a start would do, whether or not a daemon runs: nothing is made, held or written.
pub(crate) fn plan(options: &RunOptions) -> Result<Plan, Failure> {
    let loaded = config::load(&options.config).map_err(|report| Failure::bad_config(&report))?;
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
        file: Applied::from(prepared.view().last_apply.as_ref().clone()),
        steps: planned.steps.iter().map(step).collect(),
        warnings: loaded.warnings.iter().map(ToString::to_string).chain(planned.warnings).collect(),
    })
}

/// Where journal and locks lie: beside the control socket.
pub(super) fn run_directory(host: &HostConfig) -> &Path {
    host.socket.parent().unwrap_or(Path::new("/run/privlink"))
}

/// Removes what a dead daemon left on this host.
pub(crate) fn clean(run_directory: &Path) -> anyhow::Result<Cleaned> {
    let host::Report { lines: removed, failed } = host::clean(run_directory).map_err(|error| failure(&error))?;
    Ok(Cleaned { removed, failed })
}

/// Replaces the state in `directory` by the backup `file`.
pub(crate) fn restore(file: &Path, directory: &Path) -> anyhow::Result<Vec<String>> {
    let restored = privlink::store::sqlite::restore(file, directory).map_err(|error| failure(&error.into()))?;
    let kept = restored.kept_as.map(|path| format!("what was there stands in {}", path.display()));
    let said = format!("restored, with {} audit records; start the daemon now", restored.audit.count);
    Ok(std::iter::once(said).chain(kept).collect())
}

/// How the process ends on `error`: with a code of its own where somebody else has what it needs.
pub(super) fn failure(error: &anyhow::Error) -> Failure {
    let held = matches!(error.downcast_ref(), Some(StoreError::Held(_)));
    let listened = matches!(error.downcast_ref(), Some(ListenError::Running(_) | ListenError::AddressInUse(_)));
    let exit = if held || listened || error.is::<host::InUse>() || error.is::<AddressInUse>() {
        Exit::Conflict
    } else {
        Exit::Failed
    };
    Failure::new(exit, format!("{error:#}"))
}
