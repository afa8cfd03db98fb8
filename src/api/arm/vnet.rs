//! The VNet that a path names.

use super::Error;
use super::request::ArmRequest;
use crate::model::state::{Item, ItemKind};
use crate::model::{Key, Model, Vnet, ids};

/// The VNet that the path names.
///
/// # Errors
/// 403, 404.
pub(super) fn found(request: &ArmRequest) -> Result<(Key, Vnet), Error> {
    let key = request.key();
    request.may_read(ItemKind::Vnet, &key)?;
    let found = request.model().vnets.entry(&key);
    found.map(|(key, vnet)| (key.clone(), vnet.clone())).ok_or_else(|| Error::absent(ids::VNET, &key))
}

/// Puts `vnet` in force, if nobody has changed it meanwhile.
///
/// # Errors
/// The refusal.
pub(super) fn write(request: &ArmRequest, key: &Key, vnet: Vnet) -> Result<(), Error> {
    let mut model = Model::default();
    model.vnets.insert(key.clone(), vnet);
    request.put(vec![item(key)], model).map(drop)
}

pub(super) fn item(key: &Key) -> Item {
    Item { kind: ItemKind::Vnet, key: key.clone() }
}
