//! `who`: sessions by their NAT address and port, with the people behind their connections.

use std::collections::HashMap;
use std::net::SocketAddr;

use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Deserialize;

use super::{Call, ListResult, Parameters};
use crate::api::ApiState;
use crate::api::visible::Visible;
use crate::model::Key;
use crate::model::state::{Connection, DecidedBy};
use crate::observe::flow_log::{Losses, Sought};
use crate::observe::flows::side;
use crate::observe::who::{Trace, Traces};
use crate::types::{List, Lost, Match, Who};

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/who", get(who))
}

/// Whose session is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WhoQuery {
    nat: SocketAddr,
    backend: Option<SocketAddr>,
    at: Option<Timestamp>,
}

/// `GET /v1/who?nat=…&backend=…&at=…`
async fn who(
    Call { state, caller }: Call,
    Parameters(WhoQuery { nat, backend, at }): Parameters<WhoQuery>,
) -> ListResult<Who> {
    let observer = state.observer;
    let traces = observer.who(&Sought { nat, backend, at }, Timestamp::now());
    let Traces { list, more, losses, warnings } = traces?;
    let view = state.control.view();
    let connections: HashMap<u32, (&Key, &Connection)> = view
        .state
        .connections
        .iter()
        .filter(|(_, connection)| connection.link != 0)
        .map(|(key, connection)| (connection.link, (key, connection)))
        .collect();
    let visible = Visible::to(&view, &caller);
    let seen = |trace: Trace| {
        let there = connections.contains_key(&trace.flow.link);
        visible.found(named(trace, &connections), there)
    };
    let matches = list.into_iter().filter_map(seen).collect();
    // How many more there are tells of sessions that the caller does not see.
    let more = if visible.is_whole() { more } else { 0 };
    Ok(Json(List::one(Who { nat: side((nat.ip(), nat.port())), matches, more, lost: lost(losses), warnings })))
}

fn named(trace: Trace, connections: &HashMap<u32, (&Key, &Connection)>) -> Match {
    let flow = trace.flow;
    let found = connections.get(&flow.link);
    Match {
        endpoint: found.map(|(key, _)| key.to_string()).or(trace.endpoint),
        link_identifier: flow.link,
        requester: found.map(|(_, connection)| connection.requester.to_string()),
        approver: found.and_then(|(_, connection)| approver(connection)),
        protocol: flow.protocol.to_string(),
        consumer: side(flow.consumer()),
        endpoint_address: side(flow.endpoint()),
        backend: side(flow.backend()),
        from: time(trace.from),
        until: trace.until.map(time),
        state: trace.state.to_owned(),
        packets_to_service: flow.to_service.0,
        bytes_to_service: flow.to_service.1,
        packets_to_consumer: flow.to_consumer.0,
        bytes_to_consumer: flow.to_consumer.1,
    }
}

/// Who decided last, as long as that was an approval.
fn approver(connection: &Connection) -> Option<String> {
    let decided = connection.decided_by != DecidedBy::Nobody;
    (decided && connection.state.to_string() == "Approved").then(|| connection.decided_by.to_string())
}

fn lost(losses: Losses) -> Option<Lost> {
    let Losses { counted, kills, since } = losses;
    since.map(|since| Lost { records: counted, kills, since: time(since) })
}

/// RFC 3339, to a tenth of a second: as exact as sessions are timed.
fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%1fZ").to_string()
}
