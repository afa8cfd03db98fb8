//! Sessions, and what would become of a packet.

use std::net::IpAddr;

use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;

use super::{Call, ListResult, Parameters, about};
use crate::api::ApiState;
use crate::api::error::Error;
use crate::api::visible::Visible;
use crate::observe::explain::{Question, Unanswerable};
use crate::types::{Explanation, Flow, List};

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/flows", get(flows)).route("/explain", get(explain))
}

/// What `flows` may be narrowed to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FlowQuery {
    endpoint: Option<String>,
    limit: Option<usize>,
}

/// Sessions listed unless told otherwise.
const FLOW_LIMIT: usize = 1_000;

/// `GET /v1/flows?endpoint=…&limit=…`
async fn flows(
    Call { state, caller }: Call,
    Parameters(FlowQuery { endpoint, limit }): Parameters<FlowQuery>,
) -> ListResult<Flow> {
    let endpoint = match endpoint {
        Some(reference) => Some(about(&reference, state.control.view().seen_by(&caller).endpoint(&reference))?.id),
        None => None,
    };
    let visible = Visible::to(&state.control.view(), &caller);
    if endpoint.is_none() && !visible.is_whole() {
        let message = "sessions of every endpoint are for who may read every object: name an endpoint";
        return Err(Error::bad_value("endpoint", message));
    }
    let limit = limit.unwrap_or(FLOW_LIMIT);
    let flows = state.observer.flows(endpoint, limit)?;
    Ok(Json(List::new(flows.into_iter().filter_map(|flow| visible.flow(flow)).collect())))
}

/// The packet that `explain` is about.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainQuery {
    vnet: String,
    source: IpAddr,
    destination: IpAddr,
    port: u16,
    protocol: String,
}

/// `GET /v1/explain?vnet=…&source=…&destination=…&port=…&protocol=…`
async fn explain(
    Call { state, caller }: Call,
    Parameters(ExplainQuery { vnet, source, destination, port, protocol }): Parameters<ExplainQuery>,
) -> ListResult<Explanation> {
    // It tells of any endpoint, of what that is bound to and of its servers.
    let view = state.control.view();
    view.demand_whole(&caller)?;
    let question = Question { vnet, source, destination, protocol, port };
    let explained = state.observer.explain(&question);
    if let Err(Unanswerable::NoAttachment { vnet, .. }) = &explained {
        // One that is not there has no attachment either.
        about(vnet, view.vnet(vnet))?;
    }
    Ok(Json(List::one(explained?)))
}
