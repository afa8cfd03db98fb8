//! List and show, written once for every kind of object that has a path of its own; delete, for each kind of the model.

use axum::extract::Path;
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde::Serialize;

use super::{Call, ListResult};
use crate::api::ApiState;
use crate::api::error::Error;
use crate::api::execute::done;
use crate::control::Delete;
use crate::model::registry::Kind;
use crate::types::{Done, List, Listed};

/// Objects as they are shown to a caller.
pub(super) trait Shown: Listed + Serialize + Sized + 'static {
    /// All that the caller may read.
    fn all(call: &Call) -> Vec<Self>;

    /// Those that `reference` names.
    ///
    /// # Errors
    /// There is none that the caller may read, or several could be meant.
    fn named(call: &Call, reference: &str) -> Result<Vec<Self>, Error>;
}

/// `GET /v1/…` and `GET /v1/…/{name}`
pub(super) fn shown<T: Shown>() -> Router<ApiState> {
    Router::new().route(T::PATH, get(list::<T>)).route(&one_of::<T>(), get(one::<T>))
}

/// [`shown`], and `DELETE /v1/…/{name}` of the objects of the model that are shown so.
pub(super) fn owned<T: Shown, K: Kind>() -> Router<ApiState> {
    shown::<T>().route(&one_of::<T>(), delete(remove::<K>))
}

fn one_of<T: Listed>() -> String {
    format!("{}/{{name}}", T::PATH)
}

async fn list<T: Shown>(call: Call) -> Json<List<T>> {
    Json(List::new(T::all(&call)))
}

async fn one<T: Shown>(call: Call, Path(reference): Path<String>) -> ListResult<T> {
    let found = T::named(&call, &reference).map_err(|rejection| rejection.about(&reference));
    found.map(|found| Json(List::new(found)))
}

async fn remove<K: Kind>(Call { state, caller }: Call, Path(reference): Path<String>) -> ListResult<Done> {
    done(state, caller, Delete { kind: K::KIND, reference }).await
}
