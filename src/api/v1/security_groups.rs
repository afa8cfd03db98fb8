//! Rule sets.

use axum::Router;

use super::Call;
use super::noun::{Shown, owned};
use crate::api::ApiState;
use crate::api::error::Error;
use crate::model::references::resolve;
use crate::model::{self, Key, Model};
use crate::types::{SecurityGroup, SecurityGroupStatus};

/// Their paths.
pub(super) fn routes() -> Router<ApiState> {
    owned::<SecurityGroup, model::SecurityGroup>()
}

impl Shown for SecurityGroup {
    fn all(call: &Call) -> Vec<Self> {
        let model = &call.seen().state.model;
        model.security_groups.iter().map(|(key, group)| shown(model, key, group)).collect()
    }

    fn named(call: &Call, reference: &str) -> Result<Vec<Self>, Error> {
        let model = &call.seen().state.model;
        let key = resolve("security group", reference, &model.security_groups)?;
        Ok(model.security_groups.get(key).map(|group| shown(model, key, group)).into_iter().collect())
    }
}

fn shown(model: &Model, key: &Key, group: &model::SecurityGroup) -> SecurityGroup {
    let subnets = model.vnets.iter().flat_map(|(vnet, network)| network.subnets.iter().map(move |one| (vnet, one)));
    let bound = subnets.filter(|(_, subnet)| subnet.security_group.as_ref() == Some(key));
    let subnets = bound.map(|(vnet, subnet)| format!("{vnet}/{}", subnet.name)).collect();
    SecurityGroup::new(key, group.clone(), SecurityGroupStatus { subnets })
}
