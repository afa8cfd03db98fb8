//! What the resolvers of this host answer from: plain names and addresses, made from the model at each change.
//! Names are in lower case and without the dot at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::ConnectionState;

/// Names by their text: persistent, so that one change of a hundred thousand copies a few nodes.
mod table;

/// Records that somebody wrote into a zone of their own.
mod records;

pub use records::{Mx, RecordData, RecordSet, RecordType, Soa, Srv};
pub use table::Table;

/// A whole name, shared by everything that speaks of it.
pub type Name = Arc<str>;

/// All resolvers, by `group/name` of their VNet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsPlan {
    /// Each VNet that has one.
    pub resolvers: BTreeMap<String, Arc<ResolverPlan>>,
}

/// One VNet's resolver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolverPlan {
    /// `group/name` of the VNet.
    pub vnet: Name,
    /// Addresses it listens on, port 53, UDP and TCP.
    pub listen: Vec<IpAddr>,
    /// Servers for every name that is not here.
    pub upstream: Vec<IpAddr>,
    /// How long an answer may be kept, unless its record says so itself.
    pub ttl: Duration,
    /// States of a connection that are answered with the address of its endpoint.
    pub answer: Vec<ConnectionState>,
    /// Who may ask: the VNet, its on-premises networks and its peers.
    pub sources: Vec<IpNet>,
    /// Every private name that is seen from this VNet, and every name between one and the zone of somebody's own that it
    /// lies in.
    pub names: Table<Node>,
    /// Zones of those names, and zones of somebody's own that are linked to the VNet, by name.
    pub zones: Table<Zone>,
    /// Where only Approved endpoints have addresses: the public and private zones of typed resources. `None`: the VNet
    /// is not locked down.
    pub lockdown: Option<Arc<BTreeSet<Name>>>,
    /// Serial number of all zones; grows with every change.
    pub serial: u32,
}

impl ResolverPlan {
    /// The zone that `name` lies in: the longest that encloses it, or is it.
    #[must_use]
    pub fn zone_of(&self, name: &str) -> Option<(&Name, &Zone)> {
        enclosing(name).find_map(|part| self.zones.entry(part))
    }

    /// The zone of typed resources that `name` lies in, where the VNet is locked down.
    #[must_use]
    pub fn guard_of(&self, name: &str) -> Option<&Name> {
        let guarded = self.lockdown.as_ref()?;
        enclosing(name).find_map(|part| guarded.get(part))
    }

    /// Whether the address of `owner` is told. Under lockdown it is only for an Approved connection.
    #[must_use]
    pub fn tells(&self, owner: &Owner, guarded: bool) -> bool {
        if guarded { owner.state == ConnectionState::Approved } else { self.answer.contains(&owner.state) }
    }
}

/// `name` and each name that it lies below, longest first.
pub fn enclosing(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, parent)| parent))
}

/// A zone: what is known of the names in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// What an unknown name in it becomes.
    pub policy: ResolutionPolicy,
    /// Its start of authority, where it is somebody's own; `None`: it came about with the endpoints in it.
    pub own: Option<Arc<Soa>>,
    /// Names of endpoints that lie in it by themselves; without any, and without an owner, the zone ends.
    pub claims: u32,
}

/// What a resolver makes of a name that the zone does not have (Azure: `resolutionPolicy` of a link).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
pub enum ResolutionPolicy {
    /// It does not exist.
    #[default]
    Default,
    /// It is asked of the upstreams.
    NxDomainRedirect,
}

/// What a name stands for: any of these at once. A node with nothing but `below` exists only as part of longer names
/// (an empty non-terminal, RFC 8020 §2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Other names: a public one leads to the private one. The first counts.
    pub aliases: Vec<Alias>,
    /// Addresses of endpoints, in the order of their owners.
    pub owners: Vec<Owner>,
    /// What somebody wrote into a zone of their own; at most one set of a type.
    pub records: Option<Arc<[RecordSet]>>,
    /// Names of the same zone of somebody's own that lie below it.
    pub below: u32,
}

impl Node {
    /// Whether nothing stands here and nothing lies below.
    #[must_use]
    pub fn is_void(&self) -> bool {
        self.below == 0 && self.is_empty()
    }

    /// Whether nothing stands here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.aliases.is_empty() && self.owners.is_empty() && self.records.is_none()
    }

    /// The records that somebody wrote.
    #[must_use]
    pub fn written(&self) -> &[RecordSet] {
        self.records.as_deref().unwrap_or_default()
    }
}

/// Where a name leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alias {
    /// The other name.
    pub to: Name,
    /// How many addresses of endpoints ask for it.
    pub claims: u32,
}

/// One address of a name: that of one member of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// `group/name` of the endpoint.
    pub endpoint: Name,
    /// `group/name` of its VNet.
    pub vnet: Name,
    /// Which member; empty where there is one.
    pub member: Box<str>,
    /// The address.
    pub address: IpAddr,
    /// State of its connection.
    pub state: ConnectionState,
}
