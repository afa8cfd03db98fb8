//! Private names of a VNet.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use axum::{Extension, Json};

use super::ApiState;
use super::error::Rejection;
use crate::control::Caller;
use crate::control::names::{Name, Node, ResolverPlan};
use crate::interface::{DnsAddress, DnsName, DnsPlan, List};

/// `GET /v1/vnets/{vnet}/dns`: what its resolver answers, of what the caller may read.
pub(super) async fn plan(
    State(state): State<ApiState>,
    caller: Extension<Caller>,
    Path(vnet): Path<String>,
) -> Result<Json<List<DnsPlan>>, Rejection> {
    let whole = state.control.view();
    let seen = whole.seen_by(&caller);
    let key = seen.vnet(&vnet).map_err(|refusal| Rejection::from(refusal).about(&vnet))?.key;
    // A name may come from a resource that only its owner reads: it is its endpoint's all the same.
    let remedy = "give the VNet one: `dns = { listen = \"10.1.255.254\" }`";
    let plan = whole.dns.resolvers.get(&key.to_string());
    let plan = plan.ok_or_else(|| Rejection::missing("resolver", &key.to_string(), remedy))?;
    let own: BTreeSet<String> = seen.decisions.model.endpoints.keys().map(ToString::to_string).collect();
    let mut shown = shown(&key.to_string(), plan);
    shown.names.iter_mut().for_each(|name| name.addresses.retain(|address| own.contains(&address.endpoint)));
    let hosts: BTreeSet<String> =
        shown.names.iter().filter(|name| !name.addresses.is_empty()).map(|name| name.name.clone()).collect();
    shown.names.retain(|name| hosts.contains(if name.alias.is_empty() { &name.name } else { &name.alias }));
    Ok(Json(List::one(shown)))
}

fn shown(vnet: &str, plan: &ResolverPlan) -> DnsPlan {
    let text = |addresses: &[std::net::IpAddr]| addresses.iter().map(ToString::to_string).collect();
    let zone_of = |name: &str| plan.zone_of(name).map_or(String::new(), |(zone, _)| zone.to_string());
    let name = |(name, node): (&Name, &Node)| match (node.aliases.first(), node.owners.is_empty()) {
        (Some(alias), true) => {
            let zone = name.split_once('.').map_or(String::new(), |(_, zone)| zone.to_owned());
            DnsName { name: name.to_string(), alias: alias.to.to_string(), zone, addresses: Vec::new() }
        }
        _ => {
            let addresses = node.owners.iter().map(|owner| DnsAddress {
                address: owner.address.to_string(),
                endpoint: owner.endpoint.to_string(),
                state: owner.state.to_string(),
                answered: plan.tells(owner, plan.guard_of(name).is_some()),
            });
            let addresses = addresses.collect();
            DnsName { name: name.to_string(), alias: String::new(), zone: zone_of(name), addresses }
        }
    };
    let mut names: Vec<DnsName> = plan.names.iter().filter(|(_, node)| !node.is_empty()).map(name).collect();
    names.sort_by(|one, other| (one.alias.is_empty(), &one.name).cmp(&(other.alias.is_empty(), &other.name)));
    DnsPlan {
        vnet: vnet.to_owned(),
        listen: text(&plan.listen),
        upstream: text(&plan.upstream),
        ttl: plan.ttl.as_secs(),
        names,
    }
}
