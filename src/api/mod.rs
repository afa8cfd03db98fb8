//! HTTP for the control socket and the metrics listener: who asks, what is asked, how it is refused.
//!
//! A handler reads the view in force, or hands a command to the control plane, on a thread that may
//! wait (`lanes`). Every answer is a list or an error in Azure Resource Manager's envelope.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::HeaderName;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};

pub use facts::facts;
pub use server::identify::keep_audit;
pub use server::{listen, tls};

use crate::control::ControlPlane;
use crate::control::seen::Exportable;
use crate::dns::registry::ResolverRegistry;
use crate::model;
use crate::model::Caller;
use crate::model::Model;
use crate::types::ApplyReport;

use crate::observe::{Observer, metrics};

/// Azure Resource Manager's paths.
mod arm;

/// What describes those paths.
mod docs;

/// Listeners, TLS, limits, peers.
mod server;

/// The paths of this program's own.
mod v1;

/// Commands, handed to the control plane.
mod execute;

/// The control plane's views as the JSON types of `types`.
mod convert;

/// Refusals as HTTP.
mod error;

/// What the counters count.
mod facts;

/// What of sessions and counters a caller may see.
mod visible;

use error::Error;
pub use server::lanes::Lanes;

/// Why a reload changed nothing.
#[derive(Clone, Debug)]
pub enum ReloadFailure {
    /// The file is wrong: the report of `privlink check`.
    BadConfig(String),
    /// The control plane refused it.
    Refused(model::Error),
}

/// Reads the configuration file anew and applies it as the caller.
/// Reads the TOML of a document (name, text) whose references may lead to what the model holds; the error is the
/// report of its mistakes.
pub type Parse =
    Arc<dyn Fn(&str, &crate::types::Body, &Model) -> Result<(Model, Vec<String>), model::Error> + Send + Sync>;

/// Writes down what a reader may read as a document.
pub type Export = Arc<dyn Fn(&Exportable) -> String + Send + Sync>;

/// Marks a request that came over TLS: links in answers begin with `https`.
#[derive(Clone, Copy, Debug)]
pub struct Secure;

/// Makes a copy of the durable state as of now: a file without a name, which goes when it is closed.
pub type Backup = Arc<dyn Fn() -> Result<std::fs::File, String> + Send + Sync>;

/// Re-applies the daemon's own file.
pub type Reload = Arc<dyn Fn(&Caller) -> Result<ApplyReport, ReloadFailure> + Send + Sync>;

/// What `status` says about the process and its host.
#[derive(Clone, Debug, Default)]
pub struct HostFacts {
    /// The configuration file.
    pub config: String,
    /// What the host could not do as asked, such as steering: sentence and remedy.
    pub shortcomings: Vec<Shortcoming>,
    /// Whether the kernel steers packets to the worker that owns their session.
    pub steering: bool,
}

/// Something the daemon works without.
#[derive(Clone, Debug)]
pub struct Shortcoming {
    /// A word for programs, such as `SteeringOff`.
    pub code: String,
    /// What is so, in a sentence.
    pub message: String,
    /// What to do; empty where nothing helps.
    pub remedy: String,
}

/// An attachment that the VNet's packets may no longer reach: its namespace is not the one behind its name any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detached {
    /// Name of the namespace.
    pub netns: String,
    /// Another namespace has the name now; else nobody has it.
    pub replaced: bool,
}

impl Detached {
    /// What is so, in a sentence about `vnet`.
    pub fn says(&self, vnet: &str) -> String {
        let netns = &self.netns;
        if self.replaced {
            return format!(
                "network namespace {netns} was deleted and made anew: VNet {vnet} is attached to the old one, and no \
                 packet of the new one passes"
            );
        }
        format!(
            "network namespace {netns}, where VNet {vnet} is attached, was deleted: only processes that are still in it \
             reach anything"
        )
    }

    /// What to do about any.
    pub const REMEDY: &str = "restart privlink when the namespace is there again: it attaches at its start";
}

/// The VNets that are detached, by `group/name`, as of now.
pub type Detachments = Arc<dyn Fn() -> BTreeMap<String, Detached> + Send + Sync>;

/// What the handlers share.
#[derive(Clone)]
pub struct ApiState {
    /// The single writer.
    pub control: Arc<ControlPlane>,
    /// Reader of the workers.
    pub observer: Arc<Observer>,
    /// Facts that do not change while the daemon runs.
    pub host: Arc<HostFacts>,
    /// Whether packets are being forwarded; set by the daemon.
    pub ready: Arc<AtomicBool>,
    /// The same as SIGHUP.
    pub reload: Reload,
    /// See [`Parse`].
    pub parse: Parse,
    /// See [`Export`].
    pub export: Export,
    /// See [`Backup`].
    pub backup: Backup,
    /// Who vouches for the network listener; `None`: nobody of ours.
    pub authority: Option<Arc<tls::Authority>>,
    /// See [`Silent`].
    pub silent: Silent,
    /// See [`Detachments`].
    pub detached: Detachments,
    /// The resolvers.
    pub registry: Arc<ResolverRegistry>,
    /// See [`Lanes`].
    pub lanes: Arc<Lanes>,
}

