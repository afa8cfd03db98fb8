//! What readers see: one immutable `View` per acknowledged change, so that a listing is consistent
//! and never waits for the writer.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use super::index::Index;
use crate::access::Access;
use crate::compile::Registry;
use crate::compile::health::{Health, Server};
use crate::compile::retired::Retired;
use crate::model::error::Error;
use crate::model::references::resolve;
use crate::model::rules::tightened::Standing;
use crate::model::state::{Connection, ControlState, DecidedBy, Item};
use crate::model::{BackendSpec, HostConfig, Key, LinkResource, Model, PrivateEndpoint, Subject, TargetSpec, Vnet};
use crate::snapshot::dns::DnsPlan;
use crate::snapshot::{BackendState, ConnectionState, EndpointId, Protocol, ResourceId};
use crate::types::ApplyReport;

/// The state in force at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// The model and the connections.
    pub state: Arc<ControlState>,
    /// The index for listings.
    pub(super) index: Index,
    /// The plan of the DNS resolvers.
    pub dns: Arc<DnsPlan>,
    /// The host settings with which the daemon was started.
    pub host: Arc<HostConfig>,
    /// Ids of the endpoints in force, for counters and sessions.
    pub registry: Registry,
    /// Roles and their assignments.
    pub access: Arc<Access>,
    /// Number of the publication in force.
    pub epoch: u64,
    /// Whether this is the first start with this state directory.
    pub first_start: bool,
    /// Problems that an operator must know, most urgent first. Empty: all is well.
    pub conditions: Vec<String>,
    /// The report of the last application of the file.
    pub last_apply: Arc<ApplyReport>,
    /// Which servers are down or drained.
    pub health: Arc<Health>,
    /// Retired NAT addresses: each ends with its last session.
    pub retired: Arc<Retired>,
    /// Objects in force that break a newer rule.
    pub standing: Standing,
    /// Views of callers, cached.
    pub(super) seen: Arc<ViewCache>,
    /// Endpoints of which the reader sees only the connection, because it owns their resource.
    pub(super) unread: Arc<BTreeSet<Key>>,
}

/// What `privlink status` says.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// One line each.
    pub endpoints: Vec<EndpointView>,
    /// See [`View::conditions`].
    pub conditions: Vec<String>,
    /// See [`View::first_start`].
    pub first_start: bool,
    /// See [`View::epoch`].
    pub epoch: u64,
    /// Objects in force that the file no longer names.
    pub kept_unnamed: Vec<String>,
    /// Where live decisions differ from the file.
    pub differences: Vec<String>,
}

/// An endpoint and its connection.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointView {
    /// `group/name`.
    pub key: Key,
    /// Its id in counters and sessions.
    pub id: EndpointId,
    /// As configured, with its addresses filled in.
    pub endpoint: PrivateEndpoint,
    /// Its connection.
    pub connection: Connection,
    /// The number of backends that take its new sessions, over all members. `None`: the reader may not see the
    /// resource.
    pub backends: Option<usize>,
}

impl EndpointView {
    /// Its addresses.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.endpoint.addresses.iter().filter_map(|address| address.ip).collect()
    }
}

/// A connection as its owner sees it.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectionView {
    /// The endpoint's id within this process.
    pub id: EndpointId,
    /// The endpoint's addresses.
    pub addresses: Vec<IpAddr>,
    /// The consumer's VNet.
    pub vnet: Key,
    /// The consumer's region.
    pub region: String,
    /// The requesting endpoint.
    pub endpoint: Key,
    /// The requested resource.
    pub resource: Key,
    /// The requested subresource.
    pub subresource: String,
    /// Subscription of the endpoint.
    pub subscription: String,
    /// Message of the endpoint's author.
    pub request_message: String,
    /// State and last decision.
    pub connection: Connection,
    /// What the endpoint's author must do. Empty: nothing.
    pub actions_required: String,
}

/// A link resource and who is bound to it.
#[derive(Clone, Debug, Serialize)]
pub struct ResourceView {
    /// `group/name`.
    pub key: Key,
    /// Its id in counters.
    pub id: ResourceId,
    /// As configured.
    pub resource: LinkResource,
    /// Removed NAT addresses that sessions still use.
    pub retired: Vec<IpAddr>,
    /// Which servers are down or drained.
    #[serde(skip)]
    pub health: Arc<Health>,
    /// Endpoints bound to it, with their states.
    pub endpoints: Vec<(Key, ConnectionState)>,
    /// Other resources with one of the same backends.
    pub shares_backends_with: Vec<Key>,
}

