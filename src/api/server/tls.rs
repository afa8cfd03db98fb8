//! The daemon's TLS identity: a certificate of its own authority, created at the first start, or one from the
//! configuration.

use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// How long the authority is valid. Clients keep it, so it outlives many server certificates.
const CA_LIFE: SignedDuration = SignedDuration::from_hours(3650 * 24);

/// How long a server certificate is valid: clients do not accept much more.
const SERVER_LIFE: SignedDuration = SignedDuration::from_hours(397 * 24);

/// A server certificate that expires sooner than this is replaced.
const RENEWAL: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Why there is no [`Identity`].
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file has wrong content.
    #[error("{path} holds no usable {what}: {why}; correct it, or move it away to have a new one made")]
    Content {
        /// Which one.
        path: PathBuf,
        /// A certificate or a key.
        what: &'static str,
        /// Why not.
        why: String,
    },
    /// A certificate cannot be created.
    #[error("no certificate can be made: {0}")]
    Unmade(String),
}

/// The authority that clients must trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Its certificate, PEM.
    pub pem: String,
    /// SHA-256 of its DER form, in lower-case hexadecimal.
    pub fingerprint: String,
}

/// The server's certificate and its authority.
#[derive(Clone, Debug)]
pub struct Identity {
    /// For each connection.
    pub server: Arc<ServerConfig>,
    /// `None`: the certificate is from the configuration.
    pub authority: Option<Authority>,
}

/// The stored facts about the server certificate.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Issued {
    names: Vec<String>,
    until: Timestamp,
    authority: String,
}

impl Identity {
    /// The identity stored below `state`, for a listener on `address`. Missing or expiring parts are created.
    ///
    /// # Errors
    /// See [`TlsError`]. Nothing is left half created.
    pub fn own(state: &Path, address: SocketAddr, hostname: &str, now: Timestamp) -> Result<Self, TlsError> {
        let directory = state.join("tls");
        fs::create_dir_all(&directory).map_err(|error| TlsError::File { path: directory.clone(), error })?;
        let (ca_key_file, ca_file) = (directory.join("ca.key"), directory.join("ca.pem"));
        let (key_file, file) = (directory.join("server.key"), directory.join("server.pem"));
        if !ca_file.exists() {
            let key = KeyPair::generate().map_err(unmade)?;
            let params = ca_params(&ca_name(&key), now)?;
            let certificate = params.self_signed(&key).map_err(unmade)?;
            write(&ca_key_file, &key.serialize_pem(), 0o600)?;
            write(&ca_file, &certificate.pem(), 0o644)?;
        }
        let pem = read(&ca_file)?;
        let authority = Authority { fingerprint: fingerprint(&ca_file, &pem)?, pem };
        let wanted = names(address, hostname);
        let record = directory.join("server.json");
        let issued: Option<Issued> = fs::read(&record).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let good = issued.is_some_and(|issued| {
            issued.names == wanted && issued.authority == authority.fingerprint && issued.until > now + RENEWAL
        });
        if !(good && file.exists() && key_file.exists()) {
            let ca_key = read(&ca_key_file)?;
            let ca_key = KeyPair::from_pem(&ca_key).map_err(|error| content(&ca_key_file, "key", &error))?;
            let key = KeyPair::generate().map_err(unmade)?;
            let params = server_params(&wanted, now)?;
            let signer = Issuer::new(ca_params(&ca_name(&ca_key), now)?, ca_key);
            let certificate = params.signed_by(&key, &signer).map_err(unmade)?;
            // Write the record last: without it, the other two are created again.
            let _ = fs::remove_file(&record);
            write(&key_file, &key.serialize_pem(), 0o600)?;
            write(&file, &certificate.pem(), 0o644)?;
            let issued = Issued { names: wanted, until: now + SERVER_LIFE, authority: authority.fingerprint.clone() };
            write(&record, &serde_json::to_string(&issued).unwrap_or_default(), 0o644)?;
        }
        let server = server(&file, &key_file, Some((&ca_file, &authority.pem)))?;
        Ok(Self { server, authority: Some(authority) })
    }

    /// The identity of a certificate chain and its key, both PEM.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn named(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self { server: server(certificate, key, None)?, authority: None })
    }
}

