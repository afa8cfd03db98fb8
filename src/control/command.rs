//! What a command is.

use std::fmt;
use std::sync::Arc;

use super::outcome::Outcome;
use super::writer::{Planning, PreparedChange};
use crate::model::error::{Error, ErrorKind};
use crate::model::sentence::{Mention, sentence};
use crate::model::state::{ControlState, Item};
use crate::model::{ItemKind, LinkResource, Map};

/// Of whatever type.
#[cfg(test)]
pub(crate) mod any;

/// Code of a refusal because something was changed since it was read.
pub const PRECONDITION_FAILED: &str = "Changed";

/// A change that may be asked of the control plane. Objects are named by `name` or `group/name`, without regard to case.
pub trait Command: fmt::Debug + Send {
    /// What is answered once it is durable and in force.
    type Output: Outcome;

    /// What follows from it: judged, validated and compiled. Pure, so that it is prepared again where something else was
    /// in force first.
    ///
    /// # Errors
    /// It is refused.
    fn prepare(&self, planning: &Planning<'_>) -> Result<PreparedChange<Self::Output>, Error>;

    /// Whether it only asks what it would do, and changes nothing.
    fn only_asks(&self) -> bool {
        false
    }

    /// Whether it takes something away from one endpoint, a token, or whoever a role is assigned to, and gives nothing: it
    /// must not wait for whatever gives something.
    fn only_revokes(&self) -> bool {
        false
    }

    /// Whether it is the daemon's own file: whoever reads that anew logs what became of it.
    fn is_own_file(&self) -> bool {
        false
    }

    /// Resources whose NAT addresses the neighbours are asked about before.
    fn resources(&mut self) -> Option<&mut Map<LinkResource>> {
        None
    }

    /// What goes with it.
    fn vanishing(&self) -> Vanishing<'_> {
        Vanishing::Nothing
    }
}

/// What a command takes away: whoever counts traffic has a look at it before.
#[derive(Clone, Copy, Debug)]
pub enum Vanishing<'a> {
    /// Nothing.
    Nothing,
    /// The endpoint that this names.
    Endpoint(&'a str),
    /// Perhaps several endpoints.
    Several,
}

/// Does `then` if none of `items` has changed since `seen` was in force; what follows from a reading is right then.
#[derive(Clone, Debug)]
pub struct Unchanged<C> {
    /// The objects that were looked at, also those that were not there.
    pub items: Vec<Item>,
    /// What was in force then.
    pub seen: Arc<ControlState>,
    /// What follows.
    pub then: C,
}

impl<C: Command> Command for Unchanged<C> {
    type Output = C::Output;

    fn prepare(&self, planning: &Planning<'_>) -> Result<PreparedChange<C::Output>, Error> {
        let now = &planning.in_force.state;
        let moved = |item: &&Item| {
            !self.seen.model.agrees(&now.model, item)
                || item.kind == ItemKind::Endpoint
                    && self.seen.connections.get(&item.key) != now.connections.get(&item.key)
        };
        let Some(item) = self.items.iter().find(moved) else { return self.then.prepare(planning) };
        let message = sentence!("{} has changed since it was read", Mention::item(item));
        Err(Error::new(ErrorKind::Conflict, PRECONDITION_FAILED, message, "read it again, and repeat the change"))
    }

    fn only_asks(&self) -> bool {
        self.then.only_asks()
    }

    fn only_revokes(&self) -> bool {
        self.then.only_revokes()
    }

    fn is_own_file(&self) -> bool {
        self.then.is_own_file()
    }

    fn resources(&mut self) -> Option<&mut Map<LinkResource>> {
        self.then.resources()
    }

    fn vanishing(&self) -> Vanishing<'_> {
        self.then.vanishing()
    }
}
