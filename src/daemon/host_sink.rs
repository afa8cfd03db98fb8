//! Gives the control plane access to this host.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::control::codec::Record;
use crate::control::sinks;
use crate::host::netns::Namespace;
use crate::host::{Host, neighbours};
use crate::model::Key;
use crate::snapshot::topology::Topology;
use anyhow::Context as _;

use super::on_request::Hook;

/// The host, and the program that is told about new requests.
pub(super) struct HostSink {
    pub(super) host: Mutex<Option<Host>>,
    /// The namespace of each VNet's attachment.
    pub(super) places: BTreeMap<String, Namespace>,
    pub(super) on_request: Option<Hook>,
}

impl HostSink {
    /// Restores lost routes.
    pub(super) fn mend(&self) {
        let host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        match host.as_ref().map(Host::mend) {
            Some(Ok(())) => tracing::warn!("routes to a device were gone, and are back: was it set down?"),
            Some(Err(error)) => tracing::warn!("routes to a device are gone: {error:#}"),
            None => {}
        }
    }
}

impl sinks::Host for HostSink {
    fn requested(&self, request: &Record) {
        self.on_request.iter().for_each(|hook| hook.tell(request));
    }

    fn reconcile(&self, topology: &Topology) -> anyhow::Result<()> {
        let mut host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        host.as_mut().context("the host is being taken down")?.reconcile(topology)
    }

    fn neighbours(&self, vnet: &Key, addresses: &[IpAddr]) -> Vec<sinks::Answer> {
        let Some(namespace) = self.places.get(&vnet.to_string()) else { return Vec::new() };
        let answers = neighbours::ask(namespace, addresses).unwrap_or_else(|error| {
            tracing::warn!("the neighbours of VNet {vnet} cannot be asked who has its NAT addresses: {error:#}");
            Vec::new()
        });
        let shown = |neighbours::Answer { address, by, answers_all }| sinks::Answer { address, by, answers_all };
        answers.into_iter().map(shown).collect()
    }
}
