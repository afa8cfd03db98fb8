//! From the wanted `Topology` and what the namespaces look like to the list of changes. A pure
//! function: the dry run prints the list, the set-up carries it out, a live change compares two.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::bail;
use ipnet::IpNet;

use crate::snapshot::topology::{AddressInUse, AttachmentPlan, Topology};

use super::errors::InUse;
use super::rivals::Holder;
use super::step::{Action, ENDPOINTS_DENIED, LOOPBACK, MAIN_TABLE, NAT_DENIED, Rule, RuleVerdict, Step};
use super::survey::Survey;

/// Preferences of our rules: right behind the kernel's table of local addresses (0), ahead of
/// whatever the user has, so that no other table can be asked first.
const EXEMPT: u32 = 71;
const DENY_NAT: u32 = 72;
const MEET: u32 = 73;
const DENY_ENDPOINTS: u32 = 74;

/// What has to be done, in order, and what the user should know.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Changes in the order in which they are made.
    pub steps: Vec<Step>,
    /// One line each: nothing stops, but somebody will miss something.
    pub warnings: Vec<String>,
}

/// Compiles the changes that make this host what `topology` says. `surveys` stand in the order of
/// the attachments; those of one namespace are the same.
///
/// # Errors
/// One line, with its remedy: a set-up that cannot keep the sides apart, or an interface that is missing.
pub fn plan(topology: &Topology, surveys: &[Arc<Survey>]) -> anyhow::Result<Plan> {
    let mut plan = Plan::default();
    for site in sites(topology, surveys) {
        site.refuse_overlaps()?;
        let mut actions = site.routes();
        actions.extend(site.devices(topology));
        actions.extend(site.resolvers());
        actions.extend(site.neighbours()?);
        actions.extend(site.separation()?); // a sorted set: the order of `Action` is the order of work
        let namespace = &site.survey.namespace;
        plan.steps.extend(actions.into_iter().map(|action| Step { namespace: namespace.clone(), action }));
        plan.warnings.extend(site.warnings());
    }
    Ok(plan)
}

/// Refuses addresses that mean something else on this host already.
///
/// # Errors
/// Names the address, what has it, and what to do.
pub fn refuse_taken<'a>(steps: impl Iterator<Item = &'a Step>, surveys: &[Arc<Survey>]) -> anyhow::Result<()> {
    let mut known = BTreeMap::new();
    for survey in surveys {
        known.entry(&survey.namespace).or_insert_with(|| Taken::new(survey));
    }
    for step in steps {
        if let (Action::Unreachable { prefix, table: MAIN_TABLE }, Some(taken)) =
            (&step.action, known.get(&step.namespace))
        {
            taken.refuse(prefix)?;
        }
    }
    Ok(())
}

/// Refuses addresses that others on the links of this host use. Of NAT addresses nothing is said here: whoever asks for
/// those has had their neighbours asked. Public prefixes outside the VNet are captured from others by design, so in those
/// only the host's gateways count: otherwise anybody on a link could prevent a lockdown by answering for an address of one.
///
/// # Errors
/// [`AddressInUse`]: names the address, who has it, and what to do.
pub fn refuse_others<'a>(
    steps: impl Iterator<Item = &'a Step>,
    surveys: &[Arc<Survey>],
    topology: &Topology,
) -> anyhow::Result<()> {
    let attachments = || topology.attachments.iter();
    let nat: BTreeSet<IpAddr> = attachments().flat_map(|attachment| attachment.nat_addresses.iter().copied()).collect();
    let foreign =
        |attachment: &AttachmentPlan, prefix: &IpNet| !attachment.own_prefixes.iter().any(|own| overlap(own, prefix));
    let public: BTreeSet<IpNet> = attachments()
        .flat_map(|attachment| attachment.denied.iter().filter(|prefix| foreign(attachment, prefix)).copied())
        .collect();
    for step in steps {
        let prefix = match &step.action {
            Action::Unreachable { prefix, table: MAIN_TABLE } => *prefix,
            Action::Address { address } => IpNet::from(*address),
            Action::Unreachable { .. }
            | Action::Rule(_)
            | Action::Sysctl { .. }
            | Action::Device { .. }
            | Action::Quiet { .. }
            | Action::Up { .. }
            | Action::Route { .. }
            | Action::Neighbour { .. } => continue,
        };
        let single = prefix.prefix_len() == prefix.max_prefix_len();
        let home = surveys
            .iter()
            .find(|survey| survey.namespace == step.namespace)
            .filter(|_| !(single && nat.contains(&prefix.addr())));
        let used = home.and_then(|survey| {
            let inside = |others: &'_ BTreeMap<IpAddr, String>| {
                let mut found = others.iter().filter(|(address, _)| prefix.contains(*address));
                found.next().map(|(address, who)| (*address, who.clone()))
            };
            let neighbour = || if public.contains(&prefix) { None } else { inside(&survey.neighbours) };
            inside(&survey.gateways).or_else(neighbour).map(|used| (used, &survey.namespace))
        });
        if let Some(((address, who), namespace)) = used {
            bail!(AddressInUse(format!(
                "{address} is {who} of this host (namespace {namespace}); choose another address or prefix"
            )));
        }
    }
    Ok(())
}

