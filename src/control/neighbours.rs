//! Probes whether a neighbour on the link already uses a NAT address. This happens before the writer's turn, because an
//! answer takes time. It happens only for a caller who may use NAT addresses there, so that others do not learn which
//! addresses are in use. The daemon's own file does not wait for it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::ControlPlane;
use super::command::Command;
use super::outcome::Outcome as _;
use super::sinks::Answer;
use super::views::View;
use crate::access::rights::{Right, Rights, Verb};
use crate::compile::addresses::Allocator;
use crate::model::error::{Error, ErrorKind};
use crate::model::sentence::itself;
use crate::model::state::{Item, ItemKind};
use crate::model::{Caller, Key, LinkResource, Map, Model, NatConfig, Subnet, Vnet};

/// The most addresses of a subnet that are probed to find a free one.
const TRIES: usize = 16;

impl ControlPlane {
    /// As [`ControlPlane::apply`]. With `force`, NAT addresses are accepted although a neighbour answers for them.
    ///
    /// # Errors
    /// As [`ControlPlane::apply`].
    pub fn apply_with<C: Command>(&self, caller: &Caller, mut command: C, force: bool) -> Result<C::Output, Error> {
        let resources = command.resources().filter(|_| !force);
        let asked = resources.map_or_else(|| Ok(Vec::new()), |resources| self.ask_neighbours(caller, resources));
        let warnings =
            asked.inspect_err(|refusal| tracing::warn!(%caller, code = refusal.code, %refusal, "command refused"))?;
        let mut outcome = self.carry_out(caller, command)?;
        if let Some(known) = outcome.warnings() {
            known.extend(warnings);
        }
        Ok(outcome)
    }

    /// Refuses new NAT addresses of `resources` that a neighbour uses, and proposes free ones where none are given.
    fn ask_neighbours(&self, caller: &Caller, resources: &mut Map<LinkResource>) -> Result<Vec<String>, Error> {
        let view = self.view();
        let rights = view.rights(caller);
        let mut warnings = Vec::new();
        let keys: Vec<Key> = resources.keys().cloned().collect();
        for key in keys {
            let Some(wanted) = resources.get(&key) else { continue };
            let Some(asking) = Asking::of(&view, &rights, &key, wanted) else { continue };
            let named = asking.named();
            for answer in self.answers(asking.home, &named) {
                if !answer.answers_all {
                    return Err(taken(&answer));
                }
                warnings.push(format!(
                    "{} answers for every address on its link, so whether somebody has {} cannot be told",
                    answer.by, answer.address
                ));
            }
            let proposed = asking
                .proposed(|address| self.answers(asking.home, &[address]).into_iter().all(|answer| answer.answers_all));
            if let (Some(nat), Some(resource)) = (proposed, resources.get_mut(&key)) {
                resource.nat = nat;
            }
        }
        Ok(warnings)
    }

    fn answers(&self, home: &Key, addresses: &[IpAddr]) -> Vec<Answer> {
        if addresses.is_empty() { Vec::new() } else { self.sinks.host.neighbours(home, addresses) }
    }
}

/// The NAT addresses of one resource that need a probe.
struct Asking<'a> {
    model: &'a Model,
    rights: &'a Rights<'a>,
    home: &'a Key,
    vnet: &'a Vnet,
    before: Option<&'a LinkResource>,
    wanted: LinkResource,
}

impl<'a> Asking<'a> {
    /// `None`: there is nothing to probe, or the caller may not.
    fn of(view: &'a View, rights: &'a Rights<'a>, key: &Key, wanted: &LinkResource) -> Option<Self> {
        let model = &view.state.model;
        let attached = |home: &Key| view.host.attachments.iter().any(|attachment| attachment.vnet == *home);
        let (home, vnet) = model.vnets.entry(wanted.vnet.as_ref()?).filter(|(home, _)| attached(home))?;
        let mut typed = Model::default();
        typed.resources.insert(key.clone(), wanted.clone());
        let item = Item { kind: ItemKind::Resource, key: key.clone() };
        let may = rights.hold(&Right::on(&typed, &item, Verb::Write));
        let before = model.resources.get(key).filter(|before| before.vnet.as_ref() == Some(home));
        may.then(|| Self { model, rights, home, vnet, before, wanted: wanted.clone() })
    }

    /// Whether the caller may use NAT addresses of `subnet`.
    fn open(&self, subnet: &Subnet) -> bool {
        subnet.takes_nat() && self.rights.hold(&Right::join(self.home, &subnet.name))
    }

    /// New addresses that the request gives.
    fn named(&self) -> Vec<IpAddr> {
        let configured = self.wanted.nat_configs.iter().filter_map(|config| config.address);
        let outright = self.wanted.nat.iter().copied().filter(|_| self.wanted.nat_configs.is_empty());
        let had = self.before.map(|before| before.nat.as_slice()).unwrap_or_default();
        let open = |address: &IpAddr| {
            let mut subnets = self.vnet.subnets.iter();
            let holds = |subnet: &&Subnet| subnet.prefixes.iter().any(|prefix| prefix.contains(address));
            subnets.find(holds).is_some_and(|subnet| self.open(subnet))
        };
        let new: BTreeSet<IpAddr> = configured.chain(outright).filter(|ip| !had.contains(ip)).filter(open).collect();
        new.into_iter().collect()
    }

    /// One address per configuration; a free one if the request gives none and there was none before. `None`: every
    /// address is known already.
    fn proposed(&self, is_free: impl Fn(IpAddr) -> bool) -> Option<Vec<IpAddr>> {
        let settled = |config: &NatConfig| config.address.or_else(|| self.had(config));
        let configs = &self.wanted.nat_configs;
        if configs.iter().all(|config| settled(config).is_some()) {
            return None;
        }
        let mut addresses = Allocator::new(self.model);
        configs.iter().filter_map(|config| config.address).for_each(|ip| addresses.spare(self.home, ip));
        let each = configs.iter().map(|config| {
            if let Some(address) = settled(config) {
                return Some(address);
            }
            let subnet = self.vnet.subnets.iter().find(|subnet| subnet.name.eq_ignore_ascii_case(&config.subnet))?;
            let mut subnet = Some(subnet).filter(|subnet| self.open(subnet))?.clone();
            subnet.prefixes.retain(|prefix| matches!(prefix, ipnet::IpNet::V6(_)) == config.v6);
            (0..TRIES).find_map(|_| addresses.allocate(self.home, &subnet).ok().filter(|address| is_free(*address)))
        });
        each.collect()
    }

    /// The previous address of the configuration.
    fn had(&self, config: &NatConfig) -> Option<IpAddr> {
        let before = self.before?;
        let same = |old: &NatConfig| {
            old.name.eq_ignore_ascii_case(&config.name) && old.subnet.eq_ignore_ascii_case(&config.subnet)
        };
        let pairs = before.nat_configs.iter().zip(&before.nat);
        pairs.filter(|(_, ip)| ip.is_ipv6() == config.v6).find(|(old, _)| same(old)).map(|(_, ip)| *ip)
    }
}

fn taken(answer: &Answer) -> Error {
    Error::new(
        ErrorKind::Conflict,
        "NeighbourAnswers",
        itself(format!("somebody has {} already: {} answers for it", answer.address, answer.by)),
        "choose another NAT address; to take it all the same, say `--force`, or `properties.privlink.force` over Azure's paths",
    )
}
