//! Observed states of servers: whether they answer, and whether their drain time is over. An input of the compiler that
//! is not stored. `health` observes it.

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
    /// The name of a check of some ports. Empty: the check of the whole server.
    pub check: String,
}

impl Server {
    /// Subresource and member as text: `blob/a`, `blob`, or empty.
    #[must_use]
    pub fn target_name(&self) -> String {
        match (&*self.target.0, &*self.target.1) {
            (subresource, "") => subresource.to_owned(),
            (subresource, member) => format!("{subresource}/{member}"),
        }
    }

    /// The same server with the check named `check`.
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

/// The observed states of all servers. Servers that are not listed are healthy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Servers whose checks have failed often enough.
    pub down: BTreeSet<Server>,
    /// Servers whose drain time is over.
    pub drained: BTreeSet<Server>,
}

impl Health {
    /// Which sessions a server may have. Its configuration counts first, so that an old observation cannot outlive a
    /// changed setting.
    #[must_use]
    pub fn state(&self, resource: &Key, target: &TargetSpec, backend: &BackendSpec) -> BackendState {
        let drained = || self.drained.contains(&Server::of(resource, target, backend));
        match (self.takes_some(resource, target, backend), backend.drain) {
            (true, false) => BackendState::Up,
            (true, true) if !drained() => BackendState::Draining,
            _ => BackendState::Down,
        }
    }

    /// Whether all checks of the server succeed. Without a check it counts as healthy.
    #[must_use]
    pub fn is_well(&self, resource: &Key, target: &TargetSpec, backend: &BackendSpec) -> bool {
        let server = Server::of(resource, target, backend);
        target.checks().all(|(name, _)| !self.down.contains(&server.clone().by(name)))
    }

    /// Failing checks of single ports. These ports get no new sessions.
    pub fn silent<'a>(
        &'a self,
        resource: &Key,
        target: &'a TargetSpec,
        backend: &BackendSpec,
    ) -> impl Iterator<Item = &'a PortCheck> {
        let server = Server::of(resource, target, backend);
        target.port_checks.iter().filter(move |one| self.down.contains(&server.clone().by(&one.name)))
    }

    /// Whether any checked part of the server answers.
    fn takes_some(&self, resource: &Key, target: &TargetSpec, backend: &BackendSpec) -> bool {
        if target.health.is_some() && self.down.contains(&Server::of(resource, target, backend)) {
            return false;
        }
        let silent: Vec<_> = self.silent(resource, target, backend).flat_map(|one| &one.ports).collect();
        let is_silent = |port: &PortSpec| silent.contains(&&(port.protocol, port.first, port.last));
        silent.is_empty() || target.icmp || !target.ports.iter().all(is_silent)
    }
}
