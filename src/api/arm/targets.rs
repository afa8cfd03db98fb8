//! Targets of link resources in `properties.privlink`: servers, exposed ports, and how servers are checked.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Error;
use super::body::JsonField;
use crate::model::{BackendSpec, Balance, HealthCheck, PortCheck, PortSpec, Protocol, TargetSpec};

/// One target.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OfTarget {
    #[serde(default)]
    subresource: String,
    #[serde(default)]
    member: String,
    #[serde(default)]
    fqdns: Vec<String>,
    #[serde(default)]
    backends: Vec<OfBackend>,
    #[serde(default)]
    ports: Vec<OfPort>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health: Option<OfHealth>,
    /// Read only: of a load balancer's rules with probes of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    port_health: Vec<OfPortHealth>,
    /// Read only: of a load balancer's rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    balance: Option<Balance>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OfHealth {
    port: Option<u16>,
    interval_in_seconds: Option<u32>,
    timeout_in_seconds: Option<u32>,
    fall: Option<u16>,
    rise: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request_path: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OfPortHealth {
    probe: String,
    ports: Vec<OfPort>,
    health: OfHealth,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged, expecting = "a backend is an IP address, or an object with `address` and `drain`")]
enum OfBackend {
    Plain(IpAddr),
    #[serde(rename_all = "camelCase")]
    Full {
        address: IpAddr,
        drain: bool,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OfPort {
    protocol: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backend_port: Option<u16>,
}

/// What a target's part says.
///
/// # Errors
/// 400.
pub(super) fn read(field: &JsonField<'_>, part: OfTarget) -> Result<TargetSpec, Error> {
    if part.balance.is_some() {
        return Err(field.refused("`balance` of a target follows from a load balancer: name it beside `targets`"));
    }
    if !part.port_health.is_empty() {
        return Err(field.refused("`portHealth` of a target follows from the probes of a load balancer: set `health`"));
    }
    let mut target =
        TargetSpec { subresource: part.subresource, member: part.member, fqdns: part.fqdns, ..TargetSpec::default() };
    let backend = |one| match one {
        OfBackend::Plain(address) => BackendSpec { address, drain: false },
        OfBackend::Full { address, drain } => BackendSpec { address, drain },
    };
    target.backends = part.backends.into_iter().map(backend).collect();
    for port in part.ports {
        let protocol = match port.protocol.to_lowercase().as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "icmp" => {
                target.icmp = true;
                continue;
            }
            _ => return Err(field.refused("`protocol` is tcp, udp or icmp")),
        };
        let first = port.port.ok_or_else(|| field.refused("`port` is missing"))?;
        let backend_first = port.backend_port.unwrap_or(first);
        target.ports.push(PortSpec { protocol, first, last: port.last_port.unwrap_or(first), backend_first });
    }
    target.health = part.health.map(|one| health(field, &one, &target.ports)).transpose()?;
    Ok(target)
}

fn health(field: &JsonField<'_>, part: &OfHealth, ports: &[PortSpec]) -> Result<HealthCheck, Error> {
    let otherwise = HealthCheck::of(part.port, ports)
        .ok_or_else(|| field.refused("`health` names no `port`, and the target exposes no TCP port"))?;
    Ok(HealthCheck {
        port: otherwise.port,
        interval: seconds(part.interval_in_seconds, otherwise.interval),
        timeout: seconds(part.timeout_in_seconds, otherwise.timeout),
        fall: part.fall.unwrap_or(otherwise.fall),
        rise: part.rise.unwrap_or(otherwise.rise),
        path: part.request_path.clone(),
    })
}

/// A target as it is shown.
pub(super) fn show(one: &TargetSpec) -> OfTarget {
    let backend = |one: &BackendSpec| {
        if one.drain { OfBackend::Full { address: one.address, drain: true } } else { OfBackend::Plain(one.address) }
    };
    let port = |one: &PortSpec| OfPort {
        protocol: one.protocol.to_string().to_lowercase(),
        port: Some(one.first),
        last_port: Some(one.last).filter(|last| *last != one.first),
        backend_port: Some(one.backend_first),
    };
    let whole = |time: Duration| u32::try_from(time.as_secs()).ok();
    let check = |one: &HealthCheck| OfHealth {
        port: Some(one.port),
        interval_in_seconds: whole(one.interval),
        timeout_in_seconds: whole(one.timeout),
        fall: Some(one.fall),
        rise: Some(one.rise),
        request_path: one.path.clone(),
    };
    let exposed = |&(protocol, first, last): &(Protocol, u16, u16)| OfPort {
        backend_port: None,
        ..port(&PortSpec { protocol, first, last, backend_first: first })
    };
    let port_check = |one: &PortCheck| OfPortHealth {
        probe: one.name.clone(),
        ports: one.ports.iter().map(exposed).collect(),
        health: check(&one.check),
    };
    let icmp = || OfPort { protocol: "icmp".into(), port: None, last_port: None, backend_port: None };
    OfTarget {
        subresource: one.subresource.clone(),
        member: one.member.clone(),
        fqdns: one.fqdns.clone(),
        backends: one.backends.iter().map(backend).collect(),
        ports: one.ports.iter().map(port).chain(one.icmp.then(icmp)).collect(),
        health: one.health.as_ref().map(check),
        port_health: one.port_checks.iter().map(port_check).collect(),
        balance: one.balance,
    }
}

/// So many seconds, or what stands there.
pub(super) fn seconds(wanted: Option<u32>, otherwise: Duration) -> Duration {
    wanted.map_or(otherwise, |seconds| Duration::from_secs(seconds.into()))
}
