//! Which objects a caller may see, and which ones an error for it may mention.

use super::{Right, Rights, Verb};
use crate::access::Grant;
use crate::model::sentence::Named;
use crate::model::state::{Item, ItemKind};
use crate::model::{Key, Model, Scope, Visibility, actions};

/// Whether the holder of `rights` may see `item` of `model`: by its `read` right. An endpoint is also visible with the
/// right to read its resource's connections; an assignment also to its own principal; a role where it may be assigned.
pub(crate) fn sees(rights: &Rights<'_>, model: &Model, item: &Item) -> bool {
    if rights.hold(&Right::on(model, item, Verb::Read)) {
        return true;
    }
    let key = &item.key;
    if item.kind == ItemKind::Endpoint {
        let bound = model.endpoints.get(key);
        return bound.is_some_and(|endpoint| rights.hold(&Right::other_side(model, key, endpoint)));
    }
    if item.kind == ItemKind::Assignment {
        let given = model.assignments.get(key);
        return given.is_some_and(|given| rights.caller().subject.principals().any(|own| own == given.principal));
    }
    // Like an assignment, it is visible where it may be used.
    item.kind == ItemKind::Role
        && model.roles.get(key).is_some_and(|role| {
            let read = |scope: &Scope| Right { action: actions::read(actions::ROLE_DEFINITIONS), scope: scope.clone() };
            role.assignable_scopes.iter().any(|scope| rights.hold(&read(scope)))
        })
}

/// Whether the holder of `rights` may see an assignment: its own ones, and those that it may read.
pub fn sees_grant(rights: &Rights<'_>, grant: &Grant) -> bool {
    let own = rights.caller().subject.principals().any(|own| own == grant.assignment.principal);
    let scope = grant.assignment.scope.clone();
    own || rights.hold(&Right { action: actions::read(actions::ROLE_ASSIGNMENTS), scope })
}

/// Whether an error for the holder of `rights` may mention `named`: objects that it may see or write, and subnets that
/// it may use.
pub(crate) fn may_mention(rights: &Rights<'_>, model: &Model, named: &Named) -> bool {
    let at = |kind: &str, subscription: &str| {
        rights.hold(&Right { action: actions::read(kind), scope: Scope::subscription(subscription) })
    };
    match named {
        Named::Item(item) => sees(rights, model, item) || rights.hold(&Right::on(model, item, Verb::Write)),
        Named::Subnet(vnet, name) => {
            let read = Right::subnet(vnet, name, actions::read(actions::SUBNETS));
            rights.hold(&read) || rights.hold(&Right::join(vnet, name))
        }
        Named::Offer(key) => rights.may_read(model, key) || shows_itself(rights, model, key),
        Named::Subscription(name) => {
            [actions::NETWORKS, actions::ENDPOINTS, actions::SERVICES].into_iter().all(|kind| at(kind, name))
        }
        Named::Host => rights.hold(&Right::anywhere(actions::read(actions::STATUS))),
    }
}

/// Whether the resource `key` is visible to a subscription in which the holder of `rights` may create endpoints.
pub(crate) fn shows_itself(rights: &Rights<'_>, model: &Model, key: &Key) -> bool {
    let creates = |scope: Scope| rights.hold(&Right { action: actions::write(actions::ENDPOINTS), scope });
    match model.resources.get(key).map(|resource| &resource.visibility) {
        Some(Visibility::Everyone) => true,
        Some(Visibility::Subscriptions(list)) => list.iter().any(|name| creates(Scope::subscription(name))),
        Some(Visibility::Readers | Visibility::ById) | None => false,
    }
}
