//! Passes a request to its handler: reads its body, chooses its threads, limits its time.

use axum::body::HttpBody as _;
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::before_body::{self, Bounds};
use super::lanes;
use super::limits::{DOCUMENTS, DOCUMENTS_EACH, DOCUMENTS_HELD, REQUEST_TIMEOUT};
use crate::api::ApiState;
use crate::api::error::Error;
use crate::model::Caller;

/// Reads the body within its limits, runs the request on its lane, and answers with an error if that takes too long.
pub(in crate::api) async fn in_time(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    served(&state, request, next).await.unwrap_or_else(IntoResponse::into_response)
}

async fn served(state: &ApiState, request: Request, next: Next) -> Result<Response, Error> {
    let (parts, body) = request.into_parts();
    let (path, caller) = (parts.uri.path(), parts.extensions.get::<Caller>().cloned());
    let bounds = match &caller {
        Some(caller) if !body.is_end_stream() && lanes::changes_something(&parts.method, path) => {
            before_body::judge(state, caller, &parts).await?
        }
        Some(_) | None => Bounds::of(path),
    };
    let document = path == DOCUMENTS;
    let _permit = match &caller {
        Some(caller) if document => {
            let permit = tokio::time::timeout(REQUEST_TIMEOUT, DOCUMENTS_HELD.wait(caller.subject.principal())).await;
            Some(permit.map_err(|_| Error::too_many_documents(DOCUMENTS_EACH))?)
        }
        Some(_) | None => None,
    };
    let limit = bounds.bytes;
    let said = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|length| length > limit as u64) {
        return Err(Error::too_large(limit));
    }
    let body = match tokio::time::timeout(bounds.time, axum::body::to_bytes(body, limit)).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) if is_limit(&error) => return Err(Error::too_large(limit)),
        Ok(Err(error)) => return Err(Error::bad_request(&format!("the body cannot be read: {error}"), "")),
        Err(_) => return Err(Error::trickling(bounds.time)),
    };
    let lane = lanes::of(&parts.method, path, &body);
    let answer = next.run(Request::from_parts(parts, axum::body::Body::from(body)));
    let answer = async {
        match lane {
            Some(lane) => {
                let caller = caller.map(|caller| caller.subject.principal().clone());
                state.lanes.run(lane, caller, answer).await
            }
            None => Ok(answer.await),
        }
    };
    tokio::time::timeout(REQUEST_TIMEOUT, answer).await.unwrap_or_else(|_| Err(Error::too_slow(REQUEST_TIMEOUT)))
}

fn is_limit(error: &axum::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(one) = cause {
        if one.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = one.source();
    }
    false
}
