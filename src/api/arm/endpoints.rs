//! Private endpoints.

use serde_json::{Value, json};

use super::adapter::Adapter;
use super::body::JsonField;
use super::request::{ArmRequest, Reader};
use super::response::object;
use super::{Error, connections, extension, nic, stored};
use crate::access::rights::Right;
use crate::model::ids::ArmId;
use crate::model::resource_types::PRIVATE_LINK_SERVICE;
use crate::model::state::{ControlState, ItemKind};
use crate::model::{EndpointIp, EndpointLabels, Key, PrivateEndpoint, Tags, ids, resource_types};

impl Adapter for PrivateEndpoint {
    fn show(&self, reader: &Reader<'_>, key: &Key) -> Option<Value> {
        show(reader, key, self)
    }

    fn read(request: &ArmRequest, key: &Key, before: Option<&Self>, body: &JsonField<'_>) -> Result<Self, Error> {
        read(request, key, before, body)
    }

    fn set_tags(&mut self, tags: Tags) {
        let labels = EndpointLabels { tags, ..self.labels.take().map_or_else(EndpointLabels::default, |all| *all) };
        self.labels = Some(labels).filter(|labels| *labels != EndpointLabels::default()).map(Box::new);
    }
}

/// The endpoint in the body. The writer checks that its fixed properties do not change.
fn read(
    request: &ArmRequest,
    key: &Key,
    before: Option<&PrivateEndpoint>,
    body: &JsonField<'_>,
) -> Result<PrivateEndpoint, Error> {
    let properties = body.properties();
    let subnet = properties.required_id("subnet", ids::SUBNET)?;
    let same =
        |before: &PrivateEndpoint| before.vnet == *subnet.key() && before.subnet.eq_ignore_ascii_case(subnet.name());
    if !before.is_some_and(same) {
        // Check the right first, so that the answer does not reveal whether the object exists.
        request.demand(&Right::join(subnet.key(), subnet.name()))?;
    }
    let vnet = request.model().vnets.get(subnet.key());
    let here = vnet.and_then(|vnet| vnet.subnets.iter().find(|one| one.name.eq_ignore_ascii_case(subnet.name())));
    let (Some(vnet), Some(here)) = (vnet, here) else {
        let message = format!("properties.subnet.id: there is no subnet {subnet}");
        return Err(Error::bad_request_of("InvalidResourceReference", &message, "properties.subnet.id"));
    };
    let (link_request, manual) = link_request(&properties)?;
    let asked = link_request.properties();
    let resource = resource(request, &asked, manual, before)?;
    let groups = asked.texts("groupIds")?;
    if groups.len() > 1 {
        return Err(asked.refused("an endpoint is bound to one subresource: `groupIds` has several"));
    }
    let subresource = groups.into_iter().next().filter(|group| !group.is_empty());
    let known = subresource.or_else(|| before.map(|before| before.subresource.clone()));
    let subresource = known.or_else(|| only_subresource(request, &resource)).unwrap_or_default();
    let configs = properties.items("ipConfigurations")?;
    let mut labels = before.and_then(|before| before.labels.as_deref().cloned()).unwrap_or_default();
    if properties.changed("ipConfigurations").is_some() {
        labels.addresses.clear();
    }
    let addresses = addresses(&configs, &subresource, &mut labels)?;
    labels.foreign = stored::read(ids::ENDPOINT, &labels.foreign, body)?;
    labels.tags = body.tags()?.unwrap_or(labels.tags);
    let name = link_request.required("name")?;
    if link_request.changed("name").is_some() {
        labels.connection = Some(name);
    }
    if properties.text("customNetworkInterfaceName")?.is_some_and(|name| !name.is_empty()) {
        let name = properties.name("customNetworkInterfaceName")?;
        nic::refuse_taken(request, key, &name)?;
        labels.interface = Some(name);
    }
    // What a request has no word for stays as it was.
    let made = || PrivateEndpoint::new(request.spelled(subnet.key()), here.name.clone(), resource.clone());
    let mut endpoint = PrivateEndpoint {
        region: body.location()?.unwrap_or_else(|| vnet.region.clone()),
        vnet: request.spelled(subnet.key()),
        subnet: here.name.clone(),
        addresses,
        resource: resource.clone(),
        subresource,
        manual,
        request_message: asked.text("requestMessage")?.unwrap_or_default(),
        status: None,
        reason: String::new(),
        labels: (before.is_none_or(|before| before.labels.is_some()) || labels != EndpointLabels::default())
            .then(|| Box::new(labels)),
        ..before.cloned().unwrap_or_else(made)
    };
    extension::endpoint(&properties, &mut endpoint)?;
    Ok(endpoint)
}

