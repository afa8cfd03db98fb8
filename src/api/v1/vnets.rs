//! VNets.

use axum::Router;

use super::Call;
use super::noun::{Shown, owned};
use crate::api::error::Error;
use crate::api::{ApiState, convert};
use crate::model;
use crate::types::Vnet;

/// Their paths.
pub(super) fn routes() -> Router<ApiState> {
    owned::<Vnet, model::Vnet>()
}

impl Shown for Vnet {
    fn all(call: &Call) -> Vec<Self> {
        call.seen().vnets().into_iter().map(convert::vnet).collect()
    }

    fn named(call: &Call, reference: &str) -> Result<Vec<Self>, Error> {
        Ok(vec![convert::vnet(call.seen().vnet(reference)?)])
    }
}
