//! Bearer tokens, `plk_NAME_SECRETCHECKSUM`: a secret of 256 bits and the first four bytes of a SHA-256 over
//! what stands before them, both in lower-case hexadecimal. The checksum tells a slip of the keyboard from
//! a wrong token without a look into the store. Of the secret only its SHA-256 is kept, which is enough for
//! one that nobody can guess.

use std::fmt;

use dashmap::DashMap;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Map;
use super::caseless::to_hex;
use super::principal::{Principal, Subject, TokenId, TokenName};

/// How long a token is good for unless something else is said: 90 days.
pub const DEFAULT_LIFETIME: SignedDuration = SignedDuration::from_hours(90 * 24);

/// The longest that may be said: 10 years of 366 days.
pub const MAX_LIFETIME: SignedDuration = SignedDuration::from_hours(10 * 366 * 24);

const PREFIX: &str = "plk_";
const SECRET_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 4;

/// What is kept of a token. A revoked one is kept no longer, and so stops at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Unique; shown as the principal `token:NAME`.
    pub name: TokenName,
    /// Unique for good, unlike the name: what is assigned to a token ends with it.
    #[serde(default)]
    pub id: TokenId,
    /// Of the secret.
    pub hash: SecretHash,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: Principal,
    /// From then on it is refused.
    pub expires_at: Timestamp,
}

impl Token {
    /// Whom it names.
    pub fn principal(&self) -> Principal {
        Principal::Token(self.name.clone())
    }

    /// Whoever presented it.
    pub fn bearer(&self) -> Subject {
        Subject::bearer(self.name.clone(), self.id.clone())
    }
}

impl Token {
    /// The same with an id, for a token that was made when tokens had none.
    #[must_use]
    pub fn with_id(self) -> Self {
        let made = self.created_at.to_string();
        Self { id: TokenId::of(&[self.name.as_str().as_bytes(), made.as_bytes(), &self.hash.0]), ..self }
    }

    /// The same token with another secret: the old one is refused from then on. `random` is as for [`mint`].
    #[must_use]
    pub fn rotated(&self, random: &[u8; SECRET_BYTES]) -> (Self, Secret) {
        (Self { hash: SecretHash::of(random), ..self.clone() }, Secret::of(&self.name, random))
    }
}

/// SHA-256 of a secret. Compared in constant time only; hence without `==` of its bytes.
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

/// The whole token as its bearer presents it: given out once, never kept, logged or shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    fn of(name: &TokenName, random: &[u8; SECRET_BYTES]) -> Self {
        let stem = format!("{PREFIX}{name}_{}", to_hex(random));
        Self(format!("{stem}{}", to_hex(&checksum(&stem))))
    }

    /// The text, for the one answer that hands it out.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A lifetime that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token's lifetime is more than nothing and at most 3660 days, not {}", in_words(*.0))]
pub struct BadLifetime(pub SignedDuration);

/// `4000 days`, `90 minutes`: in the largest unit that it is a whole number of.
fn in_words(time: SignedDuration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, "days"), (3_600, "hours"), (60, "minutes")];
    let (length, unit) = units.into_iter().find(|(length, _)| seconds % length == 0).unwrap_or((1, "seconds"));
    format!("{} {unit}", seconds / length)
}

/// Makes a token. `random` comes from the system's generator and is used for nothing else.
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
    /// It has not the form of one, or was not copied whole.
    #[error("this is not a whole token; one reads plk_NAME_ and 72 hexadecimal digits: copy it again")]
    Malformed,
    /// There is none of that name, or its secret is another: which of the two is not said.
    #[error("this token is unknown or revoked; ask for a new one (`privlink token create`)")]
    Unknown,
    /// It was good until then.
    #[error("this token expired at {0:.0}; ask for a new one (`privlink token create`)")]
    Expired(Timestamp),
}

/// The token that `presented` proves its bearer to hold.
///
/// # Errors
/// See [`TokenError`]; that it expired is said only to who knows its secret.
pub fn authenticate<'a>(
    presented: &str,
    tokens: &'a Map<Token, TokenName>,
    now: Timestamp,
) -> Result<&'a Token, TokenError> {
    let (name, secret) = take_apart(presented).ok_or(TokenError::Malformed)?;
    let presented = SecretHash::of(&secret);
    // A name that there is not costs the same comparison.
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

/// `N` bytes from `2 * N` lower-case digits: every value has one text only.
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

/// When each token was last accepted, since the daemon started: kept in memory only.
#[derive(Debug, Default)]
pub struct LastUsed(DashMap<TokenName, Timestamp>);

impl LastUsed {
    /// `token` was accepted at `now`.
    pub fn note(&self, token: &Token, now: Timestamp) {
        self.0.insert(token.name.clone(), now);
    }

    /// When it was; what a revoked token of the same name did does not count.
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
