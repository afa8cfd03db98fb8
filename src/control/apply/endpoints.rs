//! Merges a file's endpoints with the live ones.

use super::super::views::{at, decision_of};
use super::Application;
use super::create::{Requests, create, fill};
use crate::access::rights::visibility::sees;
use crate::access::rights::{Right, Verb};
use crate::compile::addresses::{Allocator, SubnetFull};
use crate::model::approval::Action;
use crate::model::error::{Error, ErrorKind};
use crate::model::sentence::itself;
use crate::model::state::{ControlState, DecidedBy, Item, ItemKind};
use crate::model::{EndpointIp, Key, Model, PrivateEndpoint, approval};
use crate::snapshot::ConnectionState;
use crate::types::{ApplyReport, Skipped};

/// Changes the endpoints of `after` as `application` asks. VNets and resources are merged already. `last` is the
/// author's previous file; `file` becomes the version that is remembered.
///
/// # Errors
/// The caller lacks a right.
pub(super) fn merge(
    after: &mut ControlState,
    file: &mut Model,
    last: &Model,
    application: &Application<'_>,
    report: &mut ApplyReport,
) -> Result<(), Error> {
    let wanted = &application.file.endpoints;
    let mut addresses = Allocator::new(&after.model);
    for endpoint in wanted.values() {
        endpoint.addresses.iter().filter_map(|a| a.ip).for_each(|ip| addresses.spare(&endpoint.vnet, ip));
    }
    let requests = Requests::beside(application.index);
    let mut merging = Merging { after, file, last, application, addresses, requests };
    for (key, endpoint) in wanted {
        let item = Item { kind: ItemKind::Endpoint, key: key.clone() };
        if let Some(reason) = application.skipped.get(&item) {
            merging.forget(key);
            report.skipped.push(Skipped { item: item.to_string(), reason: reason.clone() });
            continue;
        }
        match merging.one(&item, endpoint) {
            Ok(Done::Created) => report.created.push(item.to_string()),
            Ok(Done::Updated) => report.updated.push(item.to_string()),
            Ok(Done::Nothing) => report.unchanged += 1,
            Err(refusal) if refusal.kind == ErrorKind::Forbidden => return Err(refusal),
            Err(refusal) => {
                merging.forget(key);
                let reason = application.maker.told(merging.after, &refusal);
                report.skipped.push(Skipped { item: item.to_string(), reason });
            }
        }
    }
    merging.fill_new_members(report);
    // A deletion need not be remembered once no file names the endpoint.
    let others = after.files.iter().filter(|(author, _)| *author != application.author);
    let others: Vec<&Model> = others.map(|(_, applied)| &applied.model).collect();
    let named = |key: &Key| wanted.contains_key(key) || others.iter().any(|file| file.endpoints.contains_key(key));
    let kept = after.deleted.iter().filter(|(key, _)| named(key)).map(|(key, deleted)| (key.clone(), deleted.clone()));
    after.deleted = kept.collect();
    Ok(())
}

/// Where a file's decision differs from the live one, as far as the requester may see it. The author's own file is
/// compared; for the daemon's file, every file is.
pub(super) fn differences(state: &ControlState, application: &Application<'_>) -> Vec<String> {
    let (author, rights) = (application.author, &application.maker.rights);
    let seen = |key: &Key| sees(rights, &state.model, &Item { kind: ItemKind::Endpoint, key: key.clone() });
    let files = state.files.iter().filter(|(of, _)| author == crate::model::state::DAEMON || *of == author);
    let endpoints = files.flat_map(|(_, file)| &file.model.endpoints);
    let difference = |(key, endpoint): (&Key, &PrivateEndpoint)| {
        let connection = state.connections.get(key)?;
        let decided = first_decision(endpoint)?;
        let stands = decided != connection.state && connection.state != ConnectionState::Disconnected;
        (stands && seen(key)).then(|| {
            format!("endpoint {key}: the file says {decided}; {}, and that stays in force", decision_of(connection))
        })
    };
    endpoints.filter_map(difference).collect()
}

/// The file's decision about the connection. `None`: it makes none.
fn first_decision(endpoint: &PrivateEndpoint) -> Option<ConnectionState> {
    endpoint.status.or_else(|| (!endpoint.manual).then_some(ConnectionState::Approved))
}

