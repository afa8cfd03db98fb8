//! The interface of each private endpoint: it comes and goes with it, and never changes by itself.

use serde_json::{Value, json};

use super::Rejection;
use super::answer::{Answer, object, page};
use super::ask::Ask;
use super::body::{Field, NOT_BY_PATCH};
use super::endpoints;
use crate::access::rights::Right;
use crate::control::View;
use crate::model::decisions::{Connection, ItemKind};
use crate::model::{EndpointIp, EndpointLabels, Key, PrivateEndpoint, actions, ids};

/// `GET …/networkInterfaces`
pub(super) fn list(ask: &Ask) -> Result<Answer, Rejection> {
    let all = ask.model().endpoints.iter().filter(|(key, _)| ask.covers(key));
    let named = all.map(|(key, endpoint)| (ids::network_interface(key, endpoint).key().clone(), key, endpoint));
    let here = named.filter(|(name, _, _)| ask.hold(&Right::interface(name)));
    let mut here: Vec<_> = here.collect();
    here.sort_by(|one, other| one.0.cmp(&other.0));
    let show = |(_, key, endpoint): (Key, &Key, &PrivateEndpoint)| Some(show(&ask.view, key, endpoint));
    page(ask, here.into_iter(), |(name, _, _)| name.folded().to_owned(), show)
}

/// `GET …/networkInterfaces/{name}`
pub(super) fn get(ask: &Ask) -> Result<Answer, Rejection> {
    let name = ask.key();
    ask.demand(&Right::interface(&name))?;
    let (key, endpoint) = owner(ask, &name).ok_or_else(|| Rejection::absent(ids::NETWORK_INTERFACE, &name))?;
    Ok(Answer::ok(show(&ask.view, key, endpoint)))
}

/// `PUT`: the endpoint is what changes; an interface that comes back as it is shown stays so.
pub(super) fn put(ask: &Ask) -> Result<Answer, Rejection> {
    let name = ask.key();
    ask.demand(&Right::interface(&name))?;
    if let Some((key, endpoint)) = owner(ask, &name) {
        let shown = show(&ask.view, key, endpoint);
        ask.check_conditions(Some(&shown))?;
        if Field::over(&ask.body, Some(&shown))?.is_as_shown() {
            return Ok(Answer::ok(shown));
        }
    }
    delete(ask)?;
    let message = "A network interface appears with its private endpoint only.";
    Err(Rejection::bad_request_of("NotSupported", message, "create a private endpoint"))
}

/// `PATCH`: its tags are all that is its own.
pub(super) fn patch(ask: &Ask) -> Result<Answer, Rejection> {
    let name = ask.key();
    ask.demand(&Right::write_of(actions::INTERFACES, &name))?;
    let absent = || Rejection::absent(ids::NETWORK_INTERFACE, &name);
    let found = owner(ask, &name).map(|(key, endpoint)| (key.clone(), endpoint.clone()));
    let (key, mut endpoint) = found.ok_or_else(absent)?;
    let shown = show(&ask.view, &key, &endpoint);
    ask.check_conditions(Some(&shown))?;
    let body = Field::over(&ask.body, Some(&shown))?;
    body.refuse_others(&["tags"], NOT_BY_PATCH)?;
    let mut labels = endpoint.labels.take().unwrap_or_default();
    labels.interface_tags = body.tags()?.unwrap_or(labels.interface_tags);
    endpoint.labels = Some(labels).filter(|labels| **labels != EndpointLabels::default());
    endpoints::write(ask, &key, endpoint)?;
    let view = ask.afresh();
    let (key, endpoint) = view.decisions.model.endpoints.entry(&key).ok_or_else(absent)?;
    Ok(Answer::ok(show(&view, key, endpoint)))
}

/// `DELETE`: the endpoint is what goes.
pub(super) fn delete(ask: &Ask) -> Result<Answer, Rejection> {
    let name = ask.key();
    ask.demand(&Right::interface(&name))?;
    let Some((key, _)) = owner(ask, &name) else { return Ok(Answer::absent()) };
    let message = format!("Network interface {name} belongs to private endpoint {key}, and goes with it.");
    Err(Rejection::bad_request_of("NicInUseWithPrivateEndpoint", &message, &ids::endpoint(key).to_string()))
}

