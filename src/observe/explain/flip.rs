//! The smallest change that takes a denied packet past the check that denied it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::snapshot::policy::{is_spoofed, judge};
use crate::snapshot::{
    Attachment, AttachmentId, Backend, BackendState, ConnectionState, Denial, DropReason, Endpoint, Protocol, Query,
    Resource, Snapshot,
};

/// Addresses proposed at most.
const NEAREST: usize = 3;

/// A change of the set-up, or of the packet where that is what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flip {
    /// Send it to one of these endpoints: name and address, nearest first.
    AskFor(Vec<(Arc<str>, IpAddr)>),
    /// Approve the connection of this endpoint.
    Approve(Arc<str>),
    /// Delete this endpoint and request it anew.
    RequestAnew(Arc<str>),
    /// Send it from the VNet that the source is of.
    AskFrom(AttachmentId, Arc<str>),
    /// Peer these two: the first is where the packet then comes from.
    Peer {
        /// The consumer's attachment.
        from: AttachmentId,
        /// Its VNet.
        vnet: Arc<str>,
        /// The endpoint's VNet.
        with: Arc<str>,
        /// Its number in the snapshot.
        number: u16,
    },
    /// Let this VNet contain the prefix: as one that reaches it over VPN, or as its own where the endpoint is a
    /// peer's, since peers do not inherit on-premises prefixes.
    AcceptSource {
        /// The consumer's VNet.
        vnet: Arc<str>,
        /// The source alone.
        prefix: IpNet,
        /// `on_premises` or `address_space`.
        on_premises: bool,
    },
    /// Let this workload class use private endpoints.
    AllowClass(Arc<str>),
    /// Add the prefix to the sources of this endpoint.
    AddSource(Arc<str>, IpNet),
    /// Allow it by a rule before this one.
    AllowBefore(Arc<str>),
    /// Use one of these protocols and ports, or expose the one asked for.
    UsePort {
        /// First and last ports that are exposed and would pass; ICMP echo has port 0.
        exposed: Vec<(Protocol, u16, u16)>,
        /// The resource.
        resource: Arc<str>,
        /// What was asked for.
        wanted: (Protocol, u16),
    },
    /// Bring this backend up, which is down or drained.
    Revive(IpAddr),
    /// End the drain of this backend.
    EndDrain(IpAddr),
}

impl fmt::Display for Flip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AskFor(near) => {
                let near: Vec<String> = near.iter().map(|(name, address)| format!("{address} ({name})")).collect();
                write!(f, "ask for {}", near.join(" or "))
            }
            Self::Approve(endpoint) => write!(f, "approve it: privlink connection approve {endpoint}"),
            Self::RequestAnew(endpoint) => write!(f, "privlink endpoint delete {endpoint}, then request it anew"),
            Self::AskFrom(_, vnet) => write!(f, "this source is of {vnet}: send it from there"),
            Self::Peer { vnet, with, .. } => {
                write!(f, "peer {vnet} with {with}, on both sides, and send it from {vnet}")
            }
            Self::AcceptSource { vnet, prefix, on_premises: true } => {
                write!(f, "if it reaches {vnet} over VPN, add {prefix} or wider to `on_premises` of {vnet}")
            }
            Self::AcceptSource { vnet, prefix, on_premises: false } => write!(
                f,
                "add {prefix} or wider to `address_space` of {vnet}: a peer's endpoints accept nothing else from it"
            ),
            Self::AllowClass(class) => {
                write!(f, "set `private_endpoints = true` for workload `{class}`, with `limits` that do not exclude it")
            }
            Self::AddSource(endpoint, prefix) => write!(f, "add {prefix} to `sources` of {endpoint}"),
            Self::AllowBefore(rule) => {
                write!(f, "allow it by a rule of a lower priority number than `{rule}`, or change `{rule}`")
            }
            Self::UsePort { exposed, resource, wanted } => {
                let port = |&(protocol, first, last): &(Protocol, u16, u16)| match protocol {
                    Protocol::Icmp => "icmp".to_owned(),
                    Protocol::Tcp | Protocol::Udp if first == last => format!("{protocol} {first}"),
                    Protocol::Tcp | Protocol::Udp => format!("{protocol} {first}-{last}"),
                };
                let wanted = port(&(wanted.0, wanted.1, wanted.1));
                let exposed: Vec<String> = exposed.iter().map(port).collect();
                match &exposed[..] {
                    [] => write!(f, "add {wanted} to the ports of {resource}"),
                    open => write!(f, "use {}, or add {wanted} to the ports of {resource}", open.join(" or ")),
                }
            }
            Self::Revive(backend) => {
                write!(f, "bring backend {backend} up, which fails its checks or is drained, or add a backend")
            }
            Self::EndDrain(backend) => write!(f, "end the drain of backend {backend}, or add a backend"),
        }
    }
}

