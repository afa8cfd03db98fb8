//! Types that paths name.

use std::collections::BTreeMap;

use super::Error;
use crate::access::rights::Right;
use crate::model::resource_types::{self, PRIVATE_LINK_SERVICE};
use crate::model::{Key, Model, ResourceType, actions};

/// The type that the path names, in Azure's spelling.
///
/// # Errors
/// 404: no such type is known.
pub(super) fn kind(model: &Model, parameters: &BTreeMap<&'static str, String>) -> Result<String, Error> {
    let part = |name| parameters.get(name).map_or("", String::as_str);
    let named = format!("{}/{}", part("provider"), part("type"));
    let own = model.resource_types.get(&ResourceType::key(&named)).map(|own| own.name.clone());
    let known = resource_types::find(&named).map(|known| known.name.to_owned());
    known.or(own).ok_or_else(|| Error::unknown_type(&named, resource_types::nearest(&named)))
}

/// The right to see the connections to `key`, which need not be there.
pub(super) fn connections(key: &Key, kind: Option<&str>) -> Right {
    Right::read_of(&actions::connections(kind.unwrap_or(PRIVATE_LINK_SERVICE)), key)
}
