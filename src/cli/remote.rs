//! Daemons elsewhere: where they are, who vouches for them, and the token they are asked with, kept per user.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::exit::{Error, Exit};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// One daemon elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Context {
    /// `https://host:port`.
    pub(super) url: String,
    /// Certificate of its authority, PEM.
    pub(super) authority: String,
    /// Bearer token.
    pub(super) token: String,
}

/// The file of all contexts.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contexts {
    #[serde(default)]
    context: BTreeMap<String, Context>,
}

impl Context {
    /// The context called `name`.
    ///
    /// # Errors
    /// There is none, or the file cannot be read.
    pub(super) fn load(name: &str) -> Result<Self, Error> {
        let mut all = read()?.context;
        all.remove(name).ok_or_else(|| {
            let known: Vec<&str> = all.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let remedy = format!("make it with `privlink login`; known ones: {known}");
            Error::new(Exit::Usage, format!("there is no context `{name}`")).with_remedy(remedy)
        })
    }

    /// Keeps it as `name`, readable for its owner only, in place of another one of that name.
    ///
    /// # Errors
    /// The file cannot be read or written; it is as it was then.
    pub(super) fn save(self, name: &str) -> Result<PathBuf, Error> {
        let mut all = read()?;
        all.context.insert(name.to_owned(), self);
        write(&all)
    }

    /// Forgets the context called `name`.
    ///
    /// # Errors
    /// As of [`Context::load`] and [`Context::save`].
    pub(super) fn forget(name: &str) -> Result<(), Error> {
        Self::load(name)?;
        let mut all = read()?;
        all.context.remove(name);
        write(&all).map(drop)
    }

    /// Name and URL of every context.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn all() -> Result<Vec<(String, String)>, Error> {
        Ok(read()?.context.into_iter().map(|(name, context)| (name, context.url)).collect())
    }

    /// Host and port, as a request names them.
    pub(super) fn host(&self) -> &str {
        self.url.strip_prefix("https://").unwrap_or(&self.url).trim_end_matches('/')
    }

    /// A connection whose other end the authority vouches for.
    pub(super) async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.authority.as_bytes()) {
            roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
        }
        let config = builder()?.with_root_certificates(roots).with_no_client_auth();
        dial(self.host(), config).await
    }
}

/// The certificate with the SHA-256 `fingerprint` that `host` shows, which must vouch for the one it shows for itself.
pub(super) async fn authority(host: &str, fingerprint: &[u8; 32]) -> io::Result<String> {
    let pinned = Arc::new(Pinned { fingerprint: *fingerprint, found: Mutex::default() });
    let verifier = Arc::clone(&pinned) as Arc<dyn ServerCertVerifier>;
    let config = builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    drop(dial(host, config).await?);
    let found = pinned.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let certificate = found.ok_or_else(|| io::Error::other("no certificate was shown"))?;
    Ok(pem::encode(&pem::Pem::new("CERTIFICATE", certificate.to_vec())))
}

fn builder() -> io::Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(io::Error::other)
}

async fn dial(host: &str, config: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    let (name, _) = host.rsplit_once(':').ok_or_else(|| io::Error::other("the URL names no port"))?;
    let name = name.trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(name).map_err(io::Error::other)?;
    let connected = async {
        let stream = TcpStream::connect(host).await?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    };
    tokio::time::timeout(CONNECT_TIMEOUT, connected).await.map_err(io::Error::other)?
}

/// Trusts whoever an authority with one fingerprint vouches for.
#[derive(Debug)]
struct Pinned {
    fingerprint: [u8; 32],
    found: Mutex<Option<CertificateDer<'static>>>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let is = |certificate: &&CertificateDer<'_>| Sha256::digest(certificate)[..] == self.fingerprint;
        let authority = others.iter().find(is).ok_or(CertificateError::UnknownIssuer)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let verifier = verifier.map_err(|error| rustls::Error::General(error.to_string()))?;
        verifier.verify_server_cert(own, others, name, ocsp, now)?;
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(authority.clone().into_owned());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let provider = rustls::crypto::ring::default_provider();
        let known = provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let provider = rustls::crypto::ring::default_provider();
        let known = provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// `$XDG_CONFIG_HOME/privlink/contexts.toml`, or below `~/.config`.
fn path() -> Result<PathBuf, Error> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
    let home = home.ok_or_else(|| {
        Error::new(Exit::Failed, "neither XDG_CONFIG_HOME nor HOME is set".to_owned())
            .with_remedy("set one of them: contexts are kept below it")
    })?;
    Ok(home.join("privlink").join("contexts.toml"))
}

fn read() -> Result<Contexts, Error> {
    let path = path()?;
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contexts::default()),
        Err(error) => return Err(Error::new(Exit::Failed, format!("{}: {error}", path.display()))),
    };
    toml::from_str(&text).map_err(|error| {
        let message = format!("{} is no file of contexts: {}", path.display(), error.message());
        Error::new(Exit::Failed, message).with_remedy("correct it, or move it away and log in anew")
    })
}

/// The whole file or none of it.
fn write(all: &Contexts) -> Result<PathBuf, Error> {
    let path = path()?;
    let text = toml::to_string(all).map_err(anyhow::Error::from)?;
    let whole = || {
        let directory = path.parent().map(PathBuf::from).unwrap_or_default();
        std::fs::create_dir_all(&directory)?;
        let part = directory.join(format!("contexts.{}.part", std::process::id()));
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&part, &path)
    };
    whole().map_err(|error: io::Error| Error::new(Exit::Failed, format!("{}: {error}", path.display())))?;
    Ok(path)
}