/// What would take `query` past its denial.
pub(super) fn of_denial(snapshot: &Snapshot, query: &Query, denial: &Denial<'_>) -> Option<Flip> {
    let attachment = snapshot.attachments.get(usize::from(query.attachment.0))?;
    let Some(endpoint) = denial.endpoint else {
        // A stranger is refused before anything is looked up; what stands there tells who would be accepted.
        return match (denial.reason, snapshot.endpoint_address(attachment, query.destination)) {
            (DropReason::SourceNotAllowed, Some((met, _))) => {
                Some(outsider(snapshot, query, attachment, &met.endpoint))
            }
            (DropReason::SourceNotAllowed, None) => None,
            _ => unknown(snapshot, query, attachment),
        };
    };
    let name = || Arc::clone(&endpoint.name);
    let by = || denial.by.clone().unwrap_or_default();
    match (denial.reason, endpoint.state) {
        (DropReason::SourceNotAllowed, _) => Some(outsider(snapshot, query, attachment, endpoint)),
        (_, ConnectionState::Disconnected) => Some(Flip::RequestAnew(name())),
        (_, ConnectionState::Pending | ConnectionState::Rejected) => Some(Flip::Approve(name())),
        (DropReason::WorkloadExcluded, _) => Some(Flip::AllowClass(by())),
        (DropReason::DeniedByRule, _) => Some(match &endpoint.sources {
            Some(sources) if !sources.contains(query.source) => Flip::AddSource(name(), alone(query.source)),
            _ => Flip::AllowBefore(by()),
        }),
        _ => ports(snapshot, query, endpoint),
    }
}

/// No backend takes new sessions, whose states `now` tells.
pub(super) fn of_drain(backends: &[Backend], now: impl Fn(&Backend) -> BackendState) -> Option<Flip> {
    let of = |state| backends.iter().find(|backend| now(backend) == state);
    let draining = of(BackendState::Draining).map(|backend| Flip::EndDrain(backend.address));
    draining.or_else(|| of(BackendState::Down).map(|backend| Flip::Revive(backend.address)))
}

/// The endpoints whose addresses are nearest to the one asked for, of all that are visible.
pub(super) fn nearest(snapshot: &Snapshot, query: &Query) -> Option<Flip> {
    let attachment = snapshot.attachments.get(usize::from(query.attachment.0))?;
    let visible: Vec<u16> =
        attachment.peers.iter().map(|peer| peer.vnet_number).chain([attachment.vnet_number]).collect();
    let mut near: Vec<(u128, Arc<str>, IpAddr)> = snapshot
        .endpoint_addresses()
        .filter(|(vnet, address, _)| visible.contains(vnet) && *address != query.source)
        // One that does not accept this source would be of no use.
        .filter(|(_, address, _)| {
            let met = snapshot.endpoint_address(attachment, *address);
            met.is_some_and(|(_, accepted)| accepted.contains(query.source))
        })
        .filter_map(|(_, address, entry)| {
            Some((distance(address, query.destination)?, Arc::clone(&entry.endpoint.name), address))
        })
        .collect();
    near.sort_unstable();
    near.truncate(NEAREST);
    (!near.is_empty()).then(|| Flip::AskFor(near.into_iter().map(|(_, name, address)| (name, address)).collect()))
}