/// A network.
#[derive(Clone, Debug, Serialize)]
pub struct VnetView {
    /// `group/name`.
    pub key: Key,
    /// As configured.
    pub vnet: Vnet,
    /// The device of its attachment on this host. `None`: it is not attached here.
    pub device: Option<String>,
    /// The namespace of that device. `None`: the daemon's.
    pub netns: Option<String>,
    /// Its peerings.
    pub peerings: Vec<(Key, PeeringState)>,
    /// Its endpoints.
    pub endpoints: Vec<Key>,
}

/// The state of a peering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum PeeringState {
    /// Only this side lists it: passes nothing.
    Initiated,
    /// Both sides list it.
    Connected,
    /// The other side was deleted: nothing passes until both sides create it again.
    Disconnected,
    /// The reader may not see the other side, or it does not exist.
    Unknown,
}

impl View {
    /// What `privlink status` says.
    pub fn status(&self) -> Status {
        Status {
            endpoints: self.endpoints(),
            conditions: self.conditions.clone(),
            first_start: self.first_start,
            epoch: self.epoch,
            kept_unnamed: self.kept_unnamed(),
            differences: self.last_apply.differences.clone(),
        }
    }

    /// Objects in force that the daemon's file no longer names.
    pub fn kept_unnamed(&self) -> Vec<String> {
        self.kept_items().map(ToString::to_string).collect()
    }

    /// [`View::kept_unnamed`], as items.
    pub fn kept_items(&self) -> impl Iterator<Item = &Item> {
        let file = self.state.files.get(&crate::model::state::DAEMON.to_owned());
        file.into_iter().flat_map(|file| &file.left)
    }

    /// Endpoints bound to `resource`, by name.
    pub fn bound_to(&self, resource: &Key) -> impl Iterator<Item = &Key> {
        self.index.bound_to(resource)
    }

    /// When the next approval expires.
    pub fn next_end(&self) -> Option<Timestamp> {
        self.index.next_end()
    }

    /// Endpoints named `name` in any group; case does not matter.
    pub fn endpoints_named(&self, name: &str) -> impl Iterator<Item = &Key> {
        self.index.named(name)
    }

    /// Every endpoint, by name.
    pub fn endpoints(&self) -> Vec<EndpointView> {
        self.state.model.endpoints.keys().filter_map(|key| self.endpoint_view(key)).collect()
    }

    /// The endpoint that `reference` names.
    ///
    /// # Errors
    /// `NotFound`: no endpoint has this name, or several have it.
    pub fn endpoint(&self, reference: &str) -> Result<EndpointView, Error> {
        let key = resolve("endpoint", reference, &self.state.model.endpoints)?;
        self.endpoint_view(key)
            .ok_or_else(|| crate::model::references::unknown("endpoint", reference, std::iter::empty()))
    }

    /// Every connection by name, or only the pending ones, oldest first.
    pub fn connections(&self, pending_only: bool) -> Vec<ConnectionView> {
        let view = |key| self.endpoint_view(key).map(connection_view);
        if pending_only {
            return self.index.pending().filter_map(view).collect();
        }
        self.state.model.endpoints.keys().filter_map(view).collect()
    }

    /// The connection of the endpoint that `endpoint` names.
    ///
    /// # Errors
    /// `NotFound`: no endpoint has this name, or several have it, or it is bound to another resource.
    pub fn connection(&self, endpoint: &str, resource: Option<&str>) -> Result<ConnectionView, Error> {
        let view = self.endpoint(endpoint)?;
        let bound = (&view.key, &view.endpoint.resource);
        crate::model::references::check_bound(&self.state.model, &|_| true, bound, resource)?;
        Ok(connection_view(view))
    }

    /// Every link resource, by name.
    pub fn resources(&self) -> Vec<ResourceView> {
        let servers = Servers::of(&self.state.model);
        self.state.model.resources.keys().filter_map(|key| self.resource_view(key, &servers)).collect()
    }

