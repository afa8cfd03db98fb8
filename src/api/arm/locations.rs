//! What may be connected to from a subscription: types, services that approve at once, services that show themselves.

use serde_json::{Value, json};

use super::Error;
use super::body::JsonField;
use super::request::ArmRequest;
use super::response::{ArmResponse, page};
use crate::access::rights::Right;
use crate::model;
use crate::model::ids::ArmId;
use crate::model::state::ItemKind;
use crate::model::{Key, ResourceType, Scope, actions, ids, resource_types};

/// `GET …/locations/{location}/availablePrivateEndpointTypes`
pub(super) fn types(request: &ArmRequest) -> Result<ArmResponse, Error> {
    demand(request)?;
    let (declared, region) = (&request.model().resource_types, request.parameter("location"));
    let offered = |kind: &str| {
        let regions = declared.get(&ResourceType::key(kind)).map(|kind| kind.regions.as_slice()).unwrap_or_default();
        regions.is_empty() || regions.iter().any(|one| same_region(one, region))
    };
    let own = declared.values().map(|kind| kind.name.clone()).filter(|kind| resource_types::find(kind).is_none());
    let mut kinds: Vec<String> = resource_types::all().map(|kind| kind.name.to_owned()).chain(own).collect();
    kinds.retain(|kind| offered(kind));
    kinds.sort_by_key(|kind| kind.to_lowercase());
    let subscription = request.parameter("subscription");
    let show = |kind: String| {
        let name = kind.replace('/', ".");
        let id =
            format!("/subscriptions/{subscription}/providers/Microsoft.Network/AvailablePrivateEndpointTypes/{name}");
        Some(json!({
            "name": name,
            "id": id,
            "type": "Microsoft.Network/AvailablePrivateEndpointTypes",
            "resourceName": kind,
            "displayName": kind.split('/').next_back().unwrap_or_default(),
        }))
    };
    page(request, kinds.into_iter(), |kind| kind.to_lowercase(), show)
}

/// `GET …/locations/{location}/autoApprovedPrivateLinkServices`
pub(super) fn auto_approved(request: &ArmRequest) -> Result<ArmResponse, Error> {
    demand(request)?;
    let (region, subscription) = (request.parameter("location"), request.parameter("subscription"));
    let listed = |list: &[String]| list.iter().any(|one| one.eq_ignore_ascii_case(subscription));
    let here = request.model().resources.iter().filter(|(_, service)| service.kind.is_none());
    let here = here.filter(|(_, service)| listed(&service.auto_approval) && same_region(&service.region, region));
    let here = here.filter(|(key, _)| visible(request, key));
    let show = |(key, _): (&Key, _)| Some(json!({ "privateLinkService": ids::resource(None, key).to_string() }));
    page(request, here, |(key, _)| key.folded().to_owned(), show)
}

/// `POST …/locations/{location}/checkPrivateLinkServiceVisibility`
pub(super) fn visibility(request: &ArmRequest) -> Result<ArmResponse, Error> {
    demand(request)?;
    let body = JsonField::root(&request.body)?;
    let alias = body.required("privateLinkServiceAlias")?;
    let model = request.model();
    let key = if ArmId::is_meant(&alias) {
        let id = ArmId::parse(&alias).map_err(|error| body.refused(&error))?;
        model.resources.entry(id.key()).map(|(key, _)| key)
    } else {
        ids::by_alias(model, &alias)
    };
    let visible: Value = json!({ "visible": key.is_some_and(|key| visible(request, key)) });
    Ok(ArmResponse::ok(visible))
}

/// Whether the service shows itself to the subscription of the path, or the caller may read it anyway.
fn visible(request: &ArmRequest, key: &Key) -> bool {
    let service = request.model().resources.get(key);
    service.is_some_and(|service| service.visibility.admits(request.parameter("subscription")))
        || request.sees(ItemKind::Resource, key)
}

fn demand(request: &ArmRequest) -> Result<(), Error> {
    let (subscription, group) = (request.parameter("subscription"), request.parameters.get("group"));
    let scope = match group {
        Some(group) => Scope::group(subscription, group),
        None => Scope::subscription(subscription),
    };
    request.demand(&Right { action: actions::read(actions::AVAILABLE_TYPES), scope })
}

fn same_region(one: &str, other: &str) -> bool {
    model::region(one) == model::region(other)
}
