//! Many callers at once: each has its share, and none keeps the others from being served.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use jiff::{SignedDuration, Timestamp};
use rustix::process::Uid;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::super::listen::NetworkListener;
use super::super::tls::Identity;
use super::*;
use crate::api::server::places::{EACH_ADDRESS, EACH_CALLER, KEPT_FOR_ROOT};
use crate::model::{Key, RoleAssignment};
use crate::testing::root;

/// Who is hostile to others on this host.
pub(super) const HOSTILE: u32 = 4242;

/// Connections that are tried at once.
const CROWD: usize = 1000;

/// The status of one more request on an open connection; `nothing`: it was closed.
async fn status_on(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), head: &str) -> String {
    if stream.write_all(format!("{head}\r\nHost: h\r\n\r\n").as_bytes()).await.is_err() {
        return "nothing".to_owned();
    }
    let mut answer = vec![0; 16 * 1024];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut answer)).await.expect("in time");
    let answer = String::from_utf8_lossy(&answer[..read.unwrap_or(0)]).into_owned();
    answer.split(' ').nth(1).unwrap_or("nothing").to_owned()
}

/// The API over TCP.
struct Network {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<()>,
}

impl Network {
    fn serve(served: &Served, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = NetworkListener::bind("127.0.0.1:0".parse().expect("an address"), tls).expect("bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let (address, router) = (listener.address(), router(served.state.clone()));
        let serving =
            tokio::spawn(async move { listener.serve(router, async { drop(stopped.await) }).await.expect("served") });
        Self { address, stop, serving }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connected")
    }

    async fn stop(self) {
        drop(self.stop);
        self.serving.await.expect("stopped");
    }
}

/// A good token that holds `role` everywhere, as a header.
fn bearer(served: &Served, name: &str, role: &str) -> String {
    let lifetime = SignedDuration::from_hours(9 * 366 * 24);
    let random = Box::new([fastrand::u8(..); 32]);
    let created = CreateToken { name: name.parse().expect("a name"), lifetime, random };
    let minted = served.state.control.apply(&root(), created).expect("made");
    let given = RoleAssignment {
        principal: format!("token:{name}").parse().expect("a principal"),
        role: role.parse().expect("a role"),
        scope: "/".parse().expect("a scope"),
    };
    let mut items = Box::new(Model::default());
    items.assignments.insert(Key::global(given.id().to_string()), given);
    served.state.control.apply(&root(), Put { items, create_only: true }).expect("assigned");
    format!("Authorization: Bearer {}", minted.secret.expose())
}

/// Does `work` as another user of this host, threads that it starts included; `None`: the tests may not become one.
pub(super) fn as_user<T: Send>(uid: u32, work: impl FnOnce() -> T + Send) -> Option<T> {
    let work = || {
        // Of this thread alone.
        rustix::thread::set_thread_res_uid(Uid::from_raw(uid), Uid::from_raw(uid), Uid::from_raw(uid)).ok()?;
        Some(work())
    };
    std::thread::scope(|scope| scope.spawn(work).join().expect("joined"))
}

/// Opens connections to the control socket as another user of this host; `None`: the tests may not become one.
fn connected_as(uid: u32, socket: &std::path::Path, count: usize) -> Option<Vec<std::os::unix::net::UnixStream>> {
    as_user(uid, || (0..count).map(|_| std::os::unix::net::UnixStream::connect(socket).expect("connected")).collect())
}

/// Asks on one connection again and again, each time once it is answered, until `over`; how often.
fn asked(socket: &std::path::Path, over: impl Fn(usize) -> bool) -> usize {
    use std::io::{Read as _, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(socket).expect("connected");
    let (mut answer, mut times) = (vec![0; 64 * 1024], 0);
    while !over(times) {
        let sent = stream.write_all(b"GET /v1/endpoints HTTP/1.1\r\nHost: h\r\n\r\n");
        if sent.is_err() || stream.read(&mut answer).unwrap_or(0) == 0 {
            break;
        }
        times += 1;
    }
    times
}

pub(super) fn to_peers() -> Served {
    let served = Served::to_peers(|peer| Caller::user(peer.uid(), format!("uid:{}", peer.uid())));
    // Whoever is somebody else than the test's own user reaches the socket, too.
    std::fs::set_permissions(&served.directory, std::fs::Permissions::from_mode(0o755)).expect("open to all");
    served
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connections_of_one_user_leave_places_to_root() {
    let served = to_peers();
    let socket = served.socket.clone();
    let crowd = tokio::task::spawn_blocking(move || connected_as(HOSTILE, &socket, CROWD)).await.expect("joined");
    let Some(crowd) = crowd else { return served.stop().await };
    let mut own = Vec::new();
    for _ in 0..2 * KEPT_FOR_ROOT {
        let mut stream = UnixStream::connect(&served.socket).await.expect("connected");
        assert_eq!(status_on(&mut stream, "GET /v1/status HTTP/1.1").await, "200");
        own.push(stream);
    }
    // Of the crowd, those that were given up are closed, and no more are kept than one user's share.
    let mut open = 0;
    for stream in crowd {
        stream.set_nonblocking(true).expect("set");
        let mut stream = UnixStream::from_std(stream).expect("watched");
        let status = status_on(&mut stream, "GET /v1/epoch HTTP/1.1").await;
        open += usize::from(status == "200");
        assert!(["200", "503", "nothing"].contains(&&*status), "{status}");
        // Kept open, so that the next one meets it.
        own.push(stream);
    }
    assert!((1..=EACH_CALLER).contains(&open), "{open}");
    drop(own);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_asks_all_it_can_takes_no_more_than_its_places() {
    let served = to_peers();
    let (socket, over) = (served.socket.clone(), Arc::new(AtomicBool::new(false)));
    let measured = tokio::task::spawn_blocking(move || {
        let ended = |_| over.load(Ordering::Relaxed);
        std::thread::scope(|scope| {
            let hostile = scope.spawn(|| {
                as_user(HOSTILE, || {
                    std::thread::scope(|scope| {
                        // And one place is taken and given up again and again.
                        scope.spawn(|| {
                            while !ended(0) {
                                drop(std::os::unix::net::UnixStream::connect(&socket).expect("connected"));
                            }
                        });
                        let asking: Vec<_> = (1..EACH_CALLER).map(|_| scope.spawn(|| asked(&socket, ended))).collect();
                        asking.into_iter().map(|one| one.join().expect("joined")).sum::<usize>()
                    })
                })
            });
            let modest = as_user(HOSTILE + 1, || asked(&socket, |times| times == 200));
            over.store(true, Ordering::Relaxed);
            (modest, hostile.join().expect("joined"))
        })
    });
    if let (Some(modest), Some(hostile)) = measured.await.expect("joined") {
        assert_eq!(modest, 200, "it is answered whenever it asks");
        // Each of its connections has its turn: how busy the machine is changes nothing of that.
        assert!(hostile <= 3 * EACH_CALLER * modest, "{hostile} answers there, {modest} here");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_the_control_socket_has_its_share_of_connections() {
    let served = Served::to(1000);
    // The peer is this process, whatever its uid: requests tell that they are of uid 1000.
    let mut open = Vec::new();
    for _ in 0..EACH_CALLER {
        let mut stream = UnixStream::connect(&served.socket).await.expect("connected");
        assert_eq!(status_on(&mut stream, "GET /v1/epoch HTTP/1.1").await, "200");
        open.push(stream);
    }
    let (status, refused) = served.ask("GET", "/v1/epoch", "").await;
    assert_eq!((status, refused["error"]["code"].as_str()), (503, Some("TooManyConnections")), "{refused}");
    drop(open.pop());
    let mut answered = 503;
    while answered == 503 {
        answered = served.ask("GET", "/v1/epoch", "").await.0;
    }
    assert_eq!(answered, 200);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_on_the_network_make_room_for_each_other_and_for_whoever_has_a_token() {
    let served = Served::to(0);
    let (network, reader) = (Network::serve(&served, None), bearer(&served, "reader", "Reader"));
    let mut known = network.connect().await;
    let status = format!("GET /v1/status HTTP/1.1\r\n{reader}");
    assert_eq!(status_on(&mut known, &status).await, "200");
    let mut crowd = Vec::new();
    for number in 0..CROWD {
        let mut stream = network.connect().await;
        // Some say nothing, some begin a request, some have no good token.
        let begun: &[u8] = [&b""[..], b"GET /v1/st", b"GET /v1/status HTTP/1.1\r\nHost: h\r\n\r\n"][number % 3];
        let _ = stream.write_all(begun).await;
        crowd.push(stream);
    }
    assert_eq!(status_on(&mut known, &status).await, "200", "who is known keeps its connection");
    let mut newcomer = network.connect().await;
    assert_eq!(status_on(&mut newcomer, &status).await, "200");
    // All but the last were closed for those that came after them.
    let mut byte = [0; 512];
    for stream in &mut crowd[..CROWD - EACH_ADDRESS] {
        while tokio::time::timeout(Duration::from_secs(10), stream.read(&mut byte)).await.expect("closed").unwrap_or(0)
            > 0
        {}
    }
    drop(crowd);
    network.stop().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_has_its_share_of_connections_whatever_address_it_comes_from() {
    let served = Served::to(0);
    let network = Network::serve(&served, None);
    let (greedy, other) = (bearer(&served, "greedy", "Reader"), bearer(&served, "other", "Reader"));
    let asks = |header: &str| format!("GET /v1/epoch HTTP/1.1\r\n{header}");
    let mut open = Vec::new();
    for _ in 0..EACH_CALLER {
        let mut stream = network.connect().await;
        assert_eq!(status_on(&mut stream, &asks(&greedy)).await, "200");
        open.push(stream);
    }
    let mut stream = network.connect().await;
    assert_eq!(status_on(&mut stream, &asks(&greedy)).await, "503");
    assert_eq!(status_on(&mut stream, &asks(&other)).await, "200", "another one behind the same address");
    // Whose token ends has no place of its own any more: the connection is one of a stranger's again.
    served.state.control.apply(&root(), RevokeToken { name: "greedy".parse().unwrap() }).expect("revoked");
    assert_eq!(status_on(&mut open[0], &asks(&greedy)).await, "401");
    let mut crowd = Vec::new();
    for _ in 0..EACH_ADDRESS {
        crowd.push(network.connect().await);
    }
    let mut byte = [0; 1];
    let closed = tokio::time::timeout(Duration::from_secs(10), open[0].read(&mut byte)).await.expect("closed");
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    assert_eq!(status_on(&mut open[1], &asks(&other)).await, "200", "one that told no bad token keeps its place");
    network.stop().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_never_end_keep_nobody_out_and_are_given_up() {
    let served = Served::to(0);
    let state = served.directory.join("state");
    let identity = Identity::own(&state, "127.0.0.1:1".parse().unwrap(), "h", Timestamp::now()).expect("made");
    let network = Network::serve(&served, Some(Arc::clone(&identity.server)));
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(network.connect().await);
    }
    let pem = identity.authority.expect("our own").pem;
    let authority = rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let client = Arc::new(client.with_root_certificates(roots).with_no_client_auth());
    let connector = tokio_rustls::TlsConnector::from(client);
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, network.connect().await).await.expect("agreed");
    let reader = bearer(&served, "reader", "Reader");
    assert_eq!(status_on(&mut stream, &format!("GET /v1/status HTTP/1.1\r\n{reader}")).await, "200");
    // Every handshake that goes on for too long ends, whether others need its place or not.
    let mut byte = [0; 1];
    for stream in &mut crowd {
        let closed = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut byte)).await.expect("closed");
        assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    }
    network.stop().await;
    std::fs::remove_dir_all(&state).expect("removed");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_never_come_keep_nobody_waiting() {
    let served = Served::to(0);
    let network = Network::serve(&served, None);
    let (slow, other) = (bearer(&served, "slow", "Contributor"), bearer(&served, "other", "Contributor"));
    let begin = |path: &str, header: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 9999\r\n{header}\r\n\r\n{{")
    };
    let (mut crowd, start) = (Vec::new(), tokio::time::Instant::now());
    for number in 0..EACH_CALLER {
        let mut stream = network.connect().await;
        let path = if number % 2 == 0 { "/v1/apply" } else { "/v1/connections/orders/approve" };
        stream.write_all(begin(path, &slow).as_bytes()).await.expect("sent");
        crowd.push(stream);
    }
    let coming = start.elapsed();
    let mut answered = Vec::new();
    for (path, body) in [("/v1/apply", "{}"), ("/v1/connections/orders/reject", "{}")] {
        let mut stream = network.connect().await;
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\nConnection: close\r\n{other}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut answer))
            .await
            .expect("in time")
            .expect("text");
        answered.push(answer.split(' ').nth(1).unwrap_or("nothing").to_owned());
    }
    assert_eq!(answered, ["400", "200"], "an empty document is a mistake, and is read");
    // Documents beyond the caller's share wait for a turn, without a byte of them read; time is up for all in the end.
    let mut refused = std::collections::BTreeMap::new();
    for mut stream in crowd {
        let mut answer = vec![0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut answer)).await.expect("in time");
        let text = String::from_utf8_lossy(&answer[..read.unwrap_or(0)]).into_owned();
        *refused.entry(text.split(' ').nth(1).unwrap_or("nothing").to_owned()).or_insert(0) += 1;
    }
    let of = |status: &str| refused.get(status).copied().unwrap_or_default();
    assert_eq!(of("408") + of("429"), EACH_CALLER, "{refused:?}");
    // The turn of a document that is given up is another's, if that still waits: one that came at the same moment may be
    // given up before or after, and those that came later wait longer.
    let turns = DOCUMENTS_EACH
        ..=DOCUMENTS_EACH * (2 + usize::try_from(coming.as_secs() / REQUEST_TIMEOUT.as_secs()).expect("few"));
    assert!(turns.contains(&(of("408") - EACH_CALLER / 2)), "{turns:?} documents at their turn: {refused:?}");
    network.stop().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_change_nothing_is_refused_before_a_body_is_read() {
    let served = Served::to(1000);
    for (method, path) in [
        ("POST", "/v1/apply"),
        ("POST", "/v1/tokens"),
        ("POST", "/v1/connections/orders/approve"),
        ("PUT", "/subscriptions/s/resourceGroups/g?api-version=1"),
        ("PATCH", "/subscriptions/s/resourceGroups/g?api-version=1"),
    ] {
        let mut stream = UnixStream::connect(&served.socket).await.expect("connected");
        // The body never comes, and nobody waits for it.
        let head = format!("{method} {path} HTTP/1.1\r\nContent-Length: 50000");
        assert_eq!(status_on(&mut stream, &head).await, "403", "{method} {path}");
        let (status, refused) = served.ask(method, path, "no body at all").await;
        assert_eq!((status, refused["error"]["code"].as_str()), (403, Some("AuthorizationFailed")), "{refused}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_lacks_the_very_right_is_refused_before_a_body_is_read() {
    let served = Served::to(1000);
    let mut items = Box::new(Model::default());
    // It may change something, and look at this.
    for (role, group) in [("Contributor", "other"), ("Reader", "default")] {
        let scope = format!("/subscriptions/default/resourceGroups/{group}");
        super::unseen::things::assign(&mut items, "uid:1000", role, &scope);
    }
    served.state.control.apply(&root(), Put { items, create_only: true }).expect("assigned");
    for (path, expected) in [
        ("/v1/connections/orders/approve", "403"),
        ("/v1/connections/default%2Forders/reject", "403"),
        ("/v1/connections/nothing/remove", "404"),
        ("/v1/endpoints/orders/accept-names", "403"),
        ("/v1/endpoints/nothing/accept-names", "404"),
        ("/v1/tokens", "403"),
        ("/v1/tokens/ci/rotate", "403"),
        ("/v1/roles", "403"),
        ("/v1/assignments", "403"),
        ("/v1/backup", "403"),
        ("/v1/reload", "403"),
    ] {
        let mut stream = UnixStream::connect(&served.socket).await.expect("connected");
        // The body never comes, and nobody waits for it.
        let head = format!("POST {path} HTTP/1.1\r\nContent-Length: 50000");
        assert_eq!(status_on(&mut stream, &head).await, expected, "{path}");
        let (status, refused) = served.ask("POST", path, "no body at all").await;
        assert_eq!(status.to_string(), expected, "{path}: {refused}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_its_answers_is_given_up() {
    let served = Served::to(0);
    let network = Network::serve(&served, None);
    let asks = "GET /openapi.json HTTP/1.1\r\nHost: h\r\n\r\n".repeat(16);
    // Whether it stops asking, or goes on for as long as it may.
    let ask = async |stream: &mut (dyn AsyncWrite + Unpin + Send)| {
        let goes_on = async { while stream.write_all(asks.as_bytes()).await.is_ok() {} };
        tokio::time::timeout(Duration::from_mins(1), goes_on).await.expect("the connection ends");
    };
    ask(&mut network.connect().await).await;
    ask(&mut UnixStream::connect(&served.socket).await.expect("connected")).await;
    network.stop().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_has_a_few_long_polls_and_more_are_answered_at_once() {
    let served = Served::to(1000);
    let epoch = served.ask("GET", "/v1/epoch", "").await.1["items"][0]["epoch"].as_u64().expect("a number");
    let path = format!("/v1/epoch?after={epoch}&wait=15");
    // Those that wait are given up by the listener after a while, with another status.
    let polls = (0..12).map(|_| Box::pin(exchange(&served.socket, "GET", &path, String::new())));
    let (first, _, others) = futures_util::future::select_all(polls).await;
    assert_eq!(first.0, 200, "one more than may wait is answered");
    drop(others);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_of_many_takes_one_thread_of_a_caller_and_no_revocation_waits() {
    let served = Served::to(0);
    let lanes = Arc::clone(&served.state.lanes);
    let somebody = crate::model::Principal::Uid(HOSTILE);
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = Arc::new(Mutex::new(gone));
    let (arrived, mut came) = tokio::sync::mpsc::unbounded_channel();
    // Everything that one caller may have in the other lanes stands still.
    for lane in [lanes::Lane::Reads, lanes::Lane::Changes] {
        for _ in 0..64 {
            let (lanes, caller, gone, arrived) =
                (Arc::clone(&lanes), somebody.clone(), Arc::clone(&gone), arrived.clone());
            tokio::spawn(async move {
                let still = async move {
                    arrived.send(()).expect("awaited");
                    let _ = gone.lock().expect("whole").recv();
                };
                lanes.run(lane, Some(caller), still).await.expect("done");
            });
        }
    }
    came.recv().await.expect("one");
    came.recv().await.expect("one of the other lane");
    assert_eq!(served.ask("GET", "/v1/endpoints", "").await.0, 200, "a thread is left to the others");
    assert_eq!(served.ask("POST", "/v1/connections/orders/approve", "").await.0, 200);
    assert_eq!(served.ask("POST", "/v1/connections/orders/reject", "").await.0, 200);
    drop(go);
    served.stop().await;
}