/// Refuses devices that exist: somebody lives on them, and their routes may be the very ones of this plan.
/// Said before anything is changed, since undoing a failed start would take those routes away.
///
/// # Errors
/// Names the device and what to do.
pub fn refuse_existing_devices(steps: &[Step], surveys: &[Arc<Survey>]) -> anyhow::Result<()> {
    for step in steps {
        let Action::Device { device, .. } = &step.action else { continue };
        let home = surveys.iter().find(|survey| survey.namespace == step.namespace);
        if home.is_some_and(|survey| survey.interface(device).is_some()) {
            return Err(InUse(format!(
                "device {device} exists already in namespace {}, and {} holds it: stop that, or \
                 `ip link del {device}` where nothing needs it; or give this attachment another `device`",
                step.namespace,
                Holder::of(&step.namespace, device, std::process::id())
            ))
            .into());
        }
    }
    Ok(())
}

/// What a namespace has already, arranged for questions about single prefixes.
struct Taken<'a> {
    survey: &'a Survey,
    routes: BTreeMap<IpNet, &'a [String]>,
}

impl<'a> Taken<'a> {
    fn new(survey: &'a Survey) -> Self {
        let routes = survey.routes.iter().map(|route| (route.prefix, route.interfaces.as_slice())).collect();
        Self { survey, routes }
    }

    fn refuse(&self, prefix: &IpNet) -> anyhow::Result<()> {
        let namespace = &self.survey.namespace;
        let single = prefix.prefix_len() == prefix.max_prefix_len();
        // The kernel asks its table of local addresses first: no route of ours gets to see such a packet.
        let owned = if single {
            self.survey.local.get_key_value(&prefix.addr())
        } else {
            self.survey.local.iter().find(|(address, _)| prefix.contains(*address))
        };
        // Within a subnet of endpoints it is the last address, which none of them gets.
        if let Some((address, interface)) = self.survey.broadcast.get_key_value(&prefix.addr()).filter(|_| single) {
            bail!(AddressInUse(format!(
                "{address} is the broadcast address of a network of this host (namespace {namespace}, {interface}); \
                 choose another address"
            )));
        }
        if let Some((address, interface)) = owned {
            bail!(AddressInUse(format!(
                "{address} is an address of this host (namespace {namespace}, {interface}); \
                 remove it there or choose another address"
            )));
        }
        let in_the_way = if single {
            self.routes.get_key_value(prefix)
        } else {
            self.routes.iter().find(|(route, _)| prefix.contains(*route))
        };
        if let Some((route, interfaces)) = in_the_way {
            let towards = if interfaces.is_empty() { "nowhere".to_owned() } else { interfaces.join(", ") };
            bail!(AddressInUse(format!(
                "namespace {namespace} routes {route} to {towards}, but {prefix} belongs to privlink; \
                 remove that route or choose another address"
            )));
        }
        Ok(())
    }
}

