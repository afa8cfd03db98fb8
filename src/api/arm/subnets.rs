//! Subnets and peerings: parts of a VNet that clients change one by one.

use serde_json::{Value, json};

use super::adapter::{found, write};
use super::body::JsonField;
use super::request::{ArmRequest, Reader};
use super::response::{ArmResponse, object, page};
use super::{Error, extension, stored};
use crate::access::rights::Right;
use crate::model::sentence::UNSEEN;
use crate::model::state::ItemKind;
use crate::model::{Frontend, Key, NetworkPolicies, PeeringLabel, Subnet, Vnet, actions, ids};

/// `GET …/subnets`
pub(super) fn list(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, vnet) = found::<Vnet>(request)?;
    let mut subnets: Vec<&Subnet> = vnet.subnets.iter().collect();
    subnets.sort_by_key(|subnet| subnet.name.to_lowercase());
    page(request, subnets.into_iter(), |s| s.name.to_lowercase(), |s| Some(show(&request.reader(), &key, &vnet, s)))
}

/// `GET …/subnets/{subnet}`
pub(super) fn get(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, name) = (request.key(), request.parameter("subnet"));
    // The right to read the subnet is enough; the VNet's is not needed.
    if !request.hold(&Right::subnet(&key, name, actions::read(actions::SUBNETS))) {
        request.may_read(ItemKind::Vnet, &key)?;
    }
    let found = request.model().vnets.entry(&key).and_then(|(key, vnet)| {
        vnet.subnets.iter().find(|subnet| named(&subnet.name, name)).map(|subnet| (key, vnet, subnet))
    });
    let (key, vnet, found) = found.ok_or_else(|| Error::absent(ids::SUBNET, &key.beside(name)))?;
    Ok(ArmResponse::ok(show(&request.reader(), key, vnet, found)))
}

/// `PUT …/subnets/{subnet}`
pub(super) fn put(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let name = request.parameter("subnet");
    request.demand(&Right::subnet(&request.key(), name, actions::write(actions::SUBNETS)))?;
    let (key, mut vnet) = found::<Vnet>(request)?;
    let at = vnet.subnets.iter().position(|subnet| named(&subnet.name, name));
    let before = at.and_then(|at| vnet.subnets.get(at)).cloned();
    let shown = before.as_ref().map(|subnet| show(&request.reader(), &key, &vnet, subnet));
    request.check_conditions(shown.as_ref())?;
    let body = JsonField::over(&request.body, shown.as_ref())?;
    let subnet = read(&body, before.as_ref().map_or(name, |s| &s.name), before.as_ref())?;
    match at.and_then(|at| vnet.subnets.get_mut(at)) {
        Some(place) => *place = subnet.clone(),
        None => vnet.subnets.push(subnet.clone()),
    }
    vnet.foreign = stored::read_part(ids::SUBNET, &vnet.foreign, (SUBNETS, &subnet.name), &body)?;
    write(request, &key, vnet.clone())?;
    Ok(ArmResponse::put(show(&request.reader_of(&request.afresh()), &key, &vnet, &subnet), before.is_none()))
}

/// `DELETE …/subnets/{subnet}`
pub(super) fn delete(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let name = request.parameter("subnet");
    request.demand(&Right::subnet(&request.key(), name, actions::delete(actions::SUBNETS)))?;
    let key = request.key();
    let Some(vnet) = request.model().vnets.get(&key) else { return Ok(ArmResponse::absent()) };
    let mut vnet = vnet.clone();
    let old = vnet.subnets.clone();
    vnet.subnets.retain(|subnet| !named(&subnet.name, name));
    if vnet.subnets.len() == old.len() {
        return Ok(ArmResponse::absent());
    }
    let shown =
        old.iter().find(|subnet| named(&subnet.name, name)).map(|subnet| show(&request.reader(), &key, &vnet, subnet));
    request.check_conditions(shown.as_ref())?;
    refuse_used(request, &key, &old, &vnet.subnets)?;
    vnet.foreign = stored::Kept::of(&vnet.foreign).with_part(SUBNETS, name, None).text()?;
    write(request, &key, vnet)?;
    Ok(ArmResponse::deleted())
}

