//! Documents of any author: parsed against what their author may see, applied with their author's rights.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::{Extension, Json};

use super::ApiState;
use super::changes::apply;
use super::error::Rejection;
use crate::control::{Caller, Command, FileVersion};
use crate::interface::{Document, Done, List};

/// `POST /v1/apply`
pub(super) async fn apply_document(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<List<Done>>, Rejection> {
    let wanted: Document = serde_json::from_slice(&body?).map_err(Rejection::bad_body)?;
    let live = state.control.view().seen_by_author(&caller);
    let parsed = (state.parse)(&wanted.name, &wanted.document, &live);
    let (model, warnings) = parsed.map_err(Rejection::bad_document)?;
    let command = if wanted.create_only {
        Command::Put { items: Box::new(model), create_only: true }
    } else {
        let author = caller.actor().principal.to_string();
        let (prune, dry_run) = (wanted.prune, wanted.dry_run);
        Command::ApplyFile(Box::new(FileVersion { author, model, host: None, prune, dry_run }))
    };
    let (outcome, _) = apply(state, caller, command).await?;
    let lines = outcome.to_string().lines().map(str::to_owned).chain(warnings).collect();
    Ok(Json(List::one(Done { lines })))
}

/// A file that the daemon is asked to write a copy of its state to.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Backup {
    file: std::path::PathBuf,
}

/// `POST /v1/backup`
pub(super) async fn backup(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<List<Done>>, Rejection> {
    use crate::control::access::actions;
    let Backup { file } = serde_json::from_slice(&body?).map_err(Rejection::bad_body)?;
    super::access::demand(&state, &caller, actions::perform(actions::BACKUP))?;
    let shown = file.display().to_string();
    super::blocking(move || (state.backup)(&file)).await?.map_err(|why| Rejection::bad_value("file", why))?;
    Ok(Json(List::one(Done { lines: vec![format!("the state of now stands in {shown}")] })))
}
