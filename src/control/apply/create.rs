//! A new endpoint: its addresses, its connection's first state and its identifier.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::super::index::Index;
use crate::access::rights::visibility::may_mention;
use crate::access::rights::{Right, Rights, not_shown};
use crate::compile::addresses::{Allocator, SubnetFull};
use crate::compile::{bound_targets, target_of};
use crate::model::approval;
use crate::model::approval::{First, Request};
use crate::model::error::{Error, ErrorKind};
use crate::model::sentence::{Sentence, itself};
use crate::model::state::{Connection, ControlState, DecidedBy};
use crate::model::{EndpointIp, Key, Model, PrivateEndpoint, TargetSpec, region};
use crate::snapshot::ConnectionState;

/// Who requests a change, and when.
#[derive(Clone, Copy, Debug)]
pub struct Requester<'a> {
    /// The caller's rights.
    pub rights: Rights<'a>,
    /// Now.
    pub now: Timestamp,
    /// A dry run: report what would happen, and change nothing.
    pub dry_run: bool,
}

impl Requester<'_> {
    /// The text of an error, without what the requester may not see.
    pub(super) fn told(&self, state: &ControlState, refusal: &Error) -> String {
        refusal.told(&|named| may_mention(&self.rights, &state.model, named)).to_string()
    }
}

/// One requester's pending requests: those from before, and those that it makes now.
#[derive(Debug, Default)]
pub(in super::super) struct Requests<'a> {
    /// The index of the state in force. `None`: the state is searched instead.
    had: Option<&'a Index>,
    waiting: BTreeMap<Key, usize>,
}

impl<'a> Requests<'a> {
    /// No new requests yet, besides those in `had`.
    pub(in super::super) fn beside(had: Option<&'a Index>) -> Self {
        Self { had, waiting: BTreeMap::new() }
    }

    /// The number of requests that wait for the owner of `resource`.
    fn of(&mut self, state: &ControlState, maker: &Requester<'_>, resource: &Key) -> &mut usize {
        let asker = maker.rights.caller().subject.principal();
        let had = self.had;
        self.waiting.entry(resource.clone()).or_insert_with(|| match had {
            Some(index) => index.asking(resource, asker).take(approval::PENDING_MAX).count(),
            None => Index::of(state).asking(resource, asker).count(),
        })
    }
}

/// Makes the endpoint `key` and its connection in `after`.
///
/// # Errors
/// The subnet is full, or the caller lacks a right; `after` is as it was.
pub(in super::super) fn create(
    after: &mut ControlState,
    addresses: &mut Allocator,
    requests: &mut Requests<'_>,
    maker: &Requester<'_>,
    key: &Key,
    wanted: &PrivateEndpoint,
) -> Result<(), Error> {
    let wanted = &spelled(&after.model, wanted);
    let by_id = asked_by_id(after, maker, key, wanted)?;
    maker.rights.demand_references(&after.model, key, None, wanted)?;
    let (state, decided_by) = first_state(after, maker, wanted, (key, by_id))?;
    if state == ConnectionState::Pending {
        refuse_flood(after, requests, maker, &wanted.resource)?;
    }
    let addresses = fill(after, addresses, wanted)
        .map_err(|full| Error::new(ErrorKind::Invalid, "SubnetIsFull", itself(full.to_string()), SubnetFull::REMEDY))?;
    let (number, link) = after.links.after(after.last_link).ok_or_else(|| {
        Error::new(
            ErrorKind::Unavailable,
            "LinkIdentifiersExhausted",
            "no link identifier is left",
            "begin a new store",
        )
    })?;
    after.last_link = number;
    after.deleted.remove(key);
    let connection = Connection {
        link,
        state,
        description: wanted.reason.clone(),
        decided_by,
        decided_at: maker.now,
        ends_at: None,
        created_at: maker.now,
        requester: maker.rights.caller().actor(),
        by_id,
        history: Vec::new(),
    };
    if let Some(waiting) = requests.waiting.get_mut(&wanted.resource).filter(|_| state == ConnectionState::Pending) {
        *waiting += 1;
    }
    after.connections.insert(key.clone(), connection);
    after.model.endpoints.insert(key.clone(), PrivateEndpoint { addresses, ..wanted.clone() });
    Ok(())
}

/// `wanted`, with names spelled as the objects that they refer to spell them.
pub(in super::super) fn spelled(model: &Model, wanted: &PrivateEndpoint) -> PrivateEndpoint {
    let mut spelled = wanted.clone();
    if let Some(resource) = model.resources.get(&wanted.resource) {
        spelled.spell_as(resource);
    }
    spelled
}

