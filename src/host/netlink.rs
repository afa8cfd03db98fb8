//! Asking the kernel: reads a `Survey`, makes and undoes one `Action`. Used on a thread that is
//! inside the namespace. Every change is idempotent: made twice or undone twice, it is no error.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, anyhow};
use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressScope, CacheInfo};
use rtnetlink::packet_route::link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};
use tokio::runtime::{Builder, Runtime};

use super::netns::NamespaceId;
use super::step::{
    Action, DEVICE_METRIC, LOOPBACK, MAIN_TABLE, PROTOCOL, QUEUE_LENGTH, Rule, RuleVerdict, UNREACHABLE_METRIC, answers,
};
use super::survey::{Forwards, Interface, KnownRoute, Survey};
use super::sysctl::{forwards_everywhere, ipv6_off, read_number, restore_sysctl, write_sysctl};

/// What carries our mark.
mod leftovers;

/// Table of addresses that the host itself owns.
const LOCAL_TABLE: u32 = 255;

/// A route socket in the namespace of the calling thread.
pub(super) struct Kernel {
    runtime: Runtime,
    handle: Handle,
}

impl Kernel {
    /// Opens a route socket in the namespace of the calling thread.
    ///
    /// # Errors
    /// The kernel refuses the socket or a runtime.
    pub(super) fn open() -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let handle = {
            let _inside = runtime.enter();
            let (connection, handle, _) = rtnetlink::new_connection().context("cannot open a route netlink socket")?;
            runtime.spawn(connection);
            handle
        };
        Ok(Self { runtime, handle })
    }

    /// Makes one change. Devices are not made here: whoever opens one keeps its descriptors.
    ///
    /// # Errors
    /// The errno and what it means here.
    pub(super) fn apply(&self, action: &Action) -> anyhow::Result<()> {
        // The kernel says "permission denied" where IPv6 is switched off, too.
        self.make(action).map_err(|error| ipv6_off(action).map_or(error, |why| anyhow!(why)))
    }

    fn make(&self, action: &Action) -> anyhow::Result<()> {
        match action {
            Action::Device { .. } => Ok(()),
            Action::Sysctl { path, value } => write_sysctl(path, value),
            Action::Unreachable { prefix, table } => self.add_route(unreachable_route(prefix, *table)),
            Action::Route { prefix, device } => self.add_route(device_route(prefix, index_of(device)?)),
            Action::Rule(rule) => self.add_rule(rule),
            Action::Quiet { device } => self.set_link(quiet_link(index_of(device)?)),
            Action::Up { device } => self.set_link(LinkUnspec::new_with_index(index_of(device)?).up().build()),
            Action::Address { address } => self.add_address(*address, index_of(LOOPBACK)?),
            Action::Neighbour { address, interface } => {
                let index = index_of(interface)?;
                let request = self.handle.neighbours().add(index, *address).flags(NeighbourFlags::Proxy).replace();
                self.runtime.block_on(request.execute()).map_err(explain)
            }
        }
    }

    /// Undoes one change; `old` is the value a sysctl had before. Says whether there was anything to
    /// undo: what is gone already is no error.
    ///
    /// # Errors
    /// The errno and what it means here.
    pub(super) fn undo(&self, action: &Action, old: Option<&str>) -> anyhow::Result<bool> {
        match action {
            Action::Device { .. } | Action::Quiet { .. } | Action::Up { .. } => Ok(false),
            Action::Sysctl { path, value } => restore_sysctl(path, value, old),
            Action::Unreachable { prefix, table } => self.remove_route(unreachable_route(prefix, *table)),
            Action::Route { prefix, device } => match index_of(device) {
                Ok(index) => self.remove_route(device_route(prefix, index)),
                Err(_) => Ok(false), // the device took its routes along
            },
            Action::Rule(rule) => self.remove_rule(rule),
            Action::Address { address } => self.remove_address(*address, index_of(LOOPBACK)?),
            Action::Neighbour { address, interface } => match index_of(interface) {
                Ok(index) => self.remove_neighbour(index, *address),
                Err(_) => Ok(false),
            },
        }
    }

    /// Reads what the namespace looks like.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    pub(super) fn survey(&self, namespace: &NamespaceId) -> anyhow::Result<Survey> {
        let links: Vec<LinkMessage> =
            self.runtime.block_on(self.handle.link().get().execute().try_collect()).map_err(explain)?;
        let names: BTreeMap<u32, String> = links.iter().map(|link| (link.header.index, link_name(link))).collect();
        let mut survey = Survey {
            namespace: namespace.clone(),
            interfaces: links.iter().map(interface).collect(),
            routes: Vec::new(),
            ours: BTreeSet::new(),
            local: BTreeMap::new(),
            gateways: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            broadcast: BTreeMap::new(),
            reverse_path_all: read_number("net/ipv4/conf/all/rp_filter"),
            forwards: Forwards { ipv4: forwards_everywhere("ipv4"), ipv6: forwards_everywhere("ipv6") },
        };
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            for route in self.routes(family)? {
                classify(&route, &names, &mut survey);
            }
        }
        survey.neighbours.extend(self.neighbours(&names)?);
        Ok(survey)
    }

    /// The link on which `address` is, by its index; `None`: a router is in between, or it is an address of this host.
    pub(super) fn link_to(&self, address: IpAddr) -> Option<u32> {
        let mut question = route_to(&IpNet::from(address)).build();
        question.header.protocol = RouteProtocol::Unspec;
        let answer = self.runtime.block_on(self.handle.route().get(question).execute().try_next()).ok()??;
        let routed =
            |attribute: &RouteAttribute| matches!(attribute, RouteAttribute::Gateway(_) | RouteAttribute::Via(_));
        if answer.header.kind != RouteType::Unicast || answer.attributes.iter().any(routed) {
            return None;
        }
        answer.attributes.iter().find_map(
            |attribute| {
                if let RouteAttribute::Oif(index) = attribute { Some(*index) } else { None }
            },
        )
    }

    /// Has the kernel ask on the link `index` who has `address`, forgetting what it knew. Links without neighbours refuse.
    pub(super) fn solicit(&self, index: u32, address: IpAddr) {
        let mut known = self.handle.neighbours().add(index, address);
        let known = known.message_mut().clone();
        self.runtime.block_on(self.handle.neighbours().del(known).execute()).ok();
        let ask = self.handle.neighbours().add(index, address).state(NeighbourState::None).flags(NeighbourFlags::Use);
        self.runtime.block_on(ask.execute()).ok();
    }

    /// Neighbours that have answered just now: link and address, and in words who they are.
    pub(super) fn answers(&self) -> anyhow::Result<BTreeMap<(u32, IpAddr), String>> {
        let links: Vec<LinkMessage> =
            self.runtime.block_on(self.handle.link().get().execute().try_collect()).map_err(explain)?;
        let names: BTreeMap<u32, String> = links.iter().map(|link| (link.header.index, link_name(link))).collect();
        let fresh = |state| [NeighbourState::Reachable, NeighbourState::Permanent].contains(&state);
        let all = self.known_neighbours()?.into_iter().filter(|neighbour| fresh(neighbour.state));
        let text = |neighbour: &Neighbour| {
            format!("{} on {}", neighbour.hardware, names.get(&neighbour.link).map_or("?", String::as_str))
        };
        Ok(all.map(|neighbour| ((neighbour.link, neighbour.address), text(&neighbour))).collect())
    }

    fn known_neighbours(&self) -> anyhow::Result<Vec<Neighbour>> {
        let all: Vec<NeighbourMessage> =
            self.runtime.block_on(self.handle.neighbours().get().execute().try_collect()).map_err(explain)?;
        Ok(all.iter().filter_map(neighbour).collect())
    }

    /// Neighbours that have answered, and where; those for whom we answer ourselves are not among them.
    fn neighbours(&self, names: &BTreeMap<u32, String>) -> anyhow::Result<Vec<(IpAddr, String)>> {
        let one = |neighbour: Neighbour| {
            let interface = names.get(&neighbour.link).map_or("?", String::as_str);
            (neighbour.address, format!("a neighbour ({}) on {interface}", neighbour.hardware))
        };
        let all = self.known_neighbours()?;
        Ok(all.into_iter().filter(|neighbour| has_answered(neighbour.state)).map(one).collect())
    }

    fn routes(&self, family: AddressFamily) -> anyhow::Result<Vec<RouteMessage>> {
        let mut filter = RouteMessage::default();
        filter.header.address_family = family;
        self.runtime.block_on(self.handle.route().get(filter).execute().try_collect()).map_err(explain)
    }

    fn add_route(&self, message: RouteMessage) -> anyhow::Result<()> {
        self.runtime.block_on(self.handle.route().add(message).replace().execute()).map_err(explain)
    }

    fn remove_route(&self, message: RouteMessage) -> anyhow::Result<bool> {
        absent_is_fine(self.runtime.block_on(self.handle.route().del(message).execute()))
    }

    fn add_rule(&self, rule: &Rule) -> anyhow::Result<()> {
        let mut request = self.handle.rule().add();
        *request.message_mut() = rule_message(rule);
        match self.runtime.block_on(request.execute()) {
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::EEXIST => Ok(()),
            other => other.map_err(explain),
        }
    }

    fn remove_rule(&self, rule: &Rule) -> anyhow::Result<bool> {
        absent_is_fine(self.runtime.block_on(self.handle.rule().del(rule_message(rule)).execute()))
    }

    fn set_link(&self, message: LinkMessage) -> anyhow::Result<()> {
        self.runtime.block_on(self.handle.link().set(message).execute()).map_err(explain)
    }

    fn add_address(&self, address: IpAddr, index: u32) -> anyhow::Result<()> {
        let mut request = self.handle.address().add(index, address, whole(address)).replace();
        let message = request.message_mut();
        if address.is_ipv4() {
            message.header.scope = AddressScope::Host;
        } else {
            let mut times = CacheInfo::default();
            (times.ifa_preferred, times.ifa_valid) = (0, u32::MAX);
            message.attributes.push(AddressAttribute::CacheInfo(times));
        }
        self.runtime.block_on(request.execute()).map_err(explain)
    }

    fn remove_address(&self, address: IpAddr, index: u32) -> anyhow::Result<bool> {
        let mut request = self.handle.address().add(index, address, whole(address));
        let message = std::mem::take(request.message_mut());
        absent_is_fine(self.runtime.block_on(self.handle.address().del(message).execute()))
    }

    fn remove_neighbour(&self, index: u32, address: IpAddr) -> anyhow::Result<bool> {
        let mut request = self.handle.neighbours().add(index, address).flags(NeighbourFlags::Proxy);
        let message = request.message_mut().clone();
        absent_is_fine(self.runtime.block_on(self.handle.neighbours().del(message).execute()))
    }
}

