//! Callers: the peer of a Unix socket, by the ids that the kernel reports, or the bearer of a token.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::caseless::Malformed;

/// A principal: roles are assigned to it. As text `uid:1000`, `gid:20`, `token:ci`, `token-id:UUID`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Principal {
    /// A user of this host.
    Uid(u32),
    /// Every user of this host in the group.
    Gid(u32),
    /// The bearer of the token with this name: the token at the time of the assignment, not a later one.
    Token(TokenName),
    /// The bearer of the token with this id, for a caller that does not know its name. Ids cannot be guessed and are
    /// never reused, so an id may be named whether or not the token exists.
    TokenId(TokenId),
}

/// The prefix of a token's id as a principal.
const BY_ID: &str = "token-id";

impl FromStr for Principal {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let form = "write `uid:NUMBER`, `gid:NUMBER`, `token:NAME` or `token-id:UUID`";
        match text.split_once(':') {
            Some(("uid", id)) => numeric(text, id).map(Self::Uid),
            Some(("gid", id)) => numeric(text, id).map(Self::Gid),
            Some(("token", name)) => name.parse().map(Self::Token),
            Some((BY_ID, id)) => id.parse().map(Self::TokenId),
            _ => Err(Malformed::new(text, "principal", form)),
        }
    }
}

/// `u32::MAX` is no id: the kernel takes it for "leave unchanged" (`setresuid(2)`).
fn numeric(text: &str, id: &str) -> Result<u32, Malformed> {
    let digits = id.bytes().all(|byte| byte.is_ascii_digit());
    let remedy = "the id is a number from 0 to 4294967294, as `id` prints it";
    match id.parse() {
        Ok(id) if digits && id != u32::MAX => Ok(id),
        _ => Err(Malformed::new(text, "principal", remedy)),
    }
}

impl TryFrom<String> for Principal {
    type Error = Malformed;
    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}
impl From<Principal> for String {
    fn from(principal: Principal) -> Self {
        principal.to_string()
    }
}
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(id) => write!(f, "uid:{id}"),
            Self::Gid(id) => write!(f, "gid:{id}"),
            Self::Token(name) => write!(f, "token:{name}"),
            Self::TokenId(id) => write!(f, "{BY_ID}:{id}"),
        }
    }
}

/// A token's name: 1 to 64 of `a-z`, `0-9`, `-` and `.`, the first a letter or digit. Lower case only,
/// so that no two names differ by case alone; it holds no `_`, which separates the parts of a token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenName(String);

impl TokenName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenName {
    type Err = Malformed;
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let valid = text.len() <= 64
            && text.bytes().next().is_some_and(plain)
            && text.bytes().all(|byte| plain(byte) || b"-.".contains(&byte));
        let remedy = "use 1 to 64 of a-z, 0-9, `-` and `.`, and begin with a letter or digit";
        if valid { Ok(Self(text.to_owned())) } else { Err(Malformed::new(text, "token name", remedy)) }
    }
}
impl TryFrom<String> for TokenName {
    type Error = Malformed;
    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}
impl From<TokenName> for String {
    fn from(name: TokenName) -> Self {
        name.0
    }
}
impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The id of a token: a UUID that stays the same when its secret changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TokenId(String);

impl TokenId {
    /// A UUID of version 8 (RFC 9562 §5.8), derived from unique input.
    pub(crate) fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new_with_prefix(b"privlink token id");
        for part in parts {
            hasher.update(part);
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize()[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string())
    }
}

impl FromStr for TokenId {
    type Err = Malformed;
    fn from_str(text: &str) -> Result<Self, Malformed> {
        // Only the usual form of a UUID is accepted.
        let id = uuid::Uuid::try_parse(text).ok().map(|id| id.to_string()).filter(|id| id.eq_ignore_ascii_case(text));
        let remedy = "it is a UUID; whoever holds the token sees it in `privlink whoami`";
        id.map(Self).ok_or_else(|| Malformed::new(text, "id of a token", remedy))
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The subject of access checks: a peer with its uid and all its groups, or a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    principal: Principal,
    groups: Vec<u32>,
    /// The id of the presented token.
    token: Option<TokenId>,
}

impl Subject {
    /// The peer of a Unix socket. `groups` are its primary and its supplementary ones.
    pub fn peer(uid: u32, groups: impl IntoIterator<Item = u32>) -> Self {
        let mut groups: Vec<u32> = groups.into_iter().collect();
        groups.sort_unstable();
        groups.dedup();
        Self { principal: Principal::Uid(uid), groups, token: None }
    }

