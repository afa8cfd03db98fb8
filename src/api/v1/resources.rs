//! Link resources. What is decided over all their connections stands with those.

use axum::Router;

use super::Call;
use super::noun::{Shown, owned};
use crate::api::error::Error;
use crate::api::{ApiState, convert};
use crate::model::LinkResource;
use crate::types::Resource;

/// Their paths.
pub(super) fn routes() -> Router<ApiState> {
    owned::<Resource, LinkResource>()
}

impl Shown for Resource {
    fn all(call: &Call) -> Vec<Self> {
        let sample = call.state.observer.sample();
        call.seen().resources().iter().map(|resource| convert::resource(resource, &sample)).collect()
    }

    fn named(call: &Call, reference: &str) -> Result<Vec<Self>, Error> {
        let resource = call.seen().resource(reference)?;
        Ok(vec![convert::resource(&resource, &call.state.observer.sample())])
    }
}