/// Refuses to delete a subnet that is in use.
///
/// # Errors
/// 400, in Azure's words.
pub(super) fn refuse_used(request: &ArmRequest, vnet: &Key, old: &[Subnet], new: &[Subnet]) -> Result<(), Error> {
    let kept = |subnet: &&Subnet| new.iter().any(|other| named(&other.name, &subnet.name));
    for subnet in old.iter().filter(|subnet| !kept(subnet)) {
        if let Some(user) = first_user(request, vnet, subnet) {
            let id = ids::subnet(vnet, &subnet.name);
            let message = format!("Subnet {} is in use by {user} and cannot be deleted.", subnet.name);
            return Err(Error::bad_request_of("InUseSubnetCannotBeDeleted", &message, &id.to_string()));
        }
    }
    Ok(())
}

/// Names a user of the subnet: the first that the caller may see, else a general text.
fn first_user(request: &ArmRequest, vnet: &Key, subnet: &Subnet) -> Option<String> {
    let model = request.model();
    let endpoints = model.endpoints.iter().filter(|(_, e)| e.vnet == *vnet && named(&e.subnet, &subnet.name));
    let inside = |ip: &std::net::IpAddr| subnet.prefixes.iter().any(|prefix| prefix.contains(ip));
    let services = model.resources.iter().filter(|(_, r)| r.vnet.as_ref() == Some(vnet) && r.nat.iter().any(inside));
    let services = services.map(|(key, one)| (ItemKind::Resource, key, ids::resource(one.kind.as_deref(), key)));
    let within = |frontend: &Frontend| {
        frontend.subnet.as_ref().is_some_and(|(of, name)| of == vnet && named(name, &subnet.name))
    };
    let balancers = model.load_balancers.iter().filter(|(_, one)| one.frontends.iter().any(within));
    let balancers = balancers.map(|(key, _)| (ItemKind::LoadBalancer, key, ids::load_balancer(key)));
    let endpoints = endpoints.map(|(key, _)| (ItemKind::Endpoint, key, ids::endpoint(key)));
    let mut users = endpoints.chain(services).chain(balancers).peekable();
    users.peek()?;
    let seen = users.find(|(kind, key, _)| request.sees(*kind, key));
    Some(seen.map_or_else(|| UNSEEN.to_owned(), |(_, _, id)| id.to_string()))
}

/// The subnet in `field`. Absent properties stay as they are.
///
/// # Errors
/// 400.
pub(super) fn read(field: &JsonField<'_>, name: &str, before: Option<&Subnet>) -> Result<Subnet, Error> {
    let properties = field.properties();
    let one = properties.parsed("addressPrefix", "a prefix such as 10.1.9.0/24")?;
    let several = properties.all("addressPrefixes", "a prefix such as 10.1.9.0/24")?;
    let named: Vec<_> = if several.is_empty() { one.into_iter().collect() } else { several };
    let mut prefixes: Vec<ipnet::IpNet> = named;
    if prefixes.is_empty() {
        prefixes = before.map(|subnet| subnet.prefixes.clone()).unwrap_or_default();
    }
    let group = properties.id("networkSecurityGroup", ids::SECURITY_GROUP)?.map(|group| group.key().clone());
    // If the rule set is not shown to the caller, leaving it out does not remove it.
    let unseen = || before.filter(|_| !properties.shows("networkSecurityGroup"))?.security_group.clone();
    let delegated = |one: &JsonField<'_>| one.properties().required("serviceName");
    let service = |one: &JsonField<'_>| one.required("service");
    let mut subnet = Subnet {
        name: before.map_or(name, |subnet| &subnet.name).to_owned(),
        prefixes,
        dedicated: before.is_some_and(|subnet| subnet.dedicated),
        delegations: properties.each("delegations", delegated)?,
        service_endpoints: properties.each("serviceEndpoints", service)?,
        network_policies: policies(&properties)?,
        security_group: group.or_else(unseen),
        nat: takes_nat(&properties)?.or_else(|| before.and_then(|subnet| subnet.nat)),
    };
    extension::subnet(&properties, &mut subnet)?;
    Ok(subnet)
}

fn policies(properties: &JsonField<'_>) -> Result<NetworkPolicies, Error> {
    let known = [
        NetworkPolicies::Disabled,
        NetworkPolicies::Enabled,
        NetworkPolicies::NetworkSecurityGroupEnabled,
        NetworkPolicies::RouteTableEnabled,
    ];
    let Some(field) = properties.get("privateEndpointNetworkPolicies") else { return Ok(NetworkPolicies::Disabled) };
    let text = field.as_text()?;
    let found = known.into_iter().find(|value| format!("{value:?}").eq_ignore_ascii_case(&text));
    found.ok_or_else(|| field.wrong("Disabled, Enabled, NetworkSecurityGroupEnabled or RouteTableEnabled"))
}

