//! The builder of a `Snapshot`, which the control plane fills.

use std::net::IpAddr;
use std::sync::Arc;

use std::hash::RandomState;

use super::tables::{
    Attachment, Endpoint, EndpointAddress, Limited, Resource, SHARDS, Settings, Shard, Snapshot, Stamp, limit,
    shard_of, stamp_endpoint,
};
use super::{Contenders, EndpointId, Generation, ResourceId, TargetId};

/// Collects the parts of a [`Snapshot`].
#[derive(Debug)]
pub struct SnapshotBuilder {
    /// See [`Snapshot::settings`].
    pub settings: Settings,
    /// See [`Snapshot::attachments`].
    pub attachments: Vec<Attachment>,
    resources: Vec<Arc<Resource>>,
    shards: Vec<Shard>,
    generations: Vec<Generation>,
    valid_since: Vec<Generation>,
    contenders: Contenders,
    limited: Limited,
}

impl Default for SnapshotBuilder {
    fn default() -> Self {
        Self::for_addresses(0)
    }
}

impl SnapshotBuilder {
    /// One with memory for so many endpoint addresses.
    #[must_use]
    pub fn for_addresses(count: usize) -> Self {
        let shard = || Shard::with_capacity_and_hasher(count / SHARDS, RandomState::default());
        Self {
            settings: Settings::default(),
            attachments: Vec::new(),
            resources: Vec::new(),
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
            generations: Vec::new(),
            valid_since: Vec::new(),
            contenders: Contenders::default(),
            limited: Limited::default(),
        }
    }

    /// Adds a resource; its id is the number of resources added before it.
    pub fn resource(&mut self, resource: Resource) -> ResourceId {
        self.resources.push(Arc::new(resource));
        ResourceId(u32::try_from(self.resources.len() - 1).unwrap_or(u32::MAX))
    }

    /// Adds an endpoint of VNet `vnet` with each of its addresses and the target it reaches. Returns whether no other
    /// has any of them.
    pub fn endpoint(&mut self, vnet: u16, endpoint: Endpoint, addresses: &[(IpAddr, TargetId)], stamp: Stamp) -> bool {
        self.stamp(endpoint.id, stamp);
        if !addresses.is_empty() {
            self.contenders.add(endpoint.resource, endpoint.state);
        }
        let endpoint = Arc::new(endpoint);
        let resource = self.resources.get(endpoint.resource.0 as usize).filter(|_| endpoint.meter.is_some());
        let limits = resource.map(|resource| (Arc::clone(&endpoint), Arc::clone(resource)));
        limit(&mut self.limited, endpoint.id.0 as usize, limits);
        let mut free = true;
        for &(address, target) in addresses {
            let entry = EndpointAddress { endpoint: Arc::clone(&endpoint), target };
            free &= self.shards[shard_of(vnet, address)].insert((vnet, address), entry).is_none();
        }
        free
    }

    /// Sets the generations of an endpoint, also of one that is gone: its sessions must die.
    pub fn stamp(&mut self, endpoint: EndpointId, stamp: Stamp) {
        stamp_endpoint(&mut self.generations, &mut self.valid_since, endpoint, stamp);
    }

    /// The finished snapshot.
    #[must_use]
    pub fn build(self, epoch: u64) -> Snapshot {
        let nat_addresses = self
            .resources
            .iter()
            .zip(0..)
            .flat_map(|(resource, id)| {
                resource
                    .nat
                    .iter()
                    .chain(&resource.retired)
                    .map(move |&address| ((resource.provider, address), ResourceId(id)))
            })
            .collect();
        Snapshot {
            epoch,
            settings: self.settings,
            attachments: self.attachments.into(),
            resources: self.resources.into(),
            generations: self.generations,
            valid_since: self.valid_since,
            shards: self.shards.into_iter().map(Arc::new).collect(),
            nat_addresses: Arc::new(nat_addresses),
            contenders: self.contenders,
            limited: self.limited,
        }
    }
}

impl Snapshot {
    /// What every worker starts with: no attachment, no endpoint, nothing passes.
    #[must_use]
    pub fn empty() -> Self {
        SnapshotBuilder::default().build(0)
    }
}