enum Done {
    Created,
    Updated,
    Nothing,
}

struct Merging<'a> {
    after: &'a mut ControlState,
    file: &'a mut Model,
    last: &'a Model,
    application: &'a Application<'a>,
    addresses: Allocator,
    requests: Requests<'a>,
}

impl Merging<'_> {
    fn one(&mut self, item: &Item, wanted: &PrivateEndpoint) -> Result<Done, Error> {
        let (key, rights) = (&item.key, &self.application.maker.rights);
        let last = self.last.endpoints.get(key);
        let write = Right::on(&self.after.model, item, Verb::Write);
        // Check rights before any comparison: the result would reveal what exists, or existed.
        if !sees(rights, &self.after.model, item) {
            rights.demand(&write)?;
        }
        let Some(live) = self.after.model.endpoints.get(key) else {
            if let Some(deleted) = self.after.deleted.get(key).filter(|_| last == Some(wanted)) {
                let message = format!("deleted live by {} at {}", deleted.by, at(deleted.at));
                return Err(refused(&message, "change its entry to create it anew, or remove it"));
            }
            rights.demand(&write)?;
            let maker = &self.application.maker;
            create(self.after, &mut self.addresses, &mut self.requests, maker, key, wanted)?;
            return Ok(Done::Created);
        };
        refuse_disconnected(self.after, key, wanted)?;
        if last == Some(wanted) {
            return Ok(Done::Nothing);
        }
        refuse_fixed(live, wanted)?;
        let updated = wanted.beside(live, self.after.connections.get(key));
        let edited = *live != updated;
        if edited {
            rights.demand(&write)?;
        }
        let decided = self.decide(key, wanted, last)?;
        self.after.model.endpoints.insert(key.clone(), updated);
        Ok(if edited || decided { Done::Updated } else { Done::Nothing })
    }

    /// A skipped endpoint counts as not applied: the remembered file keeps its previous entry.
    fn forget(&mut self, key: &Key) {
        match self.last.endpoints.get(key) {
            Some(last) => self.file.endpoints.insert(key.clone(), last.clone()),
            None => _ = self.file.endpoints.remove(key),
        }
    }

    /// When a resource gains members, every endpoint bound to it gets an address for each: the one in the file, or a
    /// free one.
    fn fill_new_members(&mut self, report: &mut ApplyReport) {
        let (before, rights) = (self.after.model.clone(), &self.application.maker.rights);
        let seen = |key: &Key| sees(rights, &before, &Item { kind: ItemKind::Endpoint, key: key.clone() });
        for (key, live) in &before.endpoints {
            let named = self.application.file.endpoints.get(key).map(|wanted| wanted.addresses.as_slice());
            let new = |address: &&EndpointIp| !live.addresses.iter().any(|present| present.member == address.member);
            let given = named.unwrap_or_default().iter().filter(|address| !address.member.is_empty()).filter(new);
            let mut wanted = live.clone();
            wanted.addresses.extend(given.cloned());
            match fill(self.after, &mut self.addresses, &wanted) {
                Ok(addresses) if addresses == live.addresses => (),
                Ok(addresses) => {
                    self.after.model.endpoints.insert(key.clone(), PrivateEndpoint { addresses, ..live.clone() });
                    if seen(key) {
                        report.updated.push(format!("endpoint {key} (addresses of new members)"));
                    }
                }
                Err(full) if seen(key) => {
                    let reason = format!("{full}; {}", SubnetFull::REMEDY);
                    report.skipped.push(Skipped { item: format!("endpoint {key}"), reason });
                }
                Err(_) => {}
            }
        }
    }

    /// A new decision in a file is a command, and needs the caller's rights.
    fn decide(&mut self, key: &Key, wanted: &PrivateEndpoint, last: Option<&PrivateEndpoint>) -> Result<bool, Error> {
        let Some(connection) = self.after.connections.get(key) else { return Ok(false) };
        let decision = first_decision(wanted);
        let is_new = match last {
            Some(last) => first_decision(last) != decision,
            // There is no previous version to compare with, and a file never overrides a live decision.
            None => match connection.decided_by {
                DecidedBy::Nobody | DecidedBy::File(_) | DecidedBy::Right(_) | DecidedBy::AutoApproval => true,
                DecidedBy::Live(_) | DecidedBy::ResourceDeleted(_) | DecidedBy::ApprovalEnded => false,
            },
        };
        // A file cannot say when an approval ends, so it leaves that as it is.
        let action = match decision.filter(|&decided| is_new && decided != connection.state) {
            // A decision cannot be undone to "no decision". The report shows the difference.
            None | Some(ConnectionState::Pending) => return Ok(false),
            Some(ConnectionState::Approved) => Action::Approve,
            Some(ConnectionState::Rejected) => Action::Reject,
            Some(ConnectionState::Disconnected) => Action::Remove,
        };
        let maker = &self.application.maker;
        maker.rights.demand(&Right::approve(&self.after.model, &wanted.resource))?;
        let next = approval::next(connection.state, action).map_err(|error| refused(&error.to_string(), ""))?;
        if let Some(state) = next {
            let by = DecidedBy::File(maker.rights.caller().actor());
            let next = connection.decided(state, wanted.reason.clone(), by, maker.now);
            self.after.connections.insert(key.clone(), next);
        }
        Ok(true)
    }
}

