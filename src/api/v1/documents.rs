//! Documents of any author: parsed against what their author may see, applied with their author's rights.

use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::io::AsyncReadExt as _;

use super::{Call, ListResult, Sent};
use crate::api::ApiState;
use crate::api::error::Error;
use crate::api::execute::{apply_with, demand};
use crate::control::{ApplyFile, Changed, Put};
use crate::model::{Item, actions};
use crate::types::{ApplyReport, Document, Exported, List, Reload};

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/apply", post(apply_document))
        .route("/export", get(export))
        .route("/backup", post(backup))
        .route("/reload", post(reload))
}

/// `POST /v1/apply`
async fn apply_document(Call { state, caller }: Call, Sent(wanted): Sent<Document>) -> ListResult<ApplyReport> {
    let live = {
        let dry_run = wanted.dry_run && !wanted.create_only;
        state.control.view().seen_by_author(&caller, &wanted.document.text(), dry_run)
    };
    let parsed = (state.parse)(&wanted.name, &wanted.document, &live);
    let (model, warnings) = parsed.map_err(Error::bad_document)?;
    // What is only looked at is warned of before it is so.
    let as_if = (wanted.dry_run && !wanted.create_only).then(|| model.clone());
    let mut applied = if wanted.create_only {
        let command = Put { items: Box::new(model), create_only: true };
        apply_with(state.clone(), caller.clone(), command, wanted.force).await?.0.into()
    } else {
        let author = caller.actor().principal.to_string();
        let (prune, dry_run) = (wanted.prune, wanted.dry_run);
        let command = ApplyFile { author, model, host: None, prune, dry_run };
        apply_with(state.clone(), caller.clone(), command, wanted.force).await?.0.flat()
    };
    applied.warnings.extend(warnings);
    let changed: Vec<String> = applied.created.iter().chain(&applied.updated).cloned().collect();
    let view = state.control.view();
    let view = match as_if {
        Some(model) => std::sync::Arc::new(view.as_if(&model)),
        None => view,
    };
    applied.warnings.extend(super::lint::warnings(state, caller, view, changed).await?);
    Ok(Json(List::one(applied)))
}

/// `POST /v1/reload`: the same as SIGHUP, with the caller's rights.
async fn reload(Call { state, caller }: Call) -> ListResult<Reload> {
    // Before the file is read: what it says is told to nobody else, its mistakes included.
    demand(&state, &caller, actions::write(actions::CONFIGURATION))?;
    let report = (state.reload)(&caller)?;
    let notes = report.to_string().lines().map(str::to_owned).collect();
    Ok(Json(List::one(Reload { notes, file: report.flat() })))
}

/// `GET /v1/export`: what the caller may read of the live state, as a document.
async fn export(Call { state, caller }: Call) -> Json<List<Exported>> {
    let document = (state.export)(&state.control.view().exportable(&caller));
    Json(List::one(Exported { document }))
}

impl From<Changed> for ApplyReport {
    fn from(changed: Changed) -> Self {
        let texts = |items: Vec<Item>| items.iter().map(ToString::to_string).collect();
        let (created, updated) = (texts(changed.created), texts(changed.updated));
        Self { created, updated, warnings: changed.warnings, ..Self::default() }
    }
}

/// Bytes of a backup that are read at once.
const CHUNK: usize = 64 * 1024;

/// `POST /v1/backup`: a copy of the state as of now, as the bytes of a database. The daemon writes no file that a caller
/// names.
async fn backup(Call { state, caller }: Call, body: Result<Bytes, BytesRejection>) -> Result<Response, Error> {
    demand(&state, &caller, actions::perform(actions::BACKUP))?;
    if !body?.is_empty() {
        let message = "a backup is the answer to this request: the daemon writes it to no file, and takes no body";
        return Err(Error::bad_request(message, "body"));
    }
    let copy = || {
        let file = (state.backup)()?;
        let length = file.metadata().map_err(|error| error.to_string())?.len();
        Ok((file, length))
    };
    let copied: Result<_, String> = copy();
    let (file, length) = copied.map_err(|why| Error::internal(&std::io::Error::other(why)))?;
    let chunks = futures_util::stream::try_unfold(tokio::fs::File::from_std(file), async |mut file| {
        let mut chunk = vec![0; CHUNK];
        let read = file.read(&mut chunk).await?;
        chunk.truncate(read);
        Ok::<_, std::io::Error>((read > 0).then(|| (Bytes::from(chunk), file)))
    });
    let headers =
        [(header::CONTENT_TYPE, "application/vnd.sqlite3".to_owned()), (header::CONTENT_LENGTH, length.to_string())];
    Ok((headers, Body::from_stream(chunks)).into_response())
}
