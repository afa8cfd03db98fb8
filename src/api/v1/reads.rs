//! Questions that change nothing: answered from the view in force and the workers' counters.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use serde::Deserialize;

use super::conditions;
use crate::access::rights::Right;
use crate::api::error::Rejection;
use crate::api::visible::Visible;
use crate::api::{ApiState, convert};
use crate::control::{AuditEntry, AuditVerified, View};
use crate::interface::{
    AuditRecord, Authority, Connection, Endpoint, Explanation, ExportedRecord, Flow, LastReload, List, Resource,
    Status, Verified, Vnet,
};
use crate::model::{Caller, actions};
use crate::observe::explain::Question;
use crate::observe::totals;

pub(super) type Answer<T> = Result<Json<List<T>>, Rejection>;

/// `GET /v1/status`
pub(super) async fn status(State(state): State<ApiState>, caller: Extension<Caller>) -> Answer<Status> {
    let view = seen(&state, &caller);
    let operates = view.rights(&caller).hold(&Right::anywhere(actions::read(actions::CONFIGURATION)));
    let endpoints = view.endpoints();
    let lines = endpoints.iter().map(|endpoint| {
        let sessions = state.observer.endpoint(endpoint.id).sessions;
        convert::line(endpoint, sessions, state.control.now())
    });
    let (clean_up, endpoints) = lines.partition(|line| line.state == "Disconnected");
    let status = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        config: if operates { state.host.config.clone() } else { String::new() },
        last_reload: last_reload(&state, &caller).filter(|_| operates),
        ready: state.ready.load(Ordering::Relaxed),
        workers: state.observer.worker_count() as u64,
        steering: state.host.steering,
        conditions: conditions::of(&state, &view, &caller, operates),
        endpoints,
        clean_up,
        totals: totals(&state.observer.verdicts()),
    };
    Ok(Json(List::one(status)))
}

/// What became of the file when it was last read anew; of its text only for who may change it.
fn last_reload(state: &ApiState, caller: &Caller) -> Option<LastReload> {
    let last = state.observer.reloads().read().last?;
    let may_read = crate::api::execute::demand(state, caller, actions::write(actions::CONFIGURATION)).is_ok();
    let outcome = if last.applied { "applied" } else { "refused" };
    Some(LastReload { at: last.at, by: last.by, outcome: outcome.to_owned(), message: may_read.then_some(last.said) })
}

/// `GET /v1/ca`
pub(super) async fn authority(State(state): State<ApiState>) -> Answer<Authority> {
    let authority = state.authority.as_deref().map(|authority| Authority {
        fingerprint: format!("sha256:{}", authority.fingerprint),
        certificate: authority.pem.clone(),
    });
    let remedy = "set `api` under [daemon] to an address, without `tls`";
    authority.map(|one| Json(List::one(one))).ok_or_else(|| Rejection::missing("authority", "of this daemon", remedy))
}

/// What `flows` may be narrowed to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlowQuery {
    endpoint: Option<String>,
    limit: Option<usize>,
}

/// Sessions listed unless told otherwise.
const FLOW_LIMIT: usize = 1_000;

/// `GET /v1/flows?endpoint=…&limit=…`
pub(super) async fn flows(
    State(state): State<ApiState>,
    caller: Extension<Caller>,
    query: Result<Query<FlowQuery>, QueryRejection>,
) -> Answer<Flow> {
    let Query(FlowQuery { endpoint, limit }) = query?;
    let endpoint = match endpoint {
        Some(reference) => Some(
            seen(&state, &caller)
                .endpoint(&reference)
                .map_err(|refusal| Rejection::from(refusal).about(&reference))?
                .id,
        ),
        None => None,
    };
    let visible = Visible::to(&state.control.view(), &caller);
    if endpoint.is_none() && !visible.is_whole() {
        let message = "sessions of every endpoint are for who may read every object: name an endpoint";
        return Err(Rejection::bad_value("endpoint", message));
    }
    let limit = limit.unwrap_or(FLOW_LIMIT);
    let flows = state.observer.flows(endpoint, limit)?;
    Ok(Json(List::new(flows.into_iter().filter_map(|flow| visible.flow(flow)).collect())))
}

/// The packet that `explain` is about.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainQuery {
    vnet: String,
    source: IpAddr,
    destination: IpAddr,
    port: u16,
    protocol: String,
}

/// `GET /v1/explain?vnet=…&source=…&destination=…&port=…&protocol=…`
pub(super) async fn explain(
    State(state): State<ApiState>,
    caller: Extension<Caller>,
    query: Result<Query<ExplainQuery>, QueryRejection>,
) -> Answer<Explanation> {
    let Query(ExplainQuery { vnet, source, destination, port, protocol }) = query?;
    // It tells of any endpoint, of what that is bound to and of its servers.
    state.control.view().demand_whole(&caller)?;
    let question = Question { vnet, source, destination, protocol, port };
    Ok(Json(List::one(state.observer.explain(&question)?)))
}

/// `GET /v1/endpoints`
pub(super) async fn endpoints(State(state): State<ApiState>, caller: Extension<Caller>) -> Answer<Endpoint> {
    let items = seen(&state, &caller).endpoints();
    let whole = state.control.view();
    let one = |view| convert::endpoint(view, &whole.decisions, &state.observer, state.control.now());
    Ok(Json(List::new(items.iter().map(one).collect())))
}

/// `GET /v1/endpoints/{endpoint}`
pub(super) async fn endpoint(
    State(state): State<ApiState>,
    caller: Extension<Caller>,
    Path(reference): Path<String>,
) -> Answer<Endpoint> {
    let view =
        seen(&state, &caller).endpoint(&reference).map_err(|refusal| Rejection::from(refusal).about(&reference))?;
    let whole = state.control.view();
    Ok(Json(List::one(convert::endpoint(&view, &whole.decisions, &state.observer, state.control.now()))))
}