/// Index of the interface called `name`; any socket serves to ask.
fn index_of(name: &str) -> anyhow::Result<u32> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::netdevice::name_to_index(socket, name).map_err(|_| anyhow!("interface {name} does not exist"))
}

/// Length of the prefix that is this address alone.
const fn whole(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn unreachable_route(prefix: &IpNet, table: u32) -> RouteMessage {
    let kind = if answers(prefix, table) { RouteType::Unreachable } else { RouteType::BlackHole };
    let message = route_to(prefix).kind(kind).scope(RouteScope::Universe);
    message.table_id(table).priority(UNREACHABLE_METRIC).build()
}

fn device_route(prefix: &IpNet, index: u32) -> RouteMessage {
    let message = route_to(prefix).kind(RouteType::Unicast).scope(RouteScope::Link);
    message.table_id(MAIN_TABLE).output_interface(index).priority(DEVICE_METRIC).build()
}

fn route_to(prefix: &IpNet) -> RouteMessageBuilder<IpAddr> {
    let builder = RouteMessageBuilder::<IpAddr>::new().protocol(RouteProtocol::Other(PROTOCOL));
    // A prefix length out of range is the only error, and `IpNet` cannot hold one.
    builder.destination_prefix(prefix.network(), prefix.prefix_len()).unwrap_or_default()
}

fn rule_message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = if rule.ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    message.attributes.push(RuleAttribute::Priority(rule.priority));
    message.attributes.push(RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)));
    if let Some(input) = &rule.input {
        message.attributes.push(RuleAttribute::Iifname(input.clone()));
    }
    match rule.verdict {
        RuleVerdict::Lookup(table) => {
            message.header.action = RuleAction::ToTable;
            message.attributes.push(RuleAttribute::Table(table));
        }
        RuleVerdict::Goto(priority) => {
            message.header.action = RuleAction::Goto;
            message.attributes.push(RuleAttribute::Goto(priority));
        }
        RuleVerdict::Nop => message.header.action = RuleAction::Nop,
    }
    message
}

