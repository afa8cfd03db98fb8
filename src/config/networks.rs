//! `[[vnet]]` and `[[security_group]]` to the model.

use super::build::Builder;
use super::file::{File, Subnet, Vnet, Workload};
use super::read::OneOrMany;
use super::values::PrefixOrAny;
use crate::model;
use crate::model::rules::Object;
use crate::model::{ConnectionState, DNS_TTL, DnsSettings, Key};
use ipnet::IpNet;

/// The region of a VNet that names none: it only matters where a file has several.
const DEFAULT_REGION: &str = "local";

impl Builder {
    /// Builds every VNet.
    pub(super) fn vnets(&mut self, file: &File) {
        for (index, table) in file.vnets.iter().flatten().enumerate() {
            if let Some(key) = self.key::<model::Vnet>(index) {
                let vnet = self.vnet(&key, table);
                self.model.vnets.insert(key, vnet);
            }
        }
    }

    fn vnet(&mut self, key: &Key, table: &Vnet) -> model::Vnet {
        let object = Object::Vnet(key.clone());
        self.place(object.at(""), &table.span);
        self.broken(&object, table.broken);
        self.value(&object, "name", table.name.as_ref());
        self.value(&object, "resource_group", table.resource_group.as_ref());
        self.value(&object, "subscription", table.subscription.as_ref());
        self.values(&object, "peerings", table.peerings.as_ref());
        let peers = table.peerings.iter().flat_map(|peers| &peers.items);
        let peerings = peers.map(|peer| self.refer::<model::Vnet>(key, peer)).collect();
        let dns = table.dns.as_ref().map(|dns| {
            self.place(object.at("dns"), &dns.span);
            let addresses = |list: Vec<super::values::Address>| list.into_iter().map(|address| address.0).collect();
            DnsSettings {
                listen: addresses(self.values(&object, "dns.listen", dns.listen.as_ref())),
                upstream: addresses(self.values(&object, "dns.upstream", dns.upstream.as_ref())),
                answer: Some(self.values(&object, "dns.answer", dns.answer.as_ref()))
                    .filter(|states| !states.is_empty())
                    .map_or_else(
                        || vec![ConnectionState::Approved],
                        |states| states.into_iter().map(|w| w.0).collect(),
                    ),
                ttl: self.value(&object, "dns.ttl", dns.ttl.as_ref()).map_or(DNS_TTL, |time| time.0),
                accept_names: self.accepted(&object, "dns.accept_names", dns.accept_names.as_ref()),
            }
        });
        let mut workloads = Vec::new();
        for workload in table.workloads.iter().flatten() {
            workloads.extend(self.workload(&object, workloads.len(), workload));
        }
        let mut prefixes = |field: &str, list: Option<&OneOrMany<super::values::Prefix>>| {
            self.values(&object, field, list).into_iter().map(|prefix| prefix.0).collect::<Vec<IpNet>>()
        };
        let address_space = prefixes("address_space", table.address_space.as_ref());
        let on_premises = prefixes("on_premises", table.on_premises.as_ref());
        let public_prefixes = prefixes("public_prefixes", table.public_prefixes.as_ref());
        let subnets = table.subnets.iter().flatten().enumerate();
        let subnets = subnets.map(|(index, subnet)| self.subnet(&object, key, index, subnet)).collect();
        model::Vnet {
            region: self.value(&object, "region", table.region.as_ref()).unwrap_or_else(|| DEFAULT_REGION.to_owned()),
            address_space,
            on_premises,
            peerings,
            subnets,
            workloads,
            dns,
            lockdown: self.value(&object, "lockdown", table.lockdown.as_ref()).unwrap_or_default(),
            public_prefixes,
            peering_labels: Vec::new(),
            tags: model::Tags::new(),
            foreign: String::new(),
        }
    }

    fn workload(&mut self, object: &Object, index: usize, table: &Workload) -> Option<model::Workload> {
        let field = |name: &str| format!("workloads[{index}].{name}");
        Some(model::Workload {
            class: self.value(object, &field("class"), table.class.as_ref())?,
            prefix: self.value(object, &field("prefix"), table.prefix.as_ref())?.0,
            private_endpoints: self.value(object, &field("private_endpoints"), table.private_endpoints.as_ref())?,
        })
    }

    fn subnet(&mut self, object: &Object, home: &Key, index: usize, table: &Subnet) -> model::Subnet {
        let field = |name: &str| format!("subnets[{index}].{name}");
        self.place(object.at(format!("subnets[{index}]")), &table.span);
        if let (Some(one), Some(_)) = (&table.prefix, &table.prefixes) {
            self.error(
                object,
                &one.span,
                "`prefix` beside `prefixes`",
                "`prefix = x` means `prefixes = [x]`: keep one",
            );
        }
        let prefixes = table.prefix.as_ref().or(table.prefixes.as_ref());
        let prefixes = self.values(object, &field("prefixes"), prefixes).into_iter().map(|prefix| prefix.0).collect();
        self.value(object, &field("security_group"), table.security_group.as_ref());
        let security_group = table.security_group.as_ref().map(|name| self.refer::<model::SecurityGroup>(home, name));
        model::Subnet {
            name: self.value(object, &field("name"), table.name.as_ref()).unwrap_or_default(),
            prefixes,
            dedicated: self.value(object, &field("dedicated"), table.dedicated.as_ref()).unwrap_or_default(),
            delegations: self.values(object, &field("delegations"), table.delegations.as_ref()),
            service_endpoints: self.values(object, &field("service_endpoints"), table.service_endpoints.as_ref()),
            network_policies: self
                .value(object, &field("network_policies"), table.network_policies.as_ref())
                .map(|word| word.0)
                .unwrap_or_default(),
            security_group,
            service_policies: self.value(object, &field("nat"), table.nat.as_ref()).map(|nat| !nat),
        }
    }

    /// The daemon's file of the release before marks no subnet: for this release, one in which a resource of the file has
    /// NAT addresses counts as marked.
    pub(super) fn imply_nat(&mut self) {
        for (key, name) in crate::model::imply_nat(&mut self.model) {
            let index =
                self.model.vnets.get(&key).and_then(|vnet| vnet.subnets.iter().position(|one| one.name == name));
            let at = Object::Vnet(key.clone()).at(format!("subnets[{}]", index.unwrap_or_default()));
            let span = self.find(at);
            let message = format!("subnet `{name}` holds NAT addresses and has no `nat = true`");
            self.warning(&span, &message, "add `nat = true` to it: the next release refuses new NAT addresses without");
        }
    }

    /// Takes every security group.
    pub(super) fn groups(&mut self, file: &File) {
        for (index, spec) in file.security_groups.iter().flatten().enumerate() {
            if let Some(key) = self.key::<model::SecurityGroup>(index) {
                let group = self.spec(&Object::SecurityGroup(key.clone()), spec);
                self.model.security_groups.insert(key, group);
            }
        }
    }

    /// Prefixes; empty where one of them is `*`.
    pub(super) fn any_or_prefixes(
        &mut self,
        object: &Object,
        field: &str,
        list: Option<&OneOrMany<PrefixOrAny>>,
    ) -> Vec<IpNet> {
        let prefixes = self.values(object, field, list);
        if let Some(list) = list.filter(|list| list.items.is_empty()) {
            let remedy = "leave it out or write \"*\" to mean every one; name prefixes to mean those";
            self.warning(&list.span, "an empty list means every address, not none", remedy);
        }
        if prefixes.iter().any(|prefix| prefix.0.is_none()) {
            return Vec::new();
        }
        prefixes.into_iter().filter_map(|prefix| prefix.0).collect()
    }
}
