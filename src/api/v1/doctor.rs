//! What the daemon knows of a name, for whoever looks from a client's place.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::PoisonError;

use axum::extract::Path;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;

use super::{Call, ListResult, Parameters, about};
use crate::api::ApiState;
use crate::api::convert::texts;
use crate::compile::bound_targets;
use crate::compile::names::waiting_in;
use crate::control::View;
use crate::model::{BackendState, Key, LinkResource, PortSpec, PrivateEndpoint, TargetSpec, names};
use crate::observe::traffic;
use crate::snapshot::dns::ResolverPlan;
use crate::types::{DiagnosedAddress, Diagnosis, List};

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/vnets/{vnet}/diagnosis", get(diagnosis))
}

/// The name in question.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    name: String,
}

/// Aliases that are followed.
const MOST_ALIASES: usize = 8;

/// `GET /v1/vnets/{vnet}/diagnosis?name=…`: what is known of `name` there, of what the caller may read.
async fn diagnosis(
    Call { state, caller }: Call,
    Path(vnet): Path<String>,
    Parameters(Asked { name }): Parameters<Asked>,
) -> ListResult<Diagnosis> {
    let name = name.trim_end_matches('.').to_lowercase();
    let whole = state.control.view();
    let seen = whole.seen_by(&caller);
    let asked = about(&vnet, seen.vnet(&vnet))?;
    let mut found = Diagnosis { vnet: asked.key.to_string(), device: asked.device, ..Diagnosis::default() };
    let silent = state.silent.lock().unwrap_or_else(PoisonError::into_inner).get(&found.vnet).cloned();
    found.silent = silent.unwrap_or_default();
    let looks = Looks { state: &state, whole: &whole, seen: &seen };
    if let Some(plan) = whole.dns.resolvers.get(&found.vnet) {
        found.listen = texts(&plan.listen);
        found.upstream = texts(&plan.upstream);
        looks.follow(plan, &name, &mut found);
    }
    looks.elsewhere(&name, &mut found);
    looks.detached(&mut found);
    Ok(Json(List::one(found)))
}

/// What is looked at.
struct Looks<'a> {
    state: &'a ApiState,
    /// Everything: an endpoint's name may come from a resource that its author does not read.
    whole: &'a View,
    /// What the caller may read.
    seen: &'a View,
}

