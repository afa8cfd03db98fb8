//! What must hold between the objects of a model. Works on the model alone, so
//! that a file and a live change are judged by the same rules; whoever has a file maps `Locator`s to lines.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

use crate::model::error::ErrorDetail;
use crate::model::sentence::{Mention, Named, Part, Sentence, itself};
use crate::model::state::{Item, ItemKind};
use crate::model::{HostConfig, Key, Limits, Map, Model, TimeoutOverrides, region};
use crate::snapshot::prefixes::is_martian;
use names::{check_key, check_name, check_owner};

/// What objects are called.
mod names;

/// Networks: address spaces, subnets, peerings.
mod networks;

/// Rule sets.
mod security_rules;

/// Link resources: NAT addresses, targets, ports.
mod resources;

/// Backends that serve two resources.
mod sharing;

/// Names that are somebody else's.
pub mod taken;

/// Private endpoints: what they are bound to, by which address.
mod endpoints;

/// Private DNS zones, and the zones of endpoints.
mod zones;

/// Who uses which address of a VNet, and whether a subnet has one left.
mod addresses;

/// The daemon and the attachments.
mod host;

/// How much there is, and how much there may be.
mod quotas;

/// How much may pass.
mod rates;

/// Rules that came later than the states they judge.
pub mod tightened;

/// Subnet arithmetic, shared with whoever allocates addresses.
pub mod subnets;

pub use crate::model::sentence::short;
pub use endpoints::MESSAGE_MAX;
pub use names::{NAME_MAX, is_name};
pub use quotas::{Counts, Scope as QuotaScope, Usage, usage};
pub use resources::NAT_MAX;
pub use zones::{LINKS_MAX, RECORD_SETS_MAX};

/// Checks everything that must hold between the objects of `model`, and between them and `host` where there
/// is one. The order of the answer is that of the rules, not of any file; an empty answer means the model may be
/// put in force.
pub fn validate(model: &Model, host: Option<&HostConfig>) -> Vec<Violation> {
    let mut findings = Findings::default();
    items(model, model, host, &mut findings);
    sharing::check(model, &mut findings);
    taken::check(model, &mut findings);
    addresses::check(model, &mut findings);
    zones::check_overlaps(model, &mut findings);
    if let Some(host) = host {
        quotas::check(model, &host.quotas, &mut findings);
        host::check(model, host, &mut findings);
    }
    findings.0
}

/// The rules about each object of `own` as it would stand among the `live` ones. Rules between objects are not judged:
/// addresses used twice, backends that two resources share, quotas, attachments.
pub fn validate_items(own: &Model, live: &Model) -> Vec<Violation> {
    let mut all = live.clone();
    all.vnets.extend(own.vnets.iter().map(|(key, vnet)| (key.clone(), vnet.clone())));
    all.security_groups.extend(own.security_groups.iter().map(|(key, group)| (key.clone(), group.clone())));
    all.dns_zones.extend(own.dns_zones.iter().map(|(key, zone)| (key.clone(), zone.clone())));
    all.resource_types.extend(own.resource_types.iter().map(|(key, kind)| (key.clone(), kind.clone())));
    all.resources.extend(own.resources.iter().map(|(key, resource)| (key.clone(), resource.clone())));
    let mut findings = Findings::default();
    items(own, &all, None, &mut findings);
    findings.0
}

/// All rules that concern the endpoint `key` of `model`, but for those about its addresses' other uses (whether one is
/// taken, and whether its subnet is full) and for quotas. The cost does not depend on how many endpoints there are.
pub fn endpoint(model: &Model, host: Option<&HostConfig>, key: &Key) -> Vec<Violation> {
    let mut findings = Findings::default();
    if let Some(endpoint) = model.endpoints.get(key) {
        endpoints::check(model, host, key, endpoint, &mut findings);
    }
    findings.0
}