fn takes_nat(properties: &JsonField<'_>) -> Result<Option<bool>, Error> {
    let Some(field) = properties.changed("privateLinkServiceNetworkPolicies") else { return Ok(None) };
    match field.as_text()?.to_lowercase().as_str() {
        "enabled" => Ok(Some(false)),
        "disabled" => Ok(Some(true)),
        _ => Err(field.wrong("Enabled or Disabled")),
    }
}

/// As Azure shows it.
pub(super) fn show(reader: &Reader<'_>, key: &Key, vnet: &Vnet, subnet: &Subnet) -> Value {
    let delegation = |service: &String| json!({ "name": service, "properties": { "serviceName": service } });
    let mut properties = json!({
        "provisioningState": "Succeeded",
        "privateEndpointNetworkPolicies": format!("{:?}", subnet.network_policies),
        "privateLinkServiceNetworkPolicies": if subnet.takes_nat() { "Disabled" } else { "Enabled" },
        "delegations": subnet.delegations.iter().map(delegation).collect::<Vec<_>>(),
        "serviceEndpoints": subnet.service_endpoints.iter().map(|service| json!({ "service": service })).collect::<Vec<_>>(),
        "privlink": extension::show_subnet(subnet),
    });
    if subnet.network_policies == NetworkPolicies::RouteTableEnabled {
        properties["privlink"]["storedOnly"] =
            json!(["privateEndpointNetworkPolicies: there are no route tables here"]);
    }
    match subnet.prefixes.as_slice() {
        [one] => properties["addressPrefix"] = json!(one),
        several => properties["addressPrefixes"] = json!(several),
    }
    // Only readers of the VNet or of the rule set see it.
    let known = |group: &&Key| reader.sees(ItemKind::Vnet, key) || reader.sees(ItemKind::SecurityGroup, group);
    if let Some(group) = subnet.security_group.as_ref().filter(known) {
        properties["networkSecurityGroup"] = json!({ "id": ids::security_group(group).to_string() });
    }
    let kept = stored::Kept::of(&vnet.foreign).part(SUBNETS, &subnet.name);
    kept.show(object(&ids::subnet(key, &subnet.name), None, properties))
}

/// `GET …/virtualNetworkPeerings`
pub(super) fn list_peerings(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, vnet) = found::<Vnet>(request)?;
    let mut labels = vnet.labelled();
    labels.sort_by_key(|label| label.name.to_lowercase());
    page(
        request,
        labels.into_iter(),
        |l| l.name.to_lowercase(),
        |l| Some(show_peering(&request.reader(), &key, &vnet, &l)),
    )
}

/// `GET …/virtualNetworkPeerings/{peering}`
pub(super) fn get_peering(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, vnet) = found::<Vnet>(request)?;
    let name = request.parameter("peering");
    let found = vnet.labelled().into_iter().find(|label| named(&label.name, name));
    let found = found.ok_or_else(|| Error::absent(PEERING, &key.beside(name)))?;
    Ok(ArmResponse::ok(show_peering(&request.reader(), &key, &vnet, &found)))
}

/// `PUT …/virtualNetworkPeerings/{peering}`
pub(super) fn put_peering(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let name = request.parameter("peering");
    request.demand(&Right::peering(&request.key(), name, actions::write(actions::PEERINGS)))?;
    let (key, mut vnet) = found::<Vnet>(request)?;
    let before = vnet.labelled().into_iter().find(|label| named(&label.name, name));
    let shown = before.as_ref().map(|label| show_peering(&request.reader(), &key, &vnet, label));
    request.check_conditions(shown.as_ref())?;
    let body = JsonField::over(&request.body, shown.as_ref())?;
    // A severed peering stays severed if the body says so. Any other body creates it again.
    let anew = before.as_ref().is_some_and(|before| before.severed) && body.properties().get("peeringState").is_none();
    if let Some(shown) = shown.as_ref().filter(|_| !anew && body.properties().is_as_shown()) {
        return Ok(ArmResponse::put(shown.clone(), false));
    }
    if let Some(before) = &before {
        forget(&mut vnet, &before.remote);
    }
    let first = before.as_ref().map_or(name, |before| &before.name);
    let mut label = peer(&mut vnet, &body, first)?;
    // A severed peering that is sent back unchanged stays severed. Any other body creates it again.
    let same = before.as_ref().is_some_and(|before| before.severed && before.remote == label.remote);
    if same && body.properties().text("peeringState")?.is_some_and(|state| named(&state, DISCONNECTED)) {
        vnet.sever(&label.remote);
        label.severed = true;
    } else if !request.model().vnets.contains_key(&label.remote) || !request.sees(ItemKind::Vnet, &label.remote) {
        let what = format_args!("VNet {}", ids::vnet(&label.remote));
        return Err(Error::unseen(what, "properties.remoteVirtualNetwork.id"));
    }
    vnet.foreign = stored::read_part(PEERING, &vnet.foreign, (PEERINGS, &label.name), &body)?;
    write(request, &key, vnet.clone())?;
    Ok(ArmResponse::put(show_peering(&request.reader_of(&request.afresh()), &key, &vnet, &label), before.is_none()))
}

