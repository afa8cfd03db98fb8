//! The product, served: the API over a socket in a directory of its own, and the program that asks it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use privlink::api::listen::{ControlSocket, ListenError, NetworkListener};
use privlink::api::tls::{Authority, Identity};
use privlink::api::{ApiState, router};
use privlink::cli::{Cleaned, Daemon, execute};
use privlink::model::Caller;
use privlink::types::{Plan, Restored};
use tokio::runtime::Runtime;

use super::json;
use super::traffic::Workers;
use crate::support::served::Served;

/// Header by which a request says who asks: a uid. Root unless it does.
const ASKER: &str = "as-uid";

/// What is never recorded: it says nothing, or something else every time.
const UNRECORDED: [&str; 2] = ["date", "content-length"];

/// Numbers of requests: recorded where the request has one of its own.
const REQUEST_IDS: [&str; 2] = ["x-ms-request-id", "x-ms-correlation-request-id"];

/// One daemon without packets.
pub(crate) struct Lab {
    directory: PathBuf,
    socket: PathBuf,
    /// Where it is served over HTTPS.
    address: SocketAddr,
    authority: Authority,
    serving: Option<Runtime>,
    asking: Runtime,
}

/// A time after that of every run, so that everything is new and nothing has ended.
pub(crate) fn noon() -> Timestamp {
    Timestamp::constant(4_102_488_000, 0)
}

