//! The audit log.

use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;

use super::{Call, ListResult, Parameters};
use crate::api::error::Error;
use crate::api::{ApiState, convert};
use crate::control::{AuditEntry, AuditVerified};
use crate::types::{AuditRecord, ExportedRecord, List, Verified};

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/audit", get(audit)).route("/audit/verify", get(verify)).route("/audit/export", get(export))
}

/// Which audit records are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditQuery {
    since: Option<jiff::Timestamp>,
    limit: Option<usize>,
    object: Option<String>,
    by: Option<String>,
}

/// `GET /v1/audit`: the newest records that the caller may read, oldest of them first.
async fn audit(Call { state, caller }: Call, query: Result<Parameters<AuditQuery>, Error>) -> ListResult<AuditRecord> {
    let view = state.control.view();
    let reader = view.audit_for(&caller)?;
    let Parameters(AuditQuery { since, limit, object, by }) = query?;
    let holds = |record: &AuditRecord| {
        object.as_ref().is_none_or(|object| record.record.object.contains(object.as_str()))
            && by.as_ref().is_none_or(|by| *by == record.record.by.principal || *by == record.record.by.name)
    };
    let take = |(seq, hash, body): AuditEntry| {
        let record = serde_json::from_slice(&body).map_err(|error| Error::internal(&error))?;
        let Some(record) = reader.told(record) else { return Ok(None) };
        let (seq, hash) = (Some(seq).filter(|_| reader.is_whole()), Some(hash).filter(|_| reader.is_whole()));
        Ok::<_, Error>(Some(AuditRecord { seq, hash, record: convert::record(record) }).filter(&holds))
    };
    Ok(Json(List::new(state.control.audit(since, limit.unwrap_or(AUDIT_LIMIT), take)?)))
}

/// Records listed unless told otherwise.
const AUDIT_LIMIT: usize = 100;

/// `GET /v1/audit/verify`: walks the whole chain.
async fn verify(Call { state, caller }: Call) -> ListResult<Verified> {
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
struct ExportQuery {
    from: u64,
    since: Option<jiff::Timestamp>,
}

/// Records in one answer.
const EXPORTED_AT_ONCE: usize = 500;

/// `GET /v1/audit/export?from=N`: records from number N on, in order and as they are stored; none: there are no more.
async fn export(
    Call { state, caller }: Call,
    query: Result<Parameters<ExportQuery>, Error>,
) -> ListResult<ExportedRecord> {
    state.control.view().demand_whole_audit(&caller)?;
    let Parameters(ExportQuery { from, since }) = query?;
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
