//! Resources of any type that has private endpoints in Azure, all in one shape: what they are to their own clients
//! (`sku`, `kind`) is kept and shown where it is listed, and means nothing here.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::answer::{ArmResponse, object, page};
use super::ask::{ArmRequest, Reader};
use super::body::{JsonField, NOT_BY_PATCH};
use super::kinds::kind;
use super::{Rejection, connections as sides, extension, services, stored};
use crate::access::rights::Right;
use crate::model::decisions::ItemKind;
use crate::model::resource_types::Cloud;
use crate::model::{Key, LinkResource, TargetSpec, foreign, ids, member_name, resource_types};

/// `GET …/providers/{provider}/{type}`
pub(super) fn list(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    let kind = kind(ask.model(), &ask.parameters)?;
    let is = |resource: &LinkResource| resource.kind.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(&kind));
    let here = ask.model().resources.iter().filter(|(_, resource)| is(resource));
    let here = here.filter(|(key, _)| ask.covers(key) && ask.sees(ItemKind::Resource, key));
    page(ask, here, |(key, _)| key.folded().to_owned(), |(key, resource)| Some(show(&ask.reader(), key, resource)))
}

/// `GET …/{name}`
pub(super) fn get(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    let (key, resource) = found(ask)?;
    Ok(ArmResponse::ok(show(&ask.reader(), &key, &resource)))
}

/// `PUT …/{name}`: always 200, as storage accounts are answered.
pub(super) fn put(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    let (key, kind) = (ask.key(), kind(ask.model(), &ask.parameters)?);
    ask.demand(&Right::write_of(&kind, &key))?;
    ask.demand_group()?;
    let before = ask.model().resources.get(&key);
    if before.is_some_and(|resource| !of_kind(resource, &kind)) {
        let message = format!("{key} is a resource of another type: the names of a group are unique across types here");
        return Err(Rejection::conflict("NameInUse", &message));
    }
    let shown = before.map(|resource| show(&ask.reader(), &key, resource));
    ask.check_conditions(shown.as_ref())?;
    let resource = read(ask, &kind, before, shown.as_ref())?;
    services::write(ask, &key, resource)?;
    answer(ask, &kind, &key)
}

/// `PATCH …/{name}`
pub(super) fn patch(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    let (key, resource) = found(ask)?;
    let kind = resource.kind.clone().unwrap_or_default();
    ask.demand(&Right::write_of(&kind, &key))?;
    let shown = show(&ask.reader(), &key, &resource);
    ask.check_conditions(Some(&shown))?;
    let body = JsonField::over(&ask.body, Some(&shown))?;
    if let Some(location) = body.changed("location") {
        return Err(location.refused(NOT_BY_PATCH));
    }
    let patched = read(ask, &kind, Some(&resource), Some(&shown))?;
    let lost = |resource: &LinkResource| foreign::shown(&resource.foreign).1;
    if let Some(names) = lost(&patched).filter(|names| Some(names) != lost(&resource).as_ref()) {
        return Err(body.refused(&format!("of these nothing is kept here, and a PATCH does not change them: {names}")));
    }
    services::write(ask, &key, patched)?;
    answer(ask, &kind, &key)
}

/// `DELETE …/{name}`
pub(super) fn delete(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    let (key, kind) = (ask.key(), kind(ask.model(), &ask.parameters)?);
    ask.demand(&Right::delete_of(&kind, &key))?;
    let before = ask.model().resources.get(&key).filter(|resource| of_kind(resource, &kind));
    let before = before.map(|resource| show(&ask.reader(), &key, resource));
    ask.check_conditions(before.as_ref())?;
    if before.is_none() {
        return Ok(ArmResponse::absent());
    }
    ask.delete(ItemKind::Resource, &key)?;
    Ok(ArmResponse::deleted())
}

/// `GET …/{name}/privateLinkResources`
pub(super) fn subresources(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    let (key, resource) = found(ask)?;
    let cloud = ask.model().cloud;
    let show = |(group, members): (String, Vec<String>)| Some(subresource_of(cloud, &key, &resource, &group, &members));
    page(ask, parts(&resource).into_iter(), |(group, _)| group.to_lowercase(), show)
}

/// `GET …/{name}/privateLinkResources/{subresource}`
pub(super) fn subresource(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    let (key, resource) = found(ask)?;
    let asked = ask.parameter("subresource");
    let found = parts(&resource).into_iter().find(|(group, _)| group.eq_ignore_ascii_case(asked));
    let (group, members) = found.ok_or_else(|| {
        Rejection::absent(
            &format!("{}/privateLinkResources", resource.kind.as_deref().unwrap_or_default()),
            &key.beside(asked),
        )
    })?;
    Ok(ArmResponse::ok(subresource_of(ask.model().cloud, &key, &resource, &group, &members)))
}

fn found(ask: &ArmRequest) -> Result<(Key, LinkResource), Rejection> {
    let (key, kind) = (ask.key(), kind(ask.model(), &ask.parameters)?);
    ask.demand(&Right::read_of(&kind, &key))?;
    let found = ask.model().resources.entry(&key).filter(|(_, resource)| of_kind(resource, &kind));
    found.map(|(key, one)| (key.clone(), one.clone())).ok_or_else(|| Rejection::absent(&kind, &key))
}

fn of_kind(resource: &LinkResource, kind: &str) -> bool {
    resource.kind.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(kind))
}

fn answer(ask: &ArmRequest, kind: &str, key: &Key) -> Result<ArmResponse, Rejection> {
    let view = ask.afresh();
    let (key, resource) = view.decisions.model.resources.entry(key).ok_or_else(|| Rejection::absent(kind, key))?;
    Ok(ArmResponse::ok(show(&ask.reader_of(&view), key, resource)))
}

/// The resource that the body describes. Its servers stand in `properties.privlink`; until they do, nothing serves it.
fn read(
    ask: &ArmRequest,
    kind: &str,
    before: Option<&LinkResource>,
    shown: Option<&Value>,
) -> Result<LinkResource, Rejection> {
    let body = JsonField::over(&ask.body, shown)?;
    let properties = body.properties();
    let mut resource = before.cloned().unwrap_or_else(|| LinkResource::blank(Some(kind.to_owned())));
    services::common(&body, &properties, &mut resource)?;
    resource.foreign = foreign::kept(kind, &resource.foreign, ask.body.json()?).ok_or_else(|| {
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
        properties["primaryEndpoints"] = storage_endpoints(reader.view().decisions.model.cloud, key);
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
