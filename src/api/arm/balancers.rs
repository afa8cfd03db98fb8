//! Load balancers: the port mapping of the private link services behind their frontends.

use serde_json::{Value, json};

use super::Rejection;
use super::answer::{Answer, object, page, patched};
use super::ask::Ask;
use super::body::Field;
use crate::control::decisions::{Item, ItemKind};
use crate::control::ids;
use crate::control::model::{BackendPool, BalancingRule, Frontend, Key, LoadBalancer, Model, PoolAddress, Protocol};
use crate::control::rights::{Right, Verb};

const FRONTEND: &str = "Microsoft.Network/loadBalancers/frontendIPConfigurations";
const POOL: &str = "Microsoft.Network/loadBalancers/backendAddressPools";

/// `GET …/loadBalancers`
pub(super) fn list(ask: &Ask) -> Result<Answer, Rejection> {
    let all = ask.model().load_balancers.iter();
    let here = all.filter(|(key, _)| ask.covers(key) && ask.sees(ItemKind::LoadBalancer, key));
    page(ask, here, |(key, _)| key.folded().to_owned(), |(key, balancer)| Some(show(key, balancer)))
}

/// `GET …/loadBalancers/{name}`
pub(super) fn get(ask: &Ask) -> Result<Answer, Rejection> {
    let (key, balancer) = found(ask)?;
    Ok(Answer::ok(show(&key, &balancer)))
}

/// `PUT …/loadBalancers/{name}`
pub(super) fn put(ask: &Ask) -> Result<Answer, Rejection> {
    let key = ask.key();
    ask.demand(&Right::on(ask.model(), &item(&key), Verb::Write))?;
    ask.demand_group()?;
    let before = ask.model().load_balancers.get(&key);
    ask.check_conditions(before.map(|balancer| show(&key, balancer)).as_ref())?;
    let balancer = read(before, &Field::root(&ask.body)?)?;
    let created = before.is_none();
    write(ask, &key, &balancer, created)
}

/// `PATCH …/loadBalancers/{name}`
pub(super) fn patch(ask: &Ask) -> Result<Answer, Rejection> {
    let (key, balancer) = found(ask)?;
    ask.check_conditions(Some(&show(&key, &balancer)))?;
    write(ask, &key, &LoadBalancer { tags: patched(ask, &item(&key), &balancer.tags)?, ..balancer }, false)
}

/// `DELETE …/loadBalancers/{name}`
pub(super) fn delete(ask: &Ask) -> Result<Answer, Rejection> {
    let key = ask.key();
    ask.demand(&Right::on(ask.model(), &item(&key), Verb::Delete))?;
    let before = ask.model().load_balancers.get(&key).map(|balancer| show(&key, balancer));
    ask.check_conditions(before.as_ref())?;
    if before.is_none() {
        return Ok(Answer::absent());
    }
    ask.delete(ItemKind::LoadBalancer, &key)?;
    Ok(Answer::deleted())
}

fn found(ask: &Ask) -> Result<(Key, LoadBalancer), Rejection> {
    let key = ask.key();
    ask.may_read(ItemKind::LoadBalancer, &key)?;
    let found = ask.model().load_balancers.entry(&key);
    found.map(|(key, one)| (key.clone(), one.clone())).ok_or_else(|| Rejection::absent(ids::LOAD_BALANCER, &key))
}

fn write(ask: &Ask, key: &Key, balancer: &LoadBalancer, created: bool) -> Result<Answer, Rejection> {
    let mut model = Model::default();
    model.load_balancers.insert(key.clone(), balancer.clone());
    ask.put(vec![item(key)], model)?;
    let view = ask.afresh();
    let written = view.decisions.model.load_balancers.entry(key).map_or(key, |(key, _)| key);
    Ok(Answer::put(show(written, balancer), created))
}

fn item(key: &Key) -> Item {
    Item { kind: ItemKind::LoadBalancer, key: key.clone() }
}

