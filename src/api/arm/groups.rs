//! Resource groups: those declared, and those that something is in.

use serde_json::{Value, json};

use super::answer::{ArmResponse, page};
use super::ask::ArmRequest;
use super::body::{JsonField, NOT_BY_PATCH};
use super::{Rejection, stored};
use crate::access::rights::{Right, Verb};
use crate::model::decisions::{Item, ItemKind};
use crate::model::{Key, Model, ResourceGroup};

/// As its settings are listed.
const KIND: &str = "Microsoft.Resources/resourceGroups";

/// `GET /subscriptions/{subscription}/resourceGroups`
pub(super) fn list(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    let groups = ask.model().all_groups();
    let here = groups.iter().filter(|(key, _)| ask.covers(key) && ask.sees(ItemKind::ResourceGroup, key));
    page(ask, here, |(key, _)| key.folded().to_owned(), |(key, group)| Some(show(key, group)))
}

/// `GET …/resourceGroups/{group}`
pub(super) fn get(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    let key = key(ask);
    ask.may_read(ItemKind::ResourceGroup, &key)?;
    found(ask, &key).map(ArmResponse::ok).ok_or_else(|| Rejection::absent_group(&key.group))
}

/// `HEAD …/resourceGroups/{group}`
pub(super) fn exists(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    get(ask).map(|_| ArmResponse::absent())
}

/// `PUT …/resourceGroups/{group}`
pub(super) fn put(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    demand_write(ask)?;
    let before = found(ask, &key(ask));
    ask.check_conditions(before.as_ref())?;
    let body = JsonField::over(&ask.body, before.as_ref())?;
    if let Some(shown) = before.as_ref().filter(|_| body.is_as_shown()) {
        return Ok(ArmResponse::put(shown.clone(), false));
    }
    let old = ask.model().groups.get(&key(ask));
    let region = body.location()?.filter(|region| !region.is_empty());
    let region = region.or_else(|| old.map(|old| old.region.clone()));
    let region = region.ok_or_else(|| body.refused("`location` is missing"))?;
    let tags = body.tags()?.or_else(|| old.map(|old| old.tags.clone())).unwrap_or_default();
    let foreign = stored::read(KIND, old.map_or("", |old| &old.foreign), &body)?;
    change(ask, &ResourceGroup { region, tags, foreign })
}

/// `PATCH …/resourceGroups/{group}`
pub(super) fn patch(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    demand_write(ask)?;
    let key = key(ask);
    let groups = ask.model().all_groups();
    ask.may_read(ItemKind::ResourceGroup, &key)?;
    // A bad body is told before whether there is a group.
    JsonField::root(&ask.body)?.tags()?;
    let before = groups.get(&key).ok_or_else(|| Rejection::absent_group(&key.group))?;
    let shown = show(&key, before);
    let body = JsonField::over(&ask.body, Some(&shown))?;
    body.refuse_others(&["tags", "managedBy"], NOT_BY_PATCH)?;
    let tags = body.tags()?.unwrap_or_else(|| before.tags.clone());
    let foreign = stored::read(KIND, &before.foreign, &body)?;
    change(ask, &ResourceGroup { tags, foreign, ..before.clone() })
}

/// `DELETE …/resourceGroups/{group}`
pub(super) fn delete(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    let key = key(ask);
    let item = Item { kind: ItemKind::ResourceGroup, key: key.clone() };
    ask.demand(&Right::on(ask.model(), &item, Verb::Delete))?;
    if !ask.model().has_group(&key) {
        return Err(Rejection::absent_group(&key.group));
    }
    ask.delete(ItemKind::ResourceGroup, &key)?;
    Ok(ArmResponse::deleted())
}

/// Before the body is looked at.
fn demand_write(ask: &ArmRequest) -> Result<(), Rejection> {
    let item = Item { kind: ItemKind::ResourceGroup, key: key(ask) };
    ask.demand(&Right::on(ask.model(), &item, Verb::Write))
}

fn change(ask: &ArmRequest, group: &ResourceGroup) -> Result<ArmResponse, Rejection> {
    let key = key(ask);
    let item = Item { kind: ItemKind::ResourceGroup, key: key.clone() };
    let before = found(ask, &key);
    ask.check_conditions(before.as_ref())?;
    let mut model = Model::default();
    model.groups.insert(key.clone(), group.clone());
    ask.put(vec![item], model)?;
    let view = ask.afresh();
    let shown = view.decisions.model.groups.entry(&key).map_or_else(|| show(&key, group), |(key, _)| show(key, group));
    Ok(ArmResponse::put(shown, before.is_none()))
}

fn key(ask: &ArmRequest) -> Key {
    Key::of_group(ask.parameter("subscription"), ask.parameter("group"))
}

fn found(ask: &ArmRequest, key: &Key) -> Option<Value> {
    let model = ask.model();
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
