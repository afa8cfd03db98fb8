//! Names that will surprise somebody: what the model tells, and what the upstreams say when they are asked.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use futures_util::future::join_all;
use serde::Deserialize;

use super::{Call, ListResult, Parameters, about};
use crate::api::ApiState;
use crate::api::error::Error;
use crate::compile::lint;
use crate::compile::lint::{Inquiry, LintWarning, Said};
use crate::control::{View, VnetView};
use crate::dns::public::UpstreamProbe;
use crate::dns::registry::QueryError;
use crate::dns::resolver::RecordText;
use crate::model::{Caller, Key};
use crate::snapshot::dns::Name;
use crate::types::{Lint, List};

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/lint", get(lint))
}

/// How long the upstreams may take when somebody wants to know.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);

/// How long they may take when somebody waits for something else.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Which VNet is asked about.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LintQuery {
    vnet: Option<String>,
    /// Whether the upstreams are asked.
    #[serde(default)]
    ask: bool,
}

/// `GET /v1/lint?vnet=…&ask=…`: names that will surprise somebody, in every VNet or in one, of what the caller may read.
async fn lint(
    Call { state, caller }: Call,
    Parameters(LintQuery { vnet, ask }): Parameters<LintQuery>,
) -> ListResult<Lint> {
    let view = state.control.view();
    let seen = view.seen_by(&caller);
    let only = match vnet {
        Some(vnet) => Some(about(&vnet, seen.vnet(&vnet))?.key),
        None => None,
    };
    let wanted = |vnet: &Key| only.as_ref().is_none_or(|only| only == vnet);
    let whole = view;
    let mut found = surprises(&whole, &seen);
    found.retain(|surprise| wanted(&surprise.vnet));
    if ask {
        ask_upstreams(&state, (&whole, &seen), None, LOOKUP_TIMEOUT, |surprise| wanted(&surprise.vnet), &mut found)
            .await;
    }
    Ok(Json(List::new(found.into_iter().map(shown).collect())))
}

fn shown(surprise: LintWarning) -> Lint {
    let LintWarning { code, vnet, message, remedy, evidence, .. } = surprise;
    Lint { code: code.to_owned(), vnet: vnet.to_string(), message, evidence, remedy }
}

/// What the names of `whole`, and the upstreams, have of it that has to do with `changed` (see [`LintWarning::concerns`]),
/// in sentences. `whole` is what is in force, or what would be.
pub(super) async fn warnings(
    state: ApiState,
    caller: Caller,
    whole: Arc<View>,
    changed: Vec<String>,
) -> Result<Vec<String>, Error> {
    if changed.is_empty() {
        return Ok(Vec::new());
    }
    let seen = whole.seen_by(&caller);
    let changed: BTreeSet<&str> = changed.iter().map(String::as_str).collect();
    let mut found = lint::concerning(&whole.state, &whole.dns, &changed);
    found.extend(other_servers(&whole, &seen).filter(|surprise| surprise.concerns(&changed)));
    found.retain(|one| is_seen(&seen, one));
    let names = lint::names_of(&whole.state.model, &changed);
    let wanted = |surprise: &LintWarning| surprise.concerns(&changed);
    ask_upstreams(&state, (&whole, &seen), names.as_ref(), PROBE_TIMEOUT, wanted, &mut found).await;
    found.retain(|surprise| surprise.code != lint::NOT_ASKED);
    Ok(found.iter().map(ToString::to_string).collect())
}

