//! What must stay the same, or only ever grow, from one compilation to the next within this process:
//! ids of endpoints and resources, numbers of VNets, and the generations that end sessions.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::{CompileError, ResourceIds};
use crate::control::model::{Key, Model};
use crate::snapshot::prefixes::PrefixSet;
use crate::snapshot::tables::{Rule, Stamp};
use crate::snapshot::{AttachmentId, ConnectionState, EndpointId, Generation, Resource, ResourceId, TargetId};

/// Number of an attachment's VNet that does not exist; never given to one that does.
pub(super) const NO_VNET: u16 = u16::MAX;

/// Accepted sources and excluded workloads of every attachment that sees a VNet.
pub(super) type SeenBy = Vec<(AttachmentId, PrefixSet, Vec<(Arc<str>, PrefixSet)>)>;

/// All that the sessions of one endpoint depend on: its generation moves exactly when this does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Basis {
    pub(super) name: Arc<str>,
    pub(super) state: ConnectionState,
    pub(super) link: u32,
    pub(super) vnet: u16,
    pub(super) addresses: Vec<(IpAddr, TargetId)>,
    pub(super) sources: Option<Arc<PrefixSet>>,
    pub(super) rules: Option<Arc<[Rule]>>,
    pub(super) max_sessions: u32,
    pub(super) resource: ResourceId,
    pub(super) bound: Arc<Resource>,
    pub(super) seen_by: Arc<SeenBy>,
}

/// The memory of the compiler. Cheap to clone next to the model it belongs to.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    vnets: BTreeMap<Key, u16>,
    resources: ResourceIds,
    slots: Vec<Key>,
    endpoints: BTreeMap<Key, (EndpointId, Arc<Basis>)>,
    /// Of every endpoint there ever was, in the order of [`EndpointId`].
    stamps: Vec<Stamp>,
    generation: u32,
}

impl Registry {
    /// Ids of the endpoints in force.
    pub fn endpoint_ids(&self) -> BTreeMap<Key, EndpointId> {
        self.endpoints.iter().map(|(key, (id, _))| (key.clone(), *id)).collect()
    }

    /// Ids of the resources there ever were.
    pub fn resource_ids(&self) -> ResourceIds {
        self.resources.clone()
    }

    /// Gives numbers to what `model` names for the first time.
    pub(super) fn number(&mut self, model: &Model) -> Result<(), CompileError> {
        for key in model.vnets.keys().filter(|key| !self.vnets.contains_key(*key)).cloned().collect::<Vec<_>>() {
            let number = u16::try_from(self.vnets.len()).ok().filter(|&number| number != NO_VNET);
            self.vnets.insert(key, number.ok_or(CompileError::Exhausted("VNet numbers"))?);
        }
        for key in model.resources.keys().filter(|key| !self.resources.contains_key(*key)).cloned().collect::<Vec<_>>()
        {
            let id = u32::try_from(self.slots.len()).map_err(|_| CompileError::Exhausted("resource ids"))?;
            self.slots.push(key.clone());
            self.resources.insert(key, ResourceId(id));
        }
        Ok(())
    }

    pub(super) fn vnet(&self, key: &Key) -> Option<u16> {
        self.vnets.get(key).copied()
    }

    pub(super) fn resource(&self, key: &Key) -> Option<ResourceId> {
        self.resources.get(key).copied()
    }

    /// Every resource there ever was, in the order of [`ResourceId`].
    pub(super) fn resource_slots(&self) -> impl Iterator<Item = &Key> {
        self.slots.iter()
    }

    /// Takes `bases` for what is in force from now on, and moves the generations of what differs.
    pub(super) fn follow(&mut self, bases: BTreeMap<Key, Basis>) -> Result<(), CompileError> {
        let mut before = std::mem::take(&mut self.endpoints);
        for (key, basis) in bases {
            let entry = match before.remove(&key) {
                Some((id, old)) if *old == basis => (id, old),
                Some((id, old)) => {
                    self.restamp(id, &old, &basis)?;
                    (id, Arc::new(basis))
                }
                None => (self.admit()?, Arc::new(basis)),
            };
            self.endpoints.insert(key, entry);
        }
        for (id, _) in before.into_values() {
            self.end(id)?;
        }
        Ok(())
    }

    /// Moves one endpoint to `state`; `None`: there is no such endpoint.
    pub(super) fn restate(
        &mut self,
        key: &Key,
        state: ConnectionState,
    ) -> Result<Option<(EndpointId, Arc<Basis>, Stamp)>, CompileError> {
        let Some((id, old)) = self.endpoints.get(key).cloned() else { return Ok(None) };
        if old.state != state {
            let basis = Basis { state, ..Basis::clone(&old) };
            self.restamp(id, &old, &basis)?;
            self.endpoints.insert(key.clone(), (id, Arc::new(basis)));
        }
        Ok(self.endpoints.get(key).map(|(id, basis)| (*id, Arc::clone(basis), self.stamp(*id))))
    }

    /// Every endpoint in force.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = (EndpointId, &Basis, Stamp)> {
        self.endpoints.values().map(|(id, basis)| (*id, &**basis, self.stamp(*id)))
    }

    /// Generations of every endpoint there ever was: those of deleted ones end their sessions.
    pub(super) fn gone(&self) -> impl Iterator<Item = (EndpointId, Stamp)> {
        (0..).map(EndpointId).zip(self.stamps.iter().copied())
    }

    fn stamp(&self, id: EndpointId) -> Stamp {
        self.stamps.get(id.0 as usize).copied().unwrap_or_default()
    }

    fn restamp(&mut self, id: EndpointId, old: &Basis, new: &Basis) -> Result<(), CompileError> {
        let stopped = old.state == ConnectionState::Approved && new.state != ConnectionState::Approved;
        // The other end of such a session is elsewhere now; no re-examination could save it.
        let moved = old.link != new.link
            || old.resource != new.resource
            || old.bound.provider != new.bound.provider
            || old.vnet != new.vnet
            || !old.addresses.iter().all(|address| new.addresses.contains(address));
        if stopped || moved {
            return self.end(id);
        }
        let current = self.next()?;
        if let Some(stamp) = self.stamps.get_mut(id.0 as usize) {
            stamp.current = current;
        }
        Ok(())
    }

    /// No session of `id` that began before survives, whatever comes next.
    fn end(&mut self, id: EndpointId) -> Result<(), CompileError> {
        let current = self.next()?;
        if let Some(stamp) = self.stamps.get_mut(id.0 as usize) {
            *stamp = Stamp { current, valid_since: current };
        }
        Ok(())
    }

    fn admit(&mut self) -> Result<EndpointId, CompileError> {
        let id = u32::try_from(self.stamps.len()).map_err(|_| CompileError::Exhausted("endpoint ids"))?;
        let current = self.next()?;
        self.stamps.push(Stamp { current, valid_since: current });
        Ok(EndpointId(id))
    }

    /// The last number is never given out: the snapshot uses it for "nothing is valid".
    fn next(&mut self) -> Result<Generation, CompileError> {
        let next = self.generation.checked_add(1).filter(|&next| next != u32::MAX);
        self.generation = next.ok_or(CompileError::Exhausted("generations"))?;
        Ok(Generation(self.generation))
    }
}
