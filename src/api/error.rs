//! Refusals as HTTP: one place that maps what went wrong to a status and ARM's envelope.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::ReloadFailure;
use crate::model;
use crate::model::Key;
use crate::model::error::ErrorKind;
use crate::observe::explain::Unanswerable;
use crate::observe::flows::Silent;
use crate::observe::who::Untraceable;
use crate::types::{ErrorBody, ErrorDetail};

/// A request that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Error {
    status: StatusCode,
    body: ErrorBody,
}

impl Error {
    fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, body: ErrorBody::new(code, message) }
    }

    /// The same, with what to do about it.
    fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.body = self.body.with_remedy(remedy);
        self
    }

    /// The same, about `target`.
    pub(super) fn about(mut self, target: &str) -> Self {
        self.body = self.body.about(target);
        self
    }

    pub(super) fn unknown_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "PathNotFound", "nothing stands at this path")
            .with_remedy("this API begins with /v1/status; a `/` within a name is written %2F")
    }

    pub(super) fn missing(kind: &str, name: &str, remedy: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", format!("there is no {kind} `{name}`"))
            .with_remedy(remedy)
            .about(name)
    }

    /// Whether it is the refusal with this code.
    pub(super) fn is(&self, code: &str) -> bool {
        self.body.error.code == code
    }

    pub(super) fn absent(kind: &str, key: &Key) -> Self {
        let message = format!(
            "The Resource '{kind}/{}' under resource group '{}' was not found. Check name, group and subscription.",
            key.name, key.group
        );
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFound", message)
    }

    pub(super) fn absent_group(group: &str) -> Self {
        let message = format!("Resource group '{group}' could not be found.");
        Self::new(StatusCode::NOT_FOUND, "ResourceGroupNotFound", message).with_remedy("create it first").about(group)
    }

    pub(super) fn unknown_type(kind: &str, nearest: Option<&str>) -> Self {
        let remedy = nearest.map_or_else(
            || "declare it as a [[resource_type]] in the daemon's file".to_owned(),
            |nearest| format!("did you mean {nearest}?"),
        );
        let message = format!("The resource type '{kind}' is not known.");
        Self::new(StatusCode::NOT_FOUND, "InvalidResourceType", message).with_remedy(remedy).about(kind)
    }

    pub(super) fn precondition(why: &str) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", why)
            .with_remedy("read it again, and decide anew")
    }

    pub(super) fn missing_version() -> Self {
        let message = "The api-version query parameter (?api-version=) is required for all requests.";
        Self::new(StatusCode::BAD_REQUEST, "MissingApiVersionParameter", message).with_remedy("any version will do")
    }

    pub(super) fn bad_request(message: &str, target: &str) -> Self {
        Self::bad_request_of("InvalidRequestFormat", message, target)
    }

    pub(super) fn bad_request_of(code: &str, message: &str, target: &str) -> Self {
        let rejection = Self::new(StatusCode::BAD_REQUEST, code, message);
        if target.is_empty() { rejection } else { rejection.about(target) }
    }

    /// What the body refers to is not there, as far as the caller may know.
    pub(super) fn unseen(what: impl std::fmt::Display, at: &str) -> Self {
        let message = format!("there is no {what} that this caller may see");
        Self::bad_request_of("InvalidResourceReference", &message, at)
    }

    /// A part of the path is not a name.
    pub(super) fn bad_name(code: &str, part: &str, text: &str, remedy: &str) -> Self {
        let message = format!("`{text}`, the {part} of this path, is not a name");
        Self::new(StatusCode::BAD_REQUEST, code, message).with_remedy(remedy).about(part)
    }

    pub(super) fn conflict(code: &str, message: &str) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    pub(super) fn wrong_method_of(allowed: &str) -> Self {
        Self::wrong_method().with_remedy(format!("this path takes {allowed}"))
    }

    pub(super) fn unauthenticated(why: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "InvalidAuthenticationToken", why).with_remedy(
            "leave the token out to be known by your uid, or name a file with a good one: PRIVLINK_TOKEN_FILE",
        )
    }

    pub(super) fn wrong_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "this path does not know this method")
    }

    pub(super) fn too_slow(limit: Duration) -> Self {
        let message = format!("no result within {} s; a command may still take effect", limit.as_secs());
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message).with_remedy("`privlink status` shows what is so")
    }

    pub(super) fn trickling(limit: Duration) -> Self {
        let message = format!("the body was not there within {} s", limit.as_secs());
        Self::new(StatusCode::REQUEST_TIMEOUT, "RequestTimeout", message)
    }

    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("the body has more than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestContentTooLarge", message)
    }

    /// So many documents of the caller are looked at already.
    pub(super) fn too_many_documents(limit: usize) -> Self {
        let message =
            format!("{limit} documents of this caller are looked at already, or too many of all callers together");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message)
            .with_remedy("wait for the answers to those, and send this one then")
    }

    /// So many connections are the caller's already.
    pub(super) fn too_many_connections(limit: usize) -> Self {
        let message =
            format!("{limit} connections of this caller are open already, or too many of all callers together");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "TooManyConnections", message)
            .with_remedy("close those that are not needed; one connection carries any number of requests in turn")
    }

    /// A handler that did not come to its end.
    pub(super) fn lost() -> Self {
        let message = "the daemon came upon an error of its own and gave this request up; its log says more";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    pub(super) fn bad_body(why: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "InvalidRequestContent",
            format!("the body is not what this path takes: {why}"),
        )
        .with_remedy(r#"send {"reason":"…"}, or nothing"#)
    }

    pub(super) fn bad_value(name: &str, why: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidParameter", format!("{name}: {why}")).about(name)
    }

    pub(super) fn bad_document(refusal: model::Error) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, ..refusal.into() }
    }

    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", error.to_string())
    }
}

