//! `properties.privlink`: settings that Azure does not have. Absent parts stay as they are.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Error;
use super::body::JsonField;
use super::request::Reader;
use super::targets::{self, OfTarget, seconds};
use crate::compile::names::waiting_at_home;
use crate::control::View;
use crate::model::ids::ArmId;
use crate::model::state::{Connection, ItemKind};
use crate::model::{
    AcceptedNames, Balance, ConnectionState, DnsSettings, Key, LinkResource, PrivateEndpoint, Rates, Subnet, Vnet,
    Workload, ids,
};

/// Of a VNet.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OfVnet {
    on_premises: Option<Vec<IpNet>>,
    workloads: Option<Vec<OfWorkload>>,
    dns: Option<OfDns>,
    lockdown: Option<bool>,
    public_prefixes: Option<Vec<IpNet>>,
    /// Read only: whether this host is attached to it.
    #[serde(default, rename = "attached")]
    _attached: Option<bool>,
    /// Read only.
    #[serde(default, rename = "storedOnly")]
    _stored: Option<Value>,
}

/// A VNet's resolver.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OfDns {
    #[serde(default)]
    listen: Vec<IpAddr>,
    #[serde(default)]
    upstream: Vec<IpAddr>,
    answer: Option<Vec<ConnectionState>>,
    ttl_in_seconds: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accept_names: Option<Vec<String>>,
}

impl OfDns {
    /// The settings. Accepted names stay as in `before` if they are left out.
    fn settings(self, field: &JsonField<'_>, before: Option<&DnsSettings>) -> Result<DnsSettings, Error> {
        let usual = DnsSettings::default();
        let ttl = self.ttl_in_seconds.map_or(usual.ttl, |seconds| Duration::from_secs(seconds.into()));
        let answer = self.answer.filter(|states| !states.is_empty()).unwrap_or(usual.answer);
        let accept_names = accepted(field, self.accept_names.as_deref())?;
        let accept_names = accept_names.or_else(|| before?.accept_names.clone());
        Ok(DnsSettings { listen: self.listen, upstream: self.upstream, answer, ttl, accept_names })
    }

    fn of(dns: &DnsSettings) -> Self {
        Self {
            listen: dns.listen.clone(),
            upstream: dns.upstream.clone(),
            answer: Some(dns.answer.clone()),
            ttl_in_seconds: u32::try_from(dns.ttl.as_secs()).ok(),
            accept_names: dns.accept_names.as_deref().map(texts),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OfWorkload {
    class: String,
    prefix: IpNet,
    private_endpoints: bool,
}

/// Of a subnet.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OfSubnet {
    dedicated: Option<bool>,
    /// Read only.
    #[serde(default, rename = "storedOnly")]
    _stored: Option<Value>,
}

/// Of a private link service or a typed resource.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OfResource {
    /// ID of the provider's VNet.
    vnet: Option<String>,
    nat: Option<Vec<IpAddr>>,
    targets: Option<Vec<OfTarget>>,
    shared_backend: Option<bool>,
    /// Of this request alone: see [`super::body::is_forced`].
    #[serde(default, rename = "force")]
    _force: Option<bool>,
    max_sessions: Option<u32>,
    max_sessions_per_endpoint: Option<u32>,
    rates: Option<OfRates>,
    cross_region: Option<bool>,
    balance: Option<Balance>,
    drain_in_seconds: Option<u32>,
    /// Read only.
    #[serde(default, rename = "sharesBackendsWith")]
    _shares: Option<Value>,
    /// Read only.
    #[serde(default, rename = "storedOnly")]
    _stored: Option<Value>,
    /// Read only: names of properties that were sent but not stored.
    #[serde(default, rename = "notKept")]
    _not_kept: Option<Value>,
}

/// Of a private endpoint.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OfEndpoint {
    sources: Option<Vec<IpNet>>,
    max_sessions: Option<u32>,
    rates: Option<OfRates>,
    accept_names: Option<Vec<String>>,
    /// Read only.
    #[serde(default, rename = "waitingNames")]
    _waiting: Option<Value>,
    /// Read only.
    #[serde(default, rename = "linkIdentifier")]
    _link: Option<Value>,
    /// Read only: the resource's owner sets it with the approval.
    #[serde(default, rename = "approvalEndsAt")]
    _ends_at: Option<Value>,
    /// Read only.
    #[serde(default, rename = "approvalSecondsLeft")]
    _left: Option<Value>,
    /// Read only.
    #[serde(default, rename = "storedOnly")]
    _stored: Option<Value>,
}

/// Rate limits. Without both parts there are none.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OfRates {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bits_per_second: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    new_sessions_per_second: Option<u32>,
}

