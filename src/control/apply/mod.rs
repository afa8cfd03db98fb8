//! Merges a file into the live state. A file changes something only where it differs from its author's previous
//! version. Pure: the caller validates, compiles and commits the result, or drops it.

/// New endpoints.
mod create;

/// Deletions, and what depends on them.
mod delete;

/// The endpoints of a file.
mod endpoints;

/// Fields that are derived from the rest of the model.
mod settle;

/// Fields that a file cannot express.
mod unsaid;

use std::collections::BTreeMap;

use super::index::Index;
use crate::access::rights::visibility::sees;
use crate::access::rights::{Right, Verb, assigned_at, refuse_other_type, vanished};
use crate::model::error::Error;
use crate::model::registry::{self, each_kind};
use crate::model::state::ChangeExtent;
use crate::model::state::{ControlState, Item, ItemKind};
use crate::model::{AttachmentSpec, HostConfig, Key, Map, Model, Pinned, ResourceGroup};
use crate::types::{ApplyReport, Skipped};

pub use create::Requester;
pub(super) use create::{Requests, create, spelled};
pub(super) use delete::delete;
use endpoints::differences;
pub(super) use endpoints::{refuse_disconnected, refuse_fixed, refuse_other_addresses};
pub(super) use settle::{follow, keep_accepted, settled, sever_taken_back};
pub use unsaid::differing;

/// One application of a file.
#[derive(Clone, Copy, Debug)]
pub struct Application<'a> {
    /// The file's content.
    pub file: &'a Model,
    /// The file's author.
    pub author: &'a str,
    /// Delete objects that the file no longer names.
    pub prune: bool,
    /// Who applies the file, and when.
    pub maker: Requester<'a>,
    /// Objects that are left out, with the reason. They stay as they are, and count as not applied.
    pub skipped: &'a BTreeMap<Item, String>,
    /// The index of the state in force. `None`: the state is searched instead.
    pub(super) index: Option<&'a Index>,
}

/// Nothing is left out.
static NOTHING: BTreeMap<Item, String> = BTreeMap::new();

impl<'a> Application<'a> {
    /// All of `file`.
    pub fn of(file: &'a Model, author: &'a str, prune: bool, maker: Requester<'a>) -> Self {
        Self { file, author, prune, maker, skipped: &NOTHING, index: None }
    }
}

/// The state after `application`, and a report. Objects that the live state refuses are skipped and reported.
///
/// # Errors
/// The caller lacks a right; nothing of the file is applied.
pub fn merge(before: &ControlState, application: &Application<'_>) -> Result<(ControlState, ApplyReport), Error> {
    let mut after = before.clone();
    let mut report = ApplyReport::default();
    let author = application.author.to_owned();
    let last = before.files.get(&author).cloned().unwrap_or_default();
    // This check comes before anything that would reveal which tokens exist.
    let given = &application.file.assignments;
    application.maker.rights.demand_tokens(&before.model.assignments, given)?;
    let (file, skipped) = super::tokens::resolve(application.file, before);
    let (file, rights) = (&file, &application.maker.rights);
    report.skipped.extend(skipped);
    let mut applied = crate::model::state::Applied { model: file.clone(), ..Default::default() };
    let mut items = Items { application, report: &mut report, after: &mut after, applied: &mut applied.model };
    each_kind!(K => if K::KIND != ItemKind::Endpoint {
        items.merge::<K>(&last.model, file)?;
    });
    keep_accepted(&before.model, &mut after.model);
    // The regions of a resource type are a setting of this installation.
    if application.author == crate::model::state::DAEMON {
        after.model.resource_types = file.resource_types.clone();
    }
    endpoints::merge(&mut after, &mut applied.model, &last.model, application, &mut report)?;
    // Endpoints before what they depend on.
    let left: Vec<Item> = left(&after, &last, file).into_iter().rev().collect();
    after.files.insert(author.clone(), applied);
    for item in left {
        // If the author may no longer see or delete an object, it counts as deleted.
        let seen = sees(rights, &after.model, &item) || rights.hold(&Right::on(&after.model, &item, Verb::Delete));
        if !application.prune || !seen {
            if seen {
                report.kept_unnamed.push(item.to_string());
            }
            after.files.get_mut(&author).into_iter().for_each(|applied| applied.left.insert_mut(item.clone()));
            continue;
        }
        match delete(&mut after, &application.maker, &item) {
            Ok(_) => report.pruned.push(item.to_string()),
            Err(refusal) if refusal.kind == crate::model::error::ErrorKind::Forbidden => return Err(refusal),
            Err(refusal) => {
                after.files.get_mut(&author).into_iter().for_each(|applied| applied.left.insert_mut(item.clone()));
                let reason = application.maker.told(&after, &refusal);
                report.skipped.push(Skipped { item: item.to_string(), reason });
            }
        }
    }
    for given in assigned_at(&after.model, &vanished(&before.model, &after.model, &ChangeExtent::Whole)) {
        after.model.assignments.remove(&given);
        report.pruned.push(format!("assignment {given}"));
    }
    report.differences.extend(differences(&after, application));
    if application.author != crate::model::state::DAEMON {
        // Check rights before validation: its messages may name objects that the caller must not see.
        application.maker.rights.demand_change(&before.model, &after.model, &ChangeExtent::Whole)?;
    }
    Ok((after, report))
}

/// Objects that the author's previous file named, this one does not, and that still exist.
fn left(state: &ControlState, last: &crate::model::state::Applied, file: &Model) -> Vec<Item> {
    let mut left: Vec<Item> = last.model.items().chain(last.left.iter().cloned()).collect();
    left.retain(|item| state.model.has(item) && !file.has(item));
    left.sort_unstable();
    left.dedup();
    left
}