/// VNets whose resolver does not listen, by `group/name`, and why.
pub type Silent = Arc<Mutex<BTreeMap<String, String>>>;

impl std::fmt::Debug for ApiState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiState").field("host", &self.host).finish_non_exhaustive()
    }
}

/// Everything the control socket serves. Each request carries its [`Caller`] as an extension.
pub fn router(state: ApiState) -> Router {
    let whole = Router::new().nest(crate::types::PREFIX, v1::routes()).merge(operations());
    let whole = whole.route("/metadata/endpoints", get(arm::metadata::endpoints));
    let identified =
        finished(whole, state.clone()).layer(middleware::from_fn_with_state(state, server::identify::identify));
    identified.layer(middleware::from_fn(traced))
}

/// What the TCP metrics listener serves: nothing that changes anything.
pub fn metrics_router(state: ApiState) -> Router {
    finished(operations(), state)
}

fn operations() -> Router<ApiState> {
    Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route("/openapi.json", get(description))
        .route("/version", get(version))
}

fn finished(router: Router<ApiState>, state: ApiState) -> Router {
    router
        .fallback(elsewhere)
        .method_not_allowed_fallback(async || Error::wrong_method())
        // Bodies are read, and measured, before any handler sees them.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(state.clone(), server::requests::in_time))
        .with_state(state)
}

/// Azure's paths are compared without regard to case, so they are no routes of this router.
async fn elsewhere(state: State<ApiState>, request: Request) -> Response {
    let identified = request.extensions().get::<Caller>().is_some();
    if identified && arm::is_arm(request.uri().path()) {
        return arm::serve(state, request).await;
    }
    Error::unknown_path().into_response()
}

/// Numbers every answer, and gives a client back its own number (`x-ms-request-id`, `x-ms-client-request-id`).
async fn traced(request: Request, next: Next) -> Response {
    static CLIENT: HeaderName = HeaderName::from_static("x-ms-client-request-id");
    static CORRELATION: HeaderName = HeaderName::from_static("x-ms-correlation-request-id");
    let kept = [&CLIENT, &CORRELATION].map(|name| (name, request.headers().get(name).cloned()));
    let mut response = next.run(request).await;
    let number = HeaderValue::from_str(&request_id()).ok();
    let headers = response.headers_mut();
    for (name, value) in kept {
        if let Some(value) = value.filter(|value| value.len() <= 128) {
            headers.insert(name, value);
        }
    }
    if let Some(number) = number {
        headers.entry(&CORRELATION).or_insert_with(|| number.clone());
        headers.insert("x-ms-request-id", number);
    }
    response
}

/// A random UUID (RFC 9562 §5.4).
fn request_id() -> String {
    uuid::Builder::from_random_bytes(fastrand::u128(..).to_be_bytes()).into_uuid().to_string()
}

/// What this is.
async fn version() -> Json<serde_json::Value> {
    let api = [crate::types::API_VERSION, "Azure Resource Manager, any api-version"];
    Json(serde_json::json!({ "name": "privlink", "version": env!("CARGO_PKG_VERSION"), "apis": api }))
}

/// Every counter, to who is known by the metrics listener's address; to a caller, those of what it sees.
async fn scrape(
    State(state): State<ApiState>,
    caller: Option<axum::Extension<Caller>>,
) -> Result<impl IntoResponse, Error> {
    let sample = state.observer.sample();
    let sample = match caller {
        Some(caller) => visible::sample(&state.control.view(), &caller, sample),
        None => sample,
    };
    let text = metrics::render_sample(sample).map_err(|error| Error::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text))
}

/// What Azure Resource Manager's part of this API takes and answers. Anybody may ask, so it is written once.
async fn description() -> impl IntoResponse {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| docs::document().to_string().into());
    ([(header::CONTENT_TYPE, "application/json")], TEXT.clone())
}

/// The process lives.
async fn health() -> &'static str {
    "ok\n"
}

/// Packets are being forwarded.
async fn readiness(State(state): State<ApiState>) -> (StatusCode, &'static str) {
    if state.ready.load(Ordering::Relaxed) {
        return (StatusCode::OK, "ready\n");
    }
    (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
}

#[cfg(test)]
mod tests;