/// Which connections are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConnectionQuery {
    #[serde(default)]
    pending: bool,
}

/// `GET /v1/connections?pending=true`
pub(super) async fn connections(
    State(state): State<ApiState>,
    caller: Extension<Caller>,
    query: Result<Query<ConnectionQuery>, QueryRejection>,
) -> Answer<Connection> {
    let Query(ConnectionQuery { pending }) = query?;
    Ok(Json(List::new(
        seen(&state, &caller)
            .connections(pending)
            .into_iter()
            .map(|one| convert::connection(one, &state.observer, state.control.now()))
            .collect(),
    )))
}

/// `GET /v1/connections/{endpoint}`
pub(super) async fn connection(
    State(state): State<ApiState>,
    caller: Extension<Caller>,
    Path(reference): Path<String>,
) -> Answer<Connection> {
    let view = seen(&state, &caller).connection(&reference, None);
    let view = view.map_err(|refusal| Rejection::from(refusal).about(&reference))?;
    Ok(Json(List::one(convert::connection(view, &state.observer, state.control.now()))))
}

/// `GET /v1/resources`
pub(super) async fn resources(State(state): State<ApiState>, caller: Extension<Caller>) -> Answer<Resource> {
    let view = seen(&state, &caller);
    let sample = state.observer.sample();
    Ok(Json(List::new(view.resources().iter().map(|resource| convert::resource(resource, &sample)).collect())))
}

/// `GET /v1/resources/{resource}`
pub(super) async fn resource(
    State(state): State<ApiState>,
    caller: Extension<Caller>,
    Path(reference): Path<String>,
) -> Answer<Resource> {
    let view =
        seen(&state, &caller).resource(&reference).map_err(|refusal| Rejection::from(refusal).about(&reference))?;
    Ok(Json(List::one(convert::resource(&view, &state.observer.sample()))))
}

/// `GET /v1/vnets`
pub(super) async fn vnets(State(state): State<ApiState>, caller: Extension<Caller>) -> Answer<Vnet> {
    Ok(Json(List::new(seen(&state, &caller).vnets().into_iter().map(convert::vnet).collect())))
}

/// `GET /v1/vnets/{vnet}`
pub(super) async fn vnet(
    State(state): State<ApiState>,
    caller: Extension<Caller>,
    Path(reference): Path<String>,
) -> Answer<Vnet> {
    let view = seen(&state, &caller).vnet(&reference).map_err(|refusal| Rejection::from(refusal).about(&reference))?;
    Ok(Json(List::one(convert::vnet(view))))
}

/// The view in force, with what `caller` may read of it.
pub(super) fn seen(state: &ApiState, caller: &Caller) -> View {
    state.control.view().seen_by(caller)
}

/// Which audit records are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    since: Option<jiff::Timestamp>,
    limit: Option<usize>,
    object: Option<String>,
    by: Option<String>,
}

/// `GET /v1/audit`: the newest records that the caller may read, oldest of them first.
pub(super) async fn audit(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Answer<AuditRecord> {
    let view = state.control.view();
    let reader = view.audit_for(&caller)?;
    let Query(AuditQuery { since, limit, object, by }) = query?;
    let holds = |record: &AuditRecord| {
        object.as_ref().is_none_or(|object| record.record.object.contains(object.as_str()))
            && by.as_ref().is_none_or(|by| *by == record.record.by.principal || *by == record.record.by.name)
    };
    let take = |(seq, hash, body): AuditEntry| {
        let record = serde_json::from_slice(&body).map_err(|error| Rejection::internal(&error))?;
        let Some(record) = reader.told(record) else { return Ok(None) };
        let (seq, hash) = (Some(seq).filter(|_| reader.is_whole()), Some(hash).filter(|_| reader.is_whole()));
        Ok::<_, Rejection>(Some(AuditRecord { seq, hash, record: convert::record(record) }).filter(&holds))
    };
    Ok(Json(List::new(state.control.audit(since, limit.unwrap_or(AUDIT_LIMIT), take)?)))
}

/// Records listed unless told otherwise.
const AUDIT_LIMIT: usize = 100;

/// `GET /v1/audit/verify`: walks the whole chain.
pub(super) async fn verify(State(state): State<ApiState>, Extension(caller): Extension<Caller>) -> Answer<Verified> {
    state.control.view().demand_whole_audit(&caller)?;
    let AuditVerified { anchor, end } = state.control.verify_audit()?;
    let verified = Verified {
        count: end.count - anchor.count,
        last_hash: end.last_hash.to_string(),
        pruned: anchor.count,
        anchor: anchor.last_hash.to_string(),
    };
    Ok(Json(List::one(verified)))
}

/// Which audit records are exported.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportQuery {
    from: u64,
    since: Option<jiff::Timestamp>,
}

/// Records in one answer.
const EXPORTED_AT_ONCE: usize = 500;

/// `GET /v1/audit/export?from=N`: records from number N on, in order and as they are stored; none: there are no more.
pub(super) async fn export(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<ExportQuery>, QueryRejection>,
) -> Answer<ExportedRecord> {
    state.control.view().demand_whole_audit(&caller)?;
    let Query(ExportQuery { from, since }) = query?;
    let records = state.control.export_audit(from, since, EXPORTED_AT_ONCE)?;
    let exported = records.into_iter().map(|record| ExportedRecord {
        seq: record.seq,
        at_microseconds: record.at.as_microsecond(),
        previous: record.previous.to_string(),
        hash: record.hash.to_string(),
        body: String::from_utf8_lossy(&record.body).into_owned(),
    });
    Ok(Json(List::new(exported.collect())))
}
