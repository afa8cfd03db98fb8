//! Asks the daemon: HTTP/1.1 over its Unix socket, or over HTTPS where it is elsewhere; one connection per question.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use super::exit::{Error, Exit};
use super::remote::Context;
use super::terminal;
use crate::types::{ErrorBody, List, PREFIX};

/// How long an answer may take; the daemon itself gives up on a silent worker after 2 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the daemon is.
#[derive(Clone, Debug)]
enum Way {
    /// On this host.
    Socket(PathBuf),
    /// Elsewhere.
    Remote(Box<Context>),
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Remote(context) => f.write_str(&context.url),
        }
    }
}

/// One daemon.
#[derive(Clone, Debug)]
pub(super) struct Client {
    way: Way,
    patience: Duration,
    /// Answers are shown to people: see [`terminal::for_people`].
    for_people: bool,
}

impl Client {
    pub(super) fn new(socket: &Path) -> Self {
        Self { way: Way::Socket(socket.to_owned()), patience: REQUEST_TIMEOUT, for_people: false }
    }

    /// The daemon of a context.
    pub(super) fn remote(context: Context) -> Self {
        Self { way: Way::Remote(Box::new(context)), patience: REQUEST_TIMEOUT, for_people: false }
    }

    /// The same, which waits for no answer longer than `patience`.
    pub(super) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The same, whose answers are shown to people, or not.
    pub(super) fn for_people(self, for_people: bool) -> Self {
        Self { for_people, ..self }
    }

    /// What stands at `path`, which follows the API's prefix.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<List<T>, Error> {
        self.ask(Method::GET, path, Vec::new())
    }

    /// Asks for something to be done, with `body` as JSON.
    pub(super) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<List<T>, Error> {
        self.ask(Method::POST, path, serde_json::to_vec(body)?)
    }

    /// Deletes what stands at `path`.
    pub(super) fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<List<T>, Error> {
        self.ask(Method::DELETE, path, Vec::new())
    }

    /// Whether a daemon of this host answers at all.
    pub(super) fn is_served(&self) -> bool {
        matches!(&self.way, Way::Socket(socket) if std::os::unix::net::UnixStream::connect(socket).is_ok())
    }

    fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Vec<u8>) -> Result<List<T>, Error> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(anyhow::Error::from)?;
        let (status, body) = runtime
            .block_on(async { tokio::time::timeout(self.patience, self.exchange(method, path, body)).await })
            .map_err(|_| self.unanswered(&format!("no answer within {:?}", self.patience)))??;
        if (200..300).contains(&status) {
            return self.read(&body).map_err(|error| self.foreign(&error.to_string()));
        }
        Err(self.refused(status, &body))
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> serde_json::Result<List<T>> {
        if !self.for_people {
            return serde_json::from_slice(body);
        }
        let mut answer = serde_json::from_slice(body)?;
        terminal::for_people(&mut answer);
        serde_json::from_value(answer)
    }

    /// Asks for something that is no list, and writes what comes to `out` as it comes.
    pub(super) fn download(&self, path: &str, out: &mut dyn Write) -> Result<(), Error> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(anyhow::Error::from)?;
        let late = |_| self.unanswered(&format!("nothing more within {:?}", self.patience));
        let broken = |error: hyper::Error| self.unanswered(&error.to_string());
        runtime.block_on(async {
            let opened = self.open(Method::POST, path, Vec::new());
            let response = tokio::time::timeout(self.patience, opened).await.map_err(late)??;
            let status = response.status().as_u16();
            let mut body = response.into_body();
            if !(200..300).contains(&status) {
                let said = tokio::time::timeout(self.patience, body.collect()).await.map_err(late)?;
                return Err(self.refused(status, &said.map_err(broken)?.to_bytes()));
            }
            while let Some(frame) = tokio::time::timeout(self.patience, body.frame()).await.map_err(late)? {
                if let Ok(bytes) = frame.map_err(broken)?.into_data() {
                    out.write_all(&bytes)?;
                }
            }
            Ok(out.flush()?)
        })
    }

    async fn exchange(&self, method: Method, path: &str, body: Vec<u8>) -> Result<(u16, Bytes), Error> {
        let response = self.open(method, path, body).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|error| self.unanswered(&error.to_string()))?;
        Ok((status, body.to_bytes()))
    }

    async fn open(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Response<Incoming>, Error> {
        let (host, token) = match &self.way {
            Way::Socket(_) => ("localhost", token()?),
            Way::Remote(context) => (context.host(), Some(context.token.clone())),
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{PREFIX}{path}"))
            .header("host", host)
            .header("content-type", "application/json")
            .header("connection", "close");
        let request = match token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        let request = request.body(Full::new(Bytes::from(body))).map_err(anyhow::Error::from)?;
        match &self.way {
            Way::Socket(socket) => self.send(UnixStream::connect(socket).await, request).await,
            Way::Remote(context) => self.send(context.connect().await, request).await,
        }
    }

    async fn send<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: io::Result<S>,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Error> {
        let stream = stream.map_err(|error| self.unreachable(&error))?;
        let broken = |error: hyper::Error| self.unanswered(&error.to_string());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends with the runtime, which each question has for itself.
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(broken)
    }

    fn refused(&self, status: u16, body: &[u8]) -> Error {
        match serde_json::from_slice::<ErrorBody>(body) {
            Ok(refusal) => Error::refused(status, &refusal),
            Err(_) => self.foreign(&format!("HTTP status {status}")),
        }
    }

    fn unreachable(&self, error: &io::Error) -> Error {
        let Way::Socket(socket) = &self.way else {
            return Error::new(Exit::Unreachable, format!("no daemon answers on {}: {error}", self.way))
                .with_remedy("see that it is served there, or log in anew where its authority has changed");
        };
        let socket = socket.display();
        let kind = error.kind();
        if kind == io::ErrorKind::PermissionDenied {
            return Error::new(Exit::Denied, format!("no permission to ask the daemon on {socket}"))
                .with_remedy("use sudo, or set `socket_group` under [daemon] to a group you are in");
        }
        let nobody = Error::new(Exit::Unreachable, format!("no daemon answers on {socket}"));
        if matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) {
            return nobody.with_remedy("start it with `privlink run -c FILE`, or name its socket with `--socket PATH`");
        }
        nobody.with_remedy(format!("the system says: {error}"))
    }

    fn unanswered(&self, why: &str) -> Error {
        Error::new(Exit::Unreachable, format!("the daemon on {} did not answer: {why}", self.way))
            .with_remedy("its log says why")
    }

    fn foreign(&self, what: &str) -> Error {
        let message = format!("what answers on {} does not speak this version: {what}", self.way);
        Error::new(Exit::Failed, message).with_remedy("use the `privlink` that the daemon was started with")
    }
}

