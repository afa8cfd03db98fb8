//! Creates and changes objects.

use crate::access::rights::{Right, Rights, Verb, refuse_other_type};
use crate::compile::addresses::Allocator;
use crate::control::apply::{
    Requests, create, follow, keep_accepted, refuse_disconnected, refuse_fixed, refuse_other_addresses, settled,
    sever_taken_back, spelled,
};
use crate::control::codec::Record;
use crate::control::command::Command;
use crate::control::outcome::Changed;
use crate::control::writer::{Planning, PreparedChange, ProposedState};
use crate::model::error::{Error, ErrorKind};
use crate::model::registry::{self, each_kind};
use crate::model::sentence::itself;
use crate::model::state::{ChangeExtent, ControlState, Item};
use crate::model::{ItemKind, Key, LinkResource, Map, Model, PrivateEndpoint};

/// Creates or changes all objects of `items`, or none.
#[derive(Clone, Debug)]
pub struct Put {
    /// The complete objects. All others stay as they are.
    pub items: Box<Model>,
    /// Fail if one of them exists.
    pub create_only: bool,
}

impl Command for Put {
    type Output = Changed;

    fn prepare(&self, planning: &Planning<'_>) -> Result<PreparedChange<Changed>, Error> {
        let Self { items, create_only } = self;
        let create_only = *create_only;
        let now = &planning.in_force.state;
        let mut after = ControlState::clone(now);
        let mut addresses = planning.in_force.addresses.clone();
        let mut changed = Changed::default();
        let rights = planning.rights();
        let mut put = Changes { after: &mut after, changed: &mut changed, rights: &rights, create_only };
        // This check comes before anything that would reveal which tokens exist.
        rights.demand_tokens(&planning.in_force.state.model.assignments, &items.assignments)?;
        each_kind!(K => if !matches!(K::KIND, ItemKind::Resource | ItemKind::Endpoint) {
            put.all(K::map(items))?;
        });
        put.after.refuse_absent_tokens(&items.assignments)?;
        keep_accepted(&now.model, &mut put.after.model);
        sever_taken_back(&now.model, &mut put.after.model);
        for key in items.load_balancers.keys() {
            put.changed.updated.extend(follow(&mut put.after.model, key)?);
        }
        let mut resources = Map::default();
        for (key, wanted) in &items.resources {
            // Check this right before any object that the request names.
            let before = put.after.model.resources.get(key);
            rights.demand(&Right::on(items, &Item { kind: ItemKind::Resource, key: key.clone() }, Verb::Write))?;
            refuse_other_type(key, before, Some(wanted))?;
            rights.demand_references(&put.after.model, key, before, wanted)?;
            resources.insert(key.clone(), settled(&put.after.model, &mut addresses, key, wanted)?);
        }
        put.all(&resources)?;
        let others = !(changed.created.is_empty() && changed.updated.is_empty());
        let mut put = Changes { after: &mut after, changed: &mut changed, rights: &rights, create_only };
        let mut requests = Requests::beside(Some(&planning.in_force.index));
        for (key, endpoint) in &items.endpoints {
            put.endpoint(planning, &mut addresses, &mut requests, key, endpoint)?;
        }
        let extent = match items.endpoints.keys().next() {
            Some(key) if !others && items.endpoints.len() == 1 => ChangeExtent::Endpoint(key.clone()),
            Some(_) | None => ChangeExtent::Whole,
        };
        let items = changed.created.iter().map(|item| ("create", item));
        let items = items.chain(changed.updated.iter().map(|item| ("update", item)));
        let records = items.map(|(verb, item)| planning.item_record(verb, item, (now, &after)));
        let records: Vec<Record> = records.chain(planning.severed(&after.model)).collect();
        let outcome = changed;
        if records.is_empty() {
            return Ok(PreparedChange::nothing(outcome));
        }
        planning.change(
            outcome,
            ProposedState { after, extent, addresses: Some(addresses), standing: None, asks_rights: true },
            records,
        )
    }

    fn resources(&mut self) -> Option<&mut Map<LinkResource>> {
        Some(&mut self.items.resources)
    }
}

/// Writes the objects of one kind.
struct Changes<'a> {
    after: &'a mut ControlState,
    changed: &'a mut Changed,
    rights: &'a Rights<'a>,
    create_only: bool,
}

impl Changes<'_> {
    fn all<K: registry::Kind>(&mut self, items: &Map<K>) -> Result<(), Error> {
        for (key, wanted) in items {
            let item = Item { kind: K::KIND, key: key.clone() };
            let mut typed = Model::default();
            K::map_mut(&mut typed).insert(key.clone(), wanted.clone());
            self.rights.demand_all(&Right::each(&typed, &item, Verb::Write))?;
            let live = K::map_mut(&mut self.after.model);
            let present = live.get(key);
            if present == Some(wanted) && !self.create_only {
                continue;
            }
            match present {
                Some(_) if self.create_only => return Err(exists(&item)),
                Some(_) => self.changed.updated.push(item),
                None => self.changed.created.push(item),
            }
            live.insert(key.clone(), wanted.clone());
        }
        Ok(())
    }

    fn endpoint(
        &mut self,
        planning: &Planning<'_>,
        addresses: &mut Allocator,
        requests: &mut Requests<'_>,
        key: &Key,
        wanted: &PrivateEndpoint,
    ) -> Result<(), Error> {
        let Self { after, changed, rights, create_only } = self;
        let item = Item { kind: ItemKind::Endpoint, key: key.clone() };
        rights.demand(&Right::on(&after.model, &item, Verb::Write))?;
        let Some(live) = after.model.endpoints.get(key) else {
            // Only a caller who may use the subnet learns that an address is taken.
            rights.demand(&Right::join(&wanted.vnet, &wanted.subnet))?;
            for ip in wanted.addresses.iter().filter_map(|address| address.ip) {
                if addresses.is_taken(&wanted.vnet, ip) {
                    let message = itself(format!("{ip} is in use in VNet {}", wanted.vnet));
                    let remedy = "choose another address, or leave it out";
                    return Err(Error::new(ErrorKind::Conflict, "PrivateIPAddressInUse", message, remedy));
                }
            }
            create(after, addresses, requests, &planning.maker(), key, wanted)?;
            changed.created.push(item);
            return Ok(());
        };
        if *create_only {
            return Err(exists(&item));
        }
        let wanted = &spelled(&after.model, wanted);
        refuse_disconnected(after, key, wanted)?;
        refuse_fixed(live, wanted)?;
        refuse_other_addresses(live, wanted)?;
        // The consumer cannot change the owner's decision or the addresses.
        let next = PrivateEndpoint {
            addresses: live.addresses.clone(),
            status: live.status,
            reason: live.reason.clone(),
            accept_names: wanted.accept_names.clone().or_else(|| live.accept_names.clone()),
            ..wanted.clone()
        };
        if *live != next {
            after.model.endpoints.insert(key.clone(), next);
            changed.updated.push(item);
        }
        Ok(())
    }
}

fn exists(item: &Item) -> Error {
    Error::new(
        ErrorKind::Conflict,
        "AlreadyExists",
        itself(format!("{item} exists")),
        "choose another name, or change it",
    )
}
