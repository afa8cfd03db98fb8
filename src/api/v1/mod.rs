//! The paths of this program's own: a file for each noun, with its routes.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::{Extension, Json, Router};
use serde::de::DeserializeOwned;

use super::ApiState;
use super::error::Error;
use super::execute::done;
use crate::control::{Delete, View};
use crate::model::Caller;
use crate::model::state::ItemKind;
use crate::types::{Done, List};

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
type Body = Result<Bytes, BytesRejection>;

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

/// The view in force, with what `caller` may read of it.
fn seen(state: &ApiState, caller: &Caller) -> View {
    state.control.view().seen_by(caller)
}

/// Deletes one object of `kind`.
async fn delete_item(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(reference): Path<String>,
    kind: ItemKind,
) -> Result<Json<List<Done>>, Error> {
    done(state, caller, Delete { kind, reference }).await
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(Error::bad_body)
}
