//! The endpoints of a file against the live ones.

use super::super::addresses::{Allocator, SubnetFull};
use super::super::approval::{self, Action, Request};
use super::super::compile::{bound_targets, target_of};
use super::super::decisions::{Connection, DecidedBy, Decisions};
use super::super::model::{EndpointIp, Key, Model, PrivateEndpoint};
use super::super::report::{Report, Skipped};
use super::super::views::{at, decision_of};
use super::Application;
use crate::snapshot::ConnectionState;

/// Brings the endpoints of `after` to what `application` wants of them. Its VNets and resources
/// are merged already, and its `file` is the new one.
pub(super) fn merge(after: &mut Decisions, last: &Model, application: &Application<'_>, report: &mut Report) {
    let wanted = &application.file.endpoints;
    for key in super::unnamed("endpoint", &after.model.endpoints, wanted, application.prune, report) {
        after.model.endpoints.remove(&key);
        after.connections.remove(&key);
    }
    // What no file names any more needs no reminder that it was deleted.
    after.deleted =
        after.deleted.iter().filter(|(key, _)| wanted.contains_key(key)).map(|(k, d)| (k.clone(), d.clone())).collect();
    let mut addresses = Allocator::new(&after.model);
    for endpoint in application.file.endpoints.values() {
        endpoint.addresses.iter().filter_map(|a| a.ip).for_each(|ip| addresses.spare(&endpoint.vnet, ip));
    }
    let mut merging = Merging { after, last, application, addresses };
    for (key, endpoint) in wanted {
        match merging.one(key, endpoint) {
            Ok(Done::Created) => report.created.push(format!("endpoint {key}")),
            Ok(Done::Updated) => report.updated.push(format!("endpoint {key}")),
            Ok(Done::Nothing) => report.unchanged += 1,
            Err(reason) => {
                merging.forget(key);
                report.skipped.push(Skipped { item: format!("endpoint {key}"), reason });
            }
        }
    }
    merging.fill_new_members(report);
}

/// Where the file's decision stands against the live one.
pub(in super::super) fn differences(decisions: &Decisions) -> Vec<String> {
    let endpoints = decisions.file.iter().flat_map(|file| &file.endpoints);
    let difference = |(key, endpoint): (&Key, &PrivateEndpoint)| {
        let connection = decisions.connections.get(key)?;
        let decided = first_decision(endpoint)?;
        let stands = decided != connection.state && connection.state != ConnectionState::Disconnected;
        stands.then(|| {
            format!("endpoint {key}: the file says {decided}; {}, and that stays in force", decision_of(connection))
        })
    };
    endpoints.filter_map(difference).collect()
}

/// What the file decides about the connection; `None`: it leaves that to the workflow.
fn first_decision(endpoint: &PrivateEndpoint) -> Option<ConnectionState> {
    endpoint.status.or_else(|| (!endpoint.manual).then_some(ConnectionState::Approved))
}

enum Done {
    Created,
    Updated,
    Nothing,
}

struct Merging<'a> {
    after: &'a mut Decisions,
    last: &'a Model,
    application: &'a Application<'a>,
    addresses: Allocator,
}

