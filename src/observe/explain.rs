//! What would become of a session's first packet, and which check decides: `judge()` in words.

use std::net::IpAddr;

use super::Observer;
use crate::dataplane::verdict::DropReason;
use crate::interface::Explanation;
use crate::snapshot::policy::{Reason, judge};
use crate::snapshot::prefixes::is_martian;
use crate::snapshot::{Admission, AttachmentId, ConnectionState, Denial, Protocol, Query, Snapshot};

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
        let (source, destination) = (question.source, question.destination);
        let asked = Explanation {
            vnet: question.vnet.clone(),
            source: source.to_string(),
            destination: destination.to_string(),
            port,
            protocol: protocol.to_string(),
            ..Explanation::default()
        };
        if is_martian(source) || source == destination {
            let message = format!("no host may send from {source}");
            return Ok(denied(asked, 1, DropReason::SpoofedSource, message, String::new()));
        }
        Ok(match judge(&snapshot, &Query { attachment, source, destination, protocol, port }) {
            Ok(admission) => admitted(asked, &admission),
            Err(denial) => in_words(asked, &snapshot, &denial),
        })
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
fn admitted(asked: Explanation, admission: &Admission<'_>) -> Explanation {
    let known = Explanation {
        endpoint: Some(admission.endpoint.name.to_string()),
        resource: Some(admission.resource.name.to_string()),
        ..asked
    };
    let backends: Vec<String> = admission
        .target
        .backends
        .iter()
        .filter(|backend| !backend.drain)
        .map(|backend| match (backend.address, admission.backend_port) {
            (address, 0) => address.to_string(),
            (address, port) => std::net::SocketAddr::new(address, port).to_string(),
        })
        .collect();
    if backends.is_empty() {
        let message = format!("no backend of {} takes new sessions", admission.resource.name);
        let remedy = "end the drain of a backend, or add one".to_owned();
        return denied(known, 7, DropReason::NoBackend, message, remedy);
    }
    let message = format!("admitted by {}, to {}", admission.endpoint.name, backends.join(" or "));
    Explanation { admitted: true, check: 7, message, backends, ..known }
}

fn in_words(asked: Explanation, snapshot: &Snapshot, denial: &Denial<'_>) -> Explanation {
    let endpoint = denial.endpoint.map(|endpoint| endpoint.name.to_string());
    let name = endpoint.clone().unwrap_or_default();
    let resource = denial
        .endpoint
        .and_then(|endpoint| snapshot.resource(endpoint.resource))
        .map(|resource| resource.name.to_string());
    let asked = Explanation { endpoint, resource, ..asked };
    let (vnet, source, destination) = (asked.vnet.clone(), asked.source.clone(), asked.destination.clone());
    let (check, reason, message, remedy) = match &denial.reason {
        Reason::UnknownEndpoint => (
            2,
            DropReason::UnknownEndpoint,
            format!("no endpoint at {destination} is visible from {vnet}"),
            "`privlink endpoint list` shows all addresses; a peered VNet's are visible when both sides list the peering"
                .to_owned(),
        ),
        Reason::NotApproved(state) => {
            let (reason, remedy) = match state {
                ConnectionState::Rejected => {
                    (DropReason::NotApprovedRejected, format!("privlink connection approve {name}"))
                }
                ConnectionState::Disconnected => {
                    (DropReason::NotApprovedDisconnected, format!("privlink endpoint delete {name}, then request anew"))
                }
                ConnectionState::Pending | ConnectionState::Approved => {
                    (DropReason::NotApprovedPending, format!("privlink connection approve {name}"))
                }
            };
            (3, reason, format!("the connection of {name} is {state}"), remedy)
        }
        Reason::SourceNotAllowed => (
            4,
            DropReason::SourceNotAllowed,
            format!("{source} is neither of {vnet}, nor of its on-premises prefixes, nor of an unattached direct peer"),
            format!("if it reaches {vnet} over VPN, list its prefix under `on_premises`"),
        ),
        Reason::WorkloadExcluded(class) => (
            4,
            DropReason::WorkloadExcluded,
            format!("{source} belongs to `{class}`, which may not use private endpoints"),
            format!("set `private_endpoints = true` for `{class}` in {vnet}"),
        ),
        Reason::DeniedByRule(rule) => (
            5,
            DropReason::DeniedByRule,
            format!("rule `{rule}` denies it"),
            if &**rule == "sources" {
                format!("add {source} to `sources` of {name}")
            } else {
                format!("change rule `{rule}`, or allow it in a rule of lower priority number")
            },
        ),
        Reason::PortNotExposed => (
            6,
            DropReason::PortNotExposed,
            format!("what {name} is bound to does not expose {}", exposed(&asked)),
            "`privlink resource show` lists the ports".to_owned(),
        ),
    };
    denied(asked, check, reason, message, remedy)
}

fn exposed(asked: &Explanation) -> String {
    if asked.protocol == "icmp" { "icmp".to_owned() } else { format!("{} {}", asked.protocol, asked.port) }
}

fn denied(asked: Explanation, check: u8, reason: DropReason, message: String, remedy: String) -> Explanation {
    Explanation { admitted: false, check, reason: Some(reason.name().to_owned()), message, remedy, ..asked }
}
