//! Sockets: the Unix control socket, where the kernel vouches for the caller, and the TCP metrics listener.

use std::fs::Permissions;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::unix::UCred;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::identify::Peer;
use super::linger::{self, Patience};
use super::places::{EACH_CALLER, Holder, Place, Places};
use super::write_timeout::WriteTimeout;
use crate::api::error::Error;
use crate::model::{Caller, Principal};

/// Longest path a Unix socket can have on Linux (`sun_path` without its closing zero, unix(7)).
const PATH_LIMIT: usize = 107;

/// How long a client may take over its request's head, and over a TLS handshake.
const HEAD_TIMEOUT: Duration = Duration::from_millis(if cfg!(test) { 500 } else { 5_000 });

/// Bytes of a request's head at most.
const HEAD_LIMIT: usize = 32 * 1024;

/// Connections without a place that are seen off at once; more are closed as they come.
const SEEN_OFF: usize = 32;

/// How long answers in progress may take once the daemon stops.
const GRACE: Duration = Duration::from_secs(1);

/// A listener that could not be set up, in one line.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A live daemon holds the socket.
    #[error("another privlink is running on {0}: stop it, or choose another `socket` under [daemon]")]
    Running(PathBuf),
    /// Something that is not a socket is in the way.
    #[error("{0} exists and is not a socket: move it away, or choose another `socket` under [daemon]")]
    NotASocket(PathBuf),
    /// Linux allows 107 bytes.
    #[error("{0} is too long for a socket (107 bytes at most): choose another `socket` under [daemon]")]
    TooLong(PathBuf),
    /// The group of `socket_group` is not in `/etc/group`.
    #[error("there is no group `{0}` in /etc/group: create it, or change `socket_group` under [daemon]")]
    UnknownGroup(String),
    /// The metrics address is taken.
    #[error("{0} is in use: another process listens there; change `metrics` under [daemon]")]
    AddressInUse(SocketAddr),
    /// No room for the socket's file.
    #[error("no room is left for {0}: free space there and start again")]
    Full(PathBuf),
    /// The system refused.
    #[error("cannot listen on {place}: {error}")]
    Refused {
        /// Path or address.
        place: String,
        /// Why.
        error: io::Error,
    },
}

/// The control socket, bound and not yet served; removed when dropped, if it is still ours.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl ControlSocket {
    /// Binds `path` for everybody: who asks is known, and may do what its roles allow. `group` owns the file. A dead
    /// daemon's socket is replaced.
    ///
    /// # Errors
    /// See [`ListenError`]; nothing is left behind then.
    pub fn bind(path: &Path, group: Option<&str>) -> Result<Self, ListenError> {
        refuse_if_taken(path)?;
        let group = group.map(gid_of).transpose()?;
        let refused = |error: io::Error| {
            if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
                return ListenError::Full(path.to_owned());
            }
            ListenError::Refused { place: path.display().to_string(), error }
        };
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(refused)?;
        }
        // Bound under another name, so that nobody can connect before mode and group are right, and
        // the dead daemon's socket is replaced in one step.
        let mut own = path.as_os_str().to_owned();
        own.push(format!(".{}", std::process::id()));
        let own = PathBuf::from(own);
        if own.as_os_str().len() > PATH_LIMIT {
            return Err(ListenError::TooLong(path.to_owned()));
        }
        let _ = std::fs::remove_file(&own);
        let listener = UnixListener::bind(&own).map_err(refused)?;
        let finish = || {
            std::os::unix::fs::chown(&own, None, group)?;
            std::fs::set_permissions(&own, Permissions::from_mode(0o666))?;
            listener.set_nonblocking(true)?;
            std::fs::rename(&own, path)?;
            Ok(std::fs::metadata(path)?.ino())
        };
        match finish() {
            Ok(inode) => Ok(Self { listener, path: path.to_owned(), inode }),
            Err(error) => {
                let _ = std::fs::remove_file(&own);
                Err(refused(error))
            }
        }
    }

    /// Serves `router` until `stop` is ready. Each request carries its [`Caller`].
    ///
    /// # Errors
    /// The runtime could not watch the socket.
    pub async fn serve(self, router: Router, stop: impl Future<Output = ()> + Send) -> io::Result<()> {
        self.serve_as(router, stop, super::peer::caller).await
    }

    /// [`Self::serve`], with the caller made from the peer's ids by `caller`.
    pub(in crate::api) async fn serve_as(
        self,
        router: Router,
        stop: impl Future<Output = ()> + Send,
        caller: impl Fn(UCred) -> Caller + Send + Sync + 'static,
    ) -> io::Result<()> {
        let listener = tokio::net::UnixListener::from_std(self.listener.try_clone()?)?;
        // Whoever may connect may do so again and again; uid 0 does not wait for that.
        let crowd = Builder::new_multi_thread().worker_threads(1).thread_name("crowd").enable_all().build()?;
        let crowd = Crowd { handle: crowd.handle().clone(), runtime: Some(crowd) };
        serve(Vouched { listener, caller: Arc::new(caller) }, router, stop, &crowd.handle).await;
        Ok(())
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let ours = std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode);
        if ours {
            // Whatever keeps the file, the next start replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Binds the metrics listener.
///
/// # Errors
/// The address is taken, or not of this host.
pub fn bind_metrics(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let bind = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|error: io::Error| {
        if error.kind() == io::ErrorKind::AddrInUse {
            return ListenError::AddressInUse(address);
        }
        ListenError::Refused { place: address.to_string(), error }
    })
}

