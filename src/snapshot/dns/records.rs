//! Records that somebody wrote into a zone of their own: the types that Azure's private DNS zones have.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::Name;

/// All records of one type that a name has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordSet {
    /// How long an answer may be kept, in seconds.
    pub ttl: u32,
    /// Type and values; a resolver knows of none that are empty.
    pub data: RecordData,
}

/// Values of one type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordData {
    /// IPv4 addresses (RFC 1035 §3.4.1).
    A(Vec<Ipv4Addr>),
    /// IPv6 addresses (RFC 3596 §2.2).
    Aaaa(Vec<Ipv6Addr>),
    /// The name is another one (RFC 1035 §3.3.1).
    Cname(Name),
    /// Mail servers (RFC 1035 §3.3.9).
    Mx(Vec<Mx>),
    /// Names of an address (RFC 1035 §3.3.12).
    Ptr(Vec<Name>),
    /// Servers of a service (RFC 2782).
    Srv(Vec<Srv>),
    /// Texts, each of strings of at most 255 bytes (RFC 1035 §3.3.14).
    Txt(Vec<Vec<String>>),
}

impl RecordData {
    /// A set without values, as Azure's clients make one before they fill it.
    #[must_use]
    pub fn none(kind: RecordType) -> Self {
        match kind {
            RecordType::A => Self::A(Vec::new()),
            RecordType::Aaaa => Self::Aaaa(Vec::new()),
            RecordType::Cname => Self::Cname(Name::from("")),
            RecordType::Mx => Self::Mx(Vec::new()),
            RecordType::Ptr => Self::Ptr(Vec::new()),
            RecordType::Srv => Self::Srv(Vec::new()),
            RecordType::Txt => Self::Txt(Vec::new()),
        }
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::A(all) => all.is_empty(),
            Self::Aaaa(all) => all.is_empty(),
            Self::Cname(to) => to.is_empty(),
            Self::Mx(all) => all.is_empty(),
            Self::Ptr(all) => all.is_empty(),
            Self::Srv(all) => all.is_empty(),
            Self::Txt(all) => all.is_empty(),
        }
    }

    /// Which type these are of.
    #[must_use]
    pub fn kind(&self) -> RecordType {
        match self {
            Self::A(_) => RecordType::A,
            Self::Aaaa(_) => RecordType::Aaaa,
            Self::Cname(_) => RecordType::Cname,
            Self::Mx(_) => RecordType::Mx,
            Self::Ptr(_) => RecordType::Ptr,
            Self::Srv(_) => RecordType::Srv,
            Self::Txt(_) => RecordType::Txt,
        }
    }
}

/// The types of records that a zone may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[derive(strum::Display, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "UPPERCASE", ascii_case_insensitive)]
pub enum RecordType {
    /// See [`RecordData::A`].
    A,
    /// See [`RecordData::Aaaa`].
    Aaaa,
    /// See [`RecordData::Cname`].
    Cname,
    /// See [`RecordData::Mx`].
    Mx,
    /// See [`RecordData::Ptr`].
    Ptr,
    /// See [`RecordData::Srv`].
    Srv,
    /// See [`RecordData::Txt`].
    Txt,
}

impl RecordType {
    /// As zone files and Azure write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A mail server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mx {
    /// The lowest is tried first.
    pub preference: u16,
    /// The server.
    pub exchange: Name,
}

/// A server of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Srv {
    /// The lowest is tried first.
    pub priority: u16,
    /// Share among those of one priority.
    pub weight: u16,
    /// Its port.
    pub port: u16,
    /// The server.
    pub target: Name,
}

/// The start of authority of a zone of somebody's own (RFC 1035 §3.3.13); its serial is that of the resolver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Soa {
    /// How long it may be kept itself, in seconds.
    pub ttl: u32,
    /// Who answers for the zone, as a name: `hostmaster.example.com`. Empty: `hostmaster` of the zone.
    pub email: Name,
    /// For servers that copy the zone; there are none here.
    pub refresh: u32,
    /// As `refresh`.
    pub retry: u32,
    /// As `refresh`.
    pub expire: u32,
    /// How long the absence of a name may be kept (RFC 2308 §4).
    pub minimum: u32,
}

impl Default for Soa {
    fn default() -> Self {
        Self { ttl: 3_600, email: Name::from(""), refresh: 3_600, retry: 300, expire: 2_419_200, minimum: 10 }
    }
}
