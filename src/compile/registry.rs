//! Remembers what must stay the same, or only grow, between compilations of this process: ids of endpoints and
//! resources, numbers of VNets, and the generations that end sessions.

use std::net::IpAddr;
use std::sync::Arc;

use super::CompileError;
use crate::model::{Key, Map, Model};
use crate::snapshot::prefixes::PrefixSet;
use crate::snapshot::tables::{Rule, Stamp};
use crate::snapshot::{AttachmentId, ConnectionState, EndpointId, Generation, Meter, Resource, ResourceId, TargetId};

/// The number for an attachment whose VNet does not exist. No real VNet gets it.
pub(super) const NO_VNET: u16 = u16::MAX;

/// Accepted sources and excluded workloads of every attachment that reaches a VNet.
pub(super) type SeenBy = Vec<(AttachmentId, PrefixSet, Vec<(Arc<str>, PrefixSet)>)>;

/// Everything that the sessions of one endpoint depend on. Its generation changes exactly when this does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EndpointInputs {
    pub(super) name: Arc<str>,
    pub(super) state: ConnectionState,
    pub(super) link: u32,
    pub(super) vnet: u16,
    pub(super) addresses: Vec<(IpAddr, TargetId)>,
    pub(super) sources: Option<Arc<PrefixSet>>,
    pub(super) rules: Option<Arc<[Rule]>>,
    pub(super) max_sessions: u32,
    pub(super) meter: Option<Arc<Meter>>,
    pub(super) resource: ResourceId,
    pub(super) bound: Arc<Resource>,
    pub(super) seen_by: Arc<SeenBy>,
}

/// The memory of the compiler. Cheap to clone next to the model it belongs to.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    numbers: Numbers,
    endpoints: Map<Known>,
    /// One entry for every endpoint that ever existed, in the order of [`EndpointId`].
    stamps: Vec<Stamp>,
    generation: u32,
}

/// Numbers of the objects that endpoints refer to. Cloning it costs a few reference counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    vnets: Map<u16>,
    resources: Map<ResourceId>,
    meters: Map<Meter>,
    slots: Arc<Vec<Key>>,
}

/// The change of one endpoint.
#[derive(Clone, Debug)]
pub(super) struct EndpointChange {
    pub(super) id: EndpointId,
    pub(super) before: Option<Arc<EndpointInputs>>,
    pub(super) after: Option<Arc<EndpointInputs>>,
    pub(super) stamp: Stamp,
}

/// An endpoint in force.
#[derive(Clone, Debug)]
struct Known {
    id: EndpointId,
    basis: Arc<EndpointInputs>,
}

impl Numbers {
    fn number(&mut self, model: &Model) -> Result<(), CompileError> {
        for key in model.vnets.keys() {
            if !self.vnets.contains_key(key) {
                let number = u16::try_from(self.vnets.len()).ok().filter(|&number| number != NO_VNET);
                self.vnets.insert(key.clone(), number.ok_or(CompileError::Exhausted("VNet numbers"))?);
            }
        }
        for key in model.resources.keys().chain(model.former_resources.keys()) {
            if !self.resources.contains_key(key) {
                let id = u32::try_from(self.slots.len()).map_err(|_| CompileError::Exhausted("resource ids"))?;
                Arc::make_mut(&mut self.slots).push(key.clone());
                self.resources.insert(key.clone(), ResourceId(id));
            }
        }
        for (key, resource) in &model.resources {
            if self.meters.get(key).map(|meter| meter.rates) == resource.rates {
                continue;
            }
            match resource.rates {
                Some(rates) => self.meters.insert(key.clone(), Meter::new(rates)),
                None => _ = self.meters.remove(key),
            }
        }
        Ok(())
    }

    /// Rate counters of a resource with rate limits.
    pub(super) fn meter(&self, key: &Key) -> Option<Arc<Meter>> {
        self.meters.share(key)
    }

    pub(super) fn vnet(&self, key: &Key) -> Option<u16> {
        self.vnets.get(key).copied()
    }

    pub(super) fn resource(&self, key: &Key) -> Option<ResourceId> {
        self.resources.get(key).copied()
    }

    /// Every resource that ever existed, in the order of [`ResourceId`].
    pub(super) fn resource_slots(&self) -> impl Iterator<Item = &Key> {
        self.slots.iter()
    }
}

impl Registry {
    /// The id of an endpoint in force.
    pub fn endpoint(&self, key: &Key) -> Option<EndpointId> {
        self.endpoints.get(key).map(|known| known.id)
    }

    /// The endpoints in force.
    pub fn endpoint_ids(&self) -> impl Iterator<Item = (&Key, EndpointId)> {
        self.endpoints.iter().map(|(key, known)| (key, known.id))
    }