struct Items<'a> {
    application: &'a Application<'a>,
    report: &'a mut ApplyReport,
    after: &'a mut ControlState,
    /// The file as it will be remembered.
    applied: &'a mut Model,
}

impl Items<'_> {
    fn merge<K: registry::Kind>(&mut self, last: &Model, file: &Model) -> Result<(), Error> {
        for (key, wanted) in K::map(file) {
            let item = Item { kind: K::KIND, key: key.clone() };
            let skipped = self.application.skipped.get(&item).cloned().or_else(|| self.other_type(&item));
            if let Some(reason) = skipped {
                match K::map(last).get(key) {
                    Some(last) => K::map_mut(self.applied).insert(key.clone(), last.clone()),
                    None => _ = K::map_mut(self.applied).remove(key),
                }
                self.report.skipped.push(Skipped { item: item.to_string(), reason });
                continue;
            }
            let rights = &self.application.maker.rights;
            let may_write = || rights.demand_all(&Right::each(file, &item, Verb::Write));
            // Check rights before any comparison: "unchanged" would reveal what exists.
            if !sees(rights, &self.after.model, &item) {
                may_write()?;
            }
            let present = K::map(&self.after.model).get(key);
            let said = wanted;
            let wanted = present.map_or_else(|| said.clone(), |present| said.adopt(present));
            if present == Some(&wanted) {
                self.report.unchanged += 1;
                continue;
            }
            if present.is_some() && K::map(last).get(key) == Some(said) {
                self.report.unchanged += 1;
                self.report.differences.push(format!("{item} was changed live; that stays in force"));
                continue;
            }
            // A file does not restore a role assignment that was removed live.
            let grants = matches!(K::KIND, ItemKind::Role | ItemKind::Assignment);
            if grants && present.is_none() && K::map(last).get(key) == Some(said) {
                self.report.unchanged += 1;
                self.report.differences.push(format!("{item} was deleted live; that stays in force"));
                continue;
            }
            may_write()?;
            let told = if present.is_some() { &mut self.report.updated } else { &mut self.report.created };
            told.push(item.to_string());
            K::map_mut(&mut self.after.model).insert(key.clone(), wanted);
        }
        Ok(())
    }

    /// Why `item` of the daemon's own file is left out: it would turn a live resource into another kind. This must not
    /// stop the daemon's file. Any other author gets an error.
    fn other_type(&self, item: &Item) -> Option<String> {
        let own = self.application.author == crate::model::state::DAEMON && item.kind == ItemKind::Resource;
        let of = |model: &'_ Model| model.resources.share(&item.key);
        let (live, wanted) = (of(&self.after.model), of(self.application.file));
        let refusal = refuse_other_type(&item.key, live.as_deref(), wanted.as_deref()).err();
        refusal.filter(|_| own).map(|refusal| refusal.to_string())
    }
}

impl Model {
    /// Every resource group: declared ones, and those that some object is in. The latter have no region.
    pub fn all_groups(&self) -> Map<ResourceGroup> {
        let mut groups = self.groups.clone();
        let kinds = ItemKind::ALL.into_iter().filter(|kind| kind.is_in_groups());
        let mut last: Option<&Key> = None;
        for key in kinds.flat_map(|kind| self.keys_of(kind)) {
            // Keys are sorted, so neighbours mostly share a group.
            if last.is_some_and(|last| last.group == key.group && last.subscription == key.subscription) {
                continue;
            }
            last = Some(key);
            let group = Key::of_group(&key.subscription, &key.group);
            if !groups.contains_key(&group) {
                groups.insert(group, ResourceGroup::default());
            }
        }
        groups
    }

    /// Whether the resource group `key` is declared or contains an object. `default` always exists.
    pub fn has_group(&self, key: &Key) -> bool {
        let default = key.group.eq_ignore_ascii_case(crate::model::DEFAULT);
        let kinds = ItemKind::ALL.into_iter().filter(|kind| kind.is_in_groups());
        default
            || self.groups.contains_key(key)
            || kinds.flat_map(|kind| self.keys_of(kind)).any(|other| other.is_beside(key))
    }
}

/// The settings of `wanted` that differ from the `running` ones and need a restart: attachments, and settings of the
/// daemon.
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
        audit,
        cloud,
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
        ("audit", *audit != wanted.audit),
        ("cloud", *cloud != wanted.cloud),
    ]
    .into_iter()
    .filter(|(_, differs)| *differs)
    .map(|(name, _)| format!("[daemon] {name}"))
    .collect();
    // What attachments allow can change while the daemon runs.
    let bare = |specs: &[AttachmentSpec]| -> Vec<AttachmentSpec> {
        let bare = |spec: &AttachmentSpec| AttachmentSpec {
            allow: None,
            reach: Vec::new(),
            pinned: Pinned::default(),
            ..spec.clone()
        };
        specs.iter().map(bare).collect()
    };
    let (attachments, named) = (&bare(attachments), &bare(&wanted.attachments));
    let touched = |spec: &&AttachmentSpec| !(attachments.contains(spec) && named.contains(spec));
    let mut vnets: Vec<&Key> = attachments.iter().chain(named).filter(touched).map(|s| &s.vnet).collect();
    vnets.sort_unstable();
    vnets.dedup();
    changed.extend(vnets.iter().map(|vnet| format!("[[attachment]] of {vnet}")));
    if vnets.is_empty() && attachments != named {
        changed.push("the order of [[attachment]]".into());
    }
    changed
}

#[cfg(test)]
mod tests;
