//! The file and the live state (DESIGN §4): a file acts as a command only where it differs from its
//! last applied version. Pure: what it returns is validated, compiled and committed elsewhere, or dropped.

/// Endpoints, whose connections may have been decided live since.
mod endpoints;

use jiff::Timestamp;

use super::decisions::Decisions;
use super::model::{HostConfig, Key, Map, Model};
use super::report::Report;

pub(super) use endpoints::differences;

/// One application of a file.
#[derive(Clone, Copy, Debug)]
pub struct Application<'a> {
    /// What the file says now.
    pub file: &'a Model,
    /// Delete what it does not name.
    pub prune: bool,
    /// The state was damaged: whatever the file says, every endpoint starts Pending.
    pub distrust: bool,
    /// The time.
    pub now: Timestamp,
}

/// What is wanted after `application`, and what that does.
pub fn merge(before: &Decisions, application: &Application<'_>) -> (Decisions, Report) {
    let mut after = before.clone();
    let mut report = Report::default();
    let empty = Model::default();
    let (file, last) = (application.file, before.file.as_ref().unwrap_or(&empty));
    let mut items = Items { prune: application.prune, report: &mut report };
    items.merge("vnet", &mut after.model.vnets, &last.vnets, &file.vnets);
    items.merge("security group", &mut after.model.security_groups, &last.security_groups, &file.security_groups);
    items.merge("resource", &mut after.model.resources, &last.resources, &file.resources);
    after.model.resource_types = file.resource_types.clone();
    after.file = Some(file.clone());
    endpoints::merge(&mut after, last, application, &mut report);
    report.differences.extend(differences(&after));
    (after, report)
}

/// Merges things that only files change.
struct Items<'a> {
    prune: bool,
    report: &'a mut Report,
}

impl Items<'_> {
    fn merge<T: Clone + PartialEq>(&mut self, kind: &str, live: &mut Map<T>, last: &Map<T>, file: &Map<T>) {
        for (key, wanted) in file {
            match live.get_mut(key) {
                None => {
                    live.insert(key.clone(), wanted.clone());
                    self.report.created.push(format!("{kind} {key}"));
                }
                Some(present) if present == wanted => self.report.unchanged += 1,
                Some(_) if last.get(key) == Some(wanted) => {
                    self.report.unchanged += 1;
                    self.report.differences.push(format!("{kind} {key} was changed live; that stays in force"));
                }
                Some(present) => {
                    present.clone_from(wanted);
                    self.report.updated.push(format!("{kind} {key}"));
                }
            }
        }
        for key in unnamed(kind, live, file, self.prune, self.report) {
            live.remove(&key);
        }
    }
}

/// Reports what `file` does not name, and returns what is to be deleted of it.
fn unnamed<T, U>(kind: &str, live: &Map<T>, file: &Map<U>, prune: bool, report: &mut Report) -> Vec<Key> {
    let unnamed: Vec<Key> = live.keys().filter(|key| !file.contains_key(*key)).cloned().collect();
    let list = if prune { &mut report.pruned } else { &mut report.kept_unnamed };
    list.extend(unnamed.iter().map(|key| format!("{kind} {key}")));
    if prune { unnamed } else { Vec::new() }
}

/// The settings of `wanted` that differ from the `running` ones: attachments and the daemon's own
/// settings are fixed at start.
pub(super) fn needs_restart(running: &HostConfig, wanted: &HostConfig) -> Vec<String> {
    let HostConfig {
        state,
        socket,
        socket_group,
        api,
        metrics,
        workers,
        offload,
        max_sessions,
        on_exit,
        deny,
        deny_rate,
        timeouts,
        limits,
        quotas,
        on_request,
        flow_log,
        attachments,
    } = running;
    let mut changed: Vec<String> = [
        ("state", *state != wanted.state),
        ("socket", *socket != wanted.socket),
        ("socket_group", *socket_group != wanted.socket_group),
        ("api", *api != wanted.api),
        ("metrics", *metrics != wanted.metrics),
        ("workers", *workers != wanted.workers),
        ("offload", *offload != wanted.offload),
        ("max_sessions", *max_sessions != wanted.max_sessions),
        ("on_exit", *on_exit != wanted.on_exit),
        ("deny", *deny != wanted.deny),
        ("deny_rate", *deny_rate != wanted.deny_rate),
        ("timeouts", *timeouts != wanted.timeouts),
        ("limits", *limits != wanted.limits),
        ("quotas", *quotas != wanted.quotas),
        ("on_request", *on_request != wanted.on_request),
        ("flow_log", *flow_log != wanted.flow_log),
    ]
    .into_iter()
    .filter(|(_, differs)| *differs)
    .map(|(name, _)| format!("[daemon] {name}"))
    .collect();
    let touched = |spec: &&super::model::AttachmentSpec| {
        let same = |others: &[super::model::AttachmentSpec]| others.contains(spec);
        !(same(attachments) && same(&wanted.attachments))
    };
    let mut vnets: Vec<&Key> = attachments.iter().chain(&wanted.attachments).filter(touched).map(|s| &s.vnet).collect();
    vnets.sort_unstable();
    vnets.dedup();
    changed.extend(vnets.iter().map(|vnet| format!("[[attachment]] of {vnet}")));
    if vnets.is_empty() && *attachments != wanted.attachments {
        changed.push("the order of [[attachment]]".into());
    }
    changed
}

#[cfg(test)]
mod tests;
