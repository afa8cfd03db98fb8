//! Commands: what they have in common.

use std::fmt;
use std::sync::Arc;

use super::outcome::Outcome;
use super::writer::{Planning, PreparedChange};
use crate::model::error::{Error, ErrorKind};
use crate::model::sentence::{Mention, sentence};
use crate::model::state::{ControlState, Item};
use crate::model::{ItemKind, LinkResource, Map};

/// Commands of any type, for tests.
#[cfg(test)]
pub(crate) mod any;

/// The error code when an object has changed since the caller read it.
pub const PRECONDITION_FAILED: &str = "Changed";

/// A change that a caller may request. Objects are named by `name` or `group/name`; case does not matter.
pub trait Command: fmt::Debug + Send {
    /// The result once the change is durable and in force.
    type Output: Outcome;

    /// Checks rights, validates and compiles the change. Pure: if another change came first, it is prepared again.
    ///
    /// # Errors
    /// It is refused.
    fn prepare(&self, planning: &Planning<'_>) -> Result<PreparedChange<Self::Output>, Error>;

    /// Whether it is a dry run.
    fn only_asks(&self) -> bool {
        false
    }

    /// Whether it only revokes: something of one endpoint, a token, or a role assignment. Such a command never waits
    /// for commands that grant something.
    fn only_revokes(&self) -> bool {
        false
    }

    /// Whether it applies the daemon's own file. The code that reloads that file logs the result itself.
    fn is_own_file(&self) -> bool {
        false
    }

    /// Resources whose new NAT addresses are probed for neighbours first.
    fn resources(&mut self) -> Option<&mut Map<LinkResource>> {
        None
    }

    /// What it deletes.
    fn vanishing(&self) -> Vanishing<'_> {
        Vanishing::Nothing
    }
}

/// What a command deletes. Its last traffic counts are read before that.
#[derive(Clone, Copy, Debug)]
pub enum Vanishing<'a> {
    /// Nothing.
    Nothing,
    /// The endpoint with this name.
    Endpoint(&'a str),
    /// Perhaps several endpoints.
    Several,
}

/// Runs `then` only if no object of `items` has changed since `seen`, so that `then` does not act on stale data.
#[derive(Clone, Debug)]
pub struct Unchanged<C> {
    /// The objects that the caller read, also those that did not exist.
    pub items: Vec<Item>,
    /// The state in which it read them.
    pub seen: Arc<ControlState>,
    /// The command to run.
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
