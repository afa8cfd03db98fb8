//! Load balancers: the port mapping of the private link services behind their frontends.

use serde_json::{Value, json};

use super::Error;
use super::adapter::Adapter;
use super::body::JsonField;
use super::request::{ArmRequest, Reader};
use super::response::object;
use super::stored;
use crate::access::rights::Right;
use crate::model::{
    BackendPool, BalancerProbe, BalancingRule, Distribution, Frontend, HealthCheck, Key, LoadBalancer, PoolAddress,
    Protocol, Tags, ids,
};

const FRONTEND: &str = "Microsoft.Network/loadBalancers/frontendIPConfigurations";
const PROBE: &str = "Microsoft.Network/loadBalancers/probes";
const POOL: &str = "Microsoft.Network/loadBalancers/backendAddressPools";

impl Adapter for LoadBalancer {
    fn show(&self, _reader: &Reader<'_>, key: &Key) -> Option<Value> {
        Some(show(key, self))
    }

    fn read(request: &ArmRequest, _key: &Key, before: Option<&Self>, body: &JsonField<'_>) -> Result<Self, Error> {
        read(request, before, body)
    }

    fn set_tags(&mut self, tags: Tags) {
        self.tags = tags;
    }
}

fn read(request: &ArmRequest, before: Option<&LoadBalancer>, body: &JsonField<'_>) -> Result<LoadBalancer, Error> {
    let properties = body.properties();
    let region = body.location()?.or_else(|| before.map(|before| before.region.clone()));
    let tags = body.tags()?.or_else(|| before.map(|before| before.tags.clone()));
    let mut balancer = LoadBalancer {
        region: region.filter(|text| !text.is_empty()).ok_or_else(|| body.lacks("location"))?,
        tags: tags.unwrap_or_default(),
        frontends: properties.each("frontendIPConfigurations", frontend)?,
        pools: properties.each("backendAddressPools", pool)?,
        rules: properties.each("loadBalancingRules", rule)?,
        probes: properties.each("probes", probe)?,
        foreign: stored::read(ids::LOAD_BALANCER, before.map_or("", |before| &before.foreign), body)?,
    };
    for (vnet, _) in balancer.frontends.iter_mut().filter_map(|frontend| frontend.subnet.as_mut()) {
        *vnet = request.spelled(vnet);
    }
    let servers = balancer.pools.iter_mut().flat_map(|pool| &mut pool.addresses);
    servers.filter_map(|server| server.vnet.as_mut()).for_each(|vnet| *vnet = request.spelled(vnet));
    let known = |of: &(Key, String)| {
        before.is_some_and(|before| before.frontends.iter().any(|frontend| frontend.subnet.as_ref() == Some(of)))
    };
    for (vnet, name) in balancer.frontends.iter().filter_map(|one| one.subnet.as_ref()).filter(|of| !known(of)) {
        // Check the right first, so that the answer does not reveal whether the object exists.
        request.demand(&Right::join(vnet, name))?;
        let subnets = request.model().vnets.get(vnet).map(|vnet| vnet.subnets.as_slice()).unwrap_or_default();
        if !subnets.iter().any(|subnet| subnet.name.eq_ignore_ascii_case(name)) {
            let (place, id) = ("properties.frontendIPConfigurations", ids::subnet(vnet, name));
            let message = format!("{place}: there is no subnet {id}");
            return Err(Error::bad_request_of("InvalidResourceReference", &message, place));
        }
    }
    for (index, rule) in balancer.rules.iter().enumerate() {
        let frontend = balancer.frontends.iter().any(|known| known.name.eq_ignore_ascii_case(&rule.frontend));
        let pool = balancer.pools.iter().any(|known| known.name.eq_ignore_ascii_case(&rule.pool));
        if !(frontend && pool) {
            let why = format!("rule `{}` names a frontend or a pool that this load balancer does not have", rule.name);
            return Err(properties.refused(&why));
        }
        let meets = |other: &&BalancingRule| {
            let protocols = other.protocol.zip(rule.protocol).is_none_or(|(one, other)| one == other);
            let ports = other.frontend_port == rule.frontend_port || other.frontend_port.min(rule.frontend_port) == 0;
            protocols && ports && other.frontend.eq_ignore_ascii_case(&rule.frontend)
        };
        if let Some(other) = balancer.rules.iter().take(index).find(meets) {
            let why = format!("rules `{}` and `{}` are of one frontend port: name it once", other.name, rule.name);
            return Err(properties.refused(&why));
        }
        let known = |name: &String| balancer.probes.iter().any(|probe| probe.name.eq_ignore_ascii_case(name));
        if let Some(name) = rule.probe.as_ref().filter(|name| !known(name)) {
            let why = format!("rule `{}` names a probe that this load balancer does not have: `{name}`", rule.name);
            return Err(properties.refused(&why));
        }
    }
    Ok(balancer)
}

