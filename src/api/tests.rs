//! HTTP against a real control plane over a temporary socket; workers and host say yes to everything.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::sync::oneshot;

mod arm;
mod counts;
mod crowded;
mod decisions;
mod exports;
mod groups;
mod held;
mod hostile;
mod invisible;
mod keys;
mod names;
mod parts;
mod principals;
mod refused;
mod remedies;
mod text;
mod unseen;

use super::listen::{ControlSocket, ListenError, bind_metrics, serve_metrics};
use super::*;
use crate::api::server::lanes;
use crate::api::server::limits::{BODY_LIMIT, DOCUMENTS_EACH, REQUEST_TIMEOUT};
use crate::control::sinks::{Host, Snapshot, Topology, Workers};
use crate::control::{
    AnyCommand, ApplyFile, Command, CreateToken, Decide, Delete, Prepared, Put, RevokeToken, Setup, any,
};
use crate::model;
use crate::model::error::{ErrorDetail, ErrorKind};
use crate::model::state::DAEMON;
use crate::model::{HostConfig, Model};
use crate::testing;

/// Workers that begin a batch with every snapshot at once, and a host that refuses nothing.
struct Willing;

impl Workers for Willing {
    fn publish(&self, _: Snapshot, _: Duration) -> anyhow::Result<()> {
        Ok(())
    }
}

impl Host for Willing {
    fn reconcile(&self, _: &Topology) -> anyhow::Result<()> {
        Ok(())
    }
}

/// A daemon without packets, in a directory of its own.
struct Served {
    directory: PathBuf,
    socket: PathBuf,
    state: ApiState,
    stop: Option<oneshot::Sender<()>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Served {
    /// Serves one Pending endpoint `orders` to callers whose uid is `uid`.
    fn to(uid: u32) -> Self {
        Self::to_peers(move |_| Caller::user(uid, format!("uid:{uid}")))
    }

    /// The same to whoever `caller` makes of the socket's peer.
    fn to_peers(caller: impl Fn(tokio::net::unix::UCred) -> Caller + Send + Sync + 'static) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("privlink-api-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("temporary directory");
        let socket = directory.join("privlink.sock");
        let state = state(&directory);
        let listener = ControlSocket::bind(&socket, None).expect("bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let router = router(state.clone());
        let serving = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            listener.serve_as(router, stopped, caller).await.expect("served");
        });
        Self { directory, socket, state, stop: Some(stop), serving }
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, body) = exchange(&self.socket, method, path, body.to_owned()).await;
        let json = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"));
        (status, json)
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        self.serving.await.expect("stopped");
        assert!(!self.socket.exists(), "the socket is removed");
        std::fs::remove_dir_all(&self.directory).expect("removed");
    }
}

fn model() -> Model {
    let mut model = testing::model();
    model.endpoints.get_mut(&testing::key("orders")).expect("there").manual = true;
    model
}

fn state(directory: &std::path::Path) -> ApiState {
    state_with(directory, |_, _, _| Vec::new())
}

/// The same with rules that models must keep.
fn state_with(directory: &std::path::Path, validate: crate::control::Validate) -> ApiState {
    let host = HostConfig { state: directory.join("state"), ..testing::host(&["spoke", "core"]) };
    let store = testing::store();
    let setup = Setup {
        host: Arc::new(host),
        file: model(),
        prune: false,
        dry_run: false,
        workers: 1,
        namespaces: vec![1, 2],
        daemon: testing::root(),
        bootstrap: testing::bootstrap(),
        clock: testing::noon,
        validate,
        link_key: testing::link_key(),
    };
    let prepared = Prepared::new(setup, None, store).expect("a sound model");
    let control = prepared.start(Arc::new(Willing), Arc::new(Willing), Box::new(|_| ())).expect("started");
    let control = Arc::new(control);
    let (named, reloaded) = (Arc::clone(&control), Arc::clone(&control));
    let observer = Observer::new(
        Arc::new(arc_swap::ArcSwap::from_pointee(Snapshot::empty())),
        Vec::new(),
        Vec::new(),
        Box::new(move || facts(&named)),
    );
    let reload: Reload = Arc::new(move |caller: &Caller| {
        let version = ApplyFile { author: DAEMON.to_owned(), model: model(), host: None, prune: false, dry_run: false };
        reloaded.apply(caller, version).map_err(ReloadFailure::Refused)
    });
    let host = HostFacts {
        config: "/etc/privlink/privlink.toml".to_owned(),
        shortcomings: vec![Shortcoming {
            code: "SteeringOff".to_owned(),
            message: "the kernel refuses BPF here".to_owned(),
            remedy: String::new(),
        }],
        steering: false,
    };
    ApiState {
        control,
        observer: Arc::new(observer),
        host: Arc::new(host),
        ready: Arc::new(AtomicBool::new(true)),
        reload,
        parse: Arc::new(|_, _, _| {
            Err(model::Error::new(ErrorKind::Invalid, "InvalidDocument", "no documents here", ""))
        }),
        export: Arc::new(|live: &crate::control::seen::Exportable| format!("{:?}", live.state)),
        backup: Arc::new(|| std::fs::File::open("/proc/self/exe").map_err(|error| error.to_string())),
        authority: None,
        silent: std::sync::Arc::default(),
        detached: Arc::new(BTreeMap::new),
        registry: std::sync::Arc::default(),
        lanes: Lanes::start().expect("started"),
    }
}

