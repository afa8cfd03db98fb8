//! Resources of any type that has private endpoints in Azure, all in one shape: what they are to their own clients
//! (`sku`, `kind`) is kept and shown where it is listed, and means nothing here.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::body::{JsonField, NOT_BY_PATCH};
use super::kinds::kind;
use super::request::{ArmRequest, Reader};
use super::response::{ArmResponse, object, page};
use super::{Error, connections as sides, extension, services, stored};
use crate::access::rights::Right;
use crate::model::resource_types::Cloud;
use crate::model::state::ItemKind;
use crate::model::{Key, LinkResource, TargetSpec, foreign, ids, member_name, resource_types};

/// `GET …/providers/{provider}/{type}`
pub(super) fn list(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let kind = kind(request.model(), &request.parameters)?;
    let is = |resource: &LinkResource| resource.kind.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(&kind));
    let here = request.model().resources.iter().filter(|(_, resource)| is(resource));
    let here = here.filter(|(key, _)| request.covers(key) && request.sees(ItemKind::Resource, key));
    page(
        request,
        here,
        |(key, _)| key.folded().to_owned(),
        |(key, resource)| Some(show(&request.reader(), key, resource)),
    )
}

/// `GET …/{name}`
pub(super) fn get(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, resource) = found(request)?;
    Ok(ArmResponse::ok(show(&request.reader(), &key, &resource)))
}

/// `PUT …/{name}`: always 200, as storage accounts are answered.
pub(super) fn put(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, kind) = (request.key(), kind(request.model(), &request.parameters)?);
    request.demand(&Right::write_of(&kind, &key))?;
    request.demand_group()?;
    let before = request.model().resources.get(&key);
    if before.is_some_and(|resource| !of_kind(resource, &kind)) {
        let message = format!("{key} is a resource of another type: the names of a group are unique across types here");
        return Err(Error::conflict("NameInUse", &message));
    }
    let shown = before.map(|resource| show(&request.reader(), &key, resource));
    request.check_conditions(shown.as_ref())?;
    let resource = read(request, &kind, before, shown.as_ref())?;
    services::write(request, &key, resource)?;
    answer(request, &kind, &key)
}

/// `PATCH …/{name}`
pub(super) fn patch(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, resource) = found(request)?;
    let kind = resource.kind.clone().unwrap_or_default();
    request.demand(&Right::write_of(&kind, &key))?;
    let shown = show(&request.reader(), &key, &resource);
    request.check_conditions(Some(&shown))?;
    let body = JsonField::over(&request.body, Some(&shown))?;
    if let Some(location) = body.changed("location") {
        return Err(location.refused(NOT_BY_PATCH));
    }
    let patched = read(request, &kind, Some(&resource), Some(&shown))?;
    let lost = |resource: &LinkResource| foreign::shown(&resource.foreign).1;
    if let Some(names) = lost(&patched).filter(|names| Some(names) != lost(&resource).as_ref()) {
        return Err(body.refused(&format!("of these nothing is kept here, and a PATCH does not change them: {names}")));
    }
    services::write(request, &key, patched)?;
    answer(request, &kind, &key)
}

/// `DELETE …/{name}`
pub(super) fn delete(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, kind) = (request.key(), kind(request.model(), &request.parameters)?);
    request.demand(&Right::delete_of(&kind, &key))?;
    let before = request.model().resources.get(&key).filter(|resource| of_kind(resource, &kind));
    let before = before.map(|resource| show(&request.reader(), &key, resource));
    request.check_conditions(before.as_ref())?;
    if before.is_none() {
        return Ok(ArmResponse::absent());
    }
    request.delete(ItemKind::Resource, &key)?;
    Ok(ArmResponse::deleted())
}

/// `GET …/{name}/privateLinkResources`
pub(super) fn subresources(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, resource) = found(request)?;
    let cloud = request.model().cloud;
    let show = |(group, members): (String, Vec<String>)| Some(subresource_of(cloud, &key, &resource, &group, &members));
    page(request, parts(&resource).into_iter(), |(group, _)| group.to_lowercase(), show)
}

/// `GET …/{name}/privateLinkResources/{subresource}`
pub(super) fn subresource(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, resource) = found(request)?;
    let asked = request.parameter("subresource");
    let found = parts(&resource).into_iter().find(|(group, _)| group.eq_ignore_ascii_case(asked));
    let (group, members) = found.ok_or_else(|| {
        Error::absent(
            &format!("{}/privateLinkResources", resource.kind.as_deref().unwrap_or_default()),
            &key.beside(asked),
        )
    })?;
    Ok(ArmResponse::ok(subresource_of(request.model().cloud, &key, &resource, &group, &members)))
}