/// The address may be right and the peering missing; otherwise the address is wrong.
fn unknown(snapshot: &Snapshot, query: &Query, attachment: &Attachment) -> Option<Flip> {
    let owners: Vec<u16> = snapshot
        .endpoint_addresses()
        .filter(|(_, address, _)| *address == query.destination)
        .map(|(vnet, ..)| vnet)
        .collect();
    if let [number] = owners[..]
        && let Some(with) = vnet_name(snapshot, number)
        && !attachment.sources.contains(query.destination)
    {
        let vnet = Arc::clone(&attachment.vnet);
        return Some(Flip::Peer { from: query.attachment, vnet, with, number });
    }
    nearest(snapshot, query)
}

/// A source of another attached VNet is to come from there, and the two must be peers; any other is to be
/// listed.
fn outsider(snapshot: &Snapshot, query: &Query, attachment: &Attachment, endpoint: &Endpoint) -> Flip {
    let own = snapshot.endpoint_address(&without_peers(attachment), query.destination).is_some();
    let mut homes = (0..).map(AttachmentId).zip(snapshot.attachments.iter()).filter(|(id, home)| {
        home.sources.contains(query.source) && !is_spoofed(snapshot, &Query { attachment: *id, ..*query })
    });
    if let (Some((from, home)), None) = (homes.next(), homes.next()) {
        let vnet = Arc::clone(&home.vnet);
        match snapshot.endpoint_address(home, query.destination) {
            Some((seen, accepted)) if seen.endpoint.id == endpoint.id && accepted.contains(query.source) => {
                return Flip::AskFrom(from, vnet);
            }
            None if own && !home.sources.contains(query.destination) => {
                let with = Arc::clone(&attachment.vnet);
                return Flip::Peer { from, vnet, with, number: attachment.vnet_number };
            }
            Some(_) | None => {}
        }
    }
    Flip::AcceptSource { vnet: Arc::clone(&attachment.vnet), prefix: alone(query.source), on_premises: own }
}

/// What the bound target exposes and would let this source through on.
fn ports(snapshot: &Snapshot, query: &Query, endpoint: &Endpoint) -> Option<Flip> {
    let attachment = snapshot.attachments.get(usize::from(query.attachment.0))?;
    let (entry, _) = snapshot.endpoint_address(attachment, query.destination)?;
    let resource: &Resource = snapshot.resource(endpoint.resource)?;
    let target = resource.targets.get(usize::from(entry.target.0))?;
    let echo = target.icmp.then_some((Protocol::Icmp, 0, 0));
    let exposed = target
        .ports
        .iter()
        .map(|map| (map.protocol, map.first, map.last))
        .chain(echo)
        .filter(|&(protocol, port, _)| judge(snapshot, &Query { protocol, port, ..*query }).is_ok())
        .collect();
    Some(Flip::UsePort { exposed, resource: Arc::clone(&resource.name), wanted: (query.protocol, query.port) })
}

fn vnet_name(snapshot: &Snapshot, number: u16) -> Option<Arc<str>> {
    snapshot.attachments.iter().find(|attachment| attachment.vnet_number == number).map(|found| Arc::clone(&found.vnet))
}

fn without_peers(attachment: &Attachment) -> Attachment {
    Attachment { peers: Vec::new(), ..attachment.clone() }
}

fn alone(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

/// How far apart two addresses of one family are.
fn distance(one: IpAddr, other: IpAddr) -> Option<u128> {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => Some(u32::from(one).abs_diff(u32::from(other)).into()),
        (IpAddr::V6(one), IpAddr::V6(other)) => Some(u128::from(one).abs_diff(u128::from(other))),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}
