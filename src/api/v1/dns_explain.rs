//! What the running resolver of a VNet makes of a name: asked within the VNet's network, as its clients would.

use std::collections::BTreeSet;

use axum::extract::Path;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;

use super::{Call, ListResult, Parameters, about};
use crate::api::ApiState;
use crate::api::error::Error;
use crate::compile::names::{Waiting, waiting_in};
use crate::control::View;
use crate::dns::registry::{Explained, QueryError};
use crate::dns::resolver::{AnswerSource, RecordText, TraceStep};
use crate::model::Key;
use crate::types::{DnsExplanation, DnsHop, DnsRecord, List};

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/vnets/{vnet}/dns/explain", get(explain))
}

/// Which name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NameQuery {
    name: String,
    #[serde(rename = "type", default = "address")]
    kind: String,
}

fn address() -> String {
    "A".to_owned()
}

/// `GET /v1/vnets/{vnet}/dns/explain?name=…&type=…`
async fn explain(
    Call { state, caller }: Call,
    Path(vnet): Path<String>,
    Parameters(asked): Parameters<NameQuery>,
) -> ListResult<DnsExplanation> {
    let whole = state.control.view();
    let seen = whole.seen_by(&caller);
    let vnet = about(&vnet, seen.vnet(&vnet))?.key;
    let waiting = waiting(&whole, &seen, &vnet, &asked.name);
    let vnet = vnet.to_string();
    let own: BTreeSet<String> = seen.endpoints_read().map(ToString::to_string).collect();
    let explained = state.registry.ask(&vnet, &asked.name, &asked.kind).await.map_err(|untold| match untold {
        QueryError::Name => Error::bad_request(&format!("`{}` is no domain name", asked.name), "name"),
        QueryError::Kind => {
            let message = format!("`{}` is no type of records; one is A, AAAA, TXT or SRV", asked.kind);
            Error::bad_request(&message, "type")
        }
        QueryError::Silent => {
            let remedy =
                "give the VNet one: `dns = { listen = \"10.1.255.254\" }`; `privlink status` says why one is silent";
            Error::missing("resolver", &vnet, remedy)
        }
    })?;
    Ok(Json(List::one(DnsExplanation { waiting, ..shown(&explained, &own, vnet, asked) })))
}

/// Why endpoints that the caller sees do not answer to `name`, where that is for want of consent.
fn waiting(whole: &View, seen: &View, vnet: &Key, name: &str) -> Vec<String> {
    let model = &seen.state.model;
    let found = waiting_in(&whole.state, model, vnet, name).into_iter();
    let said = |(key, one): (&Key, Waiting)| Some(one.said(key, &model.endpoints.get(key)?.vnet));
    found.filter_map(said).map(|(message, remedy)| format!("{message}; {remedy}")).collect()
}

fn shown(explained: &Explained, own: &BTreeSet<String>, vnet: String, asked: NameQuery) -> DnsExplanation {
    // What endpoint has a name and where that is, only those who may read the endpoint are told.
    let hidden = |name: &str| {
        let owners = explained.plan.names.get(&name.to_lowercase()).map_or(&[][..], |node| &node.owners);
        !owners.is_empty() && owners.iter().all(|owner| !own.contains(&*owner.endpoint))
    };
    let hop = |hop: &TraceStep| {
        let zone_of = |name: &str| explained.plan.zone_of(&name.to_lowercase()).map(|(zone, _)| zone.to_string());
        let record = |told: &RecordText| DnsRecord {
            zone: zone_of(&told.name).filter(|_| hop.by == AnswerSource::Plan),
            name: told.name.clone(),
            ttl: told.seconds,
            kind: told.kind.clone(),
            data: told.data.clone(),
        };
        let records = hop.records.iter().filter(|record| !hidden(&record.name)).map(record).collect();
        let mut shown = DnsHop { name: hop.name.clone(), records, ..DnsHop::default() };
        let source = match &hop.by {
            AnswerSource::Plan => "plan",
            AnswerSource::Kept { server, left } => {
                shown.server = server.map(|server| server.to_string());
                shown.seconds_left = Some(left.as_secs());
                "cache"
            }
            AnswerSource::Asked { server, took } => {
                shown.server = server.map(|server| server.to_string());
                shown.milliseconds = Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
                "upstream"
            }
        };
        source.clone_into(&mut shown.source);
        shown
    };
    // The words of the plan name the endpoints of the name that the chain ends at.
    let targets = explained.hops.iter().flat_map(|hop| &hop.records).map(|record| record.data.trim_end_matches('.'));
    let mut passed = explained.hops.iter().map(|hop| &*hop.name).chain(targets);
    let why = explained.why.as_ref().filter(|_| !passed.any(hidden)).map(|(_, words)| words.clone());
    let NameQuery { name, kind } = asked;
    DnsExplanation {
        vnet,
        name,
        kind,
        code: explained.code.clone(),
        why,
        hops: explained.hops.iter().map(hop).collect(),
        waiting: Vec::new(),
    }
}
