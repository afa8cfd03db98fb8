//! What is known of servers and not decided by anybody: whether they answer, and whether their time to empty is over.
//! An input to compilation that is not durable; `health` finds it out.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::model::{BackendSpec, Key, PortCheck, PortSpec, TargetSpec};
use crate::snapshot::BackendState;

/// One server of one target of one resource, by one of its checks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    /// The resource.
    pub resource: Key,
    /// Subresource and member of the target.
    pub target: (String, String),
    /// Its address.
    pub address: IpAddr,
    /// The check of some of its ports; empty: that of all of them.
    pub check: String,
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

    /// The same, by the check called `check`.
    #[must_use]
    pub fn by(self, check: &str) -> Self {
        Self { check: check.to_owned(), ..self }
    }

    /// The server `backend` of `target`.
    #[must_use]
    pub fn of(resource: &Key, target: &TargetSpec, backend: &BackendSpec) -> Self {
        let target = (target.subresource.clone(), target.member.clone());
        Self { resource: resource.clone(), target, address: backend.address, check: String::new() }
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
        match (self.takes_some(resource, target, backend), backend.drain) {
            (true, false) => BackendState::Up,
            (true, true) if !drained() => BackendState::Draining,
            _ => BackendState::Down,
        }
    }

    /// Whether all of its checks succeed; a server that is not checked is taken to be well.
    #[must_use]
    pub fn is_well(&self, resource: &Key, target: &TargetSpec, backend: &BackendSpec) -> bool {
        let server = Server::of(resource, target, backend);
        target.checks().all(|(name, _)| !self.down.contains(&server.clone().by(name)))
    }

    /// The checks of single ports that it fails: no session is opened with it there.
    pub fn silent<'a>(
        &'a self,
        resource: &Key,
        target: &'a TargetSpec,
        backend: &BackendSpec,
    ) -> impl Iterator<Item = &'a PortCheck> {
        let server = Server::of(resource, target, backend);
        target.port_checks.iter().filter(move |one| self.down.contains(&server.clone().by(&one.name)))
    }

    /// Whether there is anything that it answers, as far as it is checked.
    fn takes_some(&self, resource: &Key, target: &TargetSpec, backend: &BackendSpec) -> bool {
        if target.health.is_some() && self.down.contains(&Server::of(resource, target, backend)) {
            return false;
        }
        let silent: Vec<_> = self.silent(resource, target, backend).flat_map(|one| &one.ports).collect();
        let is_silent = |port: &PortSpec| silent.contains(&&(port.protocol, port.first, port.last));
        silent.is_empty() || target.icmp || !target.ports.iter().all(is_silent)
    }
}