/// Has the upstreams of every VNet that is `seen` say whether zones of the `whole` whose warning is `wanted` are in
/// public use, and takes that into `found`. With `names`, zones of other names are not looked at. What cannot be asked is
/// said, and is no failure.
async fn ask_upstreams(
    state: &ApiState,
    (whole, seen): (&View, &View),
    names: Option<&BTreeSet<Name>>,
    within: Duration,
    wanted: impl Fn(&LintWarning) -> bool,
    found: &mut Vec<LintWarning>,
) {
    let mut asked: Vec<(&Key, Vec<Inquiry>, usize)> = Vec::new();
    for vnet in seen.state.model.vnets.keys() {
        let Some(plan) = whole.dns.resolvers.get(&vnet.to_string()) else { continue };
        let (mut inquiries, more) = lint::inquiries(plan, names);
        inquiries.retain(|inquiry| {
            let surprise = inquiry.surprise(vnet);
            wanted(&surprise) && is_readable(seen, &surprise)
        });
        if !inquiries.is_empty() {
            asked.push((vnet, inquiries, more));
        }
    }
    let told = asked.iter().map(|(vnet, inquiries, _)| async move {
        let questions = inquiries.iter().flat_map(Inquiry::questions).map(|(name, kind)| (&**name, kind));
        state.registry.public(&vnet.to_string(), questions, within).await
    });
    for ((vnet, inquiries, more), told) in asked.iter().zip(join_all(told).await) {
        let mut told = told.unwrap_or_else(untold).into_iter().map(said).fuse();
        let silence = Said::Unknown("its resolver cannot be asked".to_owned());
        let answers: Vec<(Inquiry, Vec<Said>)> = inquiries
            .iter()
            .map(|inquiry| {
                let each = inquiry.questions().map(|_| told.next().unwrap_or_else(|| silence.clone()));
                (inquiry.clone(), each.collect())
            })
            .collect();
        lint::judge(vnet, &answers, *more, found);
    }
}

/// Nobody is there, so nothing is said: whoever takes the answers says so.
fn untold(_: QueryError) -> Vec<UpstreamProbe> {
    Vec::new()
}

fn said(publicly: UpstreamProbe) -> Said {
    match publicly {
        UpstreamProbe::Unknown(why) => Said::Unknown(why),
        UpstreamProbe::Absent(server) => Said::Absent(server.to_string()),
        UpstreamProbe::There(server, records) => {
            // Names come back in the letters that they were asked in, which are random.
            let data = |told: RecordText| told.data.to_ascii_lowercase();
            Said::There(server.to_string(), records.into_iter().map(data).collect())
        }
    }
}

/// Everything in the `whole` that surprises somebody and speaks of nothing but what is `seen`.
fn surprises(whole: &View, seen: &View) -> Vec<LintWarning> {
    let mut found = lint::lint(&whole.state, &whole.dns);
    found.extend(other_servers(whole, seen));
    found.retain(|one| is_seen(seen, one));
    found
}

fn other_servers(whole: &View, seen: &View) -> impl Iterator<Item = LintWarning> {
    let listen =
        |vnet: &Key| whole.dns.resolvers.get(&vnet.to_string()).map(|plan| plan.listen.clone()).unwrap_or_default();
    let attached = seen.vnets().into_iter().filter(|vnet| vnet.device.is_some() && !vnet.endpoints.is_empty());
    attached.filter_map(move |view| other_server(&view, &listen(&view.key)))
}

fn is_seen(seen: &View, surprise: &LintWarning) -> bool {
    seen.state.model.vnets.contains_key(&surprise.vnet) && is_readable(seen, surprise)
}

fn is_readable(seen: &View, surprise: &LintWarning) -> bool {
    let known = |key: Key| seen.reads_endpoint(&key);
    surprise.endpoints.iter().all(|endpoint| Key::try_from(endpoint.clone()).is_ok_and(known))
}

/// Whom programs of an attachment's namespace ask, where this host says so itself (`ip-netns(8)`).
fn other_server(view: &VnetView, listen: &[IpAddr]) -> Option<LintWarning> {
    let file = match &view.netns {
        Some(name) => format!("/etc/netns/{name}/resolv.conf"),
        None => "/etc/resolv.conf".to_owned(),
    };
    let text = std::fs::read_to_string(&file).ok()?;
    let servers: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver").map(str::trim))
        .filter(|server| !listen.iter().any(|own| own.to_string() == *server))
        .collect();
    if servers.is_empty() || listen.is_empty() {
        return None;
    }
    let message = format!(
        "programs in the network of {} on this host ask {} ({file}), not its resolver; whether that one forwards to it is not \
         known here",
        view.key,
        servers.join(", ")
    );
    let remedy = format!("write `nameserver {}` there, or export a configuration for that server", listen.first()?);
    let endpoints = view.endpoints.iter().map(ToString::to_string).take(1).collect();
    let (code, evidence) = (lint::OTHER_RESOLVER, Vec::new());
    Some(LintWarning { code, vnet: view.key.clone(), message, remedy, endpoints, zone: None, evidence })
}
