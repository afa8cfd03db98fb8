//! What is judged of a request before its body is read: the right that its head asks for, exactly where the path names
//! what it is about. Nobody's bytes are taken, let alone parsed, for what is refused anyway. Where only the body says
//! what it is about, whoever may not write everywhere has less of one taken.

use std::time::Duration;

use axum::http::Method;
use axum::http::request::Parts;

use super::lanes::{self, Lane};
use super::limits::{BODY_LIMIT, DOCUMENT_LIMIT, DOCUMENTS, REQUEST_TIMEOUT};
use crate::access::rights::{Right, Where};
use crate::api::error::Error;
use crate::api::{ApiState, arm};
use crate::model::{Action, Caller, actions, approval};

/// Bytes of a document at most, of whoever may not write everywhere.
pub(in crate::api) const PART_DOCUMENT_LIMIT: usize = 1 << 20;

/// How long a body may take whose author may do what it asks for somewhere, and perhaps not where it asks for it.
pub(in crate::api) const PART_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });

/// How much of a body is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) struct Bounds {
    /// Bytes at most.
    pub(in crate::api) bytes: usize,
    /// How long it may take.
    pub(in crate::api) time: Duration,
}

impl Bounds {
    /// Of a request to `path`, of whoever may send it.
    pub(in crate::api) fn of(path: &str) -> Self {
        Self { bytes: if path == DOCUMENTS { DOCUMENT_LIMIT } else { BODY_LIMIT }, time: REQUEST_TIMEOUT }
    }

    /// Of whoever may do what it asks for at `held`.
    fn within(self, held: Where) -> Self {
        match held {
            Where::Everywhere => self,
            Where::Somewhere | Where::Nowhere => {
                Self { bytes: self.bytes.min(PART_DOCUMENT_LIMIT), time: self.time.min(PART_TIMEOUT) }
            }
        }
    }
}

/// What the head of a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asks {
    /// To decide over the connection of this endpoint.
    Decision(approval::Action, String),
    /// To decide over connections of this resource.
    ControlState(String),
    /// To write this endpoint.
    Endpoint(String),
    /// Something that concerns nothing in particular.
    Anywhere(Action),
    /// Something whose scope stands in the body.
    Somewhere(Action),
    /// To write or delete the objects that a document names.
    Objects,
    /// To change what the body says, or a path of Azure's.
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

    /// Who may change nothing at all is told what it lacks.
    fn needed(&self) -> &'static str {
        match self {
            Self::Decision(..) | Self::ControlState(_) => "privateEndpointConnectionsApproval/action on the resource",
            Self::Endpoint(_) | Self::Anywhere(_) | Self::Somewhere(_) | Self::Objects | Self::Anything => {
                "the right to write what is to be changed"
            }
        }
    }
}

/// Checks that `caller` may do what the head of a request asks for, as far as the head says it.
///
/// # Errors
/// As the request itself would be answered by whatever lacks: 403, or 404 of what the caller does not see.
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

/// Has `work`, which walks the model, done where the request itself will be.
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
