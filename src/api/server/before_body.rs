//! Checks a request before its body is read: the right that its head needs, at the object that its path names. The body
//! of a refused request is not read. If only the body names the object, a caller that may not write everywhere gets
//! lower limits for it.

use std::time::Duration;

use axum::http::Method;
use axum::http::request::Parts;

use super::lanes::{self, Lane};
use super::limits::{BODY_LIMIT, DOCUMENT_LIMIT, DOCUMENTS, REQUEST_TIMEOUT};
use crate::access::rights::{Right, Where};
use crate::api::error::Error;
use crate::api::{ApiState, arm};
use crate::model::{Action, Caller, actions, approval};

/// The largest document of a caller that may not write everywhere.
pub(in crate::api) const PART_DOCUMENT_LIMIT: usize = 1 << 20;

/// How long a body may take if its author has the right at some scope, but perhaps not at the one in the body.
pub(in crate::api) const PART_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });

/// Limits for a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) struct Bounds {
    /// Bytes at most.
    pub(in crate::api) bytes: usize,
    /// How long it may take.
    pub(in crate::api) time: Duration,
}

impl Bounds {
    /// The limits for a request to `path` with full rights.
    pub(in crate::api) fn of(path: &str) -> Self {
        Self { bytes: if path == DOCUMENTS { DOCUMENT_LIMIT } else { BODY_LIMIT }, time: REQUEST_TIMEOUT }
    }

    /// The limits for a caller with the right at `held`.
    fn within(self, held: Where) -> Self {
        match held {
            Where::Everywhere => self,
            Where::Somewhere | Where::Nowhere => {
                Self { bytes: self.bytes.min(PART_DOCUMENT_LIMIT), time: self.time.min(PART_TIMEOUT) }
            }
        }
    }
}

/// The right that the head of a request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asks {
    /// To decide about the connection of this endpoint.
    Decision(approval::Action, String),
    /// To decide about connections of this resource.
    ControlState(String),
    /// To write this endpoint.
    Endpoint(String),
    /// An action at `/`.
    Anywhere(Action),
    /// An action whose scope is in the body.
    Somewhere(Action),
    /// To write or delete the objects that a document names.
    Objects,
    /// To change the object in the body, or one at an ARM path.
    Anything,
}

impl Asks {
    fn of(method: &Method, path: &str) -> Self {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let text = arm::decode;
        match (method, parts.as_slice()) {
            (&Method::POST, ["v1", "connections", endpoint, verb]) => {
                let verbs = [approval::Action::Approve, approval::Action::Reject, approval::Action::Remove];
                let action = verbs.into_iter().find(|action| action.verb() == *verb);
                action.map_or(Self::Anything, |action| Self::Decision(action, text(endpoint)))
            }
            (&Method::POST, ["v1", "resources", resource, "connections", _]) => Self::ControlState(text(resource)),
            (&Method::POST, ["v1", "endpoints", endpoint, "accept-names"]) => Self::Endpoint(text(endpoint)),
            (&Method::POST, ["v1", "tokens"] | ["v1", "tokens", _, "rotate"]) => {
                Self::Anywhere(actions::write(actions::TOKENS))
            }
            (&Method::POST, ["v1", "backup"]) => Self::Anywhere(actions::perform(actions::BACKUP)),
            (&Method::POST, ["v1", "reload"]) => Self::Anywhere(actions::write(actions::CONFIGURATION)),
            (&Method::POST, ["v1", "roles"]) => Self::Somewhere(actions::write(actions::ROLE_DEFINITIONS)),
            (&Method::POST, ["v1", "assignments"]) => Self::Somewhere(actions::write(actions::ROLE_ASSIGNMENTS)),
            (&Method::POST, _) if path == DOCUMENTS => Self::Objects,
            _ => Self::Anything,
        }
    }

    /// A caller that may change nothing gets an error with the missing right.
    fn needed(&self) -> &'static str {
        match self {
            Self::Decision(..) | Self::ControlState(_) => "privateEndpointConnectionsApproval/action on the resource",
            Self::Endpoint(_) | Self::Anywhere(_) | Self::Somewhere(_) | Self::Objects | Self::Anything => {
                "the right to write what is to be changed"
            }
        }
    }
}

