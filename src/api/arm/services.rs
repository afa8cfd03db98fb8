//! Private link services.

use serde_json::{Value, json};

use super::body::JsonField;
use super::request::{ArmRequest, Reader};
use super::response::object;
use super::{Error, connections, extension, stored};
use crate::model::resource_types::PRIVATE_LINK_SERVICE;
use crate::model::{FrontendRef, Key, LinkResource, NatConfig, Visibility, ids};

/// The service that the body describes; what it says nothing of is as if it were new, but for what Azure has no word for.
/// What is shown of it and follows from something else orders nothing when it comes back: the targets from a load
/// balancer or a destination, the NAT addresses from IP configurations, or these from those.
///
/// # Errors
/// The refusal.
pub(super) fn read(
    request: &ArmRequest,
    key: &Key,
    before: Option<&LinkResource>,
    body: &JsonField<'_>,
) -> Result<LinkResource, Error> {
    let properties = body.properties();
    let new = || LinkResource { alias: Some(key.name.clone()), ..LinkResource::blank(None) };
    let mut service = before.cloned().unwrap_or_else(new);
    common(body, &properties, &mut service)?;
    service.fqdns = properties.texts("fqdns")?;
    service.proxy_protocol = properties.flag("enableProxyProtocol")?.unwrap_or_default();
    let configs = properties.items("ipConfigurations")?;
    let other = properties.changed("ipConfigurations").is_some();
    if other && !configs.is_empty() {
        addresses(request, &configs, &mut service)?;
    }
    let frontends = properties.each("loadBalancerFrontendIpConfigurations", frontend)?;
    let destination = properties.address("destinationIPAddress")?;
    let behind = !frontends.is_empty() || destination.is_some();
    if behind {
        service.frontends = frontends;
        service.destination = destination;
    } else if properties.changed("loadBalancerFrontendIpConfigurations").is_some() {
        service.frontends.clear();
        service.targets.clear();
    }
    let follows = extension::Follows {
        targets: behind,
        nat: !configs.is_empty() && (other || before.is_some_and(|before| !before.nat_configs.is_empty())),
    };
    extension::resource(&properties, &mut service, follows)?;
    service.foreign = stored::read(PRIVATE_LINK_SERVICE, &service.foreign, body)?;
    let bare = service.targets.is_empty() && service.frontends.is_empty() && service.destination.is_none();
    if service.vnet.is_none() || bare {
        let remedy = "`ipConfigurations`, and `loadBalancerFrontendIpConfigurations` or `destinationIPAddress`";
        return Err(properties.refused(&format!("a private link service needs {remedy}")));
    }
    Ok(service)
}

/// What services and typed resources have in common.
///
/// # Errors
/// 400.
pub(super) fn common(
    body: &JsonField<'_>,
    properties: &JsonField<'_>,
    resource: &mut LinkResource,
) -> Result<(), Error> {
    if let Some(region) = body.location()? {
        resource.region = region;
    }
    if resource.region.is_empty() {
        return Err(body.lacks("location"));
    }
    resource.tags = body.tags()?.unwrap_or_else(|| std::mem::take(&mut resource.tags));
    if let Some(list) = properties.get("visibility") {
        let subscriptions = list.texts("subscriptions")?;
        resource.visibility = match subscriptions.as_slice() {
            [] => Visibility::Readers,
            several if several.iter().any(|one| one == "*") => Visibility::Everyone,
            _ => Visibility::Subscriptions(subscriptions),
        };
    }
    if let Some(list) = properties.get("autoApproval") {
        resource.auto_approval = list.texts("subscriptions")?;
    }
    Ok(())
}

