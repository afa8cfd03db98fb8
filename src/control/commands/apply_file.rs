//! Applies a file.

use crate::access::rights::Right;
use crate::control::apply::{Application, Requester, needs_restart};
use crate::control::command::{Command, Vanishing};
use crate::control::writer::{Before, Fitted, Planning, PreparedChange, ProposedState, access};
use crate::model::error::Error;
use crate::model::state::{ChangeExtent, DAEMON};
use crate::model::{HostConfig, LinkResource, Map, Model, actions};
use crate::types::ApplyReport;

/// Applies a file (at start, on SIGHUP, by `apply`). It changes something only where the file differs from its author's
/// previous version.
#[derive(Clone, Debug)]
pub struct ApplyFile {
    /// The author. Each author's file is compared with that author's previous version.
    pub author: String,
    /// The objects in the file.
    pub model: Model,
    /// The file's host settings. Changes are reported, not applied.
    pub host: Option<HostConfig>,
    /// Delete objects that the file no longer names.
    pub prune: bool,
    /// A dry run: report what would happen, and change nothing.
    pub dry_run: bool,
}

impl Command for ApplyFile {
    type Output = ApplyReport;

    fn prepare(&self, planning: &Planning<'_>) -> Result<PreparedChange<ApplyReport>, Error> {
        // The daemon's own file needs no rights on its objects, but it obeys limits. A caller needs one right to reload
        // it.
        let own_file = self.author == DAEMON;
        if own_file {
            planning.rights().demand(&Right::anywhere(actions::write(actions::CONFIGURATION)))?;
        }
        let own_host = self.host.as_ref().filter(|_| own_file);
        let in_force =
            own_host.map_or_else(|| planning.in_force.clone(), |host| planning.in_force.followed(planning.setup, host));
        let caller = if own_file { &planning.setup.daemon } else { planning.caller };
        let author = Planning { caller, in_force: &in_force, ..*planning };
        let maker = Requester { dry_run: self.dry_run, ..author.maker() };
        let application = Application {
            index: Some(&planning.in_force.index),
            ..Application::of(&self.model, &self.author, self.prune, maker)
        };
        let before = &planning.in_force.state;
        let known = Before { state: before, host: &in_force.host, standing: Some(&in_force.standing) };
        let Fitted { state: after, mut report, standing } = known.fit(planning.setup, application)?;
        report.needs_restart = self.host.iter().flat_map(|host| needs_restart(&in_force.host, host)).collect();
        report.dry_run = self.dry_run;
        if self.dry_run {
            access(planning.setup, &after)?;
            author.topology(&after)?;
            report.changes = author.readable_changes(before, &after);
            return Ok(PreparedChange::report(report));
        }
        let records = planning.file_records(&self.author, (before, &after), &report);
        // Attachments' settings are compiled, too.
        let mut plan = if after != **before || in_force.host != planning.in_force.host {
            let standing = Some(standing);
            let wanted =
                ProposedState { after, extent: ChangeExtent::Whole, addresses: None, standing, asks_rights: !own_file };
            Planning { in_force: &in_force, ..*planning }.change(report, wanted, records)?
        } else {
            PreparedChange::nothing(report)
        };
        plan.own_file = own_file;
        Ok(plan)
    }

    fn only_asks(&self) -> bool {
        self.dry_run
    }

    fn is_own_file(&self) -> bool {
        self.author == DAEMON
    }

    /// The daemon's own file does not wait for neighbour probes.
    fn resources(&mut self) -> Option<&mut Map<LinkResource>> {
        Some(&mut self.model.resources).filter(|_| self.author != DAEMON)
    }

    fn vanishing(&self) -> Vanishing<'_> {
        Vanishing::Several
    }
}