/// Checks that `caller` has the right that the head of a request needs, as far as the head shows it.
///
/// # Errors
/// The same error as from the handler: 403, or 404 for an object that the caller does not see.
pub(in crate::api) async fn judge(state: &ApiState, caller: &Caller, parts: &Parts) -> Result<Bounds, Error> {
    let path = parts.uri.path();
    if arm::is_arm(path) {
        arm::check_head(state, caller, parts)?;
    }
    let view = state.control.view();
    let (asks, bounds) = (Asks::of(&parts.method, path), Bounds::of(path));
    let (rights, needed) = (view.rights(caller), asks.needed());
    rights.demand_any_write(needed)?;
    match asks {
        Asks::Anything => {}
        Asks::Anywhere(action) => rights.demand(&Right::anywhere(action))?,
        Asks::Somewhere(action) => return Ok(bounds.within(rights.demand_somewhere(&action)?)),
        Asks::Objects => return Ok(bounds.within(rights.demand_any(&view.object_writes(), needed)?)),
        Asks::Decision(action, endpoint) => {
            look(state, caller, parts, move |caller| {
                let judged = view.demand_decision(caller, &endpoint, action);
                judged.map_err(|refusal| Error::from(refusal).about(&endpoint))
            })
            .await?;
        }
        Asks::ControlState(resource) => {
            look(state, caller, parts, move |caller| {
                let judged = view.demand_decisions(caller, &resource);
                judged.map_err(|refusal| Error::from(refusal).about(&resource))
            })
            .await?;
        }
        Asks::Endpoint(endpoint) => {
            look(state, caller, parts, move |caller| {
                let judged = view.demand_write_of_endpoint(caller, &endpoint);
                judged.map_err(|refusal| Error::from(refusal).about(&endpoint))
            })
            .await?;
        }
    }
    Ok(bounds)
}

/// Runs `work`, which walks the model, on the threads that will handle the request.
async fn look(
    state: &ApiState,
    caller: &Caller,
    parts: &Parts,
    work: impl FnOnce(&Caller) -> Result<(), Error> + Send + 'static,
) -> Result<(), Error> {
    let lane = lanes::of(&parts.method, parts.uri.path(), b"").unwrap_or(Lane::Reads);
    let (principal, caller) = (caller.subject.principal().clone(), caller.clone());
    state.lanes.run(lane, Some(principal), async move { work(&caller) }).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_asks_for_what_its_path_names() {
        let write = |kind| actions::write(kind);
        for (method, path, expected) in [
            ("POST", "/v1/connections/g%2Fe/approve", Asks::Decision(approval::Action::Approve, "g/e".into())),
            ("POST", "/v1/connections/e/reject", Asks::Decision(approval::Action::Reject, "e".into())),
            ("POST", "/v1/connections/e/remove", Asks::Decision(approval::Action::Remove, "e".into())),
            ("POST", "/v1/connections/e/delete", Asks::Anything),
            ("POST", "/v1/resources/g%2Fr/connections/reject", Asks::ControlState("g/r".into())),
            ("POST", "/v1/endpoints/e/accept-names", Asks::Endpoint("e".into())),
            ("POST", "/v1/tokens", Asks::Anywhere(write(actions::TOKENS))),
            ("POST", "/v1/tokens/ci/rotate", Asks::Anywhere(write(actions::TOKENS))),
            ("POST", "/v1/roles", Asks::Somewhere(write(actions::ROLE_DEFINITIONS))),
            ("POST", "/v1/assignments", Asks::Somewhere(write(actions::ROLE_ASSIGNMENTS))),
            ("POST", "/v1/apply", Asks::Objects),
            ("PUT", "/subscriptions/s/resourceGroups/g", Asks::Anything),
        ] {
            assert_eq!(Asks::of(&method.parse().unwrap(), path), expected, "{method} {path}");
        }
    }
}