/// Whether the requester knows only the ID of the resource, and asks its owner. This check comes first: its refusal
/// must be the same whether or not the resource exists.
fn asked_by_id(
    state: &ControlState,
    maker: &Requester<'_>,
    key: &Key,
    wanted: &PrivateEndpoint,
) -> Result<bool, Error> {
    let model = &state.model;
    let shown = maker.rights.is_shown(model, &wanted.resource, &key.subscription);
    if maker.dry_run && wanted.manual && !shown {
        let message = format!("whether there is a resource `{}` is told to who asks for it", wanted.resource);
        let remedy = "apply the file: a dry run asks nobody";
        return Err(Error::new(ErrorKind::NotFound, "NotFound", itself(message), remedy));
    }
    let Some(resource) = model.resources.get(&wanted.resource) else { return Ok(false) };
    if shown || !resource.is_requestable_by_id() {
        return Ok(false);
    }
    if !(wanted.manual || wanted.status.is_some()) {
        return Err(not_shown(&wanted.resource));
    }
    let bound = bound_targets(resource, wanted);
    let member = |address: &EndpointIp| target_of(&bound, &address.member).is_some();
    let is_part = |target: &TargetSpec| target.subresource.eq_ignore_ascii_case(&wanted.subresource);
    let known = resource.targets.iter().any(is_part) && wanted.addresses.iter().all(member);
    let near = resource.cross_region || region(&resource.region) == region(&wanted.region);
    if !(near && (known || resource.targets.is_empty())) {
        // Only the owner may say which resource it is, and which subresources it has.
        let message =
            format!("{} takes no such request: its subresource, a member or the region is another", wanted.resource);
        let remedy = "name the subresource, leave addresses out, or ask its owner what fits";
        return Err(Error::new(ErrorKind::Invalid, "InvalidRequest", itself(message), remedy));
    }
    Ok(true)
}

/// The first state of a connection (see `approval::first`). A `status` in the request is a decision, and needs the
/// caller's rights.
fn first_state(
    state: &ControlState,
    maker: &Requester<'_>,
    wanted: &PrivateEndpoint,
    (key, by_id): (&Key, bool),
) -> Result<(ConnectionState, DecidedBy), Error> {
    let right = Right::approve(&state.model, &wanted.resource);
    let actor = || maker.rights.caller().actor();
    let manual = wanted.manual || wanted.status.is_some();
    let resource = state.model.resources.get(&wanted.resource);
    if let Some(state) = wanted.status.filter(|&state| state != ConnectionState::Pending) {
        maker.rights.demand(&right)?;
        return Ok((state, DecidedBy::File(actor())));
    }
    let listed = |list: &[String]| list.iter().any(|entry| entry.eq_ignore_ascii_case(&key.subscription));
    let on_list = resource.is_some_and(|resource| listed(&resource.auto_approval));
    let request = Request {
        manual,
        holds_right: maker.rights.hold(&right),
        // A requester who knows only the ID is approved by the owner, never automatically.
        on_list: !by_id && wanted.status.is_none() && on_list,
    };
    match approval::first(request) {
        Ok(First::ByRight) => Ok((ConnectionState::Approved, DecidedBy::Right(actor()))),
        Ok(First::ByList) => Ok((ConnectionState::Approved, DecidedBy::AutoApproval)),
        Ok(First::Asked) => Ok((ConnectionState::Pending, DecidedBy::Nobody)),
        Err(not_entitled) => {
            let refusal = maker.rights.demand(&right).err();
            let refused = |refusal: Error| Error {
                message: Sentence::from(itself(format!("{not_entitled}: "))).and(refusal.message),
                remedy: Sentence::from("set `manual = true` to ask the owner; ").and(refusal.remedy),
                ..refusal
            };
            let lost = || Error::new(ErrorKind::Forbidden, "AuthorizationFailed", itself(not_entitled.to_string()), "");
            Err(refusal.map_or_else(lost, refused))
        }
    }
}

/// Limits the pending requests of a requester who may not read the resource.
fn refuse_flood(
    state: &ControlState,
    requests: &mut Requests<'_>,
    maker: &Requester<'_>,
    resource: &Key,
) -> Result<(), Error> {
    if maker.rights.may_read(&state.model, resource) || *requests.of(state, maker, resource) < approval::PENDING_MAX {
        return Ok(());
    }
    let asker = maker.rights.caller().subject.principal();
    let message = format!(
        "{asker} asks for {resource} with {} requests already, and its owner decides first",
        approval::PENDING_MAX
    );
    let remedy = "wait for the decisions, or delete requests that are not needed";
    Err(Error::new(ErrorKind::Conflict, "TooManyPendingRequests", itself(message), remedy))
}

/// The endpoint's addresses: one per member of its resource. Missing ones are allocated.
///
/// # Errors
/// The subnet has no free address left; nothing stays allocated.
pub(in super::super) fn fill(
    state: &ControlState,
    allocator: &mut Allocator,
    wanted: &PrivateEndpoint,
) -> Result<Vec<EndpointIp>, SubnetFull> {
    let mut addresses = wanted.addresses.clone();
    let resource = state.model.resources.get(&wanted.resource);
    let bound = resource.map(|resource| bound_targets(resource, wanted)).unwrap_or_default();
    for (member, target) in &bound {
        if !addresses.iter().any(|address| target_of(&bound, &address.member) == Some(*target)) {
            addresses.push(EndpointIp { member: (*member).to_owned(), ip: None });
        }
    }
    let subnets = state.model.vnets.get(&wanted.vnet).map(|vnet| vnet.subnets.as_slice()).unwrap_or_default();
    // If the subnet does not exist, the address stays empty, and validation reports the missing subnet.
    let Some(subnet) = subnets.iter().find(|subnet| subnet.name.eq_ignore_ascii_case(&wanted.subnet)) else {
        return Ok(addresses);
    };
    let mut given = Vec::new();
    for address in addresses.iter_mut().filter(|address| address.ip.is_none()) {
        match allocator.allocate(&wanted.vnet, subnet) {
            Ok(ip) => {
                given.push(ip);
                address.ip = Some(ip);
            }
            Err(full) => {
                for ip in given {
                    allocator.release(&wanted.vnet, ip);
                }
                return Err(full);
            }
        }
    }
    Ok(addresses)
}