async fn exchange(socket: &std::path::Path, method: &str, path: &str, body: String) -> (u16, String) {
    let stream = tokio::net::UnixStream::connect(socket).await.expect("connected");
    converse(stream, method, path, body).await
}

async fn converse<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    method: &str,
    path: &str,
    body: String,
) -> (u16, String) {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a handshake");
    tokio::spawn(connection);
    let request = hyper::Request::builder().method(method).uri(path).header("host", "localhost");
    let request = request.body(Full::new(Bytes::from(body))).expect("a request");
    let response = sender.send_request(request).await.expect("an answer");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

#[tokio::test]
async fn a_connection_is_approved_rejected_and_removed() {
    let served = Served::to(0);
    let path = "/v1/connections/orders";
    assert_eq!(served.ask("GET", path, "").await.1["items"][0]["state"], "Pending");
    assert_eq!(
        served.ask("GET", "/v1/connections?pending=true", "").await.1["items"].as_array().map(Vec::len),
        Some(1)
    );
    for (action, body, from, to) in [
        ("approve", r#"{"reason":"ticket 4711"}"#, "Pending", "Approved"),
        ("approve", "", "Approved", "Approved"),
        ("reject", r#"{"reason":"contract ended","resource":"orders-db"}"#, "Approved", "Rejected"),
        ("remove", "", "Rejected", "Disconnected"),
    ] {
        let (status, answer) = served.ask("POST", &format!("{path}/{action}"), body).await;
        assert_eq!(status, 200, "{action}: {answer}");
        let transition = &answer["items"][0];
        assert_eq!((transition["from"].as_str(), transition["to"].as_str()), (Some(from), Some(to)), "{action}");
        assert_eq!(transition["endpoint"], "default/orders");
    }
    let (status, refused) = served.ask("POST", &format!("{path}/approve"), "").await;
    assert_eq!(status, 409, "a removed connection is never revived: {refused}");
    assert_eq!(refused["error"]["target"], "orders");
    let (_, status) = served.ask("GET", "/v1/status", "").await;
    let status = &status["items"][0];
    assert_eq!(status["endpoints"].as_array().map(Vec::len), Some(0));
    assert_eq!(status["cleanUp"][0]["state"], "Disconnected");
    assert_eq!(status["cleanUp"][0]["decision"]["by"], "uid:0");
    served.stop().await;
}

#[tokio::test]
async fn a_deleted_endpoint_is_gone_and_its_resource_stays() {
    let served = Served::to(0);
    let (status, before) = served.ask("GET", "/v1/endpoints/default%2FORDERS", "").await;
    assert_eq!((status, &before["items"][0]["addresses"][0]["ip"]), (200, &Value::from("10.1.9.4")));
    let (status, deleted) = served.ask("DELETE", "/v1/endpoints/orders", "").await;
    assert_eq!((status, &deleted["items"][0]["endpoint"]), (200, &Value::from("default/orders")));
    for (method, path) in [
        ("GET", "/v1/endpoints/orders"),
        ("DELETE", "/v1/endpoints/orders"),
        ("POST", "/v1/connections/orders/approve"),
    ] {
        let (status, refused) = served.ask(method, path, "").await;
        assert_eq!(status, 404, "{method} {path}: {refused}");
        assert!(refused["error"]["code"].is_string() && refused["error"]["message"].is_string(), "{refused}");
    }
    let (_, resource) = served.ask("GET", "/v1/resources/orders-db", "").await;
    assert_eq!(resource["items"][0]["endpoints"].as_array().map(Vec::len), Some(0));
    assert_eq!(resource["items"][0]["targets"][0]["ports"][0], "tcp 5432");
    assert_eq!(resource["items"][0]["type"], "Microsoft.Network/privateLinkServices");
    served.stop().await;
}

fn state_of_orders(served: &Served) -> String {
    served.state.control.view().endpoint("orders").expect("there").connection.state.to_string()
}

#[tokio::test]
async fn a_caller_without_the_right_reads_and_changes_nothing() {
    let served = Served::to(4242);
    for (method, path, expected) in [
        ("POST", "/v1/connections/orders/approve", (404, "NotFound")),
        ("POST", "/v1/connections/orders/reject", (404, "NotFound")),
        ("POST", "/v1/connections/orders/remove", (404, "NotFound")),
        ("DELETE", "/v1/endpoints/orders", (404, "NotFound")),
        ("POST", "/v1/reload", (403, "AuthorizationFailed")),
    ] {
        let (status, refused) = served.ask(method, path, "").await;
        let code = refused["error"]["code"].as_str().unwrap_or_default();
        assert_eq!((status, code), expected, "{method} {path}");
        assert_eq!(refused["error"]["details"][0]["code"], "Remedy");
    }
    for path in ["/v1/status", "/v1/flows", "/v1/audit", "/v1/tokens", "/metrics"] {
        assert_eq!(served.ask("GET", path, "").await.0, 403, "{path}");
    }
    for path in ["/v1/endpoints", "/v1/connections", "/v1/resources", "/v1/vnets"] {
        assert_eq!(served.ask("GET", path, "").await.1["items"], serde_json::json!([]), "{path}");
    }
    for path in ["/v1/endpoints/orders", "/v1/connections/orders", "/v1/resources/orders-db", "/v1/vnets/spoke"] {
        assert_eq!(served.ask("GET", path, "").await.0, 404, "{path}: as if it were not there");
    }
    assert_eq!(state_of_orders(&served), "Pending");
    served.stop().await;
}

#[tokio::test]
async fn a_stranger_learns_nothing_by_head_either() {
    let served = Served::to(4242);
    for path in ["/v1/status", "/v1/flows", "/v1/audit", "/v1/audit/verify", "/metrics"] {
        for method in ["GET", "HEAD"] {
            assert_eq!(exchange(&served.socket, method, path, String::new()).await.0, 403, "{method} {path}");
        }
    }
    served.stop().await;
}

#[tokio::test]
async fn lists_of_everything_have_one_shape() {
    let served = Served::to(0);
    for (path, items) in [
        ("/v1/status", 1),
        ("/v1/endpoints", 1),
        ("/v1/connections", 1),
        ("/v1/resources", 1),
        ("/v1/vnets", 2),
        ("/v1/vnets/spoke", 1),
        ("/v1/flows", 0),
        ("/v1/flows?endpoint=orders&limit=5", 0),
    ] {
        let (status, answer) = served.ask("GET", path, "").await;
        assert_eq!((status, &answer["apiVersion"]), (200, &Value::from("privlink/v1")), "{path}");
        assert_eq!(answer["items"].as_array().map(Vec::len), Some(items), "{path}");
    }
    let (_, status) = served.ask("GET", "/v1/status", "").await;
    let conditions = status["items"][0]["conditions"].as_array().expect("a list");
    assert!(conditions.iter().any(|condition| condition["code"] == "SteeringOff"), "{conditions:?}");
    served.stop().await;
}

#[tokio::test]
async fn a_reload_reports_what_it_did() {
    let served = Served::to(0);
    let (status, answer) = served.ask("POST", "/v1/reload", "").await;
    assert_eq!(status, 200, "{answer}");
    let notes = answer["items"][0]["notes"].as_array().expect("a list");
    assert!(notes.iter().any(|note| note.as_str().is_some_and(|note| note.contains("applied"))), "{notes:?}");
    served.stop().await;
}

#[tokio::test]
async fn bad_requests_are_refused_in_the_envelope() {
    let served = Served::to(0);
    let long = format!(r#"{{"reason":"{}"}}"#, "x".repeat(BODY_LIMIT));
    for (method, path, body, expected) in [
        ("POST", "/v1/connections/orders/approve", "{", 400),
        ("POST", "/v1/connections/orders/approve", r#"{"reasn":"x"}"#, 400),
        ("POST", "/v1/connections/orders/approve", long.as_str(), 413),
        ("POST", "/v1/connections/orders/approve", r#"{"resource":"other"}"#, 404),
        ("GET", "/v1/flows?limit=many", "", 400),
        ("GET", "/v1/flows?endpoint=nobody", "", 404),
        ("GET", "/v1/explain?vnet=spoke", "", 400),
        ("GET", "/v1/explain?vnet=spoke&source=10.1.0.5&destination=10.1.9.4&port=1&protocol=tcp", "", 404),
        ("GET", "/v1/nothing", "", 404),
        ("GET", "/nothing", "", 404),
        ("DELETE", "/v1/status", "", 405),
        ("GET", "/v1/vnets/nowhere", "", 404),
        ("GET", "/v1/resources/nowhere", "", 404),
    ] {
        let (status, refused) = served.ask(method, path, body).await;
        assert_eq!(status, expected, "{method} {path}: {refused}");
        assert!(refused["error"]["code"].is_string(), "{method} {path}: {refused}");
    }
    assert_eq!(served.ask("GET", "/v1/connections/orders", "").await.1["items"][0]["state"], "Pending");
    served.stop().await;
}

#[tokio::test]
async fn readiness_follows_the_daemon_and_health_does_not() {
    let served = Served::to(0);
    let get = async |path| exchange(&served.socket, "GET", path, String::new()).await;
    assert_eq!(get("/readyz").await, (200, "ready\n".to_owned()));
    served.state.ready.store(false, Ordering::Relaxed);
    assert_eq!(get("/readyz").await.0, 503);
    assert_eq!(get("/healthz").await, (200, "ok\n".to_owned()));
    assert!(get("/metrics").await.1.contains(r#"privlink_sessions{endpoint="default/orders"} 0"#));
    served.stop().await;
}

#[tokio::test]
async fn the_metrics_listener_serves_metrics_and_nothing_else() {
    let served = Served::to(0);
    let listener = bind_metrics("127.0.0.1:0".parse().expect("an address")).expect("bound");
    let address = listener.local_addr().expect("bound");
    let taken = bind_metrics(address).expect_err("taken");
    assert!(matches!(taken, ListenError::AddressInUse(_)), "{taken}");
    let (stop, stopped) = oneshot::channel::<()>();
    let router = metrics_router(served.state.clone());
    let serving = tokio::spawn(serve_metrics(listener, router, async { drop(stopped.await) }));
    for (path, expected) in [("/metrics", 200), ("/healthz", 200), ("/readyz", 200), ("/v1/status", 404)] {
        let stream = tokio::net::TcpStream::connect(address).await.expect("connected");
        assert_eq!(converse(stream, "GET", path, String::new()).await.0, expected, "{path}");
    }
    drop(stop);
    serving.await.expect("joined").expect("served");
    served.stop().await;
}

#[tokio::test]
async fn a_live_socket_is_respected_and_a_dead_one_replaced() {
    use std::os::unix::fs::PermissionsExt as _;
    let served = Served::to(0);
    let running = ControlSocket::bind(&served.socket, None).expect_err("a daemon listens");
    assert!(running.to_string().starts_with("another privlink is running on "), "{running}");
    let mode = std::fs::metadata(&served.socket).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
    let dead = served.directory.join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).expect("bound"));
    drop(ControlSocket::bind(&dead, None).expect("a dead daemon's socket is replaced"));
    assert!(!dead.exists(), "and removed");
    let file = served.directory.join("file");
    std::fs::write(&file, "kept").expect("written");
    assert!(matches!(ControlSocket::bind(&file, None), Err(ListenError::NotASocket(_))));
    assert_eq!(std::fs::read_to_string(&file).expect("kept"), "kept");
    let nobody = ControlSocket::bind(&dead, Some("no-such-group")).expect_err("unknown");
    assert!(matches!(nobody, ListenError::UnknownGroup(_)), "{nobody}");
    let left: Vec<_> = std::fs::read_dir(&served.directory)
        .expect("readable")
        .map(|entry| entry.expect("entry").file_name())
        .collect();
    assert_eq!(left.len(), 2, "nothing is left behind: {left:?}");
    served.stop().await;
}

#[tokio::test]
async fn the_kernel_names_the_caller() {
    let directory = std::env::temp_dir().join(format!("privlink-peer-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("temporary directory");
    let socket = directory.join("privlink.sock");
    let listener = ControlSocket::bind(&socket, None).expect("bound");
    let seen = Arc::new(Mutex::new(None));
    let record = Arc::clone(&seen);
    let router = Router::new().route(
        "/",
        get(move |axum::Extension(caller): axum::Extension<Caller>| async move {
            *record.lock().expect("whole") = Some(caller);
        }),
    );
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(listener.serve(router, async { drop(stopped.await) }));
    assert_eq!(exchange(&socket, "GET", "/", String::new()).await.0, 200);
    let caller = seen.lock().expect("whole").clone().expect("asked");
    assert_eq!(caller.subject.principal(), &crate::model::Principal::Uid(rustix::process::getuid().as_raw()));
    assert!(!caller.name.is_empty());
    drop(stop);
    serving.await.expect("joined").expect("served");
    std::fs::remove_dir_all(&directory).expect("removed");
}

#[test]
fn every_kind_of_refusal_has_its_status() {
    for (kind, expected) in [
        (ErrorKind::NotFound, 404),
        (ErrorKind::Forbidden, 403),
        (ErrorKind::InvalidTransition, 409),
        (ErrorKind::Invalid, 400),
        (ErrorKind::Unavailable, 503),
        (ErrorKind::Storage, 500),
    ] {
        let rules = vec![ErrorDetail::new("Rule", "one")];
        let refusal = model::Error::new(kind, "Code", "message", "remedy").with_details(rules);
        let response = Error::from(refusal).into_response();
        assert_eq!(response.status().as_u16(), expected, "{kind:?}");
    }
}