/// The rules about each object of `own`, whose references lead into `all`.
fn items(own: &Model, all: &Model, host: Option<&HostConfig>, findings: &mut Findings) {
    let limits = host.map_or(Limits::default(), |host| host.limits);
    for (key, vnet) in &own.vnets {
        networks::check(all, limits, key, vnet, findings);
    }
    for (key, group) in &own.security_groups {
        security_rules::check(key, group, findings);
    }
    for (key, zone) in &own.dns_zones {
        zones::check(all, key, zone, findings);
    }
    for kind in own.resource_types.values() {
        resources::check_type(kind, findings);
    }
    for (key, resource) in &own.resources {
        let attachment = host.zip(resource.vnet.as_ref()).and_then(|(host, vnet)| host.attachment(vnet));
        resources::check(all, attachment, key, resource, findings);
    }
    for (key, endpoint) in &own.endpoints {
        endpoints::check(all, host, key, endpoint, findings);
    }
}

/// A rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where it shows.
    pub at: Locator,
    /// Where it shows as well, for a reader who may not see the former: rules that concern several objects alike.
    pub also: Vec<Locator>,
    /// Other objects it depends on; once one of those changes, this may go away by itself.
    pub involves: Vec<Object>,
    /// Names the rule, for programs; Azure's code where it has one. It never changes.
    pub code: &'static str,
    /// What is wrong.
    pub message: Sentence,
    /// What to do.
    pub remedy: Sentence,
    /// Whether the model is refused for it.
    pub severity: Severity,
    /// What the field says, where the rule is a tightened one: another value there is another violation.
    pub value: String,
    /// Although it stood before a tightened rule, it is not in force: the daemon's file pins what the rule asks.
    pub left_out: bool,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}; {}", self.at, self.severity, self.message, self.remedy)
    }
}

impl From<&Violation> for ErrorDetail {
    fn from(violation: &Violation) -> Self {
        let Violation { at, also, code, message, remedy, severity, .. } = violation;
        let message =
            Sentence::from(itself(format!("{severity}: "))).and(message.clone()).and("; ").and(remedy.clone());
        also.iter().fold(Self::new(code, message).at(at.place()), |rule, other| rule.at(other.place()))
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Refused.
    Error,
    /// Refused where a change brings it. What stood before the change stays in force: see [`tightened`].
    Tightened,
    /// In force, and most likely not what was meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error | Self::Tightened => "error",
            Self::Warning => "warning",
        })
    }
}

/// A field of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Locator {
    /// The object.
    pub object: Object,
    /// The field as a path in the words of the file, such as `targets[0].ports[1].port`; empty: the object as a whole.
    pub field: String,
}

impl Locator {
    /// The place, for a refusal.
    pub(crate) fn place(&self) -> Sentence {
        match self.object.item() {
            Some(Item { kind, key }) => Mention::of(kind, &key, self).into(),
            None if matches!(self.object, Object::ResourceType(_)) => itself(self.to_string()).into(),
            None => Mention::new(Named::Host, self).into(),
        }
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => write!(f, "{}", self.object),
            field => write!(f, "{}: {field}", self.object),
        }
    }
}

macro_rules! object {
    ($($(#[$doc:meta])* $kind:ident: $type:ident in $field:ident,)*) => {
        /// An object that a rule can be about.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Object {
            $($(#[$doc])* $kind(Key),)*
            /// A type of link resources, by name.
            ResourceType(String),
            /// `[[attachment]]` by position.
            Attachment(usize),
            /// `[daemon]`.
            Daemon,
        }

        impl From<Item> for Object {
            fn from(Item { kind, key }: Item) -> Self {
                match kind {
                    $(ItemKind::$kind => Self::$kind(key),)*
                }
            }
        }

        impl Object {
            /// The object of the model; `None`: it is none.
            pub fn item(&self) -> Option<Item> {
                match self {
                    $(Self::$kind(key) => Some(Item { kind: ItemKind::$kind, key: key.clone() }),)*
                    Self::ResourceType(_) | Self::Attachment(_) | Self::Daemon => None,
                }
            }
        }

        impl fmt::Display for Object {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$kind(key) => write!(f, "{} {key}", ItemKind::$kind.table()),)*
                    Self::ResourceType(name) => write!(f, "resource_type {name}"),
                    Self::Attachment(index) => write!(f, "attachment {}", index + 1),
                    Self::Daemon => f.write_str("daemon"),
                }
            }
        }
    };
}

