//! The paths of this program's own: a file for each noun, with its routes.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::{Json, Router};
use serde::de::DeserializeOwned;

use super::ApiState;
use super::error::Error;
use crate::control::View;
use crate::model::{self, Caller};
use crate::types::List;

/// Why somebody may do something.
mod access;

/// Assignments of roles.
mod assignments;

/// The audit log.
mod audit;

/// What is not as it should be.
pub(super) mod conditions;

/// Connections, and decisions about them.
mod connections;

/// Private names.
mod dns;

/// What becomes of a name.
mod dns_explain;

/// Private DNS zones.
mod dns_zones;

/// What `doctor` needs to know.
mod doctor;

/// Documents of any author.
mod documents;

/// Endpoints.
mod endpoints;

/// Sessions, and what would become of a packet.
mod flows;

/// Interfaces and groups.
mod inventory;

/// Names that will surprise somebody.
mod lint;

/// List, show and delete.
mod noun;

/// Link resources.
mod resources;

/// Roles.
mod roles;

/// Rule sets.
mod security_groups;

/// What is so.
mod status;

/// Bearer tokens.
mod tokens;

/// Quotas and rates.
mod usage;

/// VNets.
mod vnets;

/// Waiting for a change.
mod watch;

/// Who used a NAT address and port.
mod who;

type ListResult<T> = Result<Json<List<T>>, Error>;
/// Everything below `/v1`.
pub(super) fn routes() -> Router<ApiState> {
    let nouns = [
        access::routes(),
        assignments::routes(),
        audit::routes(),
        connections::routes(),
        dns::routes(),
        dns_explain::routes(),
        dns_zones::routes(),
        doctor::routes(),
        documents::routes(),
        endpoints::routes(),
        flows::routes(),
        inventory::routes(),
        lint::routes(),
        resources::routes(),
        roles::routes(),
        security_groups::routes(),
        status::routes(),
        tokens::routes(),
        usage::routes(),
        vnets::routes(),
        watch::routes(),
        who::routes(),
    ];
    nouns.into_iter().fold(Router::new(), Router::merge)
}

/// A request: who asks which daemon.
struct Call {
    state: ApiState,
    caller: Caller,
}

impl Call {
    /// The view in force, with what the caller may read of it.
    fn seen(&self) -> View {
        self.state.control.view().seen_by(&self.caller)
    }
}

impl FromRequestParts<ApiState> for Call {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Error> {
        let caller = parts.extensions.get::<Caller>().cloned();
        let caller = caller.ok_or_else(|| Error::unauthenticated("nobody is known to ask"))?;
        Ok(Self { state: state.clone(), caller })
    }
}

/// What stands after the `?`.
struct Parameters<T>(T);

impl<T: DeserializeOwned> FromRequestParts<ApiState> for Parameters<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Error> {
        let Query(said) = Query::from_request_parts(parts, state).await?;
        Ok(Self(said))
    }
}

/// A body.
struct Sent<T>(T);

impl<T: DeserializeOwned> FromRequest<ApiState> for Sent<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Error> {
        let body = Bytes::from_request(request, state).await?;
        serde_json::from_slice(&body).map(Self).map_err(Error::bad_body)
    }
}

/// What is `found`; that it is not is said of `name`.
fn about<T>(name: &str, found: Result<T, model::error::Error>) -> Result<T, Error> {
    found.map_err(|refusal| Error::from(refusal).about(name))
}
