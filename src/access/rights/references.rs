//! A table of every field by which one object refers to another, with the right that the reference needs. A literal
//! address refers to its subnet. A test visits every field of every kind, so that none is forgotten here.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Right, Rights, Verb};
use crate::model::error::{Error, ErrorKind};
use crate::model::registry;
use crate::model::sentence::itself;
use crate::model::state::{Item, ItemKind};
use crate::model::{
    DnsZone, Key, LinkResource, LoadBalancer, Map, Model, Principal, PrivateEndpoint, ResourceGroup, RoleAssignment,
    RoleDefinition, SecurityGroup, TokenName, Vnet, actions,
};

/// A reference from a field of an object. Duplicates count once, and existing references are not checked again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// The part of the object with the field, such as a subnet of a VNet. Empty: the object itself.
    part: String,
    named: Named,
}

/// The target of a reference, in the order in which rights are checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    /// The resource of an endpoint in this subscription. It must be visible to the caller. Its owner decides whether
    /// traffic passes.
    Resource(Key, String),
    /// A subnet of a VNet, by its name in lower case.
    Subnet(Key, String),
    /// An address of a VNet.
    Address(Key, IpAddr),
    SecurityGroup(Key),
    DnsZone(Key),
    /// A frontend of a load balancer, by its name in lower case.
    Frontend(Key, String),
    /// A VNet as a whole.
    Vnet(Key),
    /// The other side of a peering.
    Peer(Key),
    /// The VNet of a link resource. The right to join any part of it is enough.
    Home(Key),
    /// A token, which need not exist.
    Token(TokenName),
}

/// One row of the table: fields with references, as paths of the stored JSON, and their targets.
#[derive(Debug)]
pub struct ReferenceField<T: 'static> {
    /// `[]` stands for every entry of a list.
    pub paths: &'static [&'static str],
    references: fn(&Key, &T) -> Vec<Reference>,
}

/// An object with references.
pub trait Refers: registry::Kind {
    /// Its rows of the table.
    const FIELDS: &'static [ReferenceField<Self>];

    /// All references of the object `key`.
    fn references(&self, key: &Key) -> BTreeSet<Reference> {
        Self::FIELDS.iter().flat_map(|field| (field.references)(key, self)).collect()
    }
}

impl Refers for RoleDefinition {
    const FIELDS: &'static [ReferenceField<Self>] = &[];
}

impl Refers for RoleAssignment {
    const FIELDS: &'static [ReferenceField<Self>] = &[ReferenceField {
        paths: &["principal"],
        references: |_, given| given.token().map(|name| whole(Named::Token(name.clone()))).into_iter().collect(),
    }];
}

impl Refers for ResourceGroup {
    const FIELDS: &'static [ReferenceField<Self>] = &[];
}

impl Refers for SecurityGroup {
    const FIELDS: &'static [ReferenceField<Self>] = &[];
}

impl Refers for Vnet {
    const FIELDS: &'static [ReferenceField<Self>] = &[
        ReferenceField {
            paths: &["peerings[]", "peering_labels[].remote"],
            references: |_, vnet| {
                // A severed peering refers to nothing: a later VNet with that name is another one.
                let labels = vnet.peering_labels.iter().filter(|label| !label.severed).map(|label| &label.remote);
                vnet.peerings.iter().chain(labels).map(|remote| whole(Named::Peer(remote.clone()))).collect()
            },
        },
        ReferenceField {
            paths: &["subnets[].security_group"],
            references: |_, vnet| {
                let of = |subnet: &crate::model::Subnet| {
                    let named = Named::SecurityGroup(subnet.security_group.clone()?);
                    Some(Reference { part: subnet.name.to_lowercase(), named })
                };
                vnet.subnets.iter().filter_map(of).collect()
            },
        },
    ];
}

impl Refers for DnsZone {
    const FIELDS: &'static [ReferenceField<Self>] = &[ReferenceField {
        paths: &["links[].vnet"],
        references: |_, zone| zone.links.iter().map(|link| whole(Named::Vnet(link.vnet.clone()))).collect(),
    }];
}

impl Refers for LoadBalancer {
    const FIELDS: &'static [ReferenceField<Self>] = &[
        ReferenceField {
            paths: &["frontends[].subnet[]", "frontends[].address"],
            references: |_, balancer| {
                let of = |frontend: &crate::model::Frontend| {
                    let (vnet, name) = frontend.subnet.clone()?;
                    let address = frontend.address.map(|ip| whole(Named::Address(vnet.clone(), ip)));
                    Some(std::iter::once(subnet(&vnet, &name)).chain(address))
                };
                balancer.frontends.iter().filter_map(of).flatten().collect()
            },
        },
        ReferenceField {
            // The addresses have no VNet of their own. The service behind the frontend gives the VNet.
            paths: &["pools[].addresses[].vnet", "pools[].addresses[].address"],
            references: |_, balancer| {
                let servers = balancer.pools.iter().flat_map(|pool| &pool.addresses);
                servers.filter_map(|server| Some(whole(Named::Address(server.vnet.clone()?, server.address)))).collect()
            },
        },
    ];
}

