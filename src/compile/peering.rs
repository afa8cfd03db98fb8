//! Which VNets reach each other. Peering is direct, never transitive, and counts only if both VNets list it.

use std::collections::BTreeMap;

use super::Input;
use super::registry::SeenBy;
use crate::model::{HostConfig, Key, Model, Vnet};
use crate::snapshot::{Attachment, AttachmentId};

/// Peerings and attachments of one model on one host.
#[derive(Debug)]
pub(super) struct Peering<'a> {
    model: &'a Model,
    host: &'a HostConfig,
    namespaces: &'a [u64],
    attached: BTreeMap<&'a Key, AttachmentId>,
    peers: BTreeMap<&'a Key, Vec<&'a Key>>,
}

impl<'a> Peering<'a> {
    pub(super) fn new(input: &Input<'a>) -> Self {
        let model = input.model;
        let mutual = |vnet: &'a Key, spec: &'a Vnet| {
            let mut peers: Vec<&Key> = spec
                .peerings
                .iter()
                .filter_map(|peer| model.vnets.entry(peer))
                .filter(|(peer, other)| *peer != vnet && other.peerings.contains(vnet))
                .map(|(peer, _)| peer)
                .collect();
            peers.sort_unstable();
            peers.dedup();
            (vnet, peers)
        };
        let attached = input.host.attachments.iter().zip(0..).map(|(spec, id)| (&spec.vnet, AttachmentId(id)));
        Self {
            model,
            host: input.host,
            namespaces: input.namespaces,
            attached: attached.collect(),
            peers: model.vnets.iter().map(|(vnet, spec)| mutual(vnet, spec)).collect(),
        }
    }

    pub(super) fn vnet(&self, key: &Key) -> Option<&'a Vnet> {
        self.model.vnets.get(key)
    }

    /// The attachment of `vnet`.
    pub(super) fn attachment(&self, vnet: &Key) -> Option<AttachmentId> {
        self.attached.get(vnet).copied()
    }

    /// The VNets directly peered with `vnet`, both ways.
    pub(super) fn peers(&self, vnet: &Key) -> &[&'a Key] {
        self.peers.get(vnet).map(Vec::as_slice).unwrap_or_default()
    }

    /// The VNets whose addresses are accepted as sources at `id`: its own, and direct peers without an attachment in
    /// another namespace. A peer attached in the same namespace counts as unattached: a namespace has each route once,
    /// so its packets may arrive here.
    pub(super) fn admitted(&self, id: AttachmentId) -> impl Iterator<Item = &'a Vnet> {
        self.arriving(id).filter_map(|key| self.vnet(key))
    }

    /// The VNets of [`Self::admitted`] that may use the endpoints of `peer`: only its direct peers. So a peer of a peer
    /// gets no access through the attachment between them.
    pub(super) fn admitted_to(&self, id: AttachmentId, peer: &Key) -> impl Iterator<Item = &'a Vnet> {
        let direct = self.peers(peer);
        self.arriving(id).filter(move |key| direct.contains(key)).filter_map(|key| self.vnet(key))
    }

    fn arriving(&self, id: AttachmentId) -> impl Iterator<Item = &'a Key> {
        let own = self.vnet_at(id);
        let peers = own.map(|own| self.peers(own)).unwrap_or_default();
        let elsewhere =
            move |peer: &Key| self.attachment(peer).is_some_and(|other| self.namespace(other) != self.namespace(id));
        own.into_iter().chain(peers.iter().copied().filter(move |peer| !elsewhere(peer)))
    }

    /// The VNets whose endpoints are routed to the device of `id`: its own, and those directly peered ones
    /// that no other attachment of the same namespace routes (once per namespace: the VNet's own
    /// attachment, else the first that is a peer's).
    pub(super) fn routed(&self, id: AttachmentId) -> Vec<&'a Key> {
        let Some(own) = self.vnet_at(id) else { return Vec::new() };
        let carries = |vnet: &Key| self.carriers(vnet).into_iter().find(|&c| self.namespace(c) == self.namespace(id));
        std::iter::once(own).chain(self.peers(own).iter().copied()).filter(|vnet| carries(vnet) == Some(id)).collect()
    }

    /// What each attachment that sees the endpoints of `vnet` accepts.
    pub(super) fn seen_by(&self, vnet: &Key, attachments: &[Attachment]) -> SeenBy {
        let mut seen: Vec<AttachmentId> = self.carriers(vnet);
        seen.sort_unstable();
        let parts = |id: AttachmentId| {
            let attachment = attachments.get(usize::from(id.0))?;
            let sources = if self.attachment(vnet) == Some(id) {
                attachment.sources.clone()
            } else {
                self.admitted_to(id, vnet).flat_map(|admitted| &admitted.address_space).collect()
            };
            Some((id, sources, attachment.excluded_workloads.clone()))
        };
        seen.into_iter().filter_map(parts).collect()
    }

    /// Attachments from which the endpoints of `vnet` are visible: its own first, then its peers' in order.
    fn carriers(&self, vnet: &Key) -> Vec<AttachmentId> {
        let mut peers: Vec<_> = self.peers(vnet).iter().filter_map(|peer| self.attachment(peer)).collect();
        peers.sort_unstable();
        self.attachment(vnet).into_iter().chain(peers).collect()
    }

    fn vnet_at(&self, id: AttachmentId) -> Option<&'a Key> {
        let spec = self.host.attachments.get(usize::from(id.0))?;
        self.model.vnets.entry(&spec.vnet).map(|(key, _)| key)
    }

    /// The identity of an attachment's namespace. An unknown one differs from all others: its peers then count as
    /// attached elsewhere, which admits less.
    fn namespace(&self, id: AttachmentId) -> Result<u64, AttachmentId> {
        self.namespaces.get(usize::from(id.0)).copied().ok_or(id)
    }
}
