//! What may be connected to from a subscription: types, services that approve at once, services that show themselves.

use serde_json::{Value, json};

use super::Rejection;
use super::answer::{ArmResponse, page};
use super::ask::ArmRequest;
use super::body::JsonField;
use crate::access::rights::Right;
use crate::model;
use crate::model::decisions::ItemKind;
use crate::model::ids::ArmId;
use crate::model::{Key, ResourceType, Scope, actions, ids, resource_types};

/// `GET …/locations/{location}/availablePrivateEndpointTypes`
pub(super) fn types(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    demand(ask)?;
    let (declared, region) = (&ask.model().resource_types, ask.parameter("location"));
    let offered = |kind: &str| {
        let regions = declared.get(&ResourceType::key(kind)).map(|kind| kind.regions.as_slice()).unwrap_or_default();
        regions.is_empty() || regions.iter().any(|one| same_region(one, region))
    };
    let own = declared.values().map(|kind| kind.name.clone()).filter(|kind| resource_types::find(kind).is_none());
    let mut kinds: Vec<String> = resource_types::all().map(|kind| kind.name.to_owned()).chain(own).collect();
    kinds.retain(|kind| offered(kind));
    kinds.sort_by_key(|kind| kind.to_lowercase());
    let subscription = ask.parameter("subscription");
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
    page(ask, kinds.into_iter(), |kind| kind.to_lowercase(), show)
}

/// `GET …/locations/{location}/autoApprovedPrivateLinkServices`
pub(super) fn auto_approved(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    demand(ask)?;
    let (region, subscription) = (ask.parameter("location"), ask.parameter("subscription"));
    let listed = |list: &[String]| list.iter().any(|one| one.eq_ignore_ascii_case(subscription));
    let here = ask.model().resources.iter().filter(|(_, service)| service.kind.is_none());
    let here = here.filter(|(_, service)| listed(&service.auto_approval) && same_region(&service.region, region));
    let here = here.filter(|(key, _)| visible(ask, key));
    let show = |(key, _): (&Key, _)| Some(json!({ "privateLinkService": ids::resource(None, key).to_string() }));
    page(ask, here, |(key, _)| key.folded().to_owned(), show)
}

/// `POST …/locations/{location}/checkPrivateLinkServiceVisibility`
pub(super) fn visibility(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    demand(ask)?;
    let body = JsonField::root(&ask.body)?;
    let alias = body.required("privateLinkServiceAlias")?;
    let model = ask.model();
    let key = if ArmId::is_meant(&alias) {
        let id = ArmId::parse(&alias).map_err(|error| body.refused(&error))?;
        model.resources.entry(id.key()).map(|(key, _)| key)
    } else {
        ids::by_alias(model, &alias)
    };
    let visible: Value = json!({ "visible": key.is_some_and(|key| visible(ask, key)) });
    Ok(ArmResponse::ok(visible))
}

/// Whether the service shows itself to the subscription of the path, or the caller may read it anyway.
fn visible(ask: &ArmRequest, key: &Key) -> bool {
    let service = ask.model().resources.get(key);
    service.is_some_and(|service| service.visibility.admits(ask.parameter("subscription")))
        || ask.sees(ItemKind::Resource, key)
}

fn demand(ask: &ArmRequest) -> Result<(), Rejection> {
    let (subscription, group) = (ask.parameter("subscription"), ask.parameters.get("group"));
    let scope = match group {
        Some(group) => Scope::group(subscription, group),
        None => Scope::subscription(subscription),
    };
    ask.demand(&Right { action: actions::read(actions::AVAILABLE_TYPES), scope })
}

fn same_region(one: &str, other: &str) -> bool {
    model::region(one) == model::region(other)
}