/// `DELETE …/virtualNetworkPeerings/{peering}`
pub(super) fn delete_peering(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let name = request.parameter("peering");
    request.demand(&Right::peering(&request.key(), name, actions::delete(actions::PEERINGS)))?;
    let key = request.key();
    let Some(vnet) = request.model().vnets.get(&key) else { return Ok(ArmResponse::absent()) };
    let mut vnet = vnet.clone();
    let Some(label) = vnet.labelled().into_iter().find(|label| named(&label.name, name)) else {
        return Ok(ArmResponse::absent());
    };
    request.check_conditions(Some(&show_peering(&request.reader(), &key, &vnet, &label)))?;
    forget(&mut vnet, &label.remote);
    vnet.foreign = stored::Kept::of(&vnet.foreign).with_part(PEERINGS, name, None).text()?;
    write(request, &key, vnet)?;
    Ok(ArmResponse::deleted())
}

/// The state of a peering whose other side was deleted.
const DISCONNECTED: &str = "Disconnected";

/// Lists of a VNet.
const SUBNETS: &str = "subnets";
const PEERINGS: &str = "virtualNetworkPeerings";
const PEERING: &str = "Microsoft.Network/virtualNetworks/virtualNetworkPeerings";

fn forget(vnet: &mut Vnet, remote: &Key) {
    vnet.peerings.retain(|peer| peer != remote);
    vnet.peering_labels.retain(|label| label.remote != *remote);
}

/// Adds the peering that `field` describes.
///
/// # Errors
/// 400.
pub(super) fn peer(vnet: &mut Vnet, field: &JsonField<'_>, name: &str) -> Result<PeeringLabel, Error> {
    let properties = field.properties();
    let remote = properties.required_id("remoteVirtualNetwork", ids::VNET)?;
    let access = properties.flag("allowVirtualNetworkAccess")?.unwrap_or(true);
    let label = PeeringLabel { name: name.to_owned(), remote: remote.key().clone(), access, severed: false };
    if vnet.labelled().iter().any(|other| other.remote == label.remote) {
        return Err(properties.refused("this VNet has a peering with that one already"));
    }
    if access {
        vnet.peerings.push(label.remote.clone());
    }
    vnet.peering_labels.push(label.clone());
    Ok(label)
}

/// The peering in Azure's form. It is Connected if both sides have it. State and address space of a remote VNet are
/// hidden if the reader may not see that VNet.
pub(super) fn show_peering(reader: &Reader<'_>, key: &Key, vnet: &Vnet, label: &PeeringLabel) -> Value {
    let remote = reader.vnet(&label.remote);
    let back = |back: &PeeringLabel| back.remote == *key && !back.severed;
    let mutual = !label.severed && remote.is_some_and(|remote| remote.labelled().iter().any(back));
    let state = match remote {
        _ if label.severed => DISCONNECTED,
        None => DISCONNECTED,
        Some(_) if mutual => "Connected",
        Some(_) => "Initiated",
    };
    let space = json!({ "addressPrefixes": remote.map(|remote| remote.address_space.clone()).unwrap_or_default() });
    let mut properties = json!({
        "provisioningState": "Succeeded",
        "allowVirtualNetworkAccess": label.access,
        "allowForwardedTraffic": false,
        "allowGatewayTransit": false,
        "useRemoteGateways": false,
        "remoteVirtualNetwork": { "id": ids::vnet(&label.remote).to_string() },
        "remoteAddressSpace": space,
        "remoteVirtualNetworkAddressSpace": space,
    });
    if reader.sees(ItemKind::Vnet, &label.remote) {
        properties["peeringState"] = json!(state);
        properties["peeringSyncLevel"] = json!(if mutual { "FullyInSync" } else { "RemoteNotInSync" });
    }
    let kept = stored::Kept::of(&vnet.foreign).part(PEERINGS, &label.name);
    kept.show(object(&ids::vnet(key).below(PEERINGS, &label.name), None, properties))
}

fn named(name: &str, asked: &str) -> bool {
    name.eq_ignore_ascii_case(asked)
}