fn server(file: &Path, key_file: &Path, authority: Option<(&Path, &str)>) -> Result<Arc<ServerConfig>, TlsError> {
    let mut chain = certificates(file, &read(file)?)?;
    if let Some((path, pem)) = authority {
        chain.extend(certificates(path, pem)?);
    }
    let key = PrivateKeyDer::from_pem_slice(read(key_file)?.as_bytes()).map_err(|e| content(key_file, "key", &e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(unmade)?;
    let mut config = builder
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| content(key_file, "key for its certificate", &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let chain = chain.map_err(|error| content(path, "certificate", &error))?;
    if chain.is_empty() { Err(content(path, "certificate", &"there is none")) } else { Ok(chain) }
}

/// SHA-256 of the first certificate of `pem`.
fn fingerprint(path: &Path, pem: &str) -> Result<String, TlsError> {
    let chain = certificates(path, pem)?;
    Ok(chain.first().map(|certificate| crate::model::to_hex(&Sha256::digest(certificate))).unwrap_or_default())
}

/// The authority's name contains a part of its key, so that two daemons' authorities differ in name.
fn ca_name(key: &KeyPair) -> String {
    let digest = Sha256::digest(key.public_key_raw());
    format!("privlink {}", crate::model::to_hex(&digest[..6]))
}

fn ca_params(name: &str, now: Timestamp) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::new(Vec::new()).map_err(unmade)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    (params.not_before, params.not_after) = validity(now, CA_LIFE);
    Ok(params)
}

fn server_params(names: &[String], now: Timestamp) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::new(names.to_vec()).map_err(unmade)?;
    params.distinguished_name.push(DnType::CommonName, "privlink");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = validity(now, SERVER_LIFE);
    Ok(params)
}

/// Valid from yesterday, because clocks differ, in whole days of UTC.
fn validity(now: Timestamp, life: SignedDuration) -> (time::OffsetDateTime, time::OffsetDateTime) {
    let day = |at: Timestamp| {
        let seconds = at.as_second().div_euclid(86_400) * 86_400;
        time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
    };
    (day(now - SignedDuration::from_hours(24)), day(now + life))
}

/// Every name that a client on this host, or one that knows the address, may use.
fn names(address: SocketAddr, hostname: &str) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let fit = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
    if fit(hostname) {
        names.push(hostname.to_owned());
    }
    let ip: IpAddr = address.ip();
    if !ip.is_unspecified() {
        names.push(ip.to_string());
    }
    names.sort_unstable();
    names.dedup();
    names
}

fn read(path: &Path) -> Result<String, TlsError> {
    fs::read_to_string(path).map_err(|error| TlsError::File { path: path.to_owned(), error })
}

/// Writes a file atomically; it is on the disk when this returns.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let whole = || {
        let part = path.with_extension("part");
        let _ = fs::remove_file(&part);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        path.parent().map_or(Ok(()), |directory| fs::File::open(directory)?.sync_all())
    };
    whole().map_err(|error| TlsError::File { path: path.to_owned(), error })
}

fn content(path: &Path, what: &'static str, why: &dyn std::fmt::Display) -> TlsError {
    TlsError::Content { path: path.to_owned(), what, why: why.to_string() }
}

#[allow(clippy::needless_pass_by_value, reason = "it is the function of a map_err")]
fn unmade(error: impl std::fmt::Display) -> TlsError {
    TlsError::Unmade(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("privlink-tls-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_authority_stays_and_the_certificate_is_renewed_in_time() {
        let state = directory("renewal");
        let listener = "10.0.0.1:8480".parse().unwrap();
        let own = |now: &str, name: &str| {
            let identity = Identity::own(&state, listener, name, at(now)).unwrap();
            (identity.authority.unwrap().fingerprint, read(&state.join("tls/server.pem")).unwrap())
        };
        let first = own("2026-01-01T00:00:00Z", "host");
        assert_eq!(own("2026-06-01T00:00:00Z", "host"), first, "good for long");
        let renewed = own("2027-01-20T00:00:00Z", "host");
        assert!(renewed.0 == first.0 && renewed.1 != first.1, "about to end");
        assert_ne!(own("2027-01-20T00:00:00Z", "other").1, renewed.1, "another name");
        fs::remove_file(state.join("tls/server.json")).unwrap();
        assert_eq!(own("2027-01-20T00:00:00Z", "other").0, first.0);
        for (file, mode) in [("ca.key", 0o600), ("server.key", 0o600)] {
            use std::os::unix::fs::PermissionsExt as _;
            let found = fs::metadata(state.join("tls").join(file)).unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode, "{file}");
        }
        fs::remove_dir_all(state).unwrap();
    }

    #[test]
    fn what_is_no_certificate_is_said_with_its_file() {
        let state = directory("bad");
        fs::create_dir_all(state.join("tls")).unwrap();
        fs::write(state.join("tls/ca.pem"), "nothing").unwrap();
        let error = Identity::own(&state, "127.0.0.1:1".parse().unwrap(), "h", at("2026-01-01T00:00:00Z")).unwrap_err();
        assert!(error.to_string().contains("ca.pem holds no usable certificate"), "{error}");
        let error = Identity::named(&state.join("none"), &state.join("none")).unwrap_err();
        assert!(error.to_string().contains("none: No such file"), "{error}");
        fs::remove_dir_all(state).unwrap();
    }
}