    /// The link resource that `reference` names.
    ///
    /// # Errors
    /// `NotFound`: no resource has this name, or several have it.
    pub fn resource(&self, reference: &str) -> Result<ResourceView, Error> {
        let key = resolve("resource", reference, &self.state.model.resources)?;
        self.resource_view(key, &Servers::of(&self.state.model))
            .ok_or_else(|| crate::model::references::unknown("resource", reference, std::iter::empty()))
    }

    /// Every VNet, by name.
    pub fn vnets(&self) -> Vec<VnetView> {
        self.state.model.vnets.iter().map(|(key, vnet)| self.vnet_view(key, vnet)).collect()
    }

    /// The VNet that `reference` names.
    ///
    /// # Errors
    /// `NotFound`: no VNet has this name, or several have it.
    pub fn vnet(&self, reference: &str) -> Result<VnetView, Error> {
        let vnets = &self.state.model.vnets;
        let key = resolve("vnet", reference, vnets)?;
        let found = vnets.get(key).map(|vnet| self.vnet_view(key, vnet));
        found.ok_or_else(|| crate::model::references::unknown("vnet", reference, std::iter::empty()))
    }

    fn endpoint_view(&self, key: &Key) -> Option<EndpointView> {
        let endpoint = self.state.model.endpoints.get(key)?;
        Some(EndpointView {
            key: key.clone(),
            id: self.registry.endpoint(key)?,
            endpoint: endpoint.clone(),
            connection: self.state.connections.get(key)?.clone(),
            backends: self
                .state
                .model
                .resources
                .get(&endpoint.resource)
                .map(|resource| backends(&self.health, resource, endpoint)),
        })
    }

    fn resource_view(&self, key: &Key, servers: &Servers<'_>) -> Option<ResourceView> {
        let resource = self.state.model.resources.get(key)?;
        Some(ResourceView {
            key: key.clone(),
            id: self.registry.resource(key)?,
            resource: resource.clone(),
            retired: self.retired.of(key).collect(),
            health: Arc::clone(&self.health),
            endpoints: self
                .index
                .bound_to(key)
                .filter(|name| {
                    let endpoint = self.state.model.endpoints.get(name);
                    endpoint.is_some_and(|endpoint| !self.state.model.is_left(name, endpoint))
                })
                .filter_map(|name| Some((name.clone(), self.state.connections.get(name)?.state)))
                .collect(),
            shares_backends_with: servers.shared_by(key, resource),
        })
    }

    fn vnet_view(&self, key: &Key, vnet: &Vnet) -> VnetView {
        let model = &self.state.model;
        let attachment = self.host.attachments.iter().find(|attachment| attachment.vnet == *key);
        let state = |peer: &Key| match model.vnets.get(peer) {
            Some(other) if other.peerings.contains(key) => PeeringState::Connected,
            Some(_) => PeeringState::Initiated,
            None => PeeringState::Unknown,
        };
        let severed = vnet.peering_labels.iter().filter(|label| label.severed);
        let severed = severed.map(|label| (label.remote.clone(), PeeringState::Disconnected));
        VnetView {
            key: key.clone(),
            vnet: vnet.clone(),
            device: attachment.map(|attachment| attachment.device.clone()),
            netns: attachment.and_then(|attachment| attachment.netns.clone()),
            peerings: vnet.peerings.iter().map(|peer| (peer.clone(), state(peer))).chain(severed).collect(),
            endpoints: self.index.within(key).cloned().collect(),
        }
    }
}

/// Resources by the VNet and address of their backends.
struct Servers<'a>(HashMap<(Option<&'a Key>, IpAddr), BTreeSet<&'a Key>>);

impl<'a> Servers<'a> {
    fn of(model: &'a Model) -> Self {
        let mut servers = HashMap::<_, BTreeSet<&Key>>::new();
        for (key, resource) in &model.resources {
            for address in backend_addresses(resource) {
                servers.entry((resource.vnet.as_ref(), address)).or_default().insert(key);
            }
        }
        Self(servers)
    }

    /// Other resources with one of the backends of `key`.
    fn shared_by(&self, key: &Key, resource: &LinkResource) -> Vec<Key> {
        let places = backend_addresses(resource).map(|address| (resource.vnet.as_ref(), address));
        let users: BTreeSet<&Key> = places.filter_map(|place| self.0.get(&place)).flatten().copied().collect();
        users.into_iter().filter(|user| *user != key).cloned().collect()
    }
}

