//! What would become of a session's first packet, and which check decides: `judge()` in words.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use super::Observer;
use crate::snapshot::policy::{is_spoofed, judge};
use crate::snapshot::{
    Admission, AttachmentId, Backend, BackendState, ConnectionState, Denial, DropReason, Meter, Protocol, Query, Rates,
    Snapshot,
};
use crate::types::{Check, Explanation};
pub use flip::Flip;

/// What would change the decision.
mod flip;

/// What is asked, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// VNet the packet comes from: `name` or `group/name`.
    pub vnet: String,
    /// Consumer's address.
    pub source: IpAddr,
    /// Address it asks for.
    pub destination: IpAddr,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: String,
    /// Port it asks for; nothing for ICMP echo.
    pub port: u16,
}

/// The question cannot be put to the packet path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    /// No packet from this VNet can arrive here.
    #[error("VNet `{vnet}` has no attachment on this host")]
    NoAttachment {
        /// As asked for.
        vnet: String,
        /// VNets that have one.
        attached: Vec<String>,
    },
    /// Several attached VNets are called so.
    #[error("several VNets are called `{vnet}`: {}", candidates.join(", "))]
    Ambiguous {
        /// As asked for.
        vnet: String,
        /// Their full names.
        candidates: Vec<String>,
    },
    /// The forwarder does not carry it.
    #[error("`{0}` is not tcp, udp or icmp")]
    UnknownProtocol(String),
}

impl Observer {
    /// Judges the first packet of a session by the snapshot in force.
    ///
    /// # Errors
    /// The VNet is not attached here, or the protocol is none that a resource may expose.
    pub fn explain(&self, question: &Question) -> Result<Explanation, Unanswerable> {
        let snapshot = self.snapshot.load();
        let attachment = attachment_of(&snapshot, &question.vnet)?;
        let protocol = match question.protocol.as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "icmp" => Protocol::Icmp,
            other => return Err(Unanswerable::UnknownProtocol(other.to_owned())),
        };
        let port = if protocol == Protocol::Icmp { 0 } else { question.port };
        let Question { source, destination, .. } = *question;
        let decision = decide(&snapshot, &Query { attachment, source, destination, protocol, port });
        Ok(Explanation {
            vnet: question.vnet.clone(),
            source: source.to_string(),
            destination: destination.to_string(),
            port,
            protocol: protocol.to_string(),
            admitted: decision.reason.is_none(),
            check: decision.check,
            reason: decision.reason.map(|reason| reason.name().to_owned()),
            checks: checks(&decision),
            message: decision.message,
            remedy: decision.flip.map(|flip| flip.to_string()).unwrap_or_default(),
            endpoint: decision.endpoint.map(|name| name.to_string()),
            resource: decision.resource.map(|name| name.to_string()),
            backends: decision.backends,
            rates: decision.rates,
        })
    }
}

/// What becomes of the first packet of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Number of the check that decides: the first that fails, else the last (the checks: `snapshot::policy`).
    pub check: u8,
    /// Why it is dropped; `None`: it passes.
    pub reason: Option<DropReason>,
    /// The same in a sentence.
    pub message: String,
    /// What would take it past this check; `None` where nothing would or should.
    pub flip: Option<Flip>,
    /// The endpoint, where one is visible at that address.
    pub endpoint: Option<Arc<str>>,
    /// The resource bound to it.
    pub resource: Option<Arc<str>>,
    /// Servers that take new sessions, `address:port`.
    pub backends: Vec<String>,
    /// What limits how much passes in a second.
    pub rates: Vec<String>,
}

