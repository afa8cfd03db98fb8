//! Who uses which address of a VNet (an address has one use), and whether a subnet has one left for every endpoint
//! that waits for an address.

use std::collections::HashMap;
use std::net::IpAddr;

use super::subnets::{capacity, contains, is_reserved, named};
use super::{Findings, Locator, Object, list, short};
use crate::model::sentence::{Mention, Named, Part, Sentence, itself, sentence};
use crate::model::{Item, Key, Model, PrivateEndpoint};

/// What an address is used for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Nat,
    Backend,
    Endpoint,
}

impl Use {
    fn words(self) -> &'static str {
        match self {
            Self::Nat => "NAT IP",
            Self::Backend => "backend",
            Self::Endpoint => "endpoint address",
        }
    }

    /// The use by `owner`, which only who may see `owner` is told of.
    fn of(self, owner: &Object) -> Mention {
        if let Object::Resource(key) = owner {
            return Mention::resource(key).with(format_args!(" ({})", self.words()));
        }
        match owner.item() {
            Some(Item { kind, key }) => Mention::of(kind, &key, format_args!("{kind} `{}`", short(&key))),
            None => Mention::new(Named::Host, owner),
        }
    }
}

/// Uses by VNet and address.
type Book<'a> = HashMap<(&'a Key, IpAddr), (Use, Object)>;

pub(super) fn check(model: &Model, findings: &mut Findings) {
    let mut book: Book<'_> = HashMap::new();
    for (key, resource) in &model.resources {
        let object = Object::Resource(key.clone());
        let Some(vnet) = &resource.vnet else { continue };
        for (index, &address) in resource.nat.iter().enumerate() {
            enter(&mut book, vnet, address, Use::Nat, object.at(format!("nat[{index}]")), findings);
        }
    }
    for (key, resource) in &model.resources {
        let object = Object::Resource(key.clone());
        let Some(vnet) = &resource.vnet else { continue };
        for (index, target) in resource.targets.iter().enumerate() {
            for (number, backend) in target.backends.iter().enumerate() {
                let at = object.at(format!("targets[{index}].backends[{number}]"));
                enter(&mut book, vnet, backend.address, Use::Backend, at, findings);
            }
        }
    }
    for (key, endpoint) in &model.endpoints {
        let object = Object::Endpoint(key.clone());
        for (index, address) in endpoint.addresses.iter().enumerate() {
            let Some(ip) = address.ip else { continue };
            let at = object.at(format!("addresses[{index}].ip"));
            enter(&mut book, &endpoint.vnet, ip, Use::Endpoint, at, findings);
        }
    }
    check_room(model, &book, findings);
}

fn enter<'a>(book: &mut Book<'a>, vnet: &'a Key, address: IpAddr, usage: Use, at: Locator, findings: &mut Findings) {
    let Some((known, owner)) = book.get(&(vnet, address)) else {
        book.insert((vnet, address), (usage, at.object));
        return;
    };
    if (*known, usage) == (Use::Backend, Use::Backend) {
        return;
    }
    let owner = owner.clone();
    let message: Sentence = if owner == at.object && usage == *known {
        itself(format!("{} {address} is listed twice", usage.words())).into()
    } else {
        let uses = Part::Users(vec![known.of(&owner), usage.of(&at.object)]);
        sentence!("address {} is used by {}", address, uses)
    };
    let remedy = "an address has one use: choose a free one of the subnet, or leave it out to be given one";
    let other = owner.at("");
    findings.error("PrivateIPAddressInUse", at, message, remedy);
    findings.also_at(other).involving(owner).involving(Object::Vnet(vnet.clone()));
}

/// Counts, subnet by subnet, the addresses that are free and the endpoints that wait for one.
fn check_room(model: &Model, book: &Book<'_>, findings: &mut Findings) {
    let mut free: HashMap<(&Key, String), u64> = HashMap::new();
    for (key, endpoint) in &model.endpoints {
        let wanted = wanted(model, endpoint);
        let Some(vnet) = model.vnets.get(&endpoint.vnet) else { continue };
        let Some(subnet) = named(vnet, &endpoint.subnet) else { continue };
        if wanted == 0 {
            continue;
        }
        let room = free.entry((&endpoint.vnet, subnet.name.to_lowercase())).or_insert_with(|| {
            let taken = book
                .keys()
                .filter(|(owner, address)| **owner == endpoint.vnet && contains(subnet, *address))
                .filter(|(_, address)| !is_reserved(subnet, *address))
                .count();
            capacity(subnet).saturating_sub(taken as u64)
        });
        if let Some(left) = room.checked_sub(wanted) {
            *room = left;
            continue;
        }
        *room = 0;
        findings.error(
            "SubnetIsFull",
            Object::Endpoint(key.clone()).at("subnet"),
            sentence!(
                "{} is full: no address is left for this endpoint",
                Mention::subnet(&endpoint.vnet, &subnet.name).with(format_args!(" ({})", list(&subnet.prefixes)))
            ),
            "delete endpoints that are not needed, or use a larger subnet",
        );
        findings.involving(Object::Vnet(endpoint.vnet.clone()));
    }
}

/// How many addresses an endpoint waits for.
fn wanted(model: &Model, endpoint: &PrivateEndpoint) -> u64 {
    if !endpoint.addresses.is_empty() {
        return endpoint.addresses.iter().filter(|address| address.ip.is_none()).count() as u64;
    }
    model.resources.get(&endpoint.resource).map_or(0, |resource| {
        resource.targets.iter().filter(|target| target.subresource == endpoint.subresource).count() as u64
    })
}