impl Lab {
    /// The world of `world.toml`, for the test of `name`.
    pub(crate) fn new(name: &str) -> Self {
        let name = name.replace('/', "-");
        let directory = std::env::temp_dir().join(format!("privlink-golden-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("temporary directory");
        let world = std::fs::read_to_string(super::transcript::path("world.toml")).expect("the world");
        let file = ("/etc/privlink/privlink.toml", &*world);
        let workers = Workers::new(&directory);
        let served = Served { directory: &directory, file, uid: 0, clock: noon, traffic: workers.traffic() };
        let (network, address, identity) = elsewhere(&directory);
        let authority = identity.authority.expect("of its own");
        let state = ApiState { authority: Some(Arc::new(authority.clone())), ..served.state() };
        workers.work(&state);
        state.registry.counters("team/net/spoke");
        let remote = router(state.clone());
        // Whoever runs the test, the same callers ask.
        let router = router(state).layer(from_fn(async |mut request: Request, next: Next| {
            let uid = request.headers_mut().remove(ASKER);
            let uid = uid.and_then(|uid| uid.to_str().ok()?.parse().ok()).unwrap_or(0);
            let name = if uid == 0 { "root".to_owned() } else { format!("uid:{uid}") };
            request.extensions_mut().insert(Caller::user(uid, name));
            next.run(request).await
        }));
        let serving = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let serving = serving.expect("runtime");
        let socket = directory.join("privlink.sock");
        let listener = ControlSocket::bind(&socket, None).expect("bound");
        serving.spawn(async move { listener.serve(router, std::future::pending()).await });
        serving.spawn(async move { network.serve(remote, std::future::pending()).await });
        let asking = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        Self { directory, socket, address, authority, serving: Some(serving), asking }
    }

    /// What is of this daemon alone, as answers may say it, and its name.
    pub(crate) fn own(&self) -> [(String, &'static str); 5] {
        let pem = &self.authority.pem;
        [
            (self.directory.display().to_string(), "«directory»"),
            (self.address.to_string(), "«address»"),
            (self.authority.fingerprint.clone(), "«fingerprint»"),
            (pem.replace('\n', "\\n"), "«certificate»\\n"),
            (pem.clone(), "«certificate»\n"),
        ]
    }

    /// What tokens are called that were made with random numbers.
    pub(crate) fn token_ids(&self) -> Vec<String> {
        let (_, _, body) = self.asking.block_on(self.exchange("GET", "/v1/tokens", &[], ""));
        let tokens: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let ids = tokens["items"].as_array().into_iter().flatten();
        ids.map(|token| token["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// The answer to a request: status, headers and body as text.
    pub(crate) fn request(&self, method: &str, path: &str, headers: &[(String, String)], body: &str) -> String {
        let answer = self.asking.block_on(self.exchange(method, path, headers, body));
        let (status, mut answered, body) = answer;
        assert!(
            REQUEST_IDS.iter().all(|id| answered.iter().any(|(name, _)| name == id)),
            "{method} {path}: {answered:?}"
        );
        let own_id = headers.iter().any(|(name, _)| name.starts_with("x-ms-"));
        answered.retain(|(name, _)| !UNRECORDED.contains(&&**name) && (own_id || !REQUEST_IDS.contains(&&**name)));
        answered.sort();
        let mut text = format!("{status}\n");
        for (name, value) in answered {
            let _ = writeln!(text, "{name}: {value}");
        }
        if body.is_empty() {
            return text;
        }
        let body = json::for_people(&body);
        text + "\n" + &body + if body.ends_with('\n') { "" } else { "\n" }
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: &str,
    ) -> (u16, Vec<(String, String)>, String) {
        let stream = tokio::net::UnixStream::connect(&self.socket).await.expect("connected");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a handshake");
        tokio::spawn(connection);
        let request = hyper::Request::builder().method(method).uri(path).header("host", "localhost");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).expect("a request");
        let response = sender.send_request(request).await.expect("an answer");
        let status = response.status().as_u16();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let answered = response.headers().iter().map(|(name, value)| (name.to_string(), text(value.as_bytes())));
        let answered = answered.collect();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, answered, text(&body))
    }

    /// What the program leaves that is called with `arguments` and, besides what it needs, with `variables`.
    pub(crate) fn command(&self, variables: &[(&str, &str)], arguments: &[String]) -> String {
        let is_help = arguments.iter().any(|argument| argument == "--help");
        if !is_help {
            if arguments.iter().any(|argument| argument == "clean") {
                return self.lent(arguments);
            }
            self.refuse_what_changes_this_host(arguments);
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_privlink"));
        command.args(arguments).current_dir(&self.directory).stdin(Stdio::null()).env_clear();
        command.env("HOME", &self.directory);
        // Help says which variables are set.
        if !is_help {
            command.env("PRIVLINK_SOCKET", &self.socket);
        }
        let output = command.envs(variables.iter().copied()).output().expect("the program");
        let code = output.status.code().map_or_else(|| output.status.to_string(), |code| code.to_string());
        told(&code, &output.stdout, &output.stderr)
    }

    /// `restore` and `run` work on this host, and the test may be root: they may only be called so that they refuse.
    fn refuse_what_changes_this_host(&self, arguments: &[String]) {
        let has = |word: &str| arguments.iter().any(|argument| argument == word);
        assert!(!has("restore") || has("--state"), "{arguments:?}: replaces this host's state");
        if has("run") {
            let file = arguments.iter().skip_while(|argument| *argument != "--config").nth(1).expect("a file");
            let checked = self.command(&[], &["check".to_owned(), file.clone()]);
            assert!(!checked.starts_with("exit 0"), "{arguments:?}: starts a daemon");
        }
    }

    /// The same within this process, with a daemon that changes nothing: `clean` removes routes of the whole host.
    fn lent(&self, arguments: &[String]) -> String {
        let removed = vec!["spoke: ip route del 10.1.9.0/24 dev pl-spoke".to_owned()];
        let daemon = Daemon {
            run: &|_| Ok(()),
            plan: &|_| Ok(Plan::default()),
            clean: &|_| Ok(Cleaned { removed: removed.clone(), failed: Vec::new() }),
            restore: &|_, _| Ok(Restored::default()),
        };
        let socket = self.socket.display().to_string();
        let of_lab: &[&str] =
            if arguments.iter().any(|argument| argument == "--socket") { &[] } else { &["--socket", &socket] };
        let arguments = ["privlink"].iter().chain(of_lab).copied().chain(arguments.iter().map(String::as_str));
        let (mut data, mut talk) = (Vec::new(), Vec::new());
        let exit = execute(arguments.map(OsString::from), daemon, &mut data, &mut talk);
        told(&(exit as i32).to_string(), &data, &talk)
    }

    /// Writes a file that commands may read.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory.join(name), text).expect("written");
    }
}

/// What a command left: its exit code, standard output and standard error.
fn told(code: &str, data: &[u8], talk: &[u8]) -> String {
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        if text.is_empty() || text.ends_with('\n') { text } else { text + "\n(no end of line)\n" }
    };
    let (data, talk) = (text(data), text(talk));
    let talk = if talk.is_empty() { talk } else { format!("--- standard error\n{talk}") };
    format!("exit {code}\n{data}{talk}")
}

/// A listener on a free port of the loopback interface, and who it proves to be.
fn elsewhere(directory: &Path) -> (NetworkListener, SocketAddr, Identity) {
    loop {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
        let now = Timestamp::now();
        let identity = Identity::own(&directory.join("state"), free, "localhost", now).expect("a certificate");
        // Somebody else may have taken it meanwhile.
        match NetworkListener::bind(free, Some(Arc::clone(&identity.server))) {
            Err(ListenError::AddressInUse(_)) => {}
            bound => return (bound.expect("bound"), free, identity),
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.serving.take().into_iter().for_each(|serving| serving.shutdown_timeout(Duration::from_secs(1)));
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