impl Refers for LinkResource {
    const FIELDS: &'static [ReferenceField<Self>] = &[
        ReferenceField {
            paths: &["vnet"],
            references: |_, resource| resource.vnet.iter().map(|vnet| whole(Named::Home(vnet.clone()))).collect(),
        },
        ReferenceField {
            paths: &["nat[]"],
            references: |_, resource| addresses(resource, resource.nat.iter().copied()),
        },
        ReferenceField {
            paths: &["nat_configs[].subnet", "nat_configs[].address"],
            references: |_, resource| {
                let subnets = resource.vnet.iter().flat_map(|vnet| {
                    let configs = resource.nat_configs.iter();
                    configs.map(|config| subnet(vnet, &config.subnet))
                });
                let fixed = resource.nat_configs.iter().filter_map(|config| config.address);
                subnets.chain(addresses(resource, fixed)).collect()
            },
        },
        ReferenceField {
            paths: &["targets[].backends[].address", "direct_destination"],
            references: |_, resource| {
                let backends = resource.targets.iter().flat_map(|target| &target.backends);
                addresses(resource, backends.map(|backend| backend.address).chain(resource.destination))
            },
        },
        ReferenceField {
            paths: &["frontends[].balancer", "frontends[].frontend"],
            references: |_, resource| {
                let frontends = resource.frontends.iter();
                let named = frontends.map(|one| Named::Frontend(one.balancer.clone(), one.frontend.to_lowercase()));
                named.map(whole).collect()
            },
        },
    ];
}

impl Refers for PrivateEndpoint {
    const FIELDS: &'static [ReferenceField<Self>] = &[
        ReferenceField {
            // The subnet's right is enough; the VNet needs none.
            paths: &["vnet", "subnet"],
            references: |_, endpoint| vec![subnet(&endpoint.vnet, &endpoint.subnet)],
        },
        ReferenceField {
            // All addresses of an endpoint are in its subnet, so a new one needs the right to join that.
            paths: &["addresses[].ip"],
            references: |_, endpoint| {
                let address = |ip: IpAddr| Reference {
                    part: ip.to_string(),
                    named: Named::Subnet(endpoint.vnet.clone(), endpoint.subnet.to_lowercase()),
                };
                endpoint.addresses.iter().filter_map(|address| address.ip).map(address).collect()
            },
        },
        ReferenceField {
            paths: &["resource"],
            references: |key, endpoint| {
                vec![whole(Named::Resource(endpoint.resource.clone(), key.subscription.to_lowercase()))]
            },
        },
        ReferenceField {
            // A name is answered in the whole VNet, so accepting it needs a right on the VNet.
            paths: &["accept_names[]"],
            references: |_, endpoint| {
                let names = endpoint.accept_names.iter().flat_map(|names| names.iter());
                let accepted = |name: &str| Reference { part: name.into(), named: Named::Vnet(endpoint.vnet.clone()) };
                names.map(accepted).collect()
            },
        },
        ReferenceField {
            paths: &["dns_zones.zones[].zone"],
            references: |_, endpoint| {
                let zones = endpoint.zone_group.iter().flat_map(|group| &group.zones);
                zones.map(|one| whole(Named::DnsZone(one.zone.clone()))).collect()
            },
        },
    ];
}

fn whole(named: Named) -> Reference {
    Reference { part: String::new(), named }
}

fn subnet(vnet: &Key, name: &str) -> Reference {
    whole(Named::Subnet(vnet.clone(), name.to_lowercase()))
}

/// Without a VNet the addresses refer to nothing. Once there is a VNet, they all count as new.
fn addresses(resource: &LinkResource, all: impl Iterator<Item = IpAddr>) -> Vec<Reference> {
    let Some(vnet) = &resource.vnet else { return Vec::new() };
    all.map(|ip| whole(Named::Address(vnet.clone(), ip))).collect()
}

/// The error for a resource that the caller cannot see: the same as for an absent one.
pub(crate) fn not_shown(key: &Key) -> Error {
    let message = itself(format!("there is no resource `{key}`"));
    let remedy = "ask its owner to show it to your subscription; a typed resource may be asked for by its ID with \
                  `manual = true`";
    Error::new(ErrorKind::NotFound, "NotFound", message, remedy)
}

