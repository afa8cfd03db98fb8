//! Resource groups: those declared, and those that something is in.

use serde_json::{Value, json};

use super::body::{JsonField, NOT_BY_PATCH};
use super::request::ArmRequest;
use super::response::{ArmResponse, page};
use super::{Error, stored};
use crate::access::rights::{Right, Verb};
use crate::model::state::{Item, ItemKind};
use crate::model::{Key, Model, ResourceGroup};

/// As its settings are listed.
const KIND: &str = "Microsoft.Resources/resourceGroups";

/// `GET /subscriptions/{subscription}/resourceGroups`
pub(super) fn list(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let groups = request.model().all_groups();
    let here = groups.iter().filter(|(key, _)| request.covers(key) && request.sees(ItemKind::ResourceGroup, key));
    page(request, here, |(key, _)| key.folded().to_owned(), |(key, group)| Some(show(key, group)))
}

/// `GET …/resourceGroups/{group}`
pub(super) fn get(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let key = key(request);
    request.may_read(ItemKind::ResourceGroup, &key)?;
    found(request, &key).map(ArmResponse::ok).ok_or_else(|| Error::absent_group(&key.group))
}

/// `HEAD …/resourceGroups/{group}`
pub(super) fn exists(request: &ArmRequest) -> Result<ArmResponse, Error> {
    get(request).map(|_| ArmResponse::absent())
}

/// `PUT …/resourceGroups/{group}`
pub(super) fn put(request: &ArmRequest) -> Result<ArmResponse, Error> {
    demand_write(request)?;
    let before = found(request, &key(request));
    request.check_conditions(before.as_ref())?;
    let body = JsonField::over(&request.body, before.as_ref())?;
    if let Some(shown) = before.as_ref().filter(|_| body.is_as_shown()) {
        return Ok(ArmResponse::put(shown.clone(), false));
    }
    let old = request.model().groups.get(&key(request));
    let region = body.location()?.filter(|region| !region.is_empty());
    let region = region.or_else(|| old.map(|old| old.region.clone()));
    let region = region.ok_or_else(|| body.lacks("location"))?;
    let tags = body.tags()?.or_else(|| old.map(|old| old.tags.clone())).unwrap_or_default();
    let foreign = stored::read(KIND, old.map_or("", |old| &old.foreign), &body)?;
    change(request, &ResourceGroup { region, tags, foreign })
}

/// `PATCH …/resourceGroups/{group}`
pub(super) fn patch(request: &ArmRequest) -> Result<ArmResponse, Error> {
    demand_write(request)?;
    let key = key(request);
    let groups = request.model().all_groups();
    request.may_read(ItemKind::ResourceGroup, &key)?;
    // A bad body is told before whether there is a group.
    JsonField::root(&request.body)?.tags()?;
    let before = groups.get(&key).ok_or_else(|| Error::absent_group(&key.group))?;
    let shown = show(&key, before);
    let body = JsonField::over(&request.body, Some(&shown))?;
    body.refuse_others(&["tags", "managedBy"], NOT_BY_PATCH)?;
    let tags = body.tags()?.unwrap_or_else(|| before.tags.clone());
    let foreign = stored::read(KIND, &before.foreign, &body)?;
    change(request, &ResourceGroup { tags, foreign, ..before.clone() })
}

/// `DELETE …/resourceGroups/{group}`
pub(super) fn delete(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let key = key(request);
    let item = Item { kind: ItemKind::ResourceGroup, key: key.clone() };
    request.demand(&Right::on(request.model(), &item, Verb::Delete))?;
    if !request.model().has_group(&key) {
        return Err(Error::absent_group(&key.group));
    }
    request.delete(ItemKind::ResourceGroup, &key)?;
    Ok(ArmResponse::deleted())
}

/// Before the body is looked at.
fn demand_write(request: &ArmRequest) -> Result<(), Error> {
    let item = Item { kind: ItemKind::ResourceGroup, key: key(request) };
    request.demand(&Right::on(request.model(), &item, Verb::Write))
}

fn change(request: &ArmRequest, group: &ResourceGroup) -> Result<ArmResponse, Error> {
    let key = key(request);
    let item = Item { kind: ItemKind::ResourceGroup, key: key.clone() };
    let before = found(request, &key);
    request.check_conditions(before.as_ref())?;
    let mut model = Model::default();
    model.groups.insert(key.clone(), group.clone());
    request.put(vec![item], model)?;
    let view = request.afresh();
    let shown = view.state.model.groups.entry(&key).map_or_else(|| show(&key, group), |(key, _)| show(key, group));
    Ok(ArmResponse::put(shown, before.is_none()))
}

fn key(request: &ArmRequest) -> Key {
    Key::of_group(request.parameter("subscription"), request.parameter("group"))
}

fn found(request: &ArmRequest, key: &Key) -> Option<Value> {
    let model = request.model();
    let declared = model.groups.entry(key).map(|(key, group)| show(key, group));
    declared.or_else(|| model.has_group(key).then(|| show(key, &ResourceGroup::default())))
}

fn show(key: &Key, group: &ResourceGroup) -> Value {
    let ResourceGroup { region, tags, foreign } = group;
    stored::Kept::of(foreign).show(json!({
        "id": format!("/subscriptions/{}/resourceGroups/{}", key.subscription, key.group),
        "name": key.group,
        "type": KIND,
        "location": region,
        "tags": tags,
        "properties": { "provisioningState": "Succeeded" },
    }))
}
