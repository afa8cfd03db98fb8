//! Commands of any type, for tests that use several.

use super::{Command, Error, LinkResource, Map, Outcome, Planning, PreparedChange, Vanishing};
use crate::model::Item;
use crate::model::sentence::Sees;
use crate::types::ApplyReport;

/// A command of some type.
#[derive(Debug)]
pub(crate) struct AnyCommand(Box<dyn Erased>);

/// Its outcome.
#[derive(Debug)]
pub(crate) struct AnyOutcome(Box<dyn Outcome>);

trait Erased: std::fmt::Debug + Send + Sync {
    fn prepare(&self, planning: &Planning<'_>) -> Result<PreparedChange<AnyOutcome>, Error>;
    fn only_asks(&self) -> bool;
    fn only_revokes(&self) -> bool;
    fn is_own_file(&self) -> bool;
    fn resources(&mut self) -> Option<&mut Map<LinkResource>>;
    fn vanishing(&self) -> Vanishing<'_>;
    fn boxed(&self) -> Box<dyn Erased>;
}

impl<C: Command<Output: 'static> + Clone + Sync + 'static> Erased for C {
    fn prepare(&self, planning: &Planning<'_>) -> Result<PreparedChange<AnyOutcome>, Error> {
        Command::prepare(self, planning).map(|change| change.map(|outcome| AnyOutcome(Box::new(outcome))))
    }

    fn only_asks(&self) -> bool {
        Command::only_asks(self)
    }

    fn only_revokes(&self) -> bool {
        Command::only_revokes(self)
    }

    fn is_own_file(&self) -> bool {
        Command::is_own_file(self)
    }

    fn resources(&mut self) -> Option<&mut Map<LinkResource>> {
        Command::resources(self)
    }

    fn vanishing(&self) -> Vanishing<'_> {
        Command::vanishing(self)
    }

    fn boxed(&self) -> Box<dyn Erased> {
        Box::new(self.clone())
    }
}

/// Wraps `command`.
pub(crate) fn any(command: impl Command<Output: 'static> + Clone + Sync + 'static) -> AnyCommand {
    AnyCommand(Box::new(command))
}

impl Clone for AnyCommand {
    fn clone(&self) -> Self {
        Self(self.0.boxed())
    }
}

impl Command for AnyCommand {
    type Output = AnyOutcome;

    fn prepare(&self, planning: &Planning<'_>) -> Result<PreparedChange<AnyOutcome>, Error> {
        self.0.prepare(planning)
    }

    fn only_asks(&self) -> bool {
        self.0.only_asks()
    }

    fn only_revokes(&self) -> bool {
        self.0.only_revokes()
    }

    fn is_own_file(&self) -> bool {
        self.0.is_own_file()
    }

    fn resources(&mut self) -> Option<&mut Map<LinkResource>> {
        self.0.resources()
    }

    fn vanishing(&self) -> Vanishing<'_> {
        self.0.vanishing()
    }
}

impl std::fmt::Display for AnyOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Outcome for AnyOutcome {
    fn warnings(&mut self) -> Option<&mut Vec<String>> {
        self.0.warnings()
    }

    fn hide(&mut self, sees: Sees<'_>) {
        self.0.hide(sees);
    }

    fn report(&self) -> Option<&ApplyReport> {
        self.0.report()
    }

    fn deleted(&self) -> Option<&Item> {
        self.0.deleted()
    }
}