fn read(before: Option<&LoadBalancer>, body: &Field<'_>) -> Result<LoadBalancer, Rejection> {
    let properties = body.properties();
    let region = body.location()?.or_else(|| before.map(|before| before.region.clone()));
    let tags = body.tags()?.or_else(|| before.map(|before| before.tags.clone()));
    let balancer = LoadBalancer {
        region: region.filter(|text| !text.is_empty()).ok_or_else(|| body.refused("`location` is missing"))?,
        tags: tags.unwrap_or_default(),
        frontends: properties.items("frontendIPConfigurations")?.iter().map(frontend).collect::<Result<_, _>>()?,
        pools: properties.items("backendAddressPools")?.iter().map(pool).collect::<Result<_, _>>()?,
        rules: properties.items("loadBalancingRules")?.iter().map(rule).collect::<Result<_, _>>()?,
    };
    for rule in &balancer.rules {
        let frontend = balancer.frontends.iter().any(|known| known.name.eq_ignore_ascii_case(&rule.frontend));
        let pool = balancer.pools.iter().any(|known| known.name.eq_ignore_ascii_case(&rule.pool));
        if !(frontend && pool) {
            let why = format!("rule `{}` names a frontend or a pool that this load balancer does not have", rule.name);
            return Err(properties.refused(&why));
        }
    }
    Ok(balancer)
}

fn frontend(field: &Field<'_>) -> Result<Frontend, Rejection> {
    let properties = field.properties();
    let subnet = properties.id("subnet", ids::SUBNET)?.map(|id| (id.key().clone(), id.name().to_owned()));
    Ok(Frontend { name: field.name("name")?, subnet, address: properties.address("privateIPAddress")? })
}

fn pool(field: &Field<'_>) -> Result<BackendPool, Rejection> {
    let server = |field: &Field<'_>| {
        let properties = field.properties();
        let address = properties.address("ipAddress")?.ok_or_else(|| properties.refused("`ipAddress` is missing"))?;
        let state = properties.text("adminState")?.unwrap_or_default();
        let drain = ["down", "drain"].contains(&state.to_lowercase().as_str());
        let vnet = properties.id("virtualNetwork", ids::VNET)?.map(|id| id.key().clone());
        Ok(PoolAddress { name: field.name("name")?, address, vnet, drain })
    };
    let servers = field.properties().items("loadBalancerBackendAddresses")?;
    Ok(BackendPool {
        name: field.name("name")?,
        addresses: servers.iter().map(server).collect::<Result<_, Rejection>>()?,
    })
}

fn rule(field: &Field<'_>) -> Result<BalancingRule, Rejection> {
    let properties = field.properties();
    let protocol = match properties.required("protocol")?.to_lowercase().as_str() {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        "all" => None,
        _ => return Err(properties.refused("`protocol` is Tcp, Udp or All")),
    };
    let port = |name: &str| {
        let port = properties.port(name)?.ok_or_else(|| properties.refused(&format!("`{name}` is missing")))?;
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
            properties["adminState"] = json!("Drain");
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
        let properties = json!({
            "provisioningState": "Succeeded",
            "protocol": protocol,
            "frontendPort": one.frontend_port,
            "backendPort": one.backend_port,
            "frontendIPConfiguration": { "id": within("frontendIPConfigurations", &one.frontend) },
            "backendAddressPool": { "id": within("backendAddressPools", &one.pool) },
        });
        json!({ "id": within("loadBalancingRules", &one.name), "name": one.name, "properties": properties })
    };
    let properties = json!({
        "provisioningState": "Succeeded",
        "resourceGuid": ids::guid("load balancer", key),
        "frontendIPConfigurations": balancer.frontends.iter().map(frontend).collect::<Vec<_>>(),
        "backendAddressPools": balancer.pools.iter().map(pool).collect::<Vec<_>>(),
        "loadBalancingRules": balancer.rules.iter().map(rule).collect::<Vec<_>>(),
        "probes": [],
    });
    let mut shown = object(&id, Some((&balancer.region, &balancer.tags)), properties);
    shown["sku"] = json!({ "name": "Standard", "tier": "Regional" });
    shown
}