impl OfRates {
    /// The rates. Left-out ones stay as in `before`.
    fn or(part: Option<Self>, before: Option<Rates>) -> Option<Rates> {
        let Some(Self { bits_per_second, new_sessions_per_second }) = part else { return before };
        Some(Rates { bits_per_second, new_sessions_per_second }).filter(Rates::limit_anything)
    }

    fn show(rates: Option<Rates>, shown: &mut Value) {
        if let Some(Rates { bits_per_second, new_sessions_per_second }) = rates {
            shown["rates"] = json!(Self { bits_per_second, new_sessions_per_second });
        }
    }
}

/// Takes a VNet's part in.
///
/// # Errors
/// 400.
pub(super) fn vnet(properties: &JsonField<'_>, vnet: &mut Vnet) -> Result<(), Error> {
    let Some(field) = properties.get("privlink") else { return Ok(()) };
    let part: OfVnet = field.read_changed()?;
    vnet.on_premises = part.on_premises.unwrap_or_else(|| std::mem::take(&mut vnet.on_premises));
    if let Some(dns) = part.dns {
        vnet.dns = Some(dns.settings(&field, vnet.dns.as_ref())?);
    }
    vnet.lockdown = part.lockdown.unwrap_or(vnet.lockdown);
    vnet.public_prefixes = part.public_prefixes.unwrap_or_else(|| std::mem::take(&mut vnet.public_prefixes));
    if let Some(workloads) = part.workloads {
        let one = |w: OfWorkload| Workload { class: w.class, prefix: w.prefix, private_endpoints: w.private_endpoints };
        vnet.workloads = workloads.into_iter().map(one).collect();
    }
    Ok(())
}

/// A VNet's part.
pub(super) fn show_vnet(view: &View, key: &Key, vnet: &Vnet) -> Value {
    let workload =
        |w: &Workload| OfWorkload { class: w.class.clone(), prefix: w.prefix, private_endpoints: w.private_endpoints };
    let mut shown = json!({
        "attached": view.host.attachments.iter().any(|attachment| attachment.vnet == *key),
        "onPremises": vnet.on_premises,
        "lockdown": vnet.lockdown,
        "publicPrefixes": vnet.public_prefixes,
        "workloads": vnet.workloads.iter().map(workload).collect::<Vec<_>>(),
    });
    if let Some(dns) = &vnet.dns {
        shown["dns"] = json!(OfDns::of(dns));
    }
    shown
}

/// Takes a subnet's part in.
///
/// # Errors
/// 400.
pub(super) fn subnet(properties: &JsonField<'_>, subnet: &mut Subnet) -> Result<(), Error> {
    let Some(field) = properties.get("privlink") else { return Ok(()) };
    let part: OfSubnet = field.read_changed()?;
    subnet.dedicated = part.dedicated.unwrap_or(subnet.dedicated);
    Ok(())
}

/// A subnet's part.
pub(super) fn show_subnet(subnet: &Subnet) -> Value {
    json!({ "dedicated": subnet.dedicated })
}

/// The settings of a resource that derive from Azure's own properties in the same body. They are output and request
/// nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Follows {
    /// Targets, from a load balancer or the one server.
    pub(super) targets: bool,
    /// NAT addresses and their VNet, from IP configurations.
    pub(super) nat: bool,
}

/// Takes a resource's part in.
///
/// # Errors
/// 400.
pub(super) fn resource(properties: &JsonField<'_>, resource: &mut LinkResource, follows: Follows) -> Result<(), Error> {
    let Some(field) = properties.get("privlink") else { return Ok(()) };
    let part: OfResource = field.read_changed()?;
    if let Some(text) = part.vnet.filter(|_| !follows.nat) {
        let id = ArmId::parse(&text).map_err(|error| field.refused(&error))?;
        if !id.is(ids::VNET) {
            return Err(field.refused("`vnet` is not the ID of a VNet"));
        }
        resource.vnet = Some(id.key().clone());
    }
    if let Some(nat) = part.nat.filter(|_| !follows.nat) {
        resource.nat = nat;
        resource.nat_configs.clear();
    }
    if let Some(targets) = part.targets.filter(|_| !follows.targets) {
        resource.targets = targets.into_iter().map(|one| targets::read(&field, one)).collect::<Result<_, _>>()?;
        resource.frontends.clear();
        resource.destination = None;
    }
    resource.shared_backend = part.shared_backend.unwrap_or(resource.shared_backend);
    resource.cross_region = part.cross_region.unwrap_or(resource.cross_region);
    resource.balance = part.balance.unwrap_or(resource.balance);
    resource.drain = seconds(part.drain_in_seconds, resource.drain);
    resource.max_sessions = part.max_sessions.or(resource.max_sessions);
    resource.max_sessions_per_endpoint = part.max_sessions_per_endpoint.or(resource.max_sessions_per_endpoint);
    resource.rates = OfRates::or(part.rates, resource.rates);
    Ok(())
}