    /// The principal itself, a `Uid` without groups.
    pub fn only(principal: Principal) -> Self {
        Self { principal, groups: Vec::new(), token: None }
    }

    /// The bearer of the token with this name and id.
    pub fn bearer(name: TokenName, id: TokenId) -> Self {
        Self { principal: Principal::Token(name), groups: Vec::new(), token: Some(id) }
    }

    /// The id of the presented token. `None`: no token was presented.
    pub fn token(&self) -> Option<&TokenId> {
        self.token.as_ref()
    }

    /// The principal that messages and audit records name.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Its groups, ascending.
    pub fn groups(&self) -> &[u32] {
        &self.groups
    }

    /// Every principal whose assignments it has.
    pub fn principals(&self) -> impl Iterator<Item = Principal> {
        let groups = self.groups.iter().copied().map(Principal::Gid);
        let presented = self.token.iter().cloned().map(Principal::TokenId);
        std::iter::once(self.principal.clone()).chain(groups).chain(presented)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.principal.fmt(f)
    }
}

/// A caller: the peer of a Unix socket, the bearer of a token, or the daemon itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The subject whose rights count.
    pub subject: Subject,
    /// A name for people, or `uid:1000` if there is none.
    pub name: String,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

impl Caller {
    /// The user `uid`, without any group.
    pub fn user(uid: u32, name: impl Into<String>) -> Self {
        Self { subject: Subject::only(Principal::Uid(uid)), name: name.into() }
    }

    /// The author that is stored for a caller.
    pub fn actor(&self) -> Actor {
        Actor { principal: self.subject.principal().clone(), name: self.name.clone() }
    }
}

/// A stored author.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// Its principal.
    pub principal: Principal,
    /// Name, for people.
    pub name: String,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_read_as_it_is_shown() {
        let by_id = "token-id:0b9f8c1e-0000-8abc-9def-0123456789ab";
        for text in ["uid:0", "uid:1000", "gid:20", "gid:4294967294", "token:ci", "token:build.7-a", by_id] {
            let principal: Principal = text.parse().unwrap();
            assert_eq!(principal.to_string(), text);
            let json = serde_json::to_string(&principal).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Principal>(&json).unwrap(), principal);
        }
    }

    #[test]
    fn what_is_no_principal_is_refused_with_its_form() {
        for (text, word) in [
            ("", "uid:NUMBER"),
            ("1000", "uid:NUMBER"),
            ("UID:1", "uid:NUMBER"),
            ("user:ann", "uid:NUMBER"),
            ("uid:", "4294967294"),
            ("uid:+5", "4294967294"),
            ("uid:-1", "4294967294"),
            ("uid:4294967295", "4294967294"),
            ("gid:4294967296", "4294967294"),
            ("gid:staff", "4294967294"),
            ("token:", "a-z"),
            ("token:CI", "a-z"),
            ("token:a_b", "a-z"),
            ("token:-a", "a-z"),
            ("token:a b", "a-z"),
            ("token-id:", "UUID"),
            ("token-id:ci", "UUID"),
            ("token-id:0b9f8c1e-0000-8abc-9def-0123456789a", "UUID"),
            ("token-id:0b9f8c1e00008abc9def0123456789abcdef", "UUID"),
            ("token-id:0b9f8c1e-0000-8abc-9def-0123456789ag", "UUID"),
        ] {
            let error = text.parse::<Principal>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
            assert!(serde_json::from_value::<Principal>(text.into()).is_err(), "{text}");
        }
        assert!(format!("token:{}", "a".repeat(65)).parse::<Principal>().is_err());
        assert!(format!("token:{}", "a".repeat(64)).parse::<Principal>().is_ok());
    }

    #[test]
    fn what_is_shown_of_a_bad_text_is_short_and_harmless() {
        let error = format!("\u{1b}[31m{}", "x".repeat(10_000)).parse::<Principal>().unwrap_err().to_string();
        assert!(!error.contains('\u{1b}') && error.len() < 300, "{error}");
    }
}