/// Makes the checks of a session's first packet, as the packet path does, for all that does not depend on the
/// moment: limits, room and NAT ports are left out.
#[must_use]
pub fn decide(snapshot: &Snapshot, query: &Query) -> Decision {
    let Query { attachment, source, destination, .. } = *query;
    let first = |reason, message: String, flip| Decision { flip, ..denied(1, reason, message) };
    if !source.is_ipv4() || !destination.is_ipv4() {
        return first(DropReason::UnsupportedProtocol, "only IPv4 is carried".to_owned(), None);
    }
    if query.protocol != Protocol::Icmp && query.port == 0 {
        return first(DropReason::Malformed, format!("{} has no port 0", query.protocol), None);
    }
    if let Some(owner) = snapshot.nat_owner(attachment, destination) {
        let owner = snapshot.resource(owner).map(|resource| resource.name.to_string()).unwrap_or_default();
        let message = format!("{destination} is a NAT address of {owner}: nothing opens a session towards it");
        return first(DropReason::NoSession, message, flip::nearest(snapshot, query));
    }
    if is_spoofed(snapshot, query) {
        let message = format!("no host may send from {source} to {destination}");
        return first(DropReason::SpoofedSource, message, None);
    }
    match judge(snapshot, query) {
        Ok(admission) => Decision { rates: limiting(snapshot, &admission), ..admitted(&admission, query) },
        Err(denial) => {
            let resource = denial.endpoint.and_then(|endpoint| snapshot.resource(endpoint.resource));
            let flip = flip::of_denial(snapshot, query, &denial);
            let (check, message) = in_words(snapshot, query, &denial);
            Decision {
                endpoint: denial.endpoint.map(|endpoint| Arc::clone(&endpoint.name)),
                resource: resource.map(|resource| Arc::clone(&resource.name)),
                flip,
                ..denied(check, denial.reason, message)
            }
        }
    }
}

fn attachment_of(snapshot: &Snapshot, vnet: &str) -> Result<AttachmentId, Unanswerable> {
    let name_of = |full: &str| full.rsplit('/').next().unwrap_or(full).to_lowercase();
    let wanted = vnet.to_lowercase();
    let matching: Vec<_> = (0..)
        .map(AttachmentId)
        .zip(snapshot.attachments.iter())
        .filter(|(_, attachment)| attachment.vnet.to_lowercase() == wanted || name_of(&attachment.vnet) == wanted)
        .collect();
    let names = |list: &[(AttachmentId, &crate::snapshot::Attachment)]| -> Vec<String> {
        list.iter().map(|(_, attachment)| attachment.vnet.to_string()).collect()
    };
    match matching.as_slice() {
        [(id, _)] => Ok(*id),
        [] => Err(Unanswerable::NoAttachment {
            vnet: vnet.to_owned(),
            attached: snapshot.attachments.iter().map(|attachment| attachment.vnet.to_string()).collect(),
        }),
        several => Err(Unanswerable::Ambiguous { vnet: vnet.to_owned(), candidates: names(several) }),
    }
}

/// Checks 2 to 6 pass; what is left of check 7 that does not depend on the moment is a backend.
fn admitted(admission: &Admission<'_>, query: &Query) -> Decision {
    let nat = |backend: &&Backend| admission.resource.nat.iter().any(|nat| nat.is_ipv4() == backend.address.is_ipv4());
    let state = |backend: &Backend| admission.target.state_at(backend, query.protocol, query.port);
    let takes = |backend: &&Backend| state(backend) == BackendState::Up && nat(backend);
    let backends: Vec<String> = admission
        .target
        .backends
        .iter()
        .filter(takes)
        .map(|backend| match (backend.address, admission.backend_port) {
            (address, 0) => address.to_string(),
            (address, port) => std::net::SocketAddr::new(address, port).to_string(),
        })
        .collect();
    let (endpoint, resource) = (&admission.endpoint.name, &admission.resource.name);
    let decided = if backends.is_empty() {
        let message = format!("no backend of {resource} takes new sessions");
        Decision {
            flip: flip::of_drain(&admission.target.backends, state),
            ..denied(7, DropReason::NoBackend, message)
        }
    } else {
        let message = format!("admitted by {endpoint}, to {}", backends.join(" or "));
        Decision { check: 7, message, backends, ..Decision::default() }
    };
    Decision { endpoint: Some(Arc::clone(endpoint)), resource: Some(Arc::clone(resource)), ..decided }
}

