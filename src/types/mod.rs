//! The JSON that the control socket speaks, shared by the daemon's API and the command line.
//!
//! Every answer is a `List` (one object is a list of one), every refusal an `ErrorBody`. Words
//! such as states and reasons travel as text, so that a client shows what a newer daemon says.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::model::Key;
use crate::model::spelled::Written;

/// Refusals.
pub mod error;

/// Roles, assignments and tokens.
pub mod access;

/// Private names.
pub mod dns;

/// What `doctor` finds.
pub mod doctor;

/// What becomes of a name.
pub mod dns_explain;

/// Endpoints, connections, resources and networks.
pub mod objects;

/// `status`, `flows` and `explain`.
pub mod status;

/// Documents, audit records and quotas.
pub mod records;

pub use access::{Assignment, Done, NewToken, Role, Token, Whoami};
pub use dns::{DnsAddress, DnsName, DnsPlan, DnsWritten, DnsZone, PrivateRecord, PrivateZone, PrivateZoneLink};
pub use dns_explain::{DnsExplanation, DnsHop, DnsRecord};
pub use doctor::{DiagnosedAddress, Diagnosis, Finding, Lint, Outcome};
pub use error::{ErrorBody, ErrorDetail};
pub use objects::{
    AcceptNames, Address, Connection, Decide, DecideAll, DecidedAll, Decision, Ending, Endpoint, Group, Interface,
    InterfaceAddress, Peering, Rates, Resource, SecurityGroup, SecurityGroupStatus, Step, Subnet, Target, Traffic,
    Transition, Vnet,
};
pub use records::{
    Actor, ApplyReport, AuditRecord, Authority, Body, Document, Epoch, Exported, ExportedRecord, FieldChange,
    ObjectChange, Plan, PlannedStep, Record, Restored, Skipped, Undone, Usage, Verified,
};
pub use status::{
    Check, Condition, Deleted, Explanation, Flow, LastReload, Line, Lost, Match, Reload, Severity, Side, Status,
    Totals, Who,
};

/// Version of every JSON document: fields are added, never renamed or given another meaning.
pub const API_VERSION: &str = "privlink/v1";

/// What precedes every path of this API.
pub const PREFIX: &str = "/v1";

/// What the API lists and shows under a path of its own.
pub trait Listed {
    /// Where all of them are, below [`PREFIX`]; each is below that by its name.
    const PATH: &'static str;
}

macro_rules! paths {
    ($($type:ident: $path:literal,)*) => {
        $(impl Listed for $type {
            const PATH: &'static str = $path;
        })*

        /// Types and their paths.
        #[cfg(test)]
        pub(crate) const PATHS: &[(&str, &str)] = &[$((stringify!($type), $path)),*];
    };
}

paths! {
    Assignment: "/assignments",
    Connection: "/connections",
    Endpoint: "/endpoints",
    Group: "/groups",
    Interface: "/nics",
    PrivateZone: "/dns-zones",
    Resource: "/resources",
    Role: "/roles",
    SecurityGroup: "/security-groups",
    Token: "/tokens",
    Vnet: "/vnets",
}

/// Every successful answer: `{"apiVersion":"privlink/v1","items":[…]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct List<T> {
    /// [`API_VERSION`].
    pub api_version: String,
    /// The objects asked for.
    pub items: Vec<T>,
}

impl<T> List<T> {
    /// A list of `items`.
    pub fn new(items: Vec<T>) -> Self {
        Self { api_version: API_VERSION.to_owned(), items }
    }

    /// A list of one.
    pub fn one(item: T) -> Self {
        Self::new(vec![item])
    }
}

/// An object of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object<S, T> {
    /// `group/name`.
    pub id: String,
    /// What its author says of it, by the keys of the configuration file. It can be applied as it stands.
    pub spec: Written<S>,
    /// What the daemon says of it.
    pub status: T,
}

impl<S, T> Object<S, T> {
    /// The object `key`.
    pub fn new(key: &Key, spec: S, status: T) -> Self {
        Self { id: key.to_string(), spec: Written::new(key, spec), status }
    }
}

/// All but what needs no percent sign anywhere in a URL: letters, digits and these (RFC 3986 §2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One segment of a path, or a part of a query, percent-encoded: a reference such as `group/name` holds a slash.
#[must_use]
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_one_has_the_documented_shape() {
        let text = serde_json::to_string(&List::one(7)).expect("serialises");
        assert_eq!(text, r#"{"apiVersion":"privlink/v1","items":[7]}"#);
    }

    #[test]
    fn a_reference_becomes_one_path_segment() {
        for (text, expected) in
            [("orders", "orders"), ("default/orders", "default%2Forders"), ("a b?ü", "a%20b%3F%C3%BC")]
        {
            assert_eq!(segment(text), expected, "{text}");
        }
    }
}