/// A resource's part.
pub(super) fn show_resource(reader: &Reader<'_>, key: &Key, resource: &LinkResource) -> Value {
    let mut shown = json!({
        "nat": resource.nat,
        "targets": resource.targets.iter().map(targets::show).collect::<Vec<_>>(),
        "sharedBackend": resource.shared_backend,
        "sharesBackendsWith": shared_with(reader, key, resource),
        "crossRegion": resource.cross_region,
        "balance": resource.balance,
        "drainInSeconds": resource.drain.as_secs(),
    });
    if let Some(vnet) = &resource.vnet {
        shown["vnet"] = json!(ids::vnet(vnet).to_string());
    }
    if let Some(most) = resource.max_sessions {
        shown["maxSessions"] = json!(most);
    }
    if let Some(most) = resource.max_sessions_per_endpoint {
        shown["maxSessionsPerEndpoint"] = json!(most);
    }
    OfRates::show(resource.rates, &mut shown);
    if resource.proxy_protocol {
        shown["storedOnly"] = json!(["enableProxyProtocol: the PROXY header is not sent yet"]);
    }
    shown
}

/// Other visible resources with one of the same servers.
fn shared_with(reader: &Reader<'_>, key: &Key, resource: &LinkResource) -> Vec<String> {
    let servers = |resource: &LinkResource| -> Vec<IpAddr> {
        resource.targets.iter().flat_map(|target| &target.backends).map(|backend| backend.address).collect()
    };
    let own = servers(resource);
    let shares = |other: &LinkResource| other.vnet == resource.vnet && servers(other).iter().any(|ip| own.contains(ip));
    let all = reader.view().state.model.resources.iter();
    let others = all.filter(|(name, other)| *name != key && shares(other) && reader.sees(ItemKind::Resource, name));
    others.map(|(name, other)| ids::resource(other.kind.as_deref(), name).to_string()).collect()
}

/// Takes an endpoint's part in.
///
/// # Errors
/// 400.
pub(super) fn endpoint(properties: &JsonField<'_>, endpoint: &mut PrivateEndpoint) -> Result<(), Error> {
    let Some(field) = properties.get("privlink") else { return Ok(()) };
    let part: OfEndpoint = field.read_changed()?;
    endpoint.sources = part.sources.unwrap_or_else(|| std::mem::take(&mut endpoint.sources));
    endpoint.max_sessions = part.max_sessions.or(endpoint.max_sessions);
    endpoint.rates = OfRates::or(part.rates, endpoint.rates);
    let accepted = accepted(&field, part.accept_names.as_deref())?;
    endpoint.accept_names = accepted.or_else(|| endpoint.accept_names.take());
    Ok(())
}

/// Accepted names. `None`: the body does not mention them.
fn accepted(field: &JsonField<'_>, names: Option<&[String]>) -> Result<Option<Box<AcceptedNames>>, Error> {
    let Some(names) = names else { return Ok(None) };
    let accepted = AcceptedNames::read(names).map_err(|at| {
        let name = names.get(at).map_or("", |name| name);
        field.refused(&format!("`acceptNames`: `{name}` is none; write {}", AcceptedNames::FORM))
    })?;
    Ok(Some(Box::new(accepted)))
}

fn texts(names: &AcceptedNames) -> Vec<String> {
    names.iter().map(str::to_owned).collect()
}

/// An endpoint's part, with the names that wait in its own VNet.
pub(super) fn show_endpoint(view: &View, key: &Key, endpoint: &PrivateEndpoint, connection: &Connection) -> Value {
    let mut shown = json!({ "linkIdentifier": connection.link.to_string(), "sources": endpoint.sources });
    if let Some(most) = endpoint.max_sessions {
        shown["maxSessions"] = json!(most);
    }
    if let Some(end) = connection.ends_at {
        shown["approvalEndsAt"] = json!(end.to_string());
    }
    OfRates::show(endpoint.rates, &mut shown);
    if let Some(accepted) = &endpoint.accept_names {
        shown["acceptNames"] = json!(texts(accepted));
    }
    let waiting = waiting_at_home(&view.state, key, endpoint);
    if !waiting.is_empty() {
        shown["waitingNames"] = json!(waiting);
    }
    shown
}