impl Looks<'_> {
    /// The chain from `name` on, and the addresses at its end.
    fn follow(&self, plan: &ResolverPlan, name: &str, found: &mut Diagnosis) {
        let mut at = name.to_owned();
        for _ in 0..MOST_ALIASES {
            let Some(node) = plan.names.get(&at).filter(|node| !node.is_empty()) else { return };
            found.chain.push(at.clone());
            let guarded = plan.guard_of(&at).is_some();
            for owner in &node.owners {
                if let Some(address) = self.address(&owner.endpoint, owner.address, plan.tells(owner, guarded)) {
                    found.addresses.push(address);
                }
            }
            match node.aliases.first() {
                Some(alias) if node.owners.is_empty() => at = alias.to.to_string(),
                _ => {
                    // A name that only endpoints have which the caller does not read is as if it led nowhere.
                    if !node.owners.is_empty() && found.addresses.is_empty() {
                        found.chain.clear();
                    }
                    return;
                }
            }
        }
    }

    /// One address, where the caller may read its endpoint.
    fn address(&self, endpoint: &str, address: IpAddr, answered: bool) -> Option<DiagnosedAddress> {
        let view = self.seen.endpoint(endpoint).ok().filter(|view| self.seen.reads_endpoint(&view.key))?;
        let bound = self.whole.state.model.resources.get(&view.endpoint.resource);
        // Servers are their owner's to know; others are told whether there is any.
        let owned = self.seen.state.model.resources.contains_key(&view.endpoint.resource);
        let targets = bound.map(|resource| reached(resource, &view.endpoint, address)).unwrap_or_default();
        let up = |target: &&TargetSpec| {
            let states =
                target.backends.iter().map(|one| self.whole.health.state(&view.endpoint.resource, target, one));
            states.filter(|state| *state == BackendState::Up).count() as u64
        };
        let told = |servers: u64| if owned { servers } else { servers.min(1) };
        let icmp = targets.iter().any(|target| target.icmp).then(|| "icmp".to_owned());
        let traffic = traffic(self.state.observer.endpoint(view.id));
        Some(DiagnosedAddress {
            address: address.to_string(),
            endpoint: view.key.to_string(),
            resource: view.endpoint.resource.to_string(),
            state: view.connection.state.to_string(),
            reason: view.connection.description.clone(),
            answered,
            ports: targets.iter().flat_map(|target| &target.ports).copied().map(exposed).chain(icmp).collect(),
            backends: told(targets.iter().map(|target| target.backends.len() as u64).sum()),
            backends_up: told(targets.iter().map(up).sum()),
            sessions: traffic.sessions,
            sessions_opened: traffic.sessions_opened,
            max_sessions: view.endpoint.max_sessions.map(u64::from),
            exhausted: bound.filter(|_| owned).map(|one| self.exhausted(one, &targets)).unwrap_or_default(),
        })
    }

    /// Servers of `targets` towards which `resource` has no NAT port left.
    fn exhausted(&self, resource: &LinkResource, targets: &[&TargetSpec]) -> Vec<String> {
        let full = self.state.observer.exhausted(&resource.nat).into_iter();
        let ours =
            |address: IpAddr| targets.iter().any(|target| target.backends.iter().any(|one| one.address == address));
        full.filter(|pool| ours(pool.backend))
            .map(|pool| format!("{} {}", pool.protocol, SocketAddr::new(pool.backend, pool.backend_port)))
            .collect()
    }

    /// Whether the VNet, or that of a service behind the name, has lost its attachment.
    fn detached(&self, found: &mut Diagnosis) {
        let detached = (self.state.detached)();
        found.detached.extend(detached.get(&found.vnet).map(|one| one.says(&found.vnet)));
        let resource = |text: &String| self.whole.state.model.resources.get(&Key::try_from(text.clone()).ok()?);
        let behind = found.addresses.iter().filter_map(|one| resource(&one.resource)?.vnet.as_ref());
        let providers: BTreeSet<&Key> = behind.filter(|vnet| vnet.to_string() != found.vnet).collect();
        for vnet in providers {
            let Some(one) = detached.get(&vnet.to_string()) else { continue };
            found.detached.push(if self.seen.state.model.vnets.contains_key(vnet) {
                one.says(&vnet.to_string())
            } else {
                "the network behind the service has lost its attachment to this host".to_owned()
            });
        }
    }

    /// Endpoints that bear the name and are not seen from this VNet.
    fn elsewhere(&self, name: &str, found: &mut Diagnosis) {
        let here = |key: &Key| found.addresses.iter().any(|address| address.endpoint == key.to_string());
        let bears = |key: &Key, endpoint: &PrivateEndpoint| {
            let members = endpoint.addresses.iter();
            let mut fqdns = members.flat_map(|one| names::told(&self.whole.state, key, endpoint, &one.member));
            fqdns.any(|fqdn| fqdn.public == name || fqdn.host() == name)
        };
        let vnet = Key::try_from(found.vnet.clone()).ok();
        let waiting = vnet.map(|vnet| waiting_in(&self.whole.state, &self.seen.state.model, &vnet, name));
        let waiting = waiting.unwrap_or_default();
        let waits = |key: &Key| waiting.iter().any(|(endpoint, _)| *endpoint == key);
        let all = self.seen.state.model.endpoints.iter();
        let all = all.filter(|(key, _)| self.seen.reads_endpoint(key));
        let all = all.filter(|(key, endpoint)| !here(key) && !waits(key) && bears(key, endpoint));
        found.elsewhere = all.map(|(key, endpoint)| format!("{key} in {}", endpoint.vnet)).collect();
        let home = |key: &Key| self.seen.state.model.endpoints.get(key).map(|endpoint| endpoint.vnet.clone());
        let remedies = waiting.iter().filter_map(|(key, one)| Some(one.said(key, &home(key)?).1));
        found.waiting = remedies.collect();
    }
}

/// The targets behind one address of an endpoint.
fn reached<'a>(resource: &'a LinkResource, endpoint: &PrivateEndpoint, address: IpAddr) -> Vec<&'a TargetSpec> {
    let member = endpoint.addresses.iter().find(|one| one.ip == Some(address)).map_or("", |one| &*one.member);
    let bound = bound_targets(resource, endpoint).into_iter();
    let ours = bound.filter(|(name, _)| member.is_empty() || name.eq_ignore_ascii_case(member));
    ours.filter_map(|(_, target)| resource.targets.get(usize::from(target.0))).collect()
}

/// `tcp 443`, `udp 8000-8100`: what a client asks for.
fn exposed(spec: PortSpec) -> String {
    let PortSpec { protocol, first, last, .. } = spec;
    if first == last { format!("{protocol} {first}") } else { format!("{protocol} {first}-{last}") }
}
