//! The interface of a private endpoint, as Azure shows it.

use serde_json::{Value, json};

use super::Error;
use super::request::ArmRequest;
use super::response::object;
use crate::access::rights::Right;
use crate::control::View;
use crate::model::state::{Connection, ControlState, ItemKind};
use crate::model::{EndpointIp, Key, PrivateEndpoint, actions, ids, names};

/// An interface has one endpoint.
///
/// # Errors
/// 409.
pub(super) fn refuse_taken(request: &ArmRequest, endpoint: &Key, name: &str) -> Result<(), Error> {
    let key = Key::of(&*endpoint.subscription, &*endpoint.group, name);
    match owner(request, &key) {
        Some((other, _)) if other != endpoint => {
            let seen = request.sees(ItemKind::Endpoint, other);
            let other = if seen { format!("private endpoint {other}") } else { "another private endpoint".to_owned() };
            let message = format!("Network interface {name} belongs to {other}.");
            Err(Error::conflict("NetworkInterfaceNameInUse", &message))
        }
        Some(_) | None => Ok(()),
    }
}

/// As Azure shows it.
pub(super) fn show(view: &View, key: &Key, endpoint: &PrivateEndpoint) -> Value {
    let id = ids::network_interface(key, endpoint);
    let tells = view.state.connections.get(key).is_none_or(Connection::tells_parts);
    let resource = view.state.model.resources.get(&endpoint.resource).filter(|_| tells);
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
                "fqdns": fqdns(&view.state, key, endpoint, &address.member),
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

/// The endpoint whose interface is called `name`.
pub(super) fn owner<'a>(request: &'a ArmRequest, name: &Key) -> Option<(&'a Key, &'a PrivateEndpoint)> {
    let endpoints = &request.model().endpoints;
    // The name that an interface has by itself begins with its endpoint's.
    let usual = name.name.rsplit_once(".nic.").map(|(front, _)| name.beside(front));
    let usual = usual.and_then(|key| endpoints.entry(&key));
    let is = |(key, endpoint): &(&Key, &PrivateEndpoint)| ids::network_interface(key, endpoint).key() == name;
    usual.filter(|found| is(found)).or_else(|| endpoints.iter().filter(|(key, _)| request.covers(key)).find(is))
}

/// What applications call one member.
pub(in super::super) fn fqdns(
    state: &ControlState,
    key: &Key,
    endpoint: &PrivateEndpoint,
    member: &str,
) -> Vec<String> {
    names::told(state, key, endpoint, member).into_iter().map(|name| name.public).collect()
}