fn frontend(field: &JsonField<'_>) -> Result<Frontend, Error> {
    let properties = field.properties();
    let subnet = properties.id("subnet", ids::SUBNET)?.map(|id| (id.key().clone(), id.name().to_owned()));
    let method = properties.text("privateIPAllocationMethod")?.unwrap_or_default();
    let address = properties.address("privateIPAddress")?.filter(|_| !method.eq_ignore_ascii_case("dynamic"));
    Ok(Frontend { name: field.name("name")?, subnet, address })
}

fn pool(field: &JsonField<'_>) -> Result<BackendPool, Error> {
    let server = |field: &JsonField<'_>| {
        let properties = field.properties();
        let address = properties.given("ipAddress", "an IP address")?;
        let state = properties.text("adminState")?.unwrap_or_default();
        let drain = ["down", "drain"].contains(&state.to_lowercase().as_str());
        let vnet = properties.id("virtualNetwork", ids::VNET)?.map(|id| id.key().clone());
        Ok(PoolAddress { name: field.name("name")?, address, vnet, drain })
    };
    Ok(BackendPool {
        name: field.name("name")?,
        addresses: field.properties().each("loadBalancerBackendAddresses", server)?,
    })
}

fn rule(field: &JsonField<'_>) -> Result<BalancingRule, Error> {
    let properties = field.properties();
    let protocol = match properties.required("protocol")?.to_lowercase().as_str() {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        "all" => None,
        _ => return Err(properties.refused("`protocol` is Tcp, Udp or All")),
    };
    let port = |name: &str| {
        let port = properties.port(name)?.ok_or_else(|| properties.lacks(name))?;
        let fits = (port == 0) == protocol.is_none();
        fits.then_some(port).ok_or_else(|| properties.refused("ports are 0 with protocol All, and only then"))
    };
    Ok(BalancingRule {
        name: field.name("name")?,
        frontend: properties.required_id("frontendIPConfiguration", FRONTEND)?.name().to_owned(),
        pool: properties.required_id("backendAddressPool", POOL)?.name().to_owned(),
        protocol,
        frontend_port: port("frontendPort")?,
        backend_port: port("backendPort")?,
        probe: properties.id("probe", PROBE)?.map(|id| id.name().to_owned()),
        distribution: match properties.text("loadDistribution")?.unwrap_or_default().to_lowercase().as_str() {
            "" | "default" => Distribution::Default,
            "sourceip" => Distribution::SourceIP,
            "sourceipprotocol" => Distribution::SourceIPProtocol,
            _ => return Err(properties.refused("`loadDistribution` is Default, SourceIP or SourceIPProtocol")),
        },
    })
}

/// A probe. One that cannot be carried out exactly is refused, because a server that fails it must get no connection.
fn probe(field: &JsonField<'_>) -> Result<BalancerProbe, Error> {
    let properties = field.properties();
    let protocol = properties.required("protocol")?;
    let path = properties.text("requestPath")?.filter(|path| !path.is_empty());
    let path = match protocol.to_lowercase().as_str() {
        "tcp" if path.is_none() => None,
        "tcp" => return Err(properties.refused("`requestPath` is of an HTTP probe, and this one is Tcp")),
        "http" => Some(path.ok_or_else(|| properties.refused("`requestPath` is missing: an HTTP probe asks for one"))?),
        "https" => return Err(properties.refused("HTTPS probes are not sent: use a Tcp or an Http probe")),
        _ => return Err(properties.refused("`protocol` is Tcp or Http")),
    };
    if path.as_ref().is_some_and(|path| !HealthCheck::is_path(path)) {
        return Err(properties.refused(&format!("`requestPath` is no path: {}", HealthCheck::PATH_REMEDY)));
    }
    let within = |name: &str, otherwise: Option<u16>, least: u16, most: u16| {
        let number = properties.or_shown(name).map(|field| field.as_port()).transpose()?.or(otherwise);
        let fits = number.is_none_or(|number| (least..=most).contains(&number));
        let why = format!("`{name}` is a number from {least} to {most}");
        if fits { Ok(number) } else { Err(properties.refused(&why)) }
    };
    Ok(BalancerProbe {
        name: field.name("name")?,
        port: within("port", None, 1, u16::MAX)?.ok_or_else(|| properties.lacks("port"))?,
        interval: within("intervalInSeconds", Some(15), 1, 3_600)?
            .ok_or_else(|| properties.lacks("intervalInSeconds"))?,
        failures: within("numberOfProbes", Some(1), 1, 10)?.ok_or_else(|| properties.lacks("numberOfProbes"))?,
        threshold: within("probeThreshold", None, 1, 10)?,
        path,
    })
}