impl Rights<'_> {
    /// Checks the rights for all new references of the object `key` of `model`.
    ///
    /// # Errors
    /// `Forbidden`, naming principal, action and scope; `NotFound` for a resource that is not visible to the caller.
    pub fn demand_references<T: Refers>(
        &self,
        model: &Model,
        key: &Key,
        before: Option<&T>,
        wanted: &T,
    ) -> Result<(), Error> {
        let known = before.map(|before| before.references(key)).unwrap_or_default();
        let new = wanted.references(key).into_iter().filter(|reference| !known.contains(reference));
        new.into_iter().try_for_each(|reference| self.demand_reference(model, &reference.named))
    }

    /// Checks the rights for all new references to tokens in `wanted`.
    ///
    /// # Errors
    /// `Forbidden`, naming principal, action and scope.
    pub fn demand_tokens(&self, before: &Map<RoleAssignment>, wanted: &Map<RoleAssignment>) -> Result<(), Error> {
        let nothing = Model::default();
        wanted.iter().try_for_each(|(key, given)| self.demand_references(&nothing, key, before.get(key), given))
    }

    fn demand_reference(&self, model: &Model, named: &Named) -> Result<(), Error> {
        match named {
            Named::Resource(resource, subscription) => self.demand_shown(model, resource, subscription),
            Named::Subnet(vnet, name) => self.demand(&Right::join(vnet, name)),
            Named::Address(vnet, ip) => self.demand_address(model, vnet, *ip),
            Named::SecurityGroup(group) => self.demand(&Right::join_group(group)),
            Named::DnsZone(zone) => self.demand(&Right::join_zone(zone)),
            Named::Frontend(balancer, _) => self.demand(&Right::join_balancer(balancer)),
            Named::Vnet(vnet) => self.demand(&Right::join_network(vnet)),
            Named::Peer(vnet) => self.demand(&Right::peer(vnet)),
            Named::Home(vnet) => self.demand_part_of(model, vnet),
            Named::Token(name) if *self.caller.subject.principal() == Principal::Token(name.clone()) => Ok(()),
            // Otherwise the result would reveal which tokens exist. Names can be guessed; ids cannot.
            Named::Token(_) => self.demand(&Right::anywhere(actions::read(actions::TOKENS))).map_err(|refusal| {
                let besides =
                    "; or name it by its id, `token-id:UUID`: whoever holds it sees that in `privlink whoami`";
                Error { remedy: refusal.remedy.and(besides), ..refusal }
            }),
        }
    }

    /// A resource that the caller cannot see counts as absent.
    fn demand_shown(&self, model: &Model, key: &Key, subscription: &str) -> Result<(), Error> {
        let shown = match model.resources.get(key) {
            Some(resource) => resource.is_requestable_by_id() || self.is_shown(model, key, subscription),
            // For a caller who sees everything, the model's rules report the missing object.
            None => self.hold(&Right::anywhere(actions::read(actions::SERVICES))),
        };
        if shown { Ok(()) } else { Err(not_shown(key)) }
    }

    /// Whether the resource `key` is visible to `subscription`, or the caller may read it anyway.
    pub fn is_shown(&self, model: &Model, key: &Key, subscription: &str) -> bool {
        let admits = |resource: &LinkResource| resource.visibility.admits(subscription);
        model.resources.get(key).is_some_and(admits) || self.may_read(model, key)
    }

    /// Whether the caller may read the resource `key`.
    pub fn may_read(&self, model: &Model, key: &Key) -> bool {
        self.hold(&Right::on(model, &Item { kind: ItemKind::Resource, key: key.clone() }, Verb::Read))
    }

    /// An address needs the right to join its subnet, or the VNet if it is in no subnet.
    fn demand_address(&self, model: &Model, vnet: &Key, ip: IpAddr) -> Result<(), Error> {
        let subnets = model.vnets.get(vnet).map(|vnet| vnet.subnets.as_slice()).unwrap_or_default();
        let holder = subnets.iter().find(|subnet| subnet.prefixes.iter().any(|prefix| prefix.contains(&ip)));
        let right = holder.map_or_else(|| Right::join_network(vnet), |subnet| Right::join(vnet, &subnet.name));
        if self.hold(&right) {
            return Ok(());
        }
        let item = Item { kind: ItemKind::Vnet, key: vnet.clone() };
        let read = |name: &str| Right::subnet(vnet, name, actions::read(actions::SUBNETS));
        let seen = self.hold(&Right::on(model, &item, Verb::Read))
            || holder.is_some_and(|subnet| self.hold(&read(&subnet.name)));
        if !seen {
            // The caller must not learn which subnet holds the address, if any.
            self.demand(&Right::join_all(vnet))?;
        }
        self.demand(&right)
    }

    fn demand_part_of(&self, model: &Model, vnet: &Key) -> Result<(), Error> {
        let subnets = model.vnets.get(vnet).map(|vnet| vnet.subnets.as_slice()).unwrap_or_default();
        if subnets.iter().any(|subnet| self.hold(&Right::join(vnet, &subnet.name))) {
            return Ok(());
        }
        self.demand(&Right::join_network(vnet))
    }
}
