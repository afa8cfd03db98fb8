//! How many endpoints share what there is a bound to.

use super::{ConnectionState, ResourceId};

/// Approved endpoints, of each resource and of all: so many divide NAT ports and the session table among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contenders {
    by_resource: Vec<u32>,
    all: u32,
}

impl Contenders {
    /// Approved endpoints bound to `resource`.
    #[must_use]
    pub fn of(&self, resource: ResourceId) -> u32 {
        self.by_resource.get(resource.0 as usize).copied().unwrap_or(0)
    }

    /// All Approved endpoints.
    #[must_use]
    pub const fn all(&self) -> u32 {
        self.all
    }

    pub(super) fn add(&mut self, resource: ResourceId, state: ConnectionState) {
        if state == ConnectionState::Approved {
            let index = resource.0 as usize;
            if self.by_resource.len() <= index {
                self.by_resource.resize(index + 1, 0);
            }
            self.by_resource[index] += 1;
            self.all += 1;
        }
    }

    /// Takes back what [`Self::add`] did for the same.
    pub(super) fn remove(&mut self, resource: ResourceId, state: ConnectionState) {
        if state == ConnectionState::Approved
            && let Some(count) = self.by_resource.get_mut(resource.0 as usize)
        {
            *count = count.saturating_sub(1);
            self.all = self.all.saturating_sub(1);
        }
    }
}