impl Merging<'_> {
    /// Merges one endpoint, or says why it is skipped.
    fn one(&mut self, key: &Key, wanted: &PrivateEndpoint) -> Result<Done, String> {
        let last = self.last.endpoints.get(key);
        let Some(live) = self.after.model.endpoints.get(key) else {
            if let Some(deleted) = self.after.deleted.get(key).filter(|_| last == Some(wanted)) {
                let (by, at) = (&deleted.by, at(deleted.at));
                return Err(format!("deleted live by {by} at {at}; change its entry to create it anew, or remove it"));
            }
            return self.create(key, wanted).map(|()| Done::Created);
        };
        self.refuse_disconnected(key, wanted)?;
        if last == Some(wanted) {
            return Ok(Done::Nothing);
        }
        refuse_fixed(live, wanted)?;
        let updated = PrivateEndpoint { addresses: live.addresses.clone(), ..wanted.clone() };
        let edited = *live != updated;
        let decided = self.decide(key, wanted, last)?;
        self.after.model.endpoints.insert(key.clone(), updated);
        Ok(if edited || decided { Done::Updated } else { Done::Nothing })
    }

    /// Keeps the entry's last applied version, so that the file is no less a command the next time.
    fn forget(&mut self, key: &Key) {
        let Some(file) = &mut self.after.file else { return };
        match self.last.endpoints.get(key) {
            Some(last) => file.endpoints.insert(key.clone(), last.clone()),
            None => _ = file.endpoints.remove(key),
        }
    }

    fn create(&mut self, key: &Key, wanted: &PrivateEndpoint) -> Result<(), String> {
        let addresses = self.fill(wanted).map_err(|full| full.to_string())?;
        let connection = self.first_connection(key, wanted).map_err(|refused| refused.to_string())?;
        self.after.deleted.remove(key);
        self.after.connections.insert(key.clone(), connection);
        self.after.model.endpoints.insert(key.clone(), PrivateEndpoint { addresses, ..wanted.clone() });
        Ok(())
    }

    /// Gives live endpoints an address for each member that their resource has gained since.
    fn fill_new_members(&mut self, report: &mut Report) {
        for (key, live) in &self.after.model.endpoints.clone() {
            let named = self.application.file.endpoints.get(key).map(|wanted| wanted.addresses.as_slice());
            let new = |address: &&EndpointIp| !live.addresses.iter().any(|present| present.member == address.member);
            let given = named.unwrap_or_default().iter().filter(|address| !address.member.is_empty()).filter(new);
            let mut wanted = live.clone();
            wanted.addresses.extend(given.cloned());
            match self.fill(&wanted) {
                Ok(addresses) if addresses == live.addresses => (),
                Ok(addresses) => {
                    self.after.model.endpoints.insert(key.clone(), PrivateEndpoint { addresses, ..live.clone() });
                    report.updated.push(format!("endpoint {key} (addresses of new members)"));
                }
                Err(full) => report.skipped.push(Skipped { item: format!("endpoint {key}"), reason: full.to_string() }),
            }
        }
    }

    /// One address per member of the bound subresource: those the file gives, the rest allocated.
    fn fill(&mut self, wanted: &PrivateEndpoint) -> Result<Vec<EndpointIp>, SubnetFull> {
        let mut addresses = wanted.addresses.clone();
        let resource = self.after.model.resources.get(&wanted.resource);
        let bound = resource.map(|resource| bound_targets(resource, wanted)).unwrap_or_default();
        for (member, target) in &bound {
            if !addresses.iter().any(|address| target_of(&bound, &address.member) == Some(*target)) {
                addresses.push(EndpointIp { member: (*member).to_owned(), ip: None });
            }
        }
        let subnets = self.after.model.vnets.get(&wanted.vnet).map(|vnet| vnet.subnets.as_slice()).unwrap_or_default();
        // Without a subnet the address stays empty, and validation says which subnet is missing.
        if let Some(subnet) = subnets.iter().find(|subnet| subnet.name.eq_ignore_ascii_case(&wanted.subnet)) {
            for address in addresses.iter_mut().filter(|address| address.ip.is_none()) {
                address.ip = Some(self.addresses.allocate(&wanted.vnet, subnet)?);
            }
        }
        Ok(addresses)
    }

    fn first_connection(&self, key: &Key, wanted: &PrivateEndpoint) -> Result<Connection, approval::NotEntitled> {
        let now = self.application.now;
        let resource = self.after.model.resources.get(&wanted.resource);
        let listed = |subscriptions: &[String]| subscriptions.iter().any(|s| s.eq_ignore_ascii_case(&key.subscription));
        let (state, decided_by) = match wanted.status {
            _ if self.application.distrust => (ConnectionState::Pending, DecidedBy::DamagedState),
            Some(state) => (state, DecidedBy::File),
            // The file is applied as the daemon, which owns everything.
            None => approval::first(Request {
                manual: wanted.manual,
                holds_right: true,
                on_list: resource.is_some_and(|resource| listed(&resource.auto_approval)),
            })?,
        };
        let description = wanted.reason.clone();
        Ok(Connection { state, link: 0, description, decided_by, decided_at: now, created_at: now })
    }

    fn refuse_disconnected(&self, key: &Key, wanted: &PrivateEndpoint) -> Result<(), String> {
        match self.after.connections.get(key) {
            Some(connection)
                if connection.state == ConnectionState::Disconnected
                    && wanted.status != Some(ConnectionState::Disconnected) =>
            {
                let decision = decision_of(connection);
                Err(format!("{decision}; delete it (`privlink endpoint delete {key}`) and apply the file again"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Carries out the file's decision where it is a new one; says whether the state changed.
    fn decide(&mut self, key: &Key, wanted: &PrivateEndpoint, last: Option<&PrivateEndpoint>) -> Result<bool, String> {
        let Some(connection) = self.after.connections.get_mut(key) else { return Ok(false) };
        let decision = first_decision(wanted);
        let is_new = match last {
            Some(last) => first_decision(last) != decision,
            // Nothing to compare with: the file never speaks over a decision made live.
            None => match connection.decided_by {
                DecidedBy::Nobody | DecidedBy::File | DecidedBy::AutoApproval => true,
                DecidedBy::Live(_) | DecidedBy::DamagedState => false,
            },
        };
        let action = match decision.filter(|&decided| is_new && decided != connection.state) {
            // Nobody can take a decision back to no decision; the report shows the difference.
            None | Some(ConnectionState::Pending) => return Ok(false),
            Some(ConnectionState::Approved) => Action::Approve,
            Some(ConnectionState::Rejected) => Action::Reject,
            Some(ConnectionState::Disconnected) => Action::Remove,
        };
        if let Some(state) = approval::next(connection.state, action).map_err(|refused| refused.to_string())? {
            let (description, now) = (wanted.reason.clone(), self.application.now);
            *connection =
                Connection { state, description, decided_by: DecidedBy::File, decided_at: now, ..connection.clone() };
        }
        Ok(true)
    }
}

/// What an endpoint is cannot change during its life (seed: its interface is read-only).
fn refuse_fixed(live: &PrivateEndpoint, wanted: &PrivateEndpoint) -> Result<(), String> {
    let moved = |address: &EndpointIp| {
        let same = |other: &&EndpointIp| other.member.eq_ignore_ascii_case(&address.member);
        let only = || live.addresses.first().filter(|_| live.addresses.len() == 1 && address.member.is_empty());
        let present = live.addresses.iter().find(same).or_else(only);
        // A member without an address yet is a new one of the resource.
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
    Err(format!("its {} cannot change: delete the endpoint and create it anew", changed.join(", ")))
}
