//! Link resources: private link services, and resources of other types.

use std::borrow::Cow;

use serde_json::Value;

use super::adapter::Adapter;
use super::body::JsonField;
use super::kinds::kind;
use super::request::{ArmRequest, Reader};
use super::{Error, services, typed};
use crate::model::resource_types::PRIVATE_LINK_SERVICE;
use crate::model::{Key, LinkResource, Tags};

/// A service, or a resource of another type, as the path says.
impl Adapter for LinkResource {
    fn named(request: &ArmRequest) -> Result<Cow<'static, str>, Error> {
        if request.parameters.contains_key("type") {
            return kind(request.model(), &request.parameters).map(Cow::Owned);
        }
        Ok(Cow::Borrowed(PRIVATE_LINK_SERVICE))
    }

    fn is(&self, kind: &str) -> bool {
        self.kind.as_deref().unwrap_or(PRIVATE_LINK_SERVICE).eq_ignore_ascii_case(kind)
    }

    fn show(&self, reader: &Reader<'_>, key: &Key) -> Option<Value> {
        Some(if self.kind.is_some() { typed::show(reader, key, self) } else { services::show(reader, key, self) })
    }

    fn read(request: &ArmRequest, key: &Key, before: Option<&Self>, body: &JsonField<'_>) -> Result<Self, Error> {
        match &*Self::named(request)? {
            PRIVATE_LINK_SERVICE => services::read(request, key, before, body),
            kind => typed::read(request, kind, before, body),
        }
    }

    fn set_tags(&mut self, tags: Tags) {
        self.tags = tags;
    }
}