    /// The id of a resource, also of a deleted one.
    pub fn resource(&self, key: &Key) -> Option<ResourceId> {
        self.numbers.resource(key)
    }

    /// Numbers the new objects of `model`, and returns all numbers.
    pub(super) fn number(&mut self, model: &Model) -> Result<Numbers, CompileError> {
        self.numbers.number(model)?;
        Ok(self.numbers())
    }

    /// All numbers so far.
    pub(super) fn numbers(&self) -> Numbers {
        self.numbers.clone()
    }

    /// Takes over the inputs of all endpoints from a full compilation, in the order of keys. Endpoints that are not
    /// among them are deleted.
    pub(super) fn follow<'a>(
        &mut self,
        all: impl Iterator<Item = Result<(&'a Key, EndpointInputs), CompileError>>,
    ) -> Result<(), CompileError> {
        let known = self.endpoints.clone();
        let mut before = known.walk();
        for next in all {
            let (key, basis) = next?;
            while let Some((gone, old)) = before.next_before(key) {
                self.forget(gone, old.id)?;
            }
            let old = before.get(key);
            let new = self.next_of(old, basis)?;
            if old.is_none_or(|old| !Arc::ptr_eq(&old.basis, &new.basis)) {
                self.endpoints.insert(key.clone(), new);
            }
        }
        before.try_for_each(|(gone, old)| self.forget(gone, old.id))
    }

    fn forget(&mut self, key: &Key, id: EndpointId) -> Result<(), CompileError> {
        self.end(id)?;
        self.endpoints.remove(key);
        Ok(())
    }

    /// Takes over the change of one endpoint; `None`: it is deleted. Returns its id, and its inputs before and after.
    /// `None`: it does not exist and did not.
    pub(super) fn follow_one(
        &mut self,
        key: &Key,
        basis: Option<EndpointInputs>,
    ) -> Result<Option<EndpointChange>, CompileError> {
        let before = self.endpoints.get(key).cloned();
        let after = basis.map(|basis| self.next_of(before.as_ref(), basis)).transpose()?;
        let id = match (&before, &after) {
            (_, Some(known)) => {
                self.endpoints.insert(key.clone(), known.clone());
                known.id
            }
            (Some(gone), None) => {
                self.forget(key, gone.id)?;
                gone.id
            }
            (None, None) => return Ok(None),
        };
        let basis = |known: Option<Known>| known.map(|known| known.basis);
        Ok(Some(EndpointChange { id, before: basis(before), after: basis(after), stamp: self.stamp(id) }))
    }

    /// The entry of an endpoint with `basis`: unchanged, with a new generation, or new.
    fn next_of(&mut self, before: Option<&Known>, mut basis: EndpointInputs) -> Result<Known, CompileError> {
        let rated = |basis: &EndpointInputs| (basis.meter.clone(), basis.bound.meter.clone());
        if let Some(known) = before.filter(|known| rated(&known.basis) == rated(&basis)) {
            // With unchanged rates, the counters go on.
            basis.meter.clone_from(&known.basis.meter);
        }
        match before {
            Some(known) if *known.basis == basis => Ok(known.clone()),
            Some(known) => {
                self.restamp(known.id, &known.basis, &basis)?;
                Ok(Known { id: known.id, basis: Arc::new(basis) })
            }
            None => Ok(Known { id: self.admit()?, basis: Arc::new(basis) }),
        }
    }

    /// Endpoints in force, with their inputs and the generation from which their sessions are valid.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = (&Key, EndpointId, &EndpointInputs, Stamp)> {
        self.endpoints.iter().map(|(key, known)| (key, known.id, &*known.basis, self.stamp(known.id)))
    }

    /// The stamps of all endpoints that ever existed, so that sessions of deleted ones end.
    pub(super) fn gone(&self) -> impl Iterator<Item = (EndpointId, Stamp)> {
        (0..).map(EndpointId).zip(self.stamps.iter().copied())
    }

    fn stamp(&self, id: EndpointId) -> Stamp {
        self.stamps.get(id.0 as usize).copied().unwrap_or_default()
    }

    fn restamp(&mut self, id: EndpointId, old: &EndpointInputs, new: &EndpointInputs) -> Result<(), CompileError> {
        let stopped = old.state == ConnectionState::Approved && new.state != ConnectionState::Approved;
        // The backend of such a session has changed, so the session cannot continue.
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

    /// Ends all earlier sessions of `id`, whatever comes next.
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

    /// The last number is reserved: the snapshot uses it for "nothing is valid".
    fn next(&mut self) -> Result<Generation, CompileError> {
        let next = self.generation.checked_add(1).filter(|&next| next != u32::MAX);
        self.generation = next.ok_or(CompileError::Exhausted("generations"))?;
        Ok(Generation(self.generation))
    }
}
