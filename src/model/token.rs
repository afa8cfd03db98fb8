//! Bearer tokens, `plk_NAME_SECRETCHECKSUM`: a secret of 256 bits, and the first four bytes of a SHA-256 over
//! everything before them, both in lower-case hexadecimal. The checksum detects typing errors without a look into the
//! store. Only the SHA-256 of the secret is stored, which is enough for a random secret.

use std::fmt;

use dashmap::DashMap;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Map;
use super::caseless::to_hex;
use super::principal::{Principal, Subject, TokenId, TokenName};

/// The default lifetime of a token: 90 days.
pub const DEFAULT_LIFETIME: SignedDuration = SignedDuration::from_hours(90 * 24);

/// The longest lifetime: 10 years of 366 days.
pub const MAX_LIFETIME: SignedDuration = SignedDuration::from_hours(10 * 366 * 24);

const PREFIX: &str = "plk_";
const SECRET_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 4;

/// The stored part of a token. A revoked one is deleted, so it stops at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Unique; shown as the principal `token:NAME`.
    pub name: TokenName,
    /// Never reused, unlike the name: role assignments end with the token.
    #[serde(default)]
    pub id: TokenId,
    /// The hash of the secret.
    pub hash: SecretHash,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: Principal,
    /// When it expires.
    pub expires_at: Timestamp,
}

impl Token {
    /// The principal.
    pub fn principal(&self) -> Principal {
        Principal::Token(self.name.clone())
    }

    /// The subject of its bearer.
    pub fn bearer(&self) -> Subject {
        Subject::bearer(self.name.clone(), self.id.clone())
    }
}

impl Token {
    /// Adds an id to a token of a release without token ids.
    #[must_use]
    pub fn with_id(self) -> Self {
        let made = self.created_at.to_string();
        Self { id: TokenId::of(&[self.name.as_str().as_bytes(), made.as_bytes(), &self.hash.0]), ..self }
    }

    /// The same token with a new secret. The old one becomes invalid. `random` is as for [`mint`].
    #[must_use]
    pub fn rotated(&self, random: &[u8; SECRET_BYTES]) -> (Self, Secret) {
        (Self { hash: SecretHash::of(random), ..self.clone() }, Secret::of(&self.name, random))
    }
}

/// SHA-256 of a secret. Compared in constant time only, so it has no `==` on its bytes.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    fn of(secret: &[u8; SECRET_BYTES]) -> Self {
        Self(Sha256::digest(secret).into())
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}
impl Eq for SecretHash {}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}
impl TryFrom<String> for SecretHash {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, &'static str> {
        from_hex(&text).map(Self).ok_or("a token's hash is 64 hexadecimal digits")
    }
}
impl From<SecretHash> for String {
    fn from(hash: SecretHash) -> Self {
        to_hex(&hash.0)
    }
}

/// The whole token as its bearer presents it: shown once, never stored, logged or shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    fn of(name: &TokenName, random: &[u8; SECRET_BYTES]) -> Self {
        let stem = format!("{PREFIX}{name}_{}", to_hex(random));
        Self(format!("{stem}{}", to_hex(&checksum(&stem))))
    }

    /// The text, for the one answer that shows it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// An invalid lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token's lifetime is more than nothing and at most 3660 days, not {}", in_words(*.0))]
pub struct BadLifetime(pub SignedDuration);

/// `4000 days`, `90 minutes`: in the largest unit that gives a whole number.
fn in_words(time: SignedDuration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, "days"), (3_600, "hours"), (60, "minutes")];
    let (length, unit) = units.into_iter().find(|(length, _)| seconds % length == 0).unwrap_or((1, "seconds"));
    format!("{} {unit}", seconds / length)
}

/// Creates a token. `random` comes from the system's generator and is used for nothing else.
///
/// # Errors
/// `lifetime` is nothing, negative or too long.
pub fn mint(
    name: TokenName,
    created_by: Principal,
    now: Timestamp,
    lifetime: SignedDuration,
    random: &[u8; SECRET_BYTES],
) -> Result<(Token, Secret), BadLifetime> {
    if lifetime <= SignedDuration::ZERO || lifetime > MAX_LIFETIME {
        return Err(BadLifetime(lifetime));
    }
    let expires_at = now.checked_add(lifetime).map_err(|_| BadLifetime(lifetime))?;
    let secret = Secret::of(&name, random);
    let id = TokenId::of(&[name.as_str().as_bytes(), random]);
    Ok((Token { name, id, hash: SecretHash::of(random), created_at: now, created_by, expires_at }, secret))
}

/// Why a presented token is not accepted. For HTTP: 401, `InvalidAuthenticationToken`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is malformed, or was not copied completely.
    #[error("this is not a whole token; one reads plk_NAME_ and 72 hexadecimal digits: copy it again")]
    Malformed,
    /// There is no such token, or its secret is wrong. The error does not say which.
    #[error("this token is unknown or revoked; ask for a new one (`privlink token create`)")]
    Unknown,
    /// It expired at this time.
    #[error("this token expired at {0:.0}; ask for a new one (`privlink token create`)")]
    Expired(Timestamp),
}

/// The token that `presented` proves its bearer to hold.
///
/// # Errors
/// See [`TokenError`]. Only a caller with the right secret learns that it expired.
pub fn authenticate<'a>(
    presented: &str,
    tokens: &'a Map<Token, TokenName>,
    now: Timestamp,
) -> Result<&'a Token, TokenError> {
    let (name, secret) = take_apart(presented).ok_or(TokenError::Malformed)?;
    let presented = SecretHash::of(&secret);
    // An unknown name costs the same comparison.
    let found = tokens.get(&name);
    let same = presented == found.map_or(SecretHash([0; 32]), |token| token.hash);
    match found {
        Some(token) if same && now < token.expires_at => Ok(token),
        Some(token) if same => Err(TokenError::Expired(token.expires_at)),
        Some(_) | None => Err(TokenError::Unknown),
    }
}

fn take_apart(presented: &str) -> Option<(TokenName, [u8; SECRET_BYTES])> {
    let (name, _) = presented.strip_prefix(PREFIX)?.split_once('_')?;
    let (stem, sum) = presented.split_at_checked(presented.len().checked_sub(2 * CHECKSUM_BYTES)?)?;
    let secret = stem.get(PREFIX.len() + name.len() + 1..)?;
    if from_hex(sum)? != checksum(stem) {
        return None;
    }
    Some((name.parse().ok()?, from_hex(secret)?))
}

fn checksum(stem: &str) -> [u8; CHECKSUM_BYTES] {
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&Sha256::digest(stem)[..CHECKSUM_BYTES]);
    sum
}

/// `N` bytes from `2 * N` lower-case digits, so that every value has only one text.
fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

/// When each token was last used since the start of the daemon, in memory only.
#[derive(Debug, Default)]
pub struct LastUsed(DashMap<TokenName, Timestamp>);

impl LastUsed {
    /// Notes a use of `token` at `now`.
    pub fn note(&self, token: &Token, now: Timestamp) {
        self.0.insert(token.name.clone(), now);
    }

    /// Its last use, without uses of an earlier token with the same name.
    pub fn of(&self, token: &Token) -> Option<Timestamp> {
        self.0.get(&token.name).map(|at| *at).filter(|at| *at >= token.created_at)
    }

    /// Forgets a revoked token.
    pub fn forget(&self, name: &TokenName) {
        self.0.remove(name);
    }
}

#[cfg(test)]
mod tests;