/// As Azure shows it.
fn show(key: &Key, balancer: &LoadBalancer) -> Value {
    let id = ids::load_balancer(key);
    let within = |kind: &str, name: &str| id.clone().below(kind, name).to_string();
    let frontend = |one: &Frontend| {
        let mut properties = json!({ "provisioningState": "Succeeded" });
        if let Some(address) = one.address {
            properties["privateIPAddress"] = json!(address);
        }
        properties["privateIPAllocationMethod"] = json!(if one.address.is_some() { "Static" } else { "Dynamic" });
        if let Some((vnet, subnet)) = &one.subnet {
            properties["subnet"] = json!({ "id": ids::subnet(vnet, subnet).to_string() });
        }
        json!({ "id": within("frontendIPConfigurations", &one.name), "name": one.name, "properties": properties })
    };
    let server = |one: &PoolAddress| {
        let mut properties = json!({ "ipAddress": one.address });
        if let Some(vnet) = &one.vnet {
            properties["virtualNetwork"] = json!({ "id": ids::vnet(vnet).to_string() });
        }
        if one.drain {
            properties["adminState"] = json!("Down");
        }
        json!({ "name": one.name, "properties": properties })
    };
    let pool = |one: &BackendPool| {
        let servers: Vec<Value> = one.addresses.iter().map(server).collect();
        let properties = json!({ "provisioningState": "Succeeded", "loadBalancerBackendAddresses": servers });
        json!({ "id": within("backendAddressPools", &one.name), "name": one.name, "properties": properties })
    };
    let rule = |one: &BalancingRule| {
        let protocol = match one.protocol {
            Some(Protocol::Udp) => "Udp",
            Some(_) => "Tcp",
            None => "All",
        };
        let mut properties = json!({
            "provisioningState": "Succeeded",
            "protocol": protocol,
            "frontendPort": one.frontend_port,
            "backendPort": one.backend_port,
            "frontendIPConfiguration": { "id": within("frontendIPConfigurations", &one.frontend) },
            "backendAddressPool": { "id": within("backendAddressPools", &one.pool) },
            "loadDistribution": format!("{:?}", one.distribution),
        });
        if let Some(probe) = &one.probe {
            properties["probe"] = json!({ "id": within("probes", probe) });
        }
        json!({ "id": within("loadBalancingRules", &one.name), "name": one.name, "properties": properties })
    };
    let probe = |one: &BalancerProbe| {
        let mut properties = json!({
            "provisioningState": "Succeeded",
            "protocol": if one.path.is_some() { "Http" } else { "Tcp" },
            "port": one.port,
            "intervalInSeconds": one.interval,
            "numberOfProbes": one.failures,
        });
        if let Some(path) = &one.path {
            properties["requestPath"] = json!(path);
        }
        if let Some(threshold) = one.threshold {
            properties["probeThreshold"] = json!(threshold);
        }
        json!({ "id": within("probes", &one.name), "name": one.name, "properties": properties })
    };
    let mut properties = json!({
        "provisioningState": "Succeeded",
        "resourceGuid": ids::guid("load balancer", key),
        "frontendIPConfigurations": balancer.frontends.iter().map(frontend).collect::<Vec<_>>(),
        "backendAddressPools": balancer.pools.iter().map(pool).collect::<Vec<_>>(),
        "loadBalancingRules": balancer.rules.iter().map(rule).collect::<Vec<_>>(),
        "probes": balancer.probes.iter().map(probe).collect::<Vec<_>>(),
    });
    let addressed = balancer.frontends.iter().filter(|frontend| frontend.address.is_some());
    let unused = |one: &Frontend| format!("frontendIPConfigurations.{}.privateIPAddress", one.name.to_lowercase());
    let unused: Vec<String> = addressed.map(unused).collect();
    if !unused.is_empty() {
        // Clients use endpoints. Nothing answers at the frontend's own address.
        properties["privlink"] = json!({ "storedOnly": unused });
    }
    let mut shown = object(&id, Some((&balancer.region, &balancer.tags)), properties);
    shown["sku"] = json!({ "name": "Standard", "tier": "Regional" });
    stored::Kept::of(&balancer.foreign).show(shown)
}
