//! What the resolvers of this host answer from: plain names and addresses, made from the model at each change.
//! Names are in lower case and without the dot at the end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::ConnectionState;

/// All resolvers, by `group/name` of their VNet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsPlan {
    /// Each VNet that has one.
    pub resolvers: BTreeMap<String, Arc<ResolverPlan>>,
}

/// One VNet's resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolverPlan {
    /// Addresses it listens on, port 53, UDP and TCP.
    pub listen: Vec<IpAddr>,
    /// Servers for every name that is not here.
    pub upstream: Vec<IpAddr>,
    /// How long an answer may be kept.
    pub ttl: Duration,
    /// Who may ask: the VNet, its on-premises networks and its peers.
    pub sources: Vec<IpNet>,
    /// Every private name that is seen from this VNet.
    pub names: HashMap<String, Node>,
    /// Zones of those names.
    pub zones: BTreeSet<String>,
    /// Serial number of all zones; grows with every change.
    pub serial: u32,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Another name: a public one leads to the private one (seed, *DNS configuration*).
    Alias(String),
    /// Addresses of endpoints.
    Host {
        /// The zone it lies in.
        zone: String,
        /// Whose they are.
        owners: Vec<Owner>,
    },
}

/// One address of a name: that of one member of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `group/name` of the endpoint.
    pub endpoint: String,
    /// The address.
    pub address: IpAddr,
    /// State of its connection.
    pub state: ConnectionState,
    /// Whether that state is answered with the address.
    pub answers: bool,
}