fn found(request: &ArmRequest) -> Result<(Key, LinkResource), Error> {
    let (key, kind) = (request.key(), kind(request.model(), &request.parameters)?);
    request.demand(&Right::read_of(&kind, &key))?;
    let found = request.model().resources.entry(&key).filter(|(_, resource)| of_kind(resource, &kind));
    found.map(|(key, one)| (key.clone(), one.clone())).ok_or_else(|| Error::absent(&kind, &key))
}

fn of_kind(resource: &LinkResource, kind: &str) -> bool {
    resource.kind.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(kind))
}

fn answer(request: &ArmRequest, kind: &str, key: &Key) -> Result<ArmResponse, Error> {
    let view = request.afresh();
    let (key, resource) = view.state.model.resources.entry(key).ok_or_else(|| Error::absent(kind, key))?;
    Ok(ArmResponse::ok(show(&request.reader_of(&view), key, resource)))
}

/// The resource that the body describes. Its servers stand in `properties.privlink`; until they do, nothing serves it.
fn read(
    request: &ArmRequest,
    kind: &str,
    before: Option<&LinkResource>,
    shown: Option<&Value>,
) -> Result<LinkResource, Error> {
    let body = JsonField::over(&request.body, shown)?;
    let properties = body.properties();
    let mut resource = before.cloned().unwrap_or_else(|| LinkResource::blank(Some(kind.to_owned())));
    services::common(&body, &properties, &mut resource)?;
    resource.foreign = foreign::kept(kind, &resource.foreign, request.body.json()?).ok_or_else(|| {
        body.refused(&format!("what means nothing here is kept up to {} bytes, and this is more", foreign::KEPT_MAX))
    })?;
    extension::resource(&properties, &mut resource, extension::Follows::default())?;
    if resource.targets.is_empty() {
        let known = resource_types::find(kind).map(|known| known.subresources.clone()).unwrap_or_default();
        let target = |name: &str| TargetSpec { subresource: name.to_owned(), ..TargetSpec::default() };
        resource.targets = known.into_iter().map(target).collect();
    }
    if resource.targets.is_empty() {
        return Err(properties.refused("the subresources of this type are not known: name them in `privlink.targets`"));
    }
    Ok(resource)
}

/// As Azure shows it.
fn show(reader: &Reader<'_>, key: &Key, resource: &LinkResource) -> Value {
    let (kept, lost) = foreign::shown(&resource.foreign);
    let kind = resource.kind.as_deref();
    let mut properties = kept.get("properties").cloned().unwrap_or_else(|| json!({}));
    properties["provisioningState"] = json!("Succeeded");
    properties["privateEndpointConnections"] = json!(sides::of(reader, key, kind));
    properties["privlink"] = extension::show_resource(reader, key, resource);
    let names = stored::names(&kept);
    if !names.is_empty() {
        properties["privlink"]["storedOnly"] = json!(names);
    }
    if let Some(names) = lost {
        properties["privlink"]["notKept"] = names;
    }
    services::shared(resource, &mut properties);
    if kind.is_some_and(|kind| kind.eq_ignore_ascii_case(STORAGE)) {
        properties["primaryEndpoints"] = storage_endpoints(reader.view().state.model.cloud, key);
    }
    let mut shown = object(&ids::resource(kind, key), Some((&resource.region, &resource.tags)), properties);
    for (name, value) in kept {
        if name != "properties" {
            shown[name] = value;
        }
    }
    shown
}

const STORAGE: &str = "Microsoft.Storage/storageAccounts";

fn storage_endpoints(cloud: Cloud, key: &Key) -> Value {
    let (services, suffix) = (["blob", "table", "queue", "file", "web", "dfs"], cloud.suffixes().storage);
    let one = |service: &str| (service.to_owned(), json!(format!("https://{}.{service}.{suffix}/", key.name)));
    Value::Object(services.into_iter().map(one).collect())
}

/// Subresources of a resource, with their members.
fn parts(resource: &LinkResource) -> Vec<(String, Vec<String>)> {
    let names: BTreeSet<String> = resource.targets.iter().map(|target| target.subresource.to_lowercase()).collect();
    let part = |folded: String| {
        let of = || resource.targets.iter().filter(|target| target.subresource.eq_ignore_ascii_case(&folded));
        let name = of().next().map_or_else(|| folded.clone(), |target| target.subresource.clone());
        let members = of().map(|target| member_name(&target.subresource, &target.member).to_owned());
        (name.clone(), members.collect())
    };
    names.into_iter().map(part).collect()
}

fn subresource_of(cloud: Cloud, key: &Key, resource: &LinkResource, group: &str, members: &[String]) -> Value {
    let kind = resource.kind.as_deref();
    let zones = resource_types::private_zones(cloud, kind.unwrap_or_default(), group);
    let properties = json!({ "groupId": group, "requiredMembers": members, "requiredZoneNames": zones });
    object(&ids::resource(kind, key).below("privateLinkResources", group), None, properties)
}
