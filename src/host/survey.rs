//! What a network namespace looks like before anything is changed: interfaces, routes, the values of
//! the sysctls that matter. Data only, so that a plan can be tested without a kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::netns::NamespaceId;

/// One network namespace.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Which one.
    pub namespace: NamespaceId,
    /// Every interface.
    pub interfaces: Vec<Interface>,
    /// Routes of the main table that are not ours.
    pub routes: Vec<KnownRoute>,
    /// Routes of our protocol that lead to a device, in any table.
    pub ours: BTreeSet<(IpNet, String)>,
    /// Addresses that the host itself owns there, and the interface that carries each.
    pub local: BTreeMap<IpAddr, String>,
    /// Next hops of its routes, each with words that say what it is.
    pub gateways: BTreeMap<IpAddr, String>,
    /// Neighbours that have answered on its links, each with words that say who it is.
    pub neighbours: BTreeMap<IpAddr, String>,
    /// Broadcast addresses of networks that the host is in, and their interfaces.
    pub broadcast: BTreeMap<IpAddr, String>,
    /// `net.ipv4.conf.all.rp_filter`.
    pub reverse_path_all: u8,
    /// New devices forward, and so does the namespace as a whole: IPv4, IPv6.
    pub forwards: Forwards,
}

/// Whether forwarding is on, by family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwards {
    /// IPv4.
    pub ipv4: bool,
    /// IPv6.
    pub ipv6: bool,
}

impl Forwards {
    /// Whether packets to or from `address` are forwarded.
    pub fn covers(self, address: IpAddr) -> bool {
        if address.is_ipv4() { self.ipv4 } else { self.ipv6 }
    }
}

/// One interface.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// MTU, bytes.
    pub mtu: u32,
    /// Whether it is set up.
    pub up: bool,
    /// Loopback: traffic of local processes.
    pub loopback: bool,
    /// Whether packets that arrive here are forwarded.
    pub forwards: Forwards,
    /// `net.ipv4.conf.NAME.rp_filter`: 0 off, 1 strict, 2 loose (the larger of this and `all` holds).
    pub reverse_path: u8,
}

/// A route of the main table.
#[derive(Clone, Debug)]
pub struct KnownRoute {
    /// Destination.
    pub prefix: IpNet,
    /// Interfaces it leaves by; none for an unreachable or blackhole route.
    pub interfaces: Vec<String>,
    /// What the route itself says it carries, bytes.
    pub mtu: Option<u32>,
}

impl Survey {
    /// The interface called `name`.
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.name == name)
    }

    /// Interfaces by which packets to `prefix` leave this host: those of the routes inside it; with
    /// none there, that of the longest route around it, unless the host owns an address in it (then
    /// local processes are what is meant). The loopback is never among them.
    pub fn ways_to(&self, prefix: &IpNet) -> BTreeSet<&str> {
        self.routes_to(prefix).flat_map(|(_, interfaces)| interfaces).map(|interface| interface.name.as_str()).collect()
    }

    /// The least that the routes to `prefix` and their interfaces carry, bytes; `None`: there is no way.
    pub fn mtu_to(&self, prefix: &IpNet) -> Option<u32> {
        self.routes_to(prefix)
            .filter_map(|(route, interfaces)| {
                let narrowest = interfaces.iter().map(|interface| interface.mtu).min()?;
                Some(route.mtu.unwrap_or(u32::MAX).min(narrowest))
            })
            .min()
    }

    /// Routes to `prefix` with their interfaces, the loopback left out.
    fn routes_to(&self, prefix: &IpNet) -> impl Iterator<Item = (&KnownRoute, Vec<&Interface>)> {
        let inside: Vec<&KnownRoute> = self.routes.iter().filter(|route| prefix.contains(&route.prefix)).collect();
        let routes = if !inside.is_empty() {
            inside
        } else if self.local.keys().any(|address| prefix.contains(address)) {
            Vec::new()
        } else {
            self.longest_around(prefix)
        };
        routes.into_iter().map(|route| {
            let named = route.interfaces.iter().filter_map(|name| self.interface(name));
            (route, named.filter(|interface| !interface.loopback).collect())
        })
    }

    fn longest_around(&self, prefix: &IpNet) -> Vec<&KnownRoute> {
        let around = || self.routes.iter().filter(|route| route.prefix.contains(prefix));
        let longest = around().map(|route| route.prefix.prefix_len()).max();
        around().filter(|route| Some(route.prefix.prefix_len()) == longest).collect()
    }
}
