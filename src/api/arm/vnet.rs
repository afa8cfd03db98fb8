//! The VNet that a path names.

use super::Rejection;
use super::ask::ArmRequest;
use crate::model::decisions::{Item, ItemKind};
use crate::model::{Key, Model, Vnet, ids};

/// The VNet that the path names.
///
/// # Errors
/// 403, 404.
pub(super) fn found(ask: &ArmRequest) -> Result<(Key, Vnet), Rejection> {
    let key = ask.key();
    ask.may_read(ItemKind::Vnet, &key)?;
    let found = ask.model().vnets.entry(&key);
    found.map(|(key, vnet)| (key.clone(), vnet.clone())).ok_or_else(|| Rejection::absent(ids::VNET, &key))
}

/// Puts `vnet` in force, if nobody has changed it meanwhile.
///
/// # Errors
/// The refusal.
pub(super) fn write(ask: &ArmRequest, key: &Key, vnet: Vnet) -> Result<(), Rejection> {
    let mut model = Model::default();
    model.vnets.insert(key.clone(), vnet);
    ask.put(vec![item(key)], model).map(drop)
}

pub(super) fn item(key: &Key) -> Item {
    Item { kind: ItemKind::Vnet, key: key.clone() }
}
