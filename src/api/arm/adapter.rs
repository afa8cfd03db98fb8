//! What is done to an object of any kind: list, show, create or change, change its tags, delete. An adapter says how the
//! objects of its kind are shown and read.

use std::borrow::Cow;

use serde_json::Value;

use super::Error;
use super::body::{JsonField, NOT_BY_PATCH};
use super::request::{ArmRequest, Reader};
use super::response::{ArmResponse, page};
use crate::access::rights::Right;
use crate::model::registry::Kind;
use crate::model::{Key, Model, Tags};

/// A kind of object in Azure's shape.
pub(super) trait Adapter: Kind {
    /// The type that the path names.
    ///
    /// # Errors
    /// 404: no such type is known.
    fn named(_ask: &ArmRequest) -> Result<Cow<'static, str>, Error> {
        Ok(Cow::Borrowed(Self::TYPE))
    }

    /// Whether it is of the type `kind`.
    fn is(&self, _kind: &str) -> bool {
        true
    }

    /// As Azure shows it; `None`: it is not there any more.
    fn show(&self, reader: &Reader<'_>, key: &Key) -> Option<Value>;

    /// The object that `body` describes, in place of the one that is there `before`.
    ///
    /// # Errors
    /// The refusal.
    fn read(request: &ArmRequest, key: &Key, before: Option<&Self>, body: &JsonField<'_>) -> Result<Self, Error>;

    /// Replaces its tags.
    fn set_tags(&mut self, tags: Tags);

    /// Checks that it may go.
    ///
    /// # Errors
    /// 409.
    fn check_unused(&self, _key: &Key) -> Result<(), Error> {
        Ok(())
    }
}

/// `GET` of a list: the objects in the subscription, or in the group, that the path names.
pub(super) fn list<K: Adapter>(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let kind = K::named(request)?;
    let reader = request.reader();
    let all = K::map(request.model()).iter().filter(|(key, object)| request.covers(key) && object.is(&kind));
    let here = all.filter(|(key, _)| reader.holds(&Right::read_of(&kind, key)));
    page(request, here, |(key, _)| key.folded().to_owned(), |(key, object)| object.show(&reader, key))
}

/// `GET`
pub(super) fn get<K: Adapter>(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, object) = found::<K>(request)?;
    shown(request, &request.reader(), &key, &object).map(ArmResponse::ok)
}

/// `PUT`
pub(super) fn put<K: Adapter>(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, kind) = (request.key(), K::named(request)?);
    request.demand(&Right::write_of(&kind, &key))?;
    request.demand_group()?;
    let before = K::map(request.model()).get(&key);
    if before.is_some_and(|object| !object.is(&kind)) {
        let message = format!("{key} is a resource of another type: the names of a group are unique across types here");
        return Err(Error::conflict("NameInUse", &message));
    }
    let shown = before.and_then(|object| object.show(&request.reader(), &key));
    request.check_conditions(shown.as_ref())?;
    let object = K::read(request, &key, before, &JsonField::over(&request.body, shown.as_ref())?)?;
    let created = before.is_none();
    write(request, &key, object)?;
    answer::<K>(request, &key, created)
}

/// `PATCH`, which changes the tags and nothing else.
pub(super) fn patch<K: Adapter>(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, mut object) = found::<K>(request)?;
    request.demand(&Right::write_of(&K::named(request)?, &key))?;
    let shown = shown(request, &request.reader(), &key, &object)?;
    request.check_conditions(Some(&shown))?;
    let body = JsonField::over(&request.body, Some(&shown))?;
    body.refuse_others(&["tags"], NOT_BY_PATCH)?;
    if let Some(tags) = body.tags()? {
        object.set_tags(tags);
    }
    write(request, &key, object)?;
    answer::<K>(request, &key, false)
}

/// `DELETE`
pub(super) fn delete<K: Adapter>(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, kind) = (request.key(), K::named(request)?);
    request.demand(&Right::delete_of(&kind, &key))?;
    let before = K::map(request.model()).get(&key).filter(|object| object.is(&kind));
    request.check_conditions(before.and_then(|object| object.show(&request.reader(), &key)).as_ref())?;
    let Some(before) = before else { return Ok(ArmResponse::absent()) };
    before.check_unused(&key)?;
    request.delete(K::KIND, &key)?;
    Ok(ArmResponse::deleted())
}

/// The object that the path names, with its key as its first write spelled it.
///
/// # Errors
/// 403, 404.
pub(super) fn found<K: Adapter>(request: &ArmRequest) -> Result<(Key, K), Error> {
    let (key, kind) = (request.key(), K::named(request)?);
    request.demand(&Right::read_of(&kind, &key))?;
    let found = K::map(request.model()).entry(&key).filter(|(_, object)| object.is(&kind));
    found.map(|(key, object)| (key.clone(), object.clone())).ok_or_else(|| Error::absent(&kind, &key))
}

/// Puts `object` in force, if nobody has changed it meanwhile.
///
/// # Errors
/// The refusal.
pub(super) fn write<K: Adapter>(request: &ArmRequest, key: &Key, object: K) -> Result<(), Error> {
    let mut model = Model::default();
    K::map_mut(&mut model).insert(key.clone(), object);
    request.put(vec![K::item(key)], model).map(drop)
}

/// The object as it is after a change.
///
/// # Errors
/// 404: it is gone again.
pub(super) fn answer<K: Adapter>(request: &ArmRequest, key: &Key, created: bool) -> Result<ArmResponse, Error> {
    let view = request.afresh();
    let (key, object) = K::map(&view.state.model).entry(key).ok_or_else(|| absent::<K>(request, key))?;
    shown(request, &request.reader_of(&view), key, object).map(|body| ArmResponse::put(body, created))
}

fn shown<K: Adapter>(request: &ArmRequest, reader: &Reader<'_>, key: &Key, object: &K) -> Result<Value, Error> {
    object.show(reader, key).ok_or_else(|| absent::<K>(request, key))
}

fn absent<K: Adapter>(request: &ArmRequest, key: &Key) -> Error {
    K::named(request).map_or_else(|unknown| unknown, |kind| Error::absent(&kind, key))
}