/// The rates that hold for an admitted session's traffic, in words.
fn limiting(snapshot: &Snapshot, admission: &Admission<'_>) -> Vec<String> {
    let (endpoint, resource) = (admission.endpoint, admission.resource);
    let of = |meter: &Option<Arc<Meter>>| meter.as_ref().map(|meter| meter.rates).filter(Rates::limit_anything);
    let own = of(&endpoint.meter).map(|own| format!("{}: {}", endpoint.name, super::rates(own)));
    let shared = of(&resource.meter).map(|all| {
        let contenders = match snapshot.contenders.of(endpoint.resource) {
            0 | 1 => String::new(),
            several => format!(", shared by {several} approved endpoints"),
        };
        format!("{}{contenders}: {}", resource.name, super::rates(all))
    });
    own.into_iter().chain(shared).collect()
}

/// Number of the check that denies, and the denial in a sentence.
fn in_words(snapshot: &Snapshot, query: &Query, denial: &Denial<'_>) -> (u8, String) {
    let Query { attachment, source, destination, protocol, port } = *query;
    let vnet = snapshot.attachments.get(usize::from(attachment.0)).map(|found| &*found.vnet).unwrap_or_default();
    let name = denial.endpoint.map(|endpoint| &*endpoint.name).unwrap_or_default();
    let by = denial.by.as_deref().unwrap_or_default();
    match (denial.reason, denial.endpoint) {
        (DropReason::UnknownEndpoint, _) => (3, format!("no endpoint at {destination} is visible from {vnet}")),
        (DropReason::SourceNotAllowed, _) => (
            2,
            format!("{source} is neither of {vnet}, nor of its on-premises prefixes, nor of an unattached direct peer"),
        ),
        (DropReason::WorkloadExcluded, _) => {
            (4, format!("{source} belongs to `{by}`, which may not use private endpoints"))
        }
        (DropReason::DeniedByRule, _) => (5, format!("rule `{by}` denies it")),
        (_, Some(endpoint)) if endpoint.state != ConnectionState::Approved => {
            (4, format!("the connection of {name} is {}", endpoint.state))
        }
        _ if protocol == Protocol::Icmp => (6, format!("what {name} is bound to does not expose icmp")),
        _ => (6, format!("what {name} is bound to does not expose {protocol} {port}")),
    }
}

/// The checks in their order, as the decision left them.
fn checks(decision: &Decision) -> Vec<Check> {
    let of = |what: &Option<Arc<str>>, otherwise: &str| what.as_deref().unwrap_or(otherwise).to_owned();
    let (endpoint, resource) = (of(&decision.endpoint, "the endpoint"), of(&decision.resource, "its resource"));
    let questions = [
        "may its sender send such a packet?".to_owned(),
        "may the source use endpoints of that VNet?".to_owned(),
        "is an endpoint visible at that address?".to_owned(),
        format!("is the connection of {endpoint} approved, and its source of no excluded workload?"),
        format!("do the rules of {endpoint} and its subnet allow it?"),
        format!("does {resource} expose the port to {endpoint}?"),
        "does a backend take new sessions?".to_owned(),
    ];
    let outcome = |number: u8| match (number.cmp(&decision.check), decision.reason) {
        (Ordering::Less, _) | (Ordering::Equal, None) => "passed",
        (Ordering::Equal, Some(_)) => "failed",
        (Ordering::Greater, _) => "not reached",
    };
    (1..).zip(questions).map(|(number, question)| Check { number, question, outcome: outcome(number).into() }).collect()
}

fn denied(check: u8, reason: DropReason, message: String) -> Decision {
    Decision { check, reason: Some(reason), message, ..Decision::default() }
}