/// Serves `router` (see [`crate::api::metrics_router`]) on `listener` until `stop` is ready.
///
/// # Errors
/// The runtime could not watch the socket.
pub async fn serve_metrics(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    serve(listener, router, stop, &Handle::current()).await;
    Ok(())
}

/// The thread that serves connections of the crowd.
struct Crowd {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // It happens on a thread that must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Where connections come from, and who is behind each.
trait Accept: Send + Sync {
    type Stream: Open;
    /// What is known of whoever connects.
    type Peer: Send + 'static;
    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send;
    /// For whom it counts.
    fn holder(peer: &Self::Peer) -> Holder;
    /// Who it is, or where it comes from; this may read files.
    fn origin(&self) -> impl Fn(Self::Peer) -> Origin + Send + 'static;
    /// Whether its connection is served beside those of uid 0, by a thread of its own.
    fn is_of_the_crowd(_: &Self::Peer) -> bool {
        false
    }
}

/// What is known of the other end of a connection before it says anything.
enum Origin {
    /// The kernel vouches for it.
    Caller(Caller),
    /// It may be anybody.
    Network(Peer),
}

/// A Unix socket, whose peers the kernel vouches for.
struct Vouched<F> {
    listener: tokio::net::UnixListener,
    caller: Arc<F>,
}

impl<F: Fn(UCred) -> Caller + Send + Sync + 'static> Accept for Vouched<F> {
    type Stream = tokio::net::UnixStream;
    type Peer = UCred;

    async fn next(&self) -> io::Result<(Self::Stream, UCred)> {
        let (stream, _) = self.listener.accept().await?;
        let peer = stream.peer_cred()?;
        Ok((stream, peer))
    }

    fn holder(peer: &UCred) -> Holder {
        Holder::Caller(Principal::Uid(peer.uid()))
    }

    fn origin(&self) -> impl Fn(UCred) -> Origin + Send + 'static {
        let caller = Arc::clone(&self.caller);
        move |peer| Origin::Caller(caller(peer))
    }

    fn is_of_the_crowd(peer: &UCred) -> bool {
        peer.uid() != 0
    }
}

impl Accept for tokio::net::TcpListener {
    type Stream = tokio::net::TcpStream;
    type Peer = SocketAddr;

    async fn next(&self) -> io::Result<(Self::Stream, SocketAddr)> {
        self.accept().await
    }

    fn holder(peer: &SocketAddr) -> Holder {
        Holder::address(peer.ip())
    }

    fn origin(&self) -> impl Fn(SocketAddr) -> Origin + Send + 'static {
        |peer: SocketAddr| Origin::Network(Peer(peer.ip()))
    }
}

/// The API's listener on the network: callers are known by their tokens alone.
#[derive(Debug)]
pub struct NetworkListener {
    listener: TcpListener,
    /// `None`: plain HTTP.
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl NetworkListener {
    /// Binds `address`.
    ///
    /// # Errors
    /// The address is taken, or not of this host.
    pub fn bind(address: SocketAddr, tls: Option<Arc<rustls::ServerConfig>>) -> Result<Self, ListenError> {
        Ok(Self { listener: bind_metrics(address)?, tls })
    }

    #[cfg(test)]
    pub(in crate::api) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("bound")
    }

    /// Serves `router` until `stop` is ready.
    ///
    /// # Errors
    /// The runtime could not watch the socket.
    pub async fn serve(self, router: Router, stop: impl Future<Output = ()> + Send) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        match self.tls {
            Some(config) => {
                let router = router.layer(axum::Extension(crate::api::Secure));
                serve(Encrypted { listener, acceptor: config.into() }, router, stop, &Handle::current()).await;
            }
            None => serve(listener, router, stop, &Handle::current()).await,
        }
        Ok(())
    }
}

/// TCP with TLS over it.
struct Encrypted {
    listener: tokio::net::TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
}

impl Accept for Encrypted {
    type Stream = Handshaking;
    type Peer = SocketAddr;

    async fn next(&self) -> io::Result<(Self::Stream, SocketAddr)> {
        let (stream, peer) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok((Handshaking(self.acceptor.accept(stream)), peer))
    }

    fn holder(peer: &SocketAddr) -> Holder {
        Holder::address(peer.ip())
    }

    fn origin(&self) -> impl Fn(SocketAddr) -> Origin + Send + 'static {
        |peer: SocketAddr| Origin::Network(Peer(peer.ip()))
    }
}

/// A connection that may have to be agreed upon before it can be spoken on; a slow peer holds nobody else up.
trait Open: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    fn open(self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
    /// Says so, where that can be done at once; what comes back is to be closed.
    fn refuse(self, answer: &[u8]) -> Option<Self::Stream>;
}

