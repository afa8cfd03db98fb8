//! The threads that handle requests: one lane each for reads, changes and revocations.
//!
//! The thread that reads and writes sockets never walks the model, parses a document or waits for the writer; handlers
//! run here. A revocation waits neither for reads nor for changes. One caller can occupy all threads of a lane but one,
//! so that a busy caller waits for itself.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::Method;
use serde::Deserialize;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::api::error::Error;
use crate::model::Principal;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) enum Lane {
    /// Reads.
    Reads,
    /// Changes that grant something, and documents.
    Changes,
    /// Revocations.
    Revocations,
}

/// The threads of every lane. They end with this.
#[derive(Debug)]
pub struct Lanes {
    reads: Threads,
    changes: Threads,
    revocations: Threads,
}

impl Lanes {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start() -> std::io::Result<Arc<Self>> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let reads = Threads::start("reads", cores.max(2))?;
        let (changes, revocations) = (Threads::start("changes", 2)?, Threads::start("revocations", 2)?);
        Ok(Arc::new(Self { reads, changes, revocations }))
    }

    /// Runs `request` on the threads of `lane`, in the turn of `caller`. If its client has gone, it ends at its next
    /// step, unless it is a revocation.
    ///
    /// # Errors
    /// It ended in a panic.
    pub(in crate::api) async fn run<T: Send + 'static>(
        &self,
        lane: Lane,
        caller: Option<Principal>,
        request: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Error> {
        let threads = match lane {
            Lane::Reads => &self.reads,
            Lane::Changes => &self.changes,
            Lane::Revocations => &self.revocations,
        };
        let turn = threads.turn(caller).await;
        let request = async move {
            let answer = request.await;
            drop(turn);
            answer
        };
        let answer = if lane == Lane::Revocations {
            threads.handle.spawn(request).await.ok()
        } else {
            let mut alone = JoinSet::new();
            alone.spawn_on(request, &threads.handle);
            alone.join_next().await.and_then(Result::ok)
        };
        answer.ok_or_else(Error::lost)
    }
}

/// The threads of one lane.
#[derive(Debug)]
struct Threads {
    handle: Handle,
    runtime: Option<Runtime>,
    /// The most requests of a caller that run at once.
    share: usize,
    callers: Mutex<BTreeMap<Option<Principal>, Arc<Semaphore>>>,
}

impl Threads {
    fn start(name: &str, count: usize) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(count).thread_name(name).enable_all().build()?;
        let (handle, share) = (runtime.handle().clone(), count.saturating_sub(1).max(1));
        Ok(Self { handle, runtime: Some(runtime), share, callers: Mutex::default() })
    }

    /// Waits until `caller` has fewer running requests than its share. Its connections limit the number that wait.
    async fn turn(&self, caller: Option<Principal>) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
            // Remove counters of callers without requests: only this map holds them.
            callers.retain(|_, turns| Arc::strong_count(turns) > 1);
            Arc::clone(callers.entry(caller).or_insert_with(|| Arc::new(Semaphore::new(self.share))))
        };
        // It is never closed.
        turns.acquire_owned().await.ok()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // This may run on a thread that must not block.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The lane of a request. `None`: it needs no thread, and may wait for long.
pub(in crate::api) fn of(method: &Method, path: &str, body: &[u8]) -> Option<Lane> {
    if path == "/v1/epoch" || super::identify::OPEN.contains(&path) {
        return None;
    }
    if !changes_something(method, path) {
        return Some(Lane::Reads);
    }
    Some(if only_revokes(method, path, body) { Lane::Revocations } else { Lane::Changes })
}

/// Whether a request is a change. All but reads are; Azure has one read with POST.
pub(in crate::api) fn changes_something(method: &Method, path: &str) -> bool {
    let asks =
        matches!(*method, Method::GET | Method::HEAD) || *method == Method::POST && crate::api::arm::is_arm(path);
    !asks
}

fn only_revokes(method: &Method, path: &str, body: &[u8]) -> bool {
    let path = path.to_ascii_lowercase();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (method.as_str(), parts.as_slice()) {
        ("POST", ["v1", "connections", _, "reject" | "remove"] | ["v1", "resources", _, "connections", "reject"])
        | (
            "DELETE",
            ["v1", "endpoints" | "tokens" | "assignments", _]
            | ["subscriptions", .., "privateendpoints" | "privateendpointconnections", _],
        ) => true,
        ("PUT", ["subscriptions", .., "privateendpointconnections", _]) => rejects(body),
        _ => false,
    }
}

/// Whether the requested state of a connection passes no traffic.
fn rejects(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct StatusPatch {
        properties: Properties,
    }
    #[derive(Deserialize)]
    struct Properties {
        #[serde(rename = "privateLinkServiceConnectionState")]
        state: State,
    }
    #[derive(Deserialize)]
    struct State {
        status: String,
    }
    let status = serde_json::from_slice(body).map(|wanted: StatusPatch| wanted.properties.state.status);
    status.is_ok_and(|status| {
        ["rejected", "removed", "disconnected"].iter().any(|word| status.eq_ignore_ascii_case(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_takes_something_away_has_a_lane_of_its_own() {
        let connection = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/privateLinkServices/r/privateEndpointConnections/c";
        let endpoint = "/Subscriptions/s/resourceGroups/g/providers/Microsoft.Network/PrivateEndpoints/e";
        let state = |status: &str| {
            format!(
                r#"{{"properties":{{"privateLinkServiceConnectionState":{{"status":"{status}","description":"Rejected"}}}}}}"#
            )
        };
        let (rejected, approved) = (state("Rejected"), state("Approved"));
        for (method, path, body, expected) in [
            ("GET", "/v1/status", "", Some(Lane::Reads)),
            ("HEAD", "/v1/endpoints", "", Some(Lane::Reads)),
            ("GET", "/metrics", "", Some(Lane::Reads)),
            ("GET", "/v1/epoch", "", None),
            ("GET", "/healthz", "", None),
            ("POST", "/v1/connections/e/reject", "", Some(Lane::Revocations)),
            ("POST", "/v1/connections/e/remove", "", Some(Lane::Revocations)),
            ("POST", "/v1/connections/e/approve", "", Some(Lane::Changes)),
            ("POST", "/v1/resources/r/connections/reject", "", Some(Lane::Revocations)),
            ("POST", "/v1/resources/r/connections/approve", "", Some(Lane::Changes)),
            ("DELETE", "/v1/endpoints/e", "", Some(Lane::Revocations)),
            ("DELETE", "/v1/tokens/ci", "", Some(Lane::Revocations)),
            ("DELETE", "/v1/assignments/0", "", Some(Lane::Revocations)),
            ("POST", "/subscriptions/s/providers/Microsoft.Network/locations/l/checkX", "{}", Some(Lane::Reads)),
            ("DELETE", "/v1/vnets/v", "", Some(Lane::Changes)),
            ("POST", "/v1/apply", "", Some(Lane::Changes)),
            ("PUT", connection, &rejected, Some(Lane::Revocations)),
            ("PUT", connection, &approved, Some(Lane::Changes)),
            ("PUT", connection, "[", Some(Lane::Changes)),
            ("DELETE", connection, "", Some(Lane::Revocations)),
            ("DELETE", endpoint, "", Some(Lane::Revocations)),
            ("PUT", endpoint, &rejected, Some(Lane::Changes)),
        ] {
            let method: Method = method.parse().unwrap();
            assert_eq!(of(&method, path, body.as_bytes()), expected, "{method} {path} {body}");
        }
    }
}