/// The bearer token of the file that `PRIVLINK_TOKEN_FILE` names; `None`: the caller is known by its uid.
fn token() -> Result<Option<String>, Error> {
    let Some(path) = std::env::var_os("PRIVLINK_TOKEN_FILE").filter(|path| !path.is_empty()) else { return Ok(None) };
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) => {
            let message = format!("PRIVLINK_TOKEN_FILE {} cannot be read: {error}", Path::new(&path).display());
            Err(Error::new(Exit::Denied, message).with_remedy("name a file with a token, or unset the variable"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_daemon_it_says_so_and_what_to_do() {
        let directory = std::env::temp_dir().join(format!("privlink-client-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("temporary directory");
        let socket = directory.join("privlink.sock");
        let expected = format!(
            "privlink: no daemon answers on {}\n  start it with `privlink run -c FILE`, or name its socket with `--socket PATH`",
            socket.display()
        );
        let client = Client::new(&socket);
        let absent = client.get::<crate::types::Status>("/status").expect_err("nothing there");
        assert_eq!((absent.exit, absent.to_string()), (Exit::Unreachable, expected.clone()));
        drop(std::os::unix::net::UnixListener::bind(&socket).expect("bound"));
        let dead = client.get::<crate::types::Status>("/status").expect_err("nobody listens");
        assert_eq!((dead.exit, dead.to_string()), (Exit::Unreachable, expected));
        assert!(!client.is_served());
        std::fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn a_refused_permission_says_how_to_get_it() {
        let client = Client::new(Path::new("/run/privlink/privlink.sock"));
        let failure = client.unreachable(&io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(failure.exit, Exit::Denied);
        assert!(failure.to_string().contains("socket_group") && failure.to_string().contains("sudo"), "{failure}");
    }
}