kinds! { [object] }

impl Object {
    /// A field of it.
    pub fn at(&self, field: impl Into<String>) -> Locator {
        Locator { object: self.clone(), field: field.into() }
    }
}

/// What is found.
#[derive(Debug, Default)]
struct Findings(Vec<Violation>);

impl Findings {
    fn error(
        &mut self,
        code: &'static str,
        at: Locator,
        message: impl Into<Sentence>,
        remedy: impl Into<Sentence>,
    ) -> &mut Self {
        self.push(Severity::Error, code, at, message.into(), remedy.into())
    }

    /// An error by a rule that states of earlier releases may break: it refuses what is new, and only that. `value` is
    /// what the field says, so that a violation is known again in a later model (see [`tightened`]).
    fn tightened(
        &mut self,
        code: &'static str,
        at: Locator,
        value: impl fmt::Display,
        message: impl Into<Sentence>,
        remedy: impl Into<Sentence>,
    ) -> &mut Self {
        self.push(Severity::Tightened, code, at, message.into(), remedy.into());
        if let Some(last) = self.0.last_mut() {
            last.value = value.to_string();
        }
        self
    }

    /// An error or a warning, as `severity` says.
    fn note(
        &mut self,
        severity: Severity,
        code: &'static str,
        at: Locator,
        message: &'static str,
        remedy: &'static str,
    ) -> &mut Self {
        self.push(severity, code, at, message.into(), remedy.into())
    }

    fn warning(
        &mut self,
        code: &'static str,
        at: Locator,
        message: impl Into<Sentence>,
        remedy: impl Into<Sentence>,
    ) -> &mut Self {
        self.push(Severity::Warning, code, at, message.into(), remedy.into())
    }

    fn push(
        &mut self,
        severity: Severity,
        code: &'static str,
        at: Locator,
        message: Sentence,
        remedy: Sentence,
    ) -> &mut Self {
        let involves = Vec::new();
        let (value, left_out) = (String::new(), false);
        self.0.push(Violation { at, also: Vec::new(), involves, code, message, remedy, severity, value, left_out });
        self
    }

    /// Says whether what the finding made last is about is left out where it stood before.
    fn left_out(&mut self, left_out: bool) -> &mut Self {
        if let Some(last) = self.0.last_mut() {
            last.left_out = left_out;
        }
        self
    }

    /// Says that the finding made last shows at `place` as well.
    fn also_at(&mut self, place: Locator) -> &mut Self {
        if let Some(last) = self.0.last_mut() {
            last.also.push(place);
        }
        self
    }

    /// Says that the finding made last depends on `object` too.
    fn involving(&mut self, object: Object) -> &mut Self {
        if let Some(last) = self.0.last_mut() {
            last.involves.push(object);
        }
        self
    }
}

/// The objects of one kind, to choose from.
fn known<V>(label: &'static str, kind: ItemKind, objects: &Map<V>) -> Sentence {
    Part::Known(label, objects.keys().map(|key| Mention::of(kind, key, short(key))).collect()).into()
}

/// Regions are compared as Azure does: without case and blanks.
fn same_region(one: &str, other: &str) -> bool {
    region(one) == region(other)
}

/// Whether `address` can be carried at all; otherwise the reason was noted.
fn check_address(address: IpAddr, what: &str, at: Locator, findings: &mut Findings) -> bool {
    if is_martian(address) {
        let kind = if address.is_unspecified() {
            "the unspecified address"
        } else if address.is_loopback() {
            "a loopback address"
        } else if address.is_multicast() {
            "a multicast address"
        } else if is_link_local(address) {
            "a link-local address"
        } else {
            "a special-purpose address"
        };
        let remedy = "choose an address that a host of the network can have";
        findings.error("InvalidAddress", at, itself(format!("{what} {address} is {kind}")), remedy);
        return false;
    }
    true
}