impl Error {
    /// The same in the words of its reader. A message that is made of its details is made of them anew.
    pub(super) fn reworded(mut self, words: &dyn Fn(&ErrorDetail) -> ErrorDetail) -> Self {
        let of_details = reasons(&self.body) == Some(self.body.error.message.clone());
        self.body.error.details = self.body.error.details.iter().map(words).collect();
        self.body.error.message = match reasons(&self.body).filter(|_| of_details) {
            Some(message) => message,
            None => words(&ErrorDetail { details: Vec::new(), ..self.body.error.clone() }).message,
        };
        self
    }

    /// The bytes of the answer, for a connection that is closed after it.
    pub(super) fn as_http(&self) -> Vec<u8> {
        let body = serde_json::to_string(&self.body).unwrap_or_default();
        let head = "Content-Type: application/json\r\nConnection: close";
        format!("HTTP/1.1 {}\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", self.status, body.len()).into_bytes()
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// What a refusal mentions is shown to nobody: it is told for its reader before ([`model::Error::told`]), as the control
/// plane does with every refused command, or else its mentions are left out here.
impl From<model::Error> for Error {
    fn from(refusal: model::Error) -> Self {
        let refusal = refusal.told(&|_| false);
        let status = match refusal.kind {
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Forbidden => StatusCode::FORBIDDEN,
            ErrorKind::InvalidTransition | ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Storage => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut rejection = Self::new(status, refusal.code, refusal.message.to_string());
        for mistake in refusal.details {
            let target = Some(mistake.target()).filter(|target| !target.is_empty());
            let detail =
                ErrorDetail { code: mistake.code.to_owned(), message: mistake.to_string(), target, details: vec![] };
            rejection.body.error.details.push(detail);
        }
        if announces(&rejection.body.error.message)
            && let Some(message) = reasons(&rejection.body)
        {
            rejection.body.error.message = message;
        }
        if refusal.remedy.is_empty() { rejection } else { rejection.with_remedy(refusal.remedy.to_string()) }
    }
}

/// Whether a message says no more than that its details follow.
fn announces(message: &str) -> bool {
    message.ends_with(':')
}

/// Mistakes that a message tells; the rest stands in the details alone.
const TOLD_MAX: usize = 5;

/// What is wrong, of the mistakes themselves: many clients show the message and nothing else. `None`: there are none.
fn reasons(body: &ErrorBody) -> Option<String> {
    let mistakes: Vec<&str> = body.mistakes().collect();
    let told: Vec<&str> = mistakes.iter().take(TOLD_MAX).copied().collect();
    let more = mistakes.len() - told.len();
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    (!told.is_empty()).then(|| format!("{}{rest}", told.join("; ")))
}

impl From<ReloadFailure> for Error {
    fn from(failure: ReloadFailure) -> Self {
        match failure {
            ReloadFailure::Refused(refusal) => refusal.into(),
            ReloadFailure::BadConfig(report) => Self::new(StatusCode::BAD_REQUEST, "InvalidConfiguration", report)
                .with_remedy("nothing of it was applied; `privlink check FILE` says the same"),
        }
    }
}

impl From<Silent> for Error {
    fn from(silent: Silent) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "WorkerSilent", silent.to_string())
    }
}

impl From<Untraceable> for Error {
    fn from(untraceable: Untraceable) -> Self {
        match untraceable {
            Untraceable::Silent(silent) => silent.into(),
            Untraceable::Unreadable(_) => Self::internal(&untraceable),
        }
    }
}

impl From<Unanswerable> for Error {
    fn from(unanswerable: Unanswerable) -> Self {
        let message = unanswerable.to_string();
        match unanswerable {
            Unanswerable::NoAttachment { vnet, attached } => {
                Self::new(StatusCode::NOT_FOUND, "AttachmentNotFound", message)
                    .about(&vnet)
                    .with_remedy(format!("attached here: {}", attached.join(", ")))
            }
            Unanswerable::Ambiguous { vnet, .. } => Self::new(StatusCode::NOT_FOUND, "AmbiguousReference", message)
                .about(&vnet)
                .with_remedy("name the one you mean as group/name"),
            Unanswerable::UnknownProtocol(_) => Self::bad_value("protocol", message),
        }
    }
}

impl From<QueryRejection> for Error {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidParameter", rejection.body_text())
    }
}

impl From<BytesRejection> for Error {
    fn from(rejection: BytesRejection) -> Self {
        Self { status: rejection.status(), ..Self::bad_body(rejection.body_text()) }
    }
}