fn quiet_link(index: u32) -> LinkMessage {
    let no_address = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
    LinkUnspec::new_with_index(index)
        .txqueuelen(QUEUE_LENGTH)
        .append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![no_address]))
        .build()
}

fn link_name(link: &LinkMessage) -> String {
    let name = link
        .attributes
        .iter()
        .find_map(|attribute| if let LinkAttribute::IfName(name) = attribute { Some(name.clone()) } else { None });
    name.unwrap_or_default()
}

fn link_mtu(link: &LinkMessage) -> u32 {
    let said = |attribute: &LinkAttribute| if let LinkAttribute::Mtu(mtu) = attribute { Some(*mtu) } else { None };
    link.attributes.iter().find_map(said).unwrap_or(u32::MAX)
}

fn interface(link: &LinkMessage) -> Interface {
    let name = link_name(link);
    let forwards = |family: &str| read_number(&format!("net/{family}/conf/{name}/forwarding")) != 0;
    Interface {
        mtu: link_mtu(link),
        up: link.header.flags.contains(LinkFlags::Up),
        loopback: link.header.flags.contains(LinkFlags::Loopback),
        forwards: Forwards { ipv4: forwards("ipv4"), ipv6: forwards("ipv6") },
        reverse_path: read_number(&format!("net/ipv4/conf/{name}/rp_filter")),
        name,
    }
}