impl Open for tokio::net::UnixStream {
    type Stream = Self;
    async fn open(self) -> io::Result<Self> {
        Ok(self)
    }
    fn refuse(self, answer: &[u8]) -> Option<Self> {
        self.try_write(answer).is_ok().then_some(self)
    }
}

impl Open for tokio::net::TcpStream {
    type Stream = Self;
    async fn open(self) -> io::Result<Self> {
        Ok(self)
    }
    fn refuse(self, answer: &[u8]) -> Option<Self> {
        self.try_write(answer).is_ok().then_some(self)
    }
}

/// A TLS handshake in progress.
struct Handshaking(tokio_rustls::Accept<tokio::net::TcpStream>);

impl Open for Handshaking {
    type Stream = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;
    async fn open(self) -> io::Result<Self::Stream> {
        tokio::time::timeout(HEAD_TIMEOUT, self.0).await.map_err(io::Error::other)?
    }
    // A handshake would have to come first.
    fn refuse(self, _: &[u8]) -> Option<Self::Stream> {
        None
    }
}

/// Serves what `listener` accepts until `stop` is ready; connections of the crowd by the threads of `crowd`.
async fn serve<A: Accept>(listener: A, router: Router, stop: impl Future<Output = ()> + Send, crowd: &Handle) {
    let places = Arc::new(Places::default());
    let full = Error::too_many_connections(EACH_CALLER).as_http();
    let mut tasks = JoinSet::new();
    let seen_off = Arc::new(Semaphore::new(SEEN_OFF));
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.next() => accepted,
        };
        while tasks.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                let on = if A::is_of_the_crowd(&peer) { crowd.clone() } else { Handle::current() };
                match places.take(A::holder(&peer)) {
                    Ok(place) => {
                        let (origin, router) = (listener.origin(), router.clone());
                        let conversation = async move { attend(stream, origin(peer), router, Arc::new(place)).await };
                        tasks.spawn_on(conversation, &on);
                    }
                    Err(_) => {
                        // What it is about to send would have the socket reset, and the answer lost.
                        if let (Some(stream), Ok(turn)) =
                            (stream.refuse(&full), Arc::clone(&seen_off).try_acquire_owned())
                        {
                            tasks.spawn_on(linger::see_off(stream, turn), &on);
                        }
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                // Out of descriptors, most likely: the next attempt would fail at once, too.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    let _ = tokio::time::timeout(GRACE, async { while tasks.join_next().await.is_some() {} }).await;
}

/// Serves one connection until it ends, or has to make room.
async fn attend(stream: impl Open, origin: Origin, router: Router, place: Arc<Place>) {
    let conversation = async {
        match stream.open().await {
            Ok(stream) => converse(stream, origin, router, Arc::clone(&place)).await,
            Err(error) => tracing::debug!(%error, "a connection was not agreed upon"),
        }
    };
    tokio::select! {
        () = conversation => {}
        () = place.ended() => tracing::debug!("a connection that had told nothing made room for another one"),
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    origin: Origin,
    router: Router,
    place: Arc<Place>,
) {
    let asker = Arc::clone(&place);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        match &origin {
            Origin::Caller(caller) => _ = request.extensions_mut().insert(caller.clone()),
            Origin::Network(peer) => _ = request.extensions_mut().insert(*peer),
        }
        request.extensions_mut().insert(Arc::clone(&place));
        hyper::service::Service::call(&hyper_util::service::TowerToHyperService::new(router.clone()), request)
    });
    let result = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(TokioIo::new(WriteTimeout::new(stream)), service)
        .without_shutdown()
        .await;
    match result {
        Ok(ended) => {
            let patience = if asker.is_known() { Patience::WITH_CALLER } else { Patience::WITH_STRANGER };
            linger::close(ended.io.into_inner(), patience).await;
        }
        Err(error) => tracing::debug!(%error, "a connection ended early"),
    }
}

/// Nobody may listen at `path`: a live daemon, or a file that is no socket.
fn refuse_if_taken(path: &Path) -> Result<(), ListenError> {
    use std::os::unix::fs::FileTypeExt as _;
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => Err(ListenError::NotASocket(path.to_owned())),
        Ok(_) if UnixStream::connect(path).is_ok() => Err(ListenError::Running(path.to_owned())),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The group's id: a number, or a name of `/etc/group`.
///
/// # Errors
/// There is no such group.
pub fn gid_of(group: &str) -> Result<u32, ListenError> {
    let unknown = || ListenError::UnknownGroup(group.to_owned());
    let from_file = || id_in(&std::fs::read_to_string("/etc/group").ok()?, |fields| fields.first() == Some(&group));
    group.parse().ok().or_else(from_file).ok_or_else(unknown)
}

/// Third field of the first line that `wanted` picks (passwd(5), group(5)).
fn id_in(table: &str, wanted: impl Fn(&[&str]) -> bool) -> Option<u32> {
    let rows = table.lines().map(|line| line.split(':').collect::<Vec<_>>());
    rows.into_iter().find(|fields| wanted(fields))?.get(2)?.parse().ok()
}