/// The connection that the endpoint requests, and whether it needs manual approval.
fn link_request<'a>(properties: &JsonField<'a>) -> Result<(JsonField<'a>, bool), Error> {
    let automatic = properties.items("privateLinkServiceConnections")?;
    let manual = properties.items("manualPrivateLinkServiceConnections")?;
    match (automatic.as_slice(), manual.as_slice()) {
        ([one], []) => Ok((one.clone(), false)),
        ([], [one]) => Ok((one.clone(), true)),
        _ => Err(properties.refused(
            "an endpoint has one connection, in `privateLinkServiceConnections` or in `manualPrivateLinkServiceConnections`",
        )),
    }
}

/// Resolves `privateLinkServiceId`: an ID or an alias. A resource that the caller may not see counts as absent, unless
/// it accepts requests by ID.
fn resource(
    request: &ArmRequest,
    asked: &JsonField<'_>,
    manual: bool,
    before: Option<&PrivateEndpoint>,
) -> Result<Key, Error> {
    let text = asked.required("privateLinkServiceId")?;
    let model = request.model();
    let absent = || {
        let message = if manual {
            format!("there is no resource {text} that this caller may see")
        } else {
            format!(
                "there is no resource {text} that this caller may see; who may not see one asks for it by its ID, in \
                 `manualPrivateLinkServiceConnections`"
            )
        };
        let at = "privateLinkServiceId";
        Error::bad_request_of("InvalidResourceReference", &message, at)
    };
    let key = if ArmId::is_meant(&text) {
        let id = ArmId::parse(&text).map_err(|error| asked.refused(&error))?;
        let key = model.resources.entry(id.key()).map(|(key, resource)| (key, resource.kind.as_deref()));
        let is_of = |kind: Option<&str>| id.is(kind.unwrap_or(PRIVATE_LINK_SERVICE));
        let is_meant = |(_, kind): &(&Key, Option<&str>)| is_of(*kind);
        let former = || {
            let former = model.former_resources.entry(id.key());
            former.filter(|(_, former)| former.each().any(|one| is_of(one.kind.as_deref()))).map(|(key, _)| key)
        };
        // An endpoint of a deleted resource may repeat its ID, even if a later resource has the same key.
        let bound = before.is_some_and(|before| before.resource == *id.key());
        let named = key.filter(is_meant).map(|(key, _)| key);
        named.or_else(|| former().filter(|_| bound || key.is_none())).cloned()
    } else {
        ids::by_alias(model, &text).cloned()
    };
    let key = key.ok_or_else(absent)?;
    let bound = before.is_some_and(|before| before.resource == key);
    let shown = model.resources.get(&key).is_some_and(|resource| {
        resource.visibility.admits(&request.key().subscription) || manual && resource.is_requestable_by_id()
    });
    if bound || shown || request.sees(ItemKind::Resource, &key) { Ok(key) } else { Err(absent()) }
}

/// The default subresource: the only one of the resource or, if the caller may know only its type, the only one of that
/// type.
fn only_subresource(request: &ArmRequest, key: &Key) -> Option<String> {
    let resource = request.model().resources.get(key)?;
    if !(resource.visibility.admits(&request.key().subscription) || request.sees(ItemKind::Resource, key)) {
        let known = resource_types::find(resource.kind.as_deref()?)?;
        return if let [only] = known.subresources.as_slice() { Some((*only).to_owned()) } else { None };
    }
    let targets = &resource.targets;
    let first = targets.first()?;
    let single = targets.iter().all(|target| target.subresource.eq_ignore_ascii_case(&first.subresource));
    single.then(|| first.subresource.clone())
}