/// An entry of the kernel's table of neighbours that has a hardware address.
struct Neighbour {
    link: u32,
    address: IpAddr,
    hardware: String,
    state: NeighbourState,
}

fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    let (mut address, mut hardware) = (None, None);
    for attribute in &message.attributes {
        if let NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) = attribute {
            address = Some(IpAddr::from(*ip));
        } else if let NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) = attribute {
            address = Some(IpAddr::from(*ip));
        } else if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
            hardware = Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"));
        }
    }
    let (link, state) = (message.header.ifindex, message.header.state);
    Some(Neighbour { link, address: address?, hardware: hardware?, state })
}

/// Whether somebody answers for the neighbour, or did lately.
fn has_answered(state: NeighbourState) -> bool {
    use NeighbourState::{Delay, Permanent, Probe, Reachable, Stale};
    [Reachable, Stale, Delay, Probe, Permanent].contains(&state)
}

/// Adds one route to the survey, unless it is of no interest; of ours only where it leads.
fn classify(route: &RouteMessage, names: &BTreeMap<u32, String>, survey: &mut Survey) {
    let ours = route.header.protocol == RouteProtocol::Other(PROTOCOL);
    let mut table = u32::from(route.header.table);
    let ipv4 = route.header.address_family == AddressFamily::Inet;
    let mut destination = if ipv4 { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let mut interfaces = Vec::new();
    let mut gateways = Vec::new();
    let mut mtu = None;
    for attribute in &route.attributes {
        if let RouteAttribute::Table(id) = attribute {
            table = *id;
        } else if let RouteAttribute::Destination(RouteAddress::Inet(address)) = attribute {
            destination = (*address).into();
        } else if let RouteAttribute::Destination(RouteAddress::Inet6(address)) = attribute {
            destination = (*address).into();
        } else if let RouteAttribute::Oif(index) = attribute {
            interfaces.extend(names.get(index).cloned());
        } else if let RouteAttribute::Metrics(metrics) = attribute {
            mtu = metrics.iter().find_map(|metric| if let RouteMetric::Mtu(mtu) = metric { Some(*mtu) } else { None });
        } else if let RouteAttribute::Gateway(address) = attribute {
            gateways.extend(address_of(address));
        } else if let RouteAttribute::MultiPath(hops) = attribute {
            for attribute in hops.iter().flat_map(|hop| &hop.attributes) {
                if let RouteAttribute::Gateway(address) = attribute {
                    gateways.extend(address_of(address));
                }
            }
            interfaces.extend(hops.iter().filter_map(|hop| names.get(&hop.interface_index).cloned()));
        }
    }
    let Ok(prefix) = IpNet::new(destination, route.header.destination_prefix_length) else {
        return;
    };
    if ours && route.header.kind != RouteType::Unicast {
        // Of IPv6, an unreachable route names the loopback device.
        return;
    }
    if ours {
        survey.ours.extend(interfaces.into_iter().map(|interface| (prefix, interface)));
        return;
    }
    survey.gateways.extend(gateways.into_iter().map(|gateway| (gateway, format!("the gateway to {prefix}"))));
    if table == MAIN_TABLE && route.header.kind != RouteType::Multicast {
        survey.routes.push(KnownRoute { prefix, interfaces, mtu });
    } else if table == LOCAL_TABLE && prefix.prefix_len() == prefix.max_prefix_len() {
        let owned = if route.header.kind == RouteType::Broadcast { &mut survey.broadcast } else { &mut survey.local };
        owned.insert(prefix.addr(), interfaces.pop().unwrap_or_default());
    }
}

fn address_of(address: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(address) = address {
        Some((*address).into())
    } else if let RouteAddress::Inet6(address) = address {
        Some((*address).into())
    } else {
        None
    }
}

/// Whether something was removed.
fn absent_is_fine(result: Result<(), rtnetlink::Error>) -> anyhow::Result<bool> {
    const ABSENT: [i32; 4] = [-libc::ESRCH, -libc::ENOENT, -libc::ENODEV, -libc::ENXIO];
    match result {
        Err(rtnetlink::Error::NetlinkError(error)) if ABSENT.contains(&error.raw_code()) => Ok(false),
        other => other.map(|()| true).map_err(explain),
    }
}

/// The errno's meaning and remedy instead of the name of a netlink message.
#[allow(clippy::needless_pass_by_value, reason = "the shape that map_err asks for")]
fn explain(error: rtnetlink::Error) -> anyhow::Error {
    let rtnetlink::Error::NetlinkError(message) = &error else { return error.into() };
    let code = -message.raw_code();
    let remedy = match code {
        libc::EPERM | libc::EACCES => "; needs root (CAP_NET_ADMIN): start privlink with sudo",
        libc::EOPNOTSUPP | libc::EAFNOSUPPORT => "; this kernel is built without it",
        libc::ENETDOWN => "; the interface is down: set it up first",
        libc::ENODEV => "; the interface is gone",
        _ => "",
    };
    anyhow!("{}{remedy}", io::Error::from_raw_os_error(code))
}
