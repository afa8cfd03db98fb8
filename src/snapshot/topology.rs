//! What this host must look like: one entry per attachment, compiled from the same model as the
//! `super::Snapshot` and handed to `host`, which alone knows how Linux is asked for it.

use std::net::IpAddr;

use ipnet::IpNet;

use super::AttachmentId;

/// The wanted state of every attachment on this host, in the order of [`AttachmentId`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// One entry per `[[attachment]]`.
    pub attachments: Vec<AttachmentPlan>,
    /// What becomes of unreachable routes and rules when the daemon ends.
    pub on_exit: OnExit,
    /// Data workers, hence queues per device.
    pub workers: u16,
    /// Ask the kernel for super-packets and partial checksums.
    pub offload: bool,
}

/// An address or a prefix means something else on this host already: who has it, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("address in use: {0}")]
pub struct AddressInUse(pub String);

/// What is left behind when the daemon ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExit {
    /// Unreachable routes and rules stay until the next start or `privlink clean`: fail closed.
    #[default]
    Block,
    /// Everything is removed; endpoint addresses fall through to other routes from then on.
    Undo,
}

/// One attachment: where a VNet meets this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentPlan {
    /// Its position in the snapshot and in every worker.
    pub id: AttachmentId,
    /// Name of the VNet, for messages.
    pub vnet: String,
    /// Network namespace (a name below `/run/netns`, or an absolute path); `None`: the one the daemon was started in.
    pub netns: Option<String>,
    /// TUN device name, at most 15 bytes.
    pub device: String,
    /// MTU of the device, bytes.
    pub mtu: u16,
    /// Interfaces that answer ARP and NDP for endpoint and NAT addresses.
    pub proxy_on: Vec<String>,
    /// Prefixes consumers of this VNet may send from: address space and on-premises prefixes. Used
    /// to tell consumer interfaces from provider interfaces where both sides share a namespace.
    pub own_prefixes: Vec<IpNet>,
    /// Dedicated subnets, routed to the device whole.
    pub dedicated: Vec<IpNet>,
    /// Endpoint addresses to route to the device one by one (own and directly peered ones; those
    /// inside a dedicated subnet of the same attachment are left out).
    pub endpoints: Vec<IpAddr>,
    /// Endpoint addresses, those inside dedicated subnets too, that the interfaces of `proxy_on` answer for.
    pub neighbours: Vec<IpAddr>,
    /// NAT addresses of resources whose provider VNet this is.
    pub nat_addresses: Vec<IpAddr>,
    /// Backend addresses of those resources: the interface towards them is a provider interface.
    pub backends: Vec<IpAddr>,
    /// Addresses of the VNet's resolver that lie in the VNet: the namespace gets them.
    pub resolvers: Vec<IpAddr>,
    /// Public prefixes of typed resources that a locked down VNet is kept away from.
    pub denied: Vec<IpNet>,
}
