//! Private names of a VNet.

use std::collections::BTreeSet;

use axum::extract::Path;
use axum::routing::get;
use axum::{Json, Router};

use super::{Call, ListResult, about};
use crate::api::ApiState;
use crate::api::error::Error;
use crate::model::{RecordData, RecordSet, ResolutionPolicy};
use crate::snapshot::dns::{Name, Node, ResolverPlan, Zone};
use crate::types::{DnsAddress, DnsName, DnsPlan, DnsWritten, DnsZone, List};

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/vnets/{vnet}/dns", get(plan))
}

/// `GET /v1/vnets/{vnet}/dns`: what its resolver answers, of what the caller may read.
async fn plan(Call { state, caller }: Call, Path(vnet): Path<String>) -> ListResult<DnsPlan> {
    let whole = state.control.view();
    let seen = whole.seen_by(&caller);
    let key = about(&vnet, seen.vnet(&vnet))?.key;
    // A name may come from a resource that only its owner reads: it is its endpoint's all the same.
    let remedy = "give the VNet one: `dns = { listen = \"10.1.255.254\" }`";
    let plan = whole.dns.resolvers.get(&key.to_string());
    let plan = plan.ok_or_else(|| Error::missing("resolver", &key.to_string(), remedy))?;
    let model = &seen.state.model;
    let own: BTreeSet<String> = seen.endpoints_read().map(ToString::to_string).collect();
    let zones: BTreeSet<String> = model.dns_zones.keys().map(|zone| zone.name.to_lowercase()).collect();
    let mut shown = shown(&key.to_string(), plan);
    shown.zones.retain(|zone| !zone.own || zones.contains(&zone.name));
    for name in &mut shown.names {
        name.addresses.retain(|address| own.contains(&address.endpoint));
        if !zones.contains(&name.zone) {
            name.records.clear();
        }
    }
    let told: BTreeSet<String> =
        shown.names.iter().filter(|name| !name.addresses.is_empty()).map(|name| name.name.clone()).collect();
    shown.names.retain(|name| !name.records.is_empty() || told.contains(&name.name) || told.contains(&name.alias));
    Ok(Json(List::one(shown)))
}

fn shown(vnet: &str, plan: &ResolverPlan) -> DnsPlan {
    let text = |addresses: &[std::net::IpAddr]| addresses.iter().map(ToString::to_string).collect();
    let name = |(name, node): (&Name, &Node)| {
        let alias = node.aliases.first().filter(|_| node.owners.is_empty());
        let zone = match (plan.zone_of(name), name.split_once('.')) {
            (Some((zone, _)), _) => zone.to_string(),
            // An alias in a public zone, of which nothing else is known.
            (None, Some((_, parent))) => parent.to_owned(),
            (None, None) => String::new(),
        };
        let addresses = node.owners.iter().map(|owner| DnsAddress {
            address: owner.address.to_string(),
            endpoint: owner.endpoint.to_string(),
            state: owner.state.to_string(),
            answered: plan.tells(owner, plan.guard_of(name).is_some()),
        });
        DnsName {
            name: name.to_string(),
            alias: alias.map(|alias| alias.to.to_string()).unwrap_or_default(),
            zone,
            addresses: addresses.collect(),
            records: node.written().iter().flat_map(written).collect(),
        }
    };
    let mut names: Vec<DnsName> = plan.names.iter().filter(|(_, node)| !node.is_empty()).map(name).collect();
    names.sort_by(|one, other| (one.alias.is_empty(), &one.name).cmp(&(other.alias.is_empty(), &other.name)));
    let zone = |(name, zone): (&Name, &Zone)| DnsZone {
        name: name.to_string(),
        own: zone.own.is_some(),
        resolution_policy: policy(zone.policy),
    };
    let mut zones: Vec<DnsZone> = plan.zones.iter().map(zone).collect();
    zones.sort_by(|one, other| one.name.cmp(&other.name));
    DnsPlan {
        vnet: vnet.to_owned(),
        listen: text(&plan.listen),
        upstream: text(&plan.upstream),
        ttl: plan.ttl.as_secs(),
        names,
        zones,
    }
}

/// What a zone's link does with names that it does not hold, in Azure's words.
pub(super) fn policy(policy: ResolutionPolicy) -> String {
    match policy {
        ResolutionPolicy::Default => "Default".to_owned(),
        ResolutionPolicy::NxDomainRedirect => "NxDomainRedirect".to_owned(),
    }
}

/// Each value of a set as a zone file has it.
pub(super) fn written(set: &RecordSet) -> Vec<DnsWritten> {
    let data: Vec<String> = match &set.data {
        RecordData::A(all) => all.iter().map(ToString::to_string).collect(),
        RecordData::Aaaa(all) => all.iter().map(ToString::to_string).collect(),
        RecordData::Cname(name) if name.is_empty() => Vec::new(),
        RecordData::Cname(name) => vec![format!("{name}.")],
        RecordData::Ptr(all) => all.iter().map(|name| format!("{name}.")).collect(),
        RecordData::Mx(all) => all.iter().map(|one| format!("{} {}.", one.preference, one.exchange)).collect(),
        RecordData::Srv(all) => {
            all.iter().map(|one| format!("{} {} {} {}.", one.priority, one.weight, one.port, one.target)).collect()
        }
        RecordData::Txt(all) => all.iter().map(|strings| quoted(strings)).collect(),
    };
    let (kind, ttl) = (set.data.kind().to_string(), set.ttl);
    data.into_iter().map(|data| DnsWritten { kind: kind.clone(), ttl, data }).collect()
}

/// `"one" "two"`, where a quote, a backslash and whatever is not plain is written by its number (RFC 1035 §5.1).
fn quoted(strings: &[String]) -> String {
    let byte = |byte: u8| match byte {
        b'"' | b'\\' => format!("\\{}", char::from(byte)),
        b' '..=b'~' => char::from(byte).to_string(),
        other => format!("\\{other:03}"),
    };
    let one = |string: &String| format!("\"{}\"", string.bytes().map(byte).collect::<String>());
    strings.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_written_as_in_zone_files() {
        let text =
            RecordSet { ttl: 60, data: RecordData::Txt(vec![vec!["say \"hi\"; ä\\".to_owned(), "two".to_owned()]]) };
        let [one] = written(&text).try_into().expect("one value");
        assert_eq!((&*one.kind, one.ttl, &*one.data), ("TXT", 60, r#""say \"hi\"; \195\164\\" "two""#));
        let alias = RecordSet { ttl: 1, data: RecordData::Cname("www.example.com".into()) };
        assert_eq!(written(&alias)[0].data, "www.example.com.");
    }
}