/// The NAT addresses, all of one VNet: the provider's.
fn addresses(request: &ArmRequest, configs: &[JsonField<'_>], service: &mut LinkResource) -> Result<(), Error> {
    let mut vnet: Option<Key> = None;
    let mut made = Vec::new();
    for field in configs {
        let properties = field.properties();
        let subnet = properties.required_id("subnet", ids::SUBNET)?;
        if vnet.get_or_insert_with(|| subnet.key().clone()) != subnet.key() {
            return Err(properties.refused("the IP configurations of a service are in one VNet"));
        }
        let asked = properties.text("privateIPAllocationMethod")?.unwrap_or_default();
        let address = properties.address("privateIPAddress")?.filter(|_| !asked.eq_ignore_ascii_case("dynamic"));
        let version = properties.text("privateIPAddressVersion")?.unwrap_or_default();
        let v6 = version.eq_ignore_ascii_case("IPv6") || address.is_some_and(|ip| ip.is_ipv6());
        if !version.is_empty() && address.is_some_and(|ip| ip.is_ipv6() != version.eq_ignore_ascii_case("IPv6")) {
            return Err(properties.refused("`privateIPAddressVersion` is not that of `privateIPAddress`"));
        }
        let name = field.get("name").map(|_| field.name("name")).transpose()?;
        let name = name.unwrap_or_else(|| format!("nat{}", made.len()));
        // By default the first one is primary, and no other.
        let primary = properties.flag("primary")?.filter(|primary| *primary != made.is_empty());
        made.push(NatConfig { name, subnet: subnet.name().to_owned(), address, v6, primary });
    }
    service.vnet = vnet.map(|vnet| request.spelled(&vnet));
    service.nat_configs = made;
    Ok(())
}

fn frontend(field: &JsonField<'_>) -> Result<FrontendRef, Error> {
    let text = field.required("id")?;
    let id = ids::ArmId::parse(&text).map_err(|error| field.refused(&error))?;
    if !id.kind().to_lowercase().starts_with("microsoft.network/loadbalancers/frontendipconfigurations") {
        return Err(field.refused("`id` is not that of a frontend IP configuration of a load balancer"));
    }
    Ok(FrontendRef { balancer: id.key().clone(), frontend: id.name().to_owned() })
}

/// As Azure shows it.
pub(super) fn show(reader: &Reader<'_>, key: &Key, service: &LinkResource) -> Value {
    let id = ids::resource(None, key);
    let frontend = |one: &FrontendRef| {
        let id = ids::load_balancer(&one.balancer).below("frontendIPConfigurations", &one.frontend);
        json!({ "id": id.to_string() })
    };
    let mut properties = json!({
        "provisioningState": "Succeeded",
        "alias": ids::alias(key, service),
        "loadBalancerFrontendIpConfigurations": service.frontends.iter().map(frontend).collect::<Vec<_>>(),
        "ipConfigurations": configurations(reader, &id, service),
        "fqdns": service.fqdns,
        "enableProxyProtocol": service.proxy_protocol,
        "networkInterfaces": [],
        "privateEndpointConnections": connections::of(reader, key, service.kind.as_deref()),
        "privlink": extension::show_resource(reader, key, service),
    });
    shared(service, &mut properties);
    if let Some(server) = service.destination {
        properties["destinationIPAddress"] = json!(server);
    }
    let unusual = service.nat_configs.iter().filter(|config| config.primary.is_some());
    let unusual: Vec<String> =
        unusual.map(|config| format!("ipConfigurations.{}.primary", config.name.to_lowercase())).collect();
    if !unusual.is_empty() {
        let listed = &mut properties["privlink"]["storedOnly"];
        let known = listed.as_array().cloned().unwrap_or_default();
        *listed = known.into_iter().chain(unusual.into_iter().map(Value::String)).collect();
    }
    let shown = object(&id, Some((&service.region, &service.tags)), properties);
    stored::Kept::of(&service.foreign).show(shown)
}

/// What services and typed resources show alike.
pub(super) fn shared(resource: &LinkResource, properties: &mut Value) {
    let subscriptions = match &resource.visibility {
        // An empty list is not shown: a client that sends it back would close the service.
        Visibility::ById => None,
        Visibility::Readers => Some(Vec::new()),
        Visibility::Everyone => Some(vec!["*".to_owned()]),
        Visibility::Subscriptions(list) => Some(list.clone()),
    };
    if let Some(subscriptions) = subscriptions {
        properties["visibility"] = json!({ "subscriptions": subscriptions });
    }
    properties["autoApproval"] = json!({ "subscriptions": resource.auto_approval });
}

/// The subnet of an address is shown only to a reader who may see it, unless the service itself names it.
fn configurations(reader: &Reader<'_>, id: &ids::ArmId, service: &LinkResource) -> Vec<Value> {
    let vnet = service.vnet.as_ref().and_then(|vnet| reader.view().state.model.vnets.entry(vnet));
    let one = |(index, ip): (usize, &std::net::IpAddr)| {
        let config = service.nat_configs.get(index);
        let inside = |prefixes: &[ipnet::IpNet]| prefixes.iter().any(|prefix| prefix.contains(ip));
        let holder = vnet.and_then(|(key, vnet)| Some((key, vnet.subnets.iter().find(|s| inside(&s.prefixes))?)));
        let subnet = match (config, holder) {
            (Some(config), _) => service.vnet.as_ref().map(|vnet| ids::subnet(vnet, &config.subnet)),
            (None, Some((vnet, subnet))) => {
                reader.sees_subnet(vnet, &subnet.name).then(|| ids::subnet(vnet, &subnet.name))
            }
            (None, None) => None,
        };
        let name = config.map_or_else(|| format!("nat{index}"), |config| config.name.clone());
        let fixed = config.is_none_or(|config| config.address.is_some());
        let mut properties = json!({
            "provisioningState": "Succeeded",
            "primary": config.and_then(|config| config.primary).unwrap_or(index == 0),
            "privateIPAddressVersion": if ip.is_ipv6() { "IPv6" } else { "IPv4" },
            "privateIPAllocationMethod": if fixed { "Static" } else { "Dynamic" },
        });
        // As in Azure, an automatically chosen address is not shown here. `privlink.nat` has it.
        if fixed {
            properties["privateIPAddress"] = json!(ip);
        }
        if let Some(subnet) = subnet {
            properties["subnet"] = json!({ "id": subnet.to_string() });
        }
        json!({ "id": id.clone().below("ipConfigurations", &name).to_string(), "name": name, "properties": properties })
    };
    service.nat.iter().enumerate().map(one).collect()
}