fn backend_addresses(resource: &LinkResource) -> impl Iterator<Item = IpAddr> {
    resource.targets.iter().flat_map(|target| &target.backends).map(|backend| backend.address)
}

fn connection_view(view: EndpointView) -> ConnectionView {
    let actions_required = match view.connection.state {
        ConnectionState::Approved | ConnectionState::Pending | ConnectionState::Rejected => String::new(),
        ConnectionState::Disconnected => format!(
            "removed by {} at {}: delete the endpoint, and create it anew if it is still wanted",
            view.connection.decided_by,
            at(view.connection.decided_at)
        ),
    };
    ConnectionView {
        subscription: view.key.subscription.clone(),
        id: view.id,
        addresses: view.addresses(),
        vnet: view.endpoint.vnet.clone(),
        region: view.endpoint.region.clone(),
        endpoint: view.key,
        resource: view.endpoint.resource,
        subresource: view.endpoint.subresource,
        request_message: view.endpoint.request_message,
        connection: view.connection,
        actions_required,
    }
}

/// One server of one target.
#[derive(Clone, Debug)]
pub struct ServerView {
    /// The server.
    pub server: Server,
    /// Whether it has a health check.
    pub checked: bool,
    /// Whether its checks succeed. Without a check it counts as healthy.
    pub well: bool,
    /// Which sessions it may have.
    pub state: BackendState,
    /// Exposed ports that get no sessions, because their check fails.
    pub silent: Vec<(Protocol, u16, u16)>,
}

impl View {
    /// Every server of every resource.
    pub fn servers(&self) -> impl Iterator<Item = ServerView> {
        let resources = self.state.model.resources.iter();
        let targets = resources.flat_map(|(key, resource)| resource.targets.iter().map(move |target| (key, target)));
        targets.flat_map(move |(key, target)| {
            target.backends.iter().map(move |backend| ServerView {
                server: Server::of(key, target, backend),
                checked: target.checks().next().is_some(),
                well: self.health.is_well(key, target, backend),
                state: self.health.state(key, target, backend),
                silent: self.health.silent(key, target, backend).flat_map(|one| one.ports.clone()).collect(),
            })
        })
    }
}

/// How many servers take new sessions of `endpoint`.
fn backends(health: &Health, resource: &LinkResource, endpoint: &PrivateEndpoint) -> usize {
    let up = |target: &TargetSpec, backend: &BackendSpec| {
        health.state(&endpoint.resource, target, backend) == BackendState::Up
    };
    let members = crate::compile::bound_targets(resource, endpoint);
    let mut addresses: Vec<IpAddr> = members
        .into_iter()
        .filter_map(|(_, target)| resource.targets.get(usize::from(target.0)))
        .flat_map(|target| target.backends.iter().filter(|backend| up(target, backend)).map(|one| one.address))
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.len()
}

/// RFC 3339, to the second.
pub(super) fn at(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A decision as text, such as `rejected by root at 2026-01-01T00:00:00Z`.
pub(super) fn decision_of(connection: &Connection) -> String {
    let state = connection.state.to_string().to_lowercase();
    match connection.decided_by {
        DecidedBy::Nobody => format!("{state} since {}", at(connection.decided_at)),
        DecidedBy::File(_)
        | DecidedBy::Right(_)
        | DecidedBy::AutoApproval
        | DecidedBy::Live(_)
        | DecidedBy::ResourceDeleted(_)
        | DecidedBy::ApprovalEnded => {
            format!("{state} by {} at {}", connection.decided_by, at(connection.decided_at))
        }
    }
}

/// The most callers whose view is cached.
const KEPT: usize = 16;

/// A cache of callers' views, so that repeated requests filter a view only once.
#[derive(Debug, Default)]
pub(super) struct ViewCache(Mutex<Vec<(Subject, View)>>);

impl ViewCache {
    pub(super) fn of(&self, subject: &Subject, filter: impl FnOnce() -> View) -> View {
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, view)) = kept().iter().find(|(one, _)| one == subject) {
            return view.clone();
        }
        let view = filter();
        let mut kept = kept();
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((subject.clone(), view.clone()));
        view
    }
}