/// The endpoint whose interface is called `name`.
fn owner<'a>(ask: &'a Ask, name: &Key) -> Option<(&'a Key, &'a PrivateEndpoint)> {
    let endpoints = &ask.model().endpoints;
    // The name that an interface has by itself begins with its endpoint's.
    let usual = name.name.rsplit_once(".nic.").map(|(front, _)| name.beside(front));
    let usual = usual.and_then(|key| endpoints.entry(&key));
    let is = |(key, endpoint): &(&Key, &PrivateEndpoint)| ids::network_interface(key, endpoint).key() == name;
    usual.filter(|found| is(found)).or_else(|| endpoints.iter().filter(|(key, _)| ask.covers(key)).find(is))
}

/// An interface has one endpoint.
///
/// # Errors
/// 409.
pub(super) fn refuse_taken(ask: &Ask, endpoint: &Key, name: &str) -> Result<(), Rejection> {
    let key = Key::of(&*endpoint.subscription, &*endpoint.group, name);
    match owner(ask, &key) {
        Some((other, _)) if other != endpoint => {
            let seen = ask.sees(ItemKind::Endpoint, other);
            let other = if seen { format!("private endpoint {other}") } else { "another private endpoint".to_owned() };
            let message = format!("Network interface {name} belongs to {other}.");
            Err(Rejection::conflict("NetworkInterfaceNameInUse", &message))
        }
        Some(_) | None => Ok(()),
    }
}

/// As Azure shows it.
pub(super) fn show(view: &View, key: &Key, endpoint: &PrivateEndpoint) -> Value {
    let id = ids::network_interface(key, endpoint);
    let tells = view.decisions.connections.get(key).is_none_or(Connection::tells_parts);
    let resource = view.decisions.model.resources.get(&endpoint.resource).filter(|_| tells);
    let one = |(index, address): (usize, &EndpointIp)| {
        let mut given = endpoint.labels.iter().flat_map(|labels| &labels.addresses);
        let fixed = given.any(|(_, member)| endpoint.address_for(member) == Some(index));
        let member = if tells { &*address.member } else { "" };
        let name = match member {
            "" if tells || index == 0 => format!("privateEndpointIpConfig.{}", ids::guid("ip configuration", key)),
            "" => format!("privateEndpointIpConfig.{}.{index}", ids::guid("ip configuration", key)),
            member => format!("privateEndpointIpConfig.{}.{member}", ids::guid("ip configuration", key)),
        };
        let properties = json!({
            "provisioningState": "Succeeded",
            "privateIPAddress": address.ip,
            "privateIPAllocationMethod": if fixed { "Static" } else { "Dynamic" },
            "privateIPAddressVersion": if address.ip.is_some_and(|ip| ip.is_ipv6()) { "IPv6" } else { "IPv4" },
            "primary": index == 0,
            "subnet": { "id": ids::subnet(&endpoint.vnet, &endpoint.subnet).to_string() },
            "privateLinkConnectionProperties": {
                "groupId": endpoint.subresource,
                "requiredMemberName": endpoint.shown_member(resource, member),
                "fqdns": endpoints::fqdns(&view.decisions, key, endpoint, &address.member),
            },
        });
        object(&id.clone().below("ipConfigurations", &name), None, properties)
    };
    let properties = json!({
        "provisioningState": "Succeeded",
        "resourceGuid": ids::guid("network interface", key),
        "ipConfigurations": endpoint.addresses.iter().enumerate().map(one).collect::<Vec<_>>(),
        "dnsSettings": { "dnsServers": [], "appliedDnsServers": [] },
        "macAddress": "",
        "nicType": "Standard",
        "enableIPForwarding": false,
        "enableAcceleratedNetworking": false,
        "hostedWorkloads": [],
        "privateEndpoint": { "id": ids::endpoint(key).to_string() },
    });
    let tags = endpoint.labels.as_ref().map(|labels| labels.interface_tags.clone()).unwrap_or_default();
    object(&id, Some((&endpoint.region, &tags)), properties)
}

impl Right {
    /// To see the interface `name`.
    pub(super) fn interface(name: &Key) -> Self {
        Self::read_of(actions::INTERFACES, name)
    }
}
