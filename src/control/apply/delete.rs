//! Deletes objects, with what depends on them.

use super::create::Requester;
use crate::access::rights::{Right, Verb, assigned_at, place};
use crate::model::error::{Error, ErrorKind};
use crate::model::registry::of_kind;
use crate::model::sentence::{Mention, Part, itself, sentence};
use crate::model::state::{ControlState, DecidedBy, Deleted, Item, ItemKind};
use crate::model::{FormerResource, Key, Model, PrivateEndpoint};
use crate::snapshot::ConnectionState;

/// Removes `item` from `after`, and returns the endpoints whose connections become Disconnected.
///
/// # Errors
/// The caller may not, or something depends on it; `after` is as it was.
pub(in super::super) fn delete(
    after: &mut ControlState,
    maker: &Requester<'_>,
    item: &Item,
) -> Result<Vec<Key>, Error> {
    remove(after, maker, item, &|_| true)
}

/// Removes `item`. Objects that go with it do not block its removal.
fn remove(after: &mut ControlState, maker: &Requester<'_>, item: &Item, stays: Stays<'_>) -> Result<Vec<Key>, Error> {
    maker.rights.demand_all(&Right::each(&after.model, item, Verb::Delete))?;
    let mut disconnected = Vec::new();
    if item.kind == ItemKind::ResourceGroup {
        return group(after, maker, &item.key);
    }
    refuse_used(item, of_kind!(item.kind, K => K::users(&after.model, &item.key, stays)))?;
    if item.kind == ItemKind::Endpoint {
        endpoint(after, maker, &item.key);
    }
    if item.kind == ItemKind::Resource {
        disconnected = resource(after, maker, &item.key, stays)?;
    }
    if item.kind == ItemKind::Vnet {
        sever_peers(&mut after.model, &item.key);
    }
    after.model.copy(None, item);
    let files: Vec<String> = after.files.keys().cloned().collect();
    for author in files {
        if after.files.get(&author).is_some_and(|file| file.left.contains(item))
            && let Some(file) = after.files.get_mut(&author)
        {
            file.left.remove_mut(item);
        }
    }
    Ok(disconnected)
}

/// Whether an object stays.
type Stays<'a> = &'a dyn Fn(&Key) -> bool;

fn endpoint(after: &mut ControlState, maker: &Requester<'_>, key: &Key) {
    let resource = after.model.endpoints.get(key).map(|endpoint| endpoint.resource.clone());
    after.connections.remove(key);
    if after.files.values().any(|file| file.model.endpoints.contains_key(key)) {
        let by = maker.rights.caller().actor();
        after.deleted.insert(key.clone(), Deleted { by, at: maker.now });
    }
    // The record of a deleted resource goes with the last endpoint that was bound to it.
    let Some(resource) = resource else { return };
    if let Some(former) = after.model.former_resources.get(&resource) {
        match former.kept(|endpoint| endpoint != key) {
            Some(kept) => after.model.former_resources.insert(resource, kept),
            None => _ = after.model.former_resources.remove(&resource),
        }
    }
}

/// Endpoints bound to this `resource`, and not to an earlier one with the same key.
fn bound(model: &Model, resource: &Key) -> Vec<Key> {
    let bound =
        |(key, endpoint): &(&Key, &PrivateEndpoint)| endpoint.resource == *resource && !model.is_left(key, endpoint);
    let bound = model.endpoints.iter().filter(bound);
    bound.map(|(key, _)| key.clone()).collect()
}

/// As in Azure: a private link service with connections cannot be deleted. A typed resource can, and its connections
/// end.
fn resource(after: &mut ControlState, maker: &Requester<'_>, key: &Key, stays: Stays<'_>) -> Result<Vec<Key>, Error> {
    let bound = bound(&after.model, key);
    let former = after.model.resources.get(key).map(FormerResource::of).unwrap_or_default();
    // A connection that the owner removed does not count: only the consumer's endpoint is left of it.
    let removed =
        |endpoint: &&Key| after.connections.get(endpoint).is_some_and(|one| one.state == ConnectionState::Disconnected);
    let connected = bound.iter().filter(|endpoint| stays(endpoint) && !removed(endpoint));
    let connected: Vec<Mention> = connected.map(|one| Mention::of(ItemKind::Endpoint, one, one)).collect();
    if former.kind.is_none() && !connected.is_empty() {
        return Err(Error::new(
            ErrorKind::Invalid,
            "PrivateLinkServiceCannotBeDeletedWithPrivateEndpointConnections",
            sentence!(
                "{} has connections: {}",
                Mention::of(ItemKind::Resource, key, format_args!("private link service {key}")),
                Part::Users(connected)
            ),
            "its consumers delete their endpoints first",
        ));
    }
    if !bound.is_empty() {
        let older = after.model.former_resources.get(key).cloned();
        let former = FormerResource { endpoints: bound.iter().cloned().collect(), ..former }.after(older);
        after.model.former_resources.insert(key.clone(), former);
    }
    let mut disconnected = Vec::new();
    for endpoint in bound {
        if let Some(connection) = after.connections.get_mut(&endpoint)
            && connection.state != ConnectionState::Disconnected
        {
            let by = DecidedBy::ResourceDeleted(maker.rights.caller().actor());
            let why = format!("{key} was deleted");
            *connection = connection.decided(ConnectionState::Disconnected, why, by, maker.now);
            disconnected.push(endpoint);
        }
    }
    Ok(disconnected)
}

/// Marks the peerings of other VNets with the deleted VNet `key` as Disconnected.
fn sever_peers(model: &mut Model, key: &Key) {
    let peers: Vec<Key> =
        model.vnets.iter().filter(|(_, vnet)| vnet.peers_with(key)).map(|(name, _)| name.clone()).collect();
    for peer in peers {
        model.vnets.get_mut(&peer).into_iter().for_each(|vnet| vnet.sever(key));
    }
}

/// Deletes a group with everything in it, or nothing at all. References between objects of the group do not block that.
fn group(after: &mut ControlState, maker: &Requester<'_>, key: &Key) -> Result<Vec<Key>, Error> {
    let mut left = after.clone();
    let mut disconnected = Vec::new();
    for item in left.model.in_group(key) {
        maker.rights.demand(&Right::on(&left.model, &item, Verb::Delete)).map_err(|lacking| {
            let within = Mention::item(&item);
            let message = sentence!("resource group {} holds {}, which you may not delete", itself(&key.group), within);
            Error::new(lacking.kind, lacking.code, message, "its owner deletes it first")
        })?;
        disconnected.extend(remove(&mut left, maker, &item, &|other| !other.is_beside(key))?);
    }
    disconnected.retain(|endpoint| left.model.endpoints.contains_key(endpoint));
    let place = place(&left.model, ItemKind::ResourceGroup, key);
    left.model.groups.remove(key);
    let gone = if left.model.has_group(key) { Vec::new() } else { assigned_at(&left.model, &[place]) };
    for given in gone {
        left.model.assignments.remove(&given);
    }
    *after = left;
    Ok(disconnected)
}

fn refuse_used(item: &Item, users: Vec<Mention>) -> Result<(), Error> {
    if users.is_empty() {
        return Ok(());
    }
    let message = sentence!("{} is in use by {}", Mention::item(item), Part::Users(users));
    Err(Error::new(ErrorKind::Conflict, "InUse", message, "delete or change those first"))
}
