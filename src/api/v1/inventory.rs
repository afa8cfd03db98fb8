//! What follows from other objects, and cannot be changed by itself: interfaces of endpoints, and resource groups.

use axum::routing::get;
use axum::{Json, Router};

use super::noun::{Shown, shown};
use super::{Call, ListResult};
use crate::access::rights::{Right, Verb};
use crate::api::error::Error;
use crate::api::{ApiState, arm};
use crate::control::View;
use crate::model::state::{Connection, Item, ItemKind};
use crate::model::{Caller, Key, Scope, actions, ids};
use crate::types::{Group, Interface, InterfaceAddress, List};

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    shown::<Interface>().route("/groups", get(groups))
}

impl Shown for Interface {
    fn all(call: &Call) -> Vec<Self> {
        seen(&call.state.control.view(), &call.caller)
    }

    /// By its name, or that of its endpoint.
    fn named(call: &Call, name: &str) -> Result<Vec<Self>, Error> {
        let is = |wanted: &str| wanted.eq_ignore_ascii_case(name);
        let short = |id: &str| id.rsplit('/').next().unwrap_or_default().to_owned();
        let mut all = Self::all(call);
        all.retain(|nic| is(&nic.name) || is(&nic.id) || is(&nic.endpoint) || is(&short(&nic.endpoint)));
        match all.len() {
            0 => Err(Error::missing("network interface", name, "`privlink nic list` shows what there is")),
            _ => Ok(all),
        }
    }
}

fn seen(view: &View, caller: &Caller) -> Vec<Interface> {
    let rights = view.rights(caller);
    let model = &view.state.model;
    let one = |(key, endpoint): (&Key, &crate::model::PrivateEndpoint)| {
        let name = ids::network_interface(key, endpoint).key().clone();
        if !rights.hold(&Right::read_of(actions::INTERFACES, &name)) {
            return None;
        }
        let tells = view.state.connections.get(key).is_none_or(Connection::tells_parts);
        let resource = model.resources.get(&endpoint.resource).filter(|_| tells);
        let addresses = endpoint.addresses.iter().filter_map(|address| {
            let member = if tells { &*address.member } else { "" };
            Some(InterfaceAddress {
                group: endpoint.subresource.clone(),
                member: endpoint.shown_member(resource, member),
                ip: address.ip?.to_string(),
                fqdns: arm::fqdns(&view.state, key, endpoint, &address.member),
            })
        });
        Some(Interface {
            id: name.to_string(),
            name: name.name.clone(),
            resource_group: name.group.clone(),
            endpoint: key.to_string(),
            vnet: endpoint.vnet.to_string(),
            subnet: endpoint.subnet.clone(),
            addresses: addresses.collect(),
        })
    };
    model.endpoints.iter().filter_map(one).collect()
}

/// `GET /v1/groups`
async fn groups(Call { state, caller }: Call) -> ListResult<Group> {
    let view = state.control.view();
    let (rights, model) = (view.rights(&caller), &view.state.model);
    let all = model.all_groups();
    let seen = all.iter().filter(|(key, _)| {
        rights.hold(&Right::on(model, &Item { kind: ItemKind::ResourceGroup, key: (*key).clone() }, Verb::Read))
    });
    let one = |(key, group): (&Key, &crate::model::ResourceGroup)| Group {
        name: key.group.clone(),
        subscription: key.subscription.clone(),
        region: group.region.clone(),
        tags: group.tags.clone(),
        declared: model.groups.contains_key(key),
        objects: view
            .reads_all(&caller, &Scope::group(&key.subscription, &key.group))
            .then(|| model.in_group(key).len() as u64),
    };
    Ok(Json(List::new(seen.map(one).collect())))
}