/// One namespace and the attachments in it.
struct Site<'a> {
    survey: &'a Survey,
    members: Vec<&'a AttachmentPlan>,
}

fn sites<'a>(topology: &'a Topology, surveys: &'a [Arc<Survey>]) -> Vec<Site<'a>> {
    let mut sites: Vec<Site<'a>> = Vec::new();
    for (attachment, survey) in topology.attachments.iter().zip(surveys) {
        match sites.iter_mut().find(|site| site.survey.namespace == survey.namespace) {
            Some(site) => site.members.push(attachment),
            None => sites.push(Site { survey, members: vec![attachment] }),
        }
    }
    sites
}

impl Site<'_> {
    /// A packet's VNet is that of the device it arrived on, so a source that two VNets of one
    /// namespace claim cannot be told apart.
    fn refuse_overlaps(&self) -> anyhow::Result<()> {
        for (position, one) in self.members.iter().enumerate() {
            for other in &self.members[position + 1..] {
                if one.device == other.device {
                    bail!(
                        "attachments {} and {} both want device {} in namespace {}: give one of them another `device`",
                        one.vnet,
                        other.vnet,
                        one.device,
                        self.survey.namespace
                    );
                }
                let clash = one.own_prefixes.iter().find_map(|mine| {
                    let theirs = other.own_prefixes.iter().find(|theirs| overlap(mine, theirs))?;
                    Some((mine, theirs))
                });
                if let Some((mine, theirs)) = clash {
                    bail!(
                        "VNets {} ({mine}) and {} ({theirs}) overlap and share namespace {}: \
                         attach one of them in a namespace of its own",
                        one.vnet,
                        other.vnet,
                        self.survey.namespace
                    );
                }
            }
        }
        Ok(())
    }

    /// An unreachable route below each route to a device, so that a dead daemon leaves no way through (law 9); and those
    /// of lockdown.
    fn routes(&self) -> BTreeSet<Action> {
        let mut actions = BTreeSet::new();
        for (prefix, device) in self.owners() {
            actions.insert(Action::Unreachable { prefix, table: MAIN_TABLE });
            actions.insert(Action::Route { prefix, device: device.to_owned() });
        }
        // Nothing stands before these: what a locked down VNet must not reach goes nowhere.
        let denied = self.members.iter().flat_map(|member| &member.denied);
        actions.extend(denied.map(|prefix| Action::Unreachable { prefix: *prefix, table: MAIN_TABLE }));
        actions
    }

    /// Which device gets which prefix. Where VNets are peered within one namespace, both name the
    /// endpoint: it goes to the device of the VNet it lies in.
    fn owners(&self) -> BTreeMap<IpNet, &str> {
        let mut owners: BTreeMap<IpNet, &str> = BTreeMap::new();
        for member in &self.members {
            let held_whole = |address: &IpAddr| {
                let others = self.members.iter().filter(|other| other.device != member.device);
                others.flat_map(|other| &other.dedicated).any(|subnet| subnet.contains(address))
            };
            let endpoints = member.endpoints.iter().filter(|address| !held_whole(address));
            let singles = endpoints.chain(&member.nat_addresses).map(|address| IpNet::from(*address));
            for prefix in member.dedicated.iter().map(IpNet::trunc).chain(singles) {
                let ours = member.own_prefixes.iter().any(|own| own.contains(&prefix));
                let device = owners.entry(prefix).or_insert(&member.device);
                if ours {
                    *device = &member.device;
                }
            }
        }
        owners
    }

    fn devices(&self, topology: &Topology) -> Vec<Action> {
        let made = self.members.iter().map(|member| Action::Device {
            device: member.device.clone(),
            mtu: member.mtu,
            queues: topology.workers,
            offload: topology.offload,
        });
        let quiet = self.members.iter().map(|member| Action::Quiet { device: member.device.clone() });
        let up = self.members.iter().map(|member| Action::Up { device: member.device.clone() });
        made.chain(quiet).chain(up).collect()
    }

    /// Addresses of resolvers, where the host has not given them to another interface itself.
    fn resolvers(&self) -> impl Iterator<Item = Action> {
        let wanted = self.members.iter().flat_map(|member| &member.resolvers);
        let free = wanted.filter(|ip| self.survey.local.get(*ip).is_none_or(|carrier| carrier == LOOPBACK));
        free.map(|address| Action::Address { address: *address })
    }

    /// One proxy neighbour per address and interface; never the `proxy_arp` sysctl, which answers for everything.
    fn neighbours(&self) -> anyhow::Result<Vec<Action>> {
        let mut actions = BTreeSet::new();
        for member in &self.members {
            for name in &member.proxy_on {
                let Some(interface) = self.survey.interface(name) else {
                    bail!(
                        "proxy_on of {}: there is no interface {name} in namespace {}",
                        member.vnet,
                        self.survey.namespace
                    );
                };
                for address in member.neighbours.iter().chain(&member.nat_addresses) {
                    if !interface.forwards.covers(*address) {
                        bail!(
                            "proxy_on of {}: {name} does not forward, so nobody behind it could reach {address}; run: {}",
                            member.vnet,
                            self.forwarding_command(*address)
                        );
                    }
                    actions.insert(Action::Neighbour { address: *address, interface: name.clone() });
                }
            }
        }
        Ok(actions.into_iter().collect())
    }

    /// Where both sides share the namespace, the destination chooses the device: rules by interface
    /// keep consumers off the NAT addresses and providers off the endpoints. Everything but a
    /// provider interface or a local process counts as consumer, an interface that appears later too.
    fn separation(&self) -> anyhow::Result<Vec<Action>> {
        let endpoints: Vec<IpNet> = self.endpoint_prefixes();
        let nat: Vec<IpNet> = self.members.iter().flat_map(|m| &m.nat_addresses).map(|a| IpNet::from(*a)).collect();
        if endpoints.is_empty() || nat.is_empty() {
            return Ok(Vec::new());
        }
        let (consumers, providers) = (self.consumer_interfaces(), self.provider_interfaces());
        if let Some(both) = consumers.intersection(&providers).next() {
            bail!(
                "consumers and backends of namespace {} both lie behind {both}: no rule can tell their packets apart; \
                 give each side an interface (a VLAN will do) or a namespace of its own",
                self.survey.namespace
            );
        }
        let mut actions = BTreeSet::new();
        actions.extend(endpoints.iter().map(|prefix| Action::Unreachable { prefix: *prefix, table: ENDPOINTS_DENIED }));
        actions.extend(nat.iter().map(|prefix| Action::Unreachable { prefix: *prefix, table: NAT_DENIED }));
        for ipv6 in [false, true] {
            if endpoints.iter().chain(&nat).any(|prefix| is_ipv6(prefix) == ipv6) {
                actions.extend(separating_rules(&providers, ipv6).into_iter().map(Action::Rule));
            }
        }
        actions.extend(self.strict_reverse_path(&consumers.union(&providers).copied().collect()));
        Ok(actions.into_iter().collect())
    }

    fn endpoint_prefixes(&self) -> Vec<IpNet> {
        let subnets = self.members.iter().flat_map(|member| &member.dedicated).map(IpNet::trunc);
        let singles = self.members.iter().flat_map(|member| &member.endpoints).map(|address| IpNet::from(*address));
        subnets.chain(singles).collect()
    }

    fn consumer_interfaces(&self) -> BTreeSet<&str> {
        let consuming = self.members.iter().filter(|member| has_endpoints(member));
        consuming.flat_map(|member| &member.own_prefixes).flat_map(|prefix| self.survey.ways_to(prefix)).collect()
    }

    fn provider_interfaces(&self) -> BTreeSet<&str> {
        let backends = self.members.iter().flat_map(|member| &member.backends);
        backends.flat_map(|address| self.survey.ways_to(&IpNet::from(*address))).collect()
    }

    /// Strict reverse-path filtering on `strict`. The kernel uses the larger of an interface's value
    /// and `all`; 2 (loose) in `all` would win over our 1, so it is moved to the other interfaces.
    fn strict_reverse_path(&self, strict: &BTreeSet<&str>) -> Vec<Action> {
        const LOOSE: u8 = 2;
        let set = |name: &str, value: u8| Action::Sysctl {
            path: format!("net/ipv4/conf/{name}/rp_filter"),
            value: value.to_string(),
        };
        let mut actions: Vec<Action> = strict.iter().map(|name| set(name, 1)).collect();
        if self.survey.reverse_path_all == LOOSE {
            let others = self.survey.interfaces.iter().filter(|other| !strict.contains(other.name.as_str()));
            actions.extend(others.filter(|other| other.reverse_path < LOOSE).map(|other| set(&other.name, LOOSE)));
            actions.push(set("all", 0));
        }
        actions
    }

    /// Who would need forwarding where it is off. privlink never switches it on.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for member in &self.members {
            let prefixes = || member.own_prefixes.iter().filter(|_| has_endpoints(member));
            let backends = || member.backends.iter().filter(|address| !self.survey.local.contains_key(*address));
            warnings.extend(self.forwarding_warning("clients", prefixes().copied()));
            warnings.extend(self.forwarding_warning("backends", backends().map(|address| IpNet::from(*address))));
        }
        warnings.dedup();
        warnings
    }

    fn forwarding_warning(&self, side: &str, prefixes: impl Iterator<Item = IpNet>) -> Option<String> {
        let mut stopped = prefixes.filter(|prefix| !self.survey.forwards.covers(prefix.addr())).peekable();
        let address = stopped.peek()?.addr();
        let names: BTreeSet<&str> = stopped.flat_map(|prefix| self.survey.ways_to(&prefix)).collect();
        (!names.is_empty()).then(|| {
            format!(
                "forwarding is off in namespace {}: {side} behind this host ({}) will not get through, \
                 local processes will; to serve them run: {}",
                self.survey.namespace,
                names.into_iter().collect::<Vec<_>>().join(", "),
                self.forwarding_command(address)
            )
        })
    }

    fn forwarding_command(&self, address: IpAddr) -> String {
        let key = if address.is_ipv4() { "net.ipv4.ip_forward" } else { "net.ipv6.conf.all.forwarding" };
        match self.survey.namespace.name.as_deref() {
            None => format!("sysctl -w {key}=1"),
            Some(path) if path.starts_with('/') => format!("nsenter --net={path} sysctl -w {key}=1"),
            Some(name) => format!("ip netns exec {name} sysctl -w {key}=1"),
        }
    }
}

/// Provider interfaces and local processes skip the table that denies NAT addresses; provider
/// interfaces then meet the table that denies endpoints. A constant number of rules, however many addresses.
fn separating_rules(providers: &BTreeSet<&str>, ipv6: bool) -> Vec<Rule> {
    let rule =
        |priority, input: Option<&str>, verdict| Rule { priority, ipv6, input: input.map(str::to_owned), verdict };
    let mut rules = vec![
        rule(EXEMPT, Some("lo"), RuleVerdict::Goto(MEET)),
        rule(DENY_NAT, None, RuleVerdict::Lookup(NAT_DENIED)),
        rule(MEET, None, RuleVerdict::Nop),
    ];
    for name in providers {
        rules.push(rule(EXEMPT, Some(name), RuleVerdict::Goto(MEET)));
        rules.push(rule(DENY_ENDPOINTS, Some(name), RuleVerdict::Lookup(ENDPOINTS_DENIED)));
    }
    rules
}

fn has_endpoints(member: &AttachmentPlan) -> bool {
    !member.dedicated.is_empty() || !member.endpoints.is_empty()
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

fn is_ipv6(prefix: &IpNet) -> bool {
    matches!(prefix, IpNet::V6(_))
}

#[cfg(test)]
mod tests;
