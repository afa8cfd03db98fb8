//! The vocabulary of host changes: what can be set up, in which namespace, and how each change reads
//! to a person. Steps are data: planned, printed by a dry run, journaled, executed and undone.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::netns::NamespaceId;

/// Route protocol of every route and rule that is ours: how a clean-up tells them from the user's.
pub const PROTOCOL: u8 = 112;

/// Metric of routes to a device.
pub const DEVICE_METRIC: u32 = 1;

/// Metric of unreachable routes: chosen only once the device's route is gone.
pub const UNREACHABLE_METRIC: u32 = 4_000_000;

/// The main routing table.
pub const MAIN_TABLE: u32 = 254;

/// Table that makes endpoints unreachable, consulted for packets of provider interfaces.
pub const ENDPOINTS_DENIED: u32 = 7_701;

/// Table that makes NAT addresses unreachable, consulted for packets of all but provider interfaces.
pub const NAT_DENIED: u32 = 7_702;

/// Packets that wait in a queue of the device while its worker is busy with a batch; the kernel's
/// default of 500 drops bursts in silence.
pub const QUEUE_LENGTH: u32 = 4_096;

/// The device that carries addresses of resolvers.
pub const LOOPBACK: &str = "lo";

/// One change to one network namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Step {
    /// Where.
    pub namespace: NamespaceId,
    /// What.
    pub action: Action,
}

/// A change to a network namespace, in the order in which changes are made: whatever closes a way
/// stands before whatever opens one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Action {
    /// `prefix` answers "unreachable" when no better route exists (law 9), or in a deny table, where IPv6 is dropped in
    /// silence.
    Unreachable {
        /// Destination.
        prefix: IpNet,
        /// Routing table.
        table: u32,
    },
    /// A policy rule of the shared-namespace case.
    Rule(Rule),
    /// A value below `/proc/sys`.
    Sysctl {
        /// Path below `/proc/sys`.
        path: String,
        /// Value to write.
        value: String,
    },
    /// A non-persistent TUN device is made; it disappears with its last descriptor.
    Device {
        /// Name.
        device: String,
        /// MTU, bytes.
        mtu: u16,
        /// Queues.
        queues: u16,
        /// Super-packets and partial checksums.
        offload: bool,
    },
    /// The device gets no link-local address of its own, and a longer queue.
    Quiet {
        /// Name of the device.
        device: String,
    },
    /// The device is set up.
    Up {
        /// Name of the device.
        device: String,
    },
    /// `prefix` is routed to the device.
    Route {
        /// Destination.
        prefix: IpNet,
        /// Name of the device.
        device: String,
    },
    /// The namespace has an address of a resolver. It is on the loopback device: the kernel takes all routes of a
    /// device along with its last address. Of scope host (IPv6: deprecated), so that it is nobody's source.
    Address {
        /// The address.
        address: IpAddr,
    },
    /// `interface` answers ARP or NDP for `address`.
    Neighbour {
        /// Address to answer for.
        address: IpAddr,
        /// Interface that answers.
        interface: String,
    },
}

/// One policy rule (`ip rule`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rule {
    /// Preference; lower is consulted first.
    pub priority: u32,
    /// Address family.
    pub ipv6: bool,
    /// Only packets that arrive here (`lo`: packets of local processes).
    pub input: Option<String>,
    /// What the rule does.
    pub verdict: RuleVerdict,
}

/// What a policy rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RuleVerdict {
    /// Consults a table; goes on with the next rule if that has no route.
    Lookup(u32),
    /// Goes on with the rule of this preference.
    Goto(u32),
    /// Does nothing: the place that `Goto` aims at.
    Nop,
}

impl Action {
    /// Whether the change outlives the process, so that someone has to undo it.
    pub fn outlives_us(&self) -> bool {
        !matches!(self, Self::Device { .. } | Self::Quiet { .. } | Self::Up { .. })
    }

    /// Whether the change only closes ways: it comes before every device, and stays in force after
    /// a daemon that ends with `on_exit = "block"`.
    pub fn blocks(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Rule(_))
    }
}

/// Whether who sends to a closed prefix is told so. IPv6 has no reverse-path check: in a namespace that both sides share
/// an answer would go to whoever the source names, on the other side too.
pub(super) const fn answers(prefix: &IpNet, table: u32) -> bool {
    table == MAIN_TABLE || matches!(prefix, IpNet::V4(_))
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.namespace, self.action)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { prefix, table: MAIN_TABLE } => {
                write!(f, "ip route add unreachable {prefix} metric {UNREACHABLE_METRIC} proto {PROTOCOL}")
            }
            Self::Unreachable { prefix, table } => {
                let kind = if answers(prefix, *table) { "unreachable" } else { "blackhole" };
                write!(f, "ip route add {kind} {prefix} table {table} metric {UNREACHABLE_METRIC} proto {PROTOCOL}")
            }
            Self::Rule(rule) => rule.fmt(f),
            Self::Sysctl { path, value } => write!(f, "sysctl -w {path}={value}"),
            Self::Device { device, mtu, queues, offload } => write!(
                f,
                "make TUN device {device} mtu {mtu} queues {queues} offload {}",
                if *offload { "on" } else { "off" }
            ),
            Self::Quiet { device } => write!(f, "ip link set {device} addrgenmode none txqueuelen {QUEUE_LENGTH}"),
            Self::Up { device } => write!(f, "ip link set {device} up"),
            Self::Route { prefix, device } => {
                write!(f, "ip route add {prefix} dev {device} metric {DEVICE_METRIC} proto {PROTOCOL}")
            }
            Self::Address { address } => write!(f, "ip address add {address} dev {LOOPBACK} scope host"),
            Self::Neighbour { address, interface } => {
                write!(f, "ip neighbour add proxy {address} dev {interface}")
            }
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.ipv6 { "-6 " } else { "" };
        write!(f, "ip {family}rule add pref {}", self.priority)?;
        if let Some(input) = &self.input {
            write!(f, " iif {input}")?;
        }
        match self.verdict {
            RuleVerdict::Lookup(table) => write!(f, " lookup {table}")?,
            RuleVerdict::Goto(priority) => write!(f, " goto {priority}")?,
            RuleVerdict::Nop => write!(f, " nop")?,
        }
        write!(f, " protocol {PROTOCOL}")
    }
}