const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// Whether `prefix` can be carried at all; otherwise the reason was noted.
fn check_prefix(prefix: &IpNet, at: Locator, findings: &mut Findings) -> bool {
    let mapped = matches!(prefix, IpNet::V6(prefix) if prefix.network().to_ipv4_mapped().is_some());
    if mapped && prefix.prefix_len() >= 96 {
        findings.error(
            "InvalidPrefix",
            at,
            itself(format!("prefix {prefix} holds IPv4 addresses in IPv6 form, which no packet carries")),
            "write it as an IPv4 prefix",
        );
        return false;
    }
    true
}

/// Lower bounds of idle times: shorter ones cut sessions that the RFCs promise to keep.
fn check_timeouts(timeouts: &TimeoutOverrides, object: &Object, findings: &mut Findings) {
    for (field, value, least, written, source) in [
        ("tcp_established", timeouts.tcp_established, Duration::from_mins(124), "2h4m", "RFC 5382 REQ-5"),
        ("tcp_transitory", timeouts.tcp_transitory, Duration::from_mins(4), "4m", "RFC 5382 REQ-5"),
        ("udp", timeouts.udp, Duration::from_mins(2), "2m", "RFC 4787 REQ-5"),
        ("icmp", timeouts.icmp, Duration::from_mins(1), "60s", "RFC 5508 REQ-2"),
        ("fragment", timeouts.fragment, Duration::from_secs(15), "30s", "RFC 791 §3.2"),
    ] {
        let Some(value) = value else { continue };
        let at = object.at(format!("timeouts.{field}"));
        if value.is_zero() {
            findings.error(
                "InvalidTimeout",
                at,
                itself(format!("{field} is zero: nothing could live")),
                itself(format!("write \"{written}\"")),
            );
        } else if value < least {
            findings.warning(
                "TimeoutTooShort",
                at,
                itself(format!(
                    "{field} is {} s, and {source} asks for {} s or more",
                    value.as_secs(),
                    least.as_secs()
                )),
                itself(format!("write \"{written}\" or more unless what is slow may break")),
            );
        }
    }
}

fn check_session_limit(field: &str, limit: Option<u32>, object: &Object, findings: &mut Findings) {
    if limit == Some(0) {
        findings.error(
            "InvalidSessionLimit",
            object.at(field),
            itself(format!("`{field}` is 0: nothing could pass")),
            "use 1 or more, or leave it out",
        );
    }
}

/// Pairs of prefixes that overlap, by position in `prefixes`, the one further back second. Each prefix is compared
/// with the one that reaches furthest among those that start before it, so the answer names at least one partner
/// of every prefix that overlaps any.
fn overlaps(prefixes: &[IpNet]) -> Vec<(usize, usize)> {
    let mut order: Vec<usize> = (0..prefixes.len()).collect();
    order.sort_by_key(|&index| (prefixes[index].network(), prefixes[index].prefix_len(), index));
    let mut widest: Option<usize> = None;
    let mut pairs = Vec::new();
    for index in order {
        match widest {
            Some(open) if prefixes[index].network() <= prefixes[open].broadcast() => {
                pairs.push((open.min(index), open.max(index)));
            }
            _ => widest = Some(index),
        }
    }
    pairs.sort_unstable();
    pairs
}

/// How many names a message lists.
const LISTED: usize = 12;

fn list<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let mut items = items.into_iter();
    let shown: Vec<String> = items.by_ref().take(LISTED).map(|item| item.to_string()).collect();
    match (shown.is_empty(), items.count()) {
        (true, _) => "none".to_owned(),
        (false, 0) => shown.join(", "),
        (false, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests;
