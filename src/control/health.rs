//! What is known of servers and not decided by anybody: whether they answer, and whether their time to empty is over.
//! An input to compilation that is not durable; `health` finds it out.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::model::{BackendSpec, Key, TargetSpec};
use crate::snapshot::BackendState;

/// One server of one target of one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    /// The resource.
    pub resource: Key,
    /// Subresource and member of the target.
    pub target: (String, String),
    /// Its address.
    pub address: IpAddr,
}

impl Server {
    /// Subresource and member, as far as they are named: `blob/a`, `blob`, or nothing.
    #[must_use]
    pub fn target_name(&self) -> String {
        match (&*self.target.0, &*self.target.1) {
            (subresource, "") => subresource.to_owned(),
            (subresource, member) => format!("{subresource}/{member}"),
        }
    }

    /// The server `backend` of `target`.
    #[must_use]
    pub fn of(resource: &Key, target: &TargetSpec, backend: &BackendSpec) -> Self {
        let target = (target.subresource.clone(), target.member.clone());
        Self { resource: resource.clone(), target, address: backend.address }
    }
}

/// What has been found out of all servers; whoever is not named is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Checks of these failed as often as it takes.
    pub down: BTreeSet<Server>,
    /// The time of these to empty is over.
    pub drained: BTreeSet<Server>,
}

impl Health {
    /// What sessions a server may have: what its configuration says counts first, so that an old finding never
    /// outlives the wish that it belongs to.
    #[must_use]
    pub fn state(&self, resource: &Key, target: &TargetSpec, backend: &BackendSpec) -> BackendState {
        let drained = || self.drained.contains(&Server::of(resource, target, backend));
        match (self.is_well(resource, target, backend), backend.drain) {
            (true, false) => BackendState::Up,
            (true, true) if !drained() => BackendState::Draining,
            _ => BackendState::Down,
        }
    }

    /// Whether its checks succeed; a server that is not checked is taken to be well.
    #[must_use]
    pub fn is_well(&self, resource: &Key, target: &TargetSpec, backend: &BackendSpec) -> bool {
        target.health.is_none() || !self.down.contains(&Server::of(resource, target, backend))
    }
}