fn refused(message: &str, remedy: &str) -> Error {
    Error::new(ErrorKind::InvalidTransition, "InvalidTransition", itself(message), itself(remedy))
}

/// Refuses every change of a Disconnected endpoint: no file can revive it.
///
/// # Errors
/// The endpoint `key` is Disconnected.
pub(in super::super) fn refuse_disconnected(
    state: &ControlState,
    key: &Key,
    wanted: &PrivateEndpoint,
) -> Result<(), Error> {
    let connection = state.connections.get(key);
    let disconnected = connection.filter(|connection| connection.state == ConnectionState::Disconnected);
    match disconnected.filter(|_| wanted.status != Some(ConnectionState::Disconnected)) {
        Some(connection) => {
            let remedy = format!("delete it (`privlink endpoint delete {key}`) and create it anew");
            Err(refused(&decision_of(connection), &remedy))
        }
        None => Ok(()),
    }
}

/// Refuses a change of an endpoint's addresses.
///
/// # Errors
/// `wanted` names one that `live` does not have.
pub(in super::super) fn refuse_other_addresses(live: &PrivateEndpoint, wanted: &PrivateEndpoint) -> Result<(), Error> {
    let has = |ip| live.addresses.iter().any(|address| address.ip == Some(ip));
    match wanted.addresses.iter().filter_map(|address| address.ip).find(|ip| !has(*ip)) {
        Some(ip) => Err(refused(&format!("it cannot get the address {ip}"), "delete the endpoint and create it anew")),
        None => Ok(()),
    }
}

/// Refuses a change of fixed properties: an endpoint's network interface is read-only, as in Azure.
///
/// # Errors
/// Names every property that would change.
pub(in super::super) fn refuse_fixed(live: &PrivateEndpoint, wanted: &PrivateEndpoint) -> Result<(), Error> {
    let moved = |address: &EndpointIp| {
        let same = |other: &&EndpointIp| other.member.eq_ignore_ascii_case(&address.member);
        // With one address on both sides, the member's name does not matter.
        let single = live.addresses.len() == 1 && wanted.addresses.len() == 1;
        let only = || live.addresses.first().filter(|_| single);
        let present = live.addresses.iter().find(same).or_else(only);
        // A member without an address is new.
        present.is_some_and(|present| address.ip.is_some() && address.ip != present.ip)
    };
    let fixed = [
        ("vnet", live.vnet != wanted.vnet),
        ("subnet", !live.subnet.eq_ignore_ascii_case(&wanted.subnet)),
        ("resource", live.resource != wanted.resource),
        ("subresource", !live.subresource.eq_ignore_ascii_case(&wanted.subresource)),
        ("address", wanted.addresses.iter().any(moved)),
    ];
    let changed: Vec<&str> = fixed.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let message = format!("its {} cannot change", changed.join(", "));
    Err(refused(&message, "delete the endpoint and create it anew"))
}