fn addresses(
    configs: &[JsonField<'_>],
    subresource: &str,
    labels: &mut EndpointLabels,
) -> Result<Vec<EndpointIp>, Error> {
    let mut made = Vec::new();
    let known = !labels.addresses.is_empty();
    for field in configs {
        let properties = field.properties();
        let group = properties.text("groupId")?.unwrap_or_default();
        if !group.is_empty() && !group.eq_ignore_ascii_case(subresource) {
            return Err(
                properties.refused(&format!("`groupId` is not that of the connection, which is `{subresource}`"))
            );
        }
        let member = properties.text("memberName")?.unwrap_or_default();
        let ip = properties.given("privateIPAddress", "an IP address")?;
        if !known {
            labels.addresses.push((field.text("name")?.unwrap_or_default(), member.clone()));
        }
        made.push(EndpointIp { member, ip: Some(ip) });
    }
    Ok(made)
}

/// As Azure shows it.
fn show(reader: &Reader<'_>, key: &Key, endpoint: &PrivateEndpoint) -> Option<Value> {
    let view = reader.view();
    let connection = view.state.connections.get(key)?;
    let model = &view.state.model;
    let id = ids::endpoint(key);
    let labels = endpoint.labels.as_deref().cloned().unwrap_or_default();
    let list = if endpoint.manual { "manualPrivateLinkServiceConnections" } else { "privateLinkServiceConnections" };
    let other = if endpoint.manual { "privateLinkServiceConnections" } else { "manualPrivateLinkServiceConnections" };
    let named = labels.connection.unwrap_or_else(|| key.name.clone());
    let kind = model.bound_kind(key, endpoint);
    let link_request = json!({
        "provisioningState": "Succeeded",
        "privateLinkServiceId": ids::resource(kind, &endpoint.resource).to_string(),
        "groupIds": Some(&endpoint.subresource).filter(|group| !group.is_empty()).into_iter().collect::<Vec<_>>(),
        "requestMessage": endpoint.request_message,
        "privateLinkServiceConnectionState": connections::state(connection, endpoint),
    });
    let interface = ids::network_interface(key, endpoint);
    let interface = if reader.request().expands_interfaces().is_ok_and(|expanded| expanded) {
        nic::show(view, key, endpoint)
    } else {
        json!({ "id": interface.to_string() })
    };
    let fixed = labels.addresses.iter().filter_map(|(name, member)| {
        let address = endpoint.address_for(member).and_then(|at| endpoint.addresses.get(at))?;
        let properties = json!({
            "groupId": endpoint.subresource,
            "memberName": member,
            "privateIPAddress": address.ip?,
        });
        Some(json!({ "name": name, "properties": properties }))
    });
    let mut properties = json!({
        "provisioningState": "Succeeded",
        "resourceGuid": ids::guid("private endpoint", key),
        "subnet": { "id": ids::subnet(&endpoint.vnet, &endpoint.subnet).to_string() },
        "networkInterfaces": [interface],
        "customNetworkInterfaceName": labels.interface.unwrap_or_default(),
        "ipConfigurations": fixed.collect::<Vec<_>>(),
        "customDnsConfigs": names(&view.state, key, endpoint).into_iter().map(|(fqdn, addresses)| {
            json!({ "fqdn": fqdn, "ipAddresses": addresses })
        }).collect::<Vec<_>>(),
        "privlink": extension::show_endpoint(view, key, endpoint, connection),
    });
    properties[list] = json!([connections::within(&id.clone().below(list, &named), &named, link_request)]);
    properties[other] = json!([]);
    let shown = object(&id, Some((&endpoint.region, &labels.tags)), properties);
    let shown = stored::Kept::of(&labels.foreign).show(shown);
    Some(connections::with_time_left(reader.request(), shown, key))
}

/// Every name that leads to the endpoint, with its addresses.
fn names(state: &ControlState, key: &Key, endpoint: &PrivateEndpoint) -> Vec<(String, Vec<std::net::IpAddr>)> {
    let mut names: Vec<(String, Vec<std::net::IpAddr>)> = Vec::new();
    for address in &endpoint.addresses {
        let Some(ip) = address.ip else { continue };
        for name in nic::fqdns(state, key, endpoint, &address.member) {
            match names.iter_mut().find(|(known, _)| *known == name) {
                Some((_, addresses)) => addresses.push(ip),
                None => names.push((name, vec![ip])),
            }
        }
    }
    names
}
