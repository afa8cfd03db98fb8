//! Resources of every type with private endpoints in Azure, all handled alike. Listed properties for their own clients
//! (`sku`, `kind`) are stored and shown, and have no effect here.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::adapter::found;
use super::body::{JsonField, NOT_BY_PATCH};
use super::request::{ArmRequest, Reader};
use super::response::{ArmResponse, object, page};
use super::{Error, adapter, connections as sides, extension, services, stored};
use crate::access::rights::Right;
use crate::model::resource_types::Cloud;
use crate::model::{Key, LinkResource, TargetSpec, foreign, ids, member_name, resource_types};

/// `PUT …/{name}`: always 200, as storage accounts are answered.
pub(super) fn put(request: &ArmRequest) -> Result<ArmResponse, Error> {
    adapter::put::<LinkResource>(request).map(ArmResponse::without_created)
}

/// `PATCH …/{name}`
pub(super) fn patch(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, resource) = found::<LinkResource>(request)?;
    let kind = resource.kind.clone().unwrap_or_default();
    request.demand(&Right::write_of(&kind, &key))?;
    let shown = show(&request.reader(), &key, &resource);
    request.check_conditions(Some(&shown))?;
    let body = JsonField::over(&request.body, Some(&shown))?;
    if let Some(location) = body.changed("location") {
        return Err(location.refused(NOT_BY_PATCH));
    }
    let patched = read(request, &kind, Some(&resource), &body)?;
    let lost = |resource: &LinkResource| foreign::shown(&resource.foreign).1;
    if let Some(names) = lost(&patched).filter(|names| Some(names) != lost(&resource).as_ref()) {
        return Err(body.refused(&format!("of these nothing is kept here, and a PATCH does not change them: {names}")));
    }
    adapter::write(request, &key, patched)?;
    adapter::answer::<LinkResource>(request, &key, false)
}

/// `GET …/{name}/privateLinkResources`
pub(super) fn subresources(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, resource) = found::<LinkResource>(request)?;
    let cloud = request.model().cloud;
    let show = |(group, members): (String, Vec<String>)| Some(subresource_of(cloud, &key, &resource, &group, &members));
    page(request, parts(&resource).into_iter(), |(group, _)| group.to_lowercase(), show)
}

/// `GET …/{name}/privateLinkResources/{subresource}`
pub(super) fn subresource(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, resource) = found::<LinkResource>(request)?;
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

/// The resource that the body describes. Its servers stand in `properties.privlink`; until they do, nothing serves it.
///
/// # Errors
/// 400.
pub(super) fn read(
    request: &ArmRequest,
    kind: &str,
    before: Option<&LinkResource>,
    body: &JsonField<'_>,
) -> Result<LinkResource, Error> {
    let properties = body.properties();
    let mut resource = before.cloned().unwrap_or_else(|| LinkResource::blank(Some(kind.to_owned())));
    services::common(body, &properties, &mut resource)?;
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
pub(super) fn show(reader: &Reader<'_>, key: &Key, resource: &LinkResource) -> Value {
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
