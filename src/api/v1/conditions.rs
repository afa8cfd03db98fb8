//! What is not as it should be, and what to do: `status` says it, and whoever follows it is not refused for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::api::convert::silent_at;
use crate::api::{ApiState, Detached};
use crate::control::{ServerView, View};
use crate::model::rules::NAT_MAX;
use crate::model::state::{Item, ItemKind};
use crate::model::{BackendState, Caller, ConnectionState, HostConfig, Key, LinkResource, Quota};
use crate::observe::FullPool;
use crate::types::{Condition, Severity};

/// What `status` advises, beside rules that came later, which bring their own. Each is followed by a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::api) enum Remedy {
    /// Nothing can be done, or the message says what.
    Nothing,
    /// To whoever writes the daemon's file.
    CorrectFile,
    /// A namespace is gone, or another one.
    Attach,
    /// More NAT ports, by an address or a server.
    MoreNatAddresses,
    /// More NAT ports, by a server alone: the resource may have no more addresses.
    MoreServers,
    /// More NAT ports, by a server of the load balancer that the resource is behind.
    MoreInPool,
    /// To see what is wrong with a server.
    SeeServer,
    /// A resolver cannot listen.
    SeeListener,
    /// The program of `on_request` cannot be started.
    SeeProgram,
    /// Lines of the log are lost.
    SeeLog,
    /// Audit records go before an export has them.
    ExportOften,
    /// Nothing but this is left for a Disconnected endpoint.
    Delete(Key),
    /// In force, and no longer in the file.
    NameAgain(Item),
    /// Whose a NAT address is.
    AskWho,
}

impl std::fmt::Display for Remedy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nothing => "",
            Self::CorrectFile => "correct it; `privlink reload` says what is wrong",
            Self::Attach => Detached::REMEDY,
            Self::MoreNatAddresses => {
                "add an address to its `nat`, or a backend; `privlink flows` lists the sessions"
            }
            Self::MoreServers => {
                "add a backend: its `nat` has as many addresses as it may; `privlink flows` lists the sessions"
            }
            Self::MoreInPool => {
                "add a server to the backend pool of its load balancer; `privlink flows` lists the sessions"
            }
            Self::SeeServer => "see whether it runs, and whether its port lets connections of this host in",
            Self::SeeListener => {
                "see that nothing else listens on port 53 there (`ss -lnp`), or choose a free address of the VNet"
            }
            Self::SeeProgram => {
                "see that the program exists and that the daemon may run it; its log says why it could not"
            }
            Self::SeeLog => {
                "see where it leads (`ls -l /proc/PID/fd/2`): the reader is slow or gone, or the disk is full"
            }
            Self::ExportOften => "export it more often, or give it more room (`audit` under [daemon])",
            Self::Delete(key) => return write!(f, "delete it: `privlink endpoint delete {key}`"),
            Self::NameAgain(Item { kind: ItemKind::Endpoint, key }) => {
                return write!(f, "name it again, or delete it: `privlink endpoint delete {key}`");
            }
            Self::NameAgain(_) => {
                "name it again, or delete it once nothing refers to it; `privlink run --prune` deletes what can be deleted"
            }
            Self::AskWho => "`privlink who` tells whose a NAT address is",
        })
    }
}

/// Everything of `view` that is not as it should be, gravest first. What concerns the host and the daemon's file is for who
/// `operates` the daemon.
pub(in crate::api) fn of(state: &ApiState, view: &View, caller: &Caller, operates: bool) -> Vec<Condition> {
    let condition = |severity, code: &str, message: String, remedy: Remedy| Condition {
        severity,
        code: code.to_owned(),
        message,
        remedy: remedy.to_string(),
    };
    let mut all: Vec<Condition> = view
        .conditions
        .iter()
        .map(|said| condition(Severity::Error, "ControlPlane", told(said, operates), Remedy::Nothing))
        .collect();
    if let Some(last) = state.observer.reloads().read().last.filter(|last| operates && !last.applied) {
        let when = format!("when it was last read, at {} by {}", last.at, last.by);
        let message = format!("the file was refused {when}: nothing of it changed");
        all.push(condition(Severity::Error, "ReloadRefused", message, Remedy::CorrectFile));
    }
    for (vnet, detached) in (state.detached)().into_iter().filter(|_| operates) {
        let (severity, code) = if detached.replaced {
            (Severity::Error, "NamespaceReplaced")
        } else {
            (Severity::Warning, "NamespaceDeleted")
        };
        all.push(condition(severity, code, detached.says(&vnet), Remedy::Attach));
    }
    for (key, resource) in view.state.model.resources.iter() {
        for FullPool { protocol, backend, backend_port, .. } in state.observer.exhausted(&resource.nat) {
            let server = SocketAddr::new(backend, backend_port);
            let message =
                format!("resource {key} has no NAT port left towards {protocol} {server}: new sessions are refused");
            all.push(condition(Severity::Error, "NatPortsExhausted", message, more_ports(resource, &view.host)));
        }
    }
    let silent = down(view).into_iter();
    all.extend(silent.map(|(severity, code, message)| condition(severity, code, message, Remedy::SeeServer)));
    let vnets: BTreeSet<String> = view.state.model.vnets.keys().map(ToString::to_string).collect();
    let silent = state.silent.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for (vnet, why) in silent.iter().filter(|(vnet, _)| vnets.contains(*vnet)) {
        let message = format!("the resolver of VNet {vnet} is silent: {why}");
        all.push(condition(Severity::Error, "ResolverSilent", message, Remedy::SeeListener));
    }
    let not_started = state.observer.hooks().map_or(0, |counts| counts.not_started.load(Ordering::Relaxed));
    if operates && not_started > 0 {
        let requests = counted(not_started, "request");
        let message = format!("on_request could not be started for {requests}: nobody was told");
        all.push(condition(Severity::Warning, "HookNotStarted", message, Remedy::SeeProgram));
    }
    for stands in view.standing_for(&state.control.view().state.model, caller) {
        let fate = if stands.left_out {
            "the daemon's file says so, and it is left out on this host"
        } else {
            "it stood before this rule, and stays in force"
        };
        let message = format!("{}: {}; {fate}", stands.place, stands.message);
        let (severity, code) = (Severity::Warning, stands.code.to_owned());
        all.push(Condition { severity, code, message, remedy: stands.remedy });
    }
    if let Some(missed) = state.control.audit_missed().filter(|_| operates) {
        let crate::control::Missed { records, last } = missed;
        let (records, were) = (counted(records, "record"), if records == 1 { "was" } else { "were" });
        let message =
            format!("{records} of the audit log {were} removed before an export had them, the last at {last:.0}");
        all.push(condition(Severity::Warning, "AuditNotExported", message, Remedy::ExportOften));
    }
    let lost = state.observer.log_lost();
    if lost > 0 {
        let (lines, were) = (counted(lost, "line"), if lost == 1 { "was" } else { "were" });
        let message =
            format!("{lines} of the daemon's log {were} lost since its start: standard error did not take them");
        all.push(condition(Severity::Warning, "LogLost", message, Remedy::SeeLog));
    }
    let nothing = crate::types::ApplyReport::default();
    let applied = if operates { &*view.last_apply } else { &nothing };
    for skipped in &applied.skipped {
        let message = format!("the file's {} was not applied: {}", skipped.item, skipped.reason.replace("\n  ", "; "));
        all.push(condition(Severity::Warning, "Skipped", message, Remedy::Nothing));
    }
    for difference in &applied.differences {
        all.push(condition(Severity::Warning, "DiffersFromFile", difference.clone(), Remedy::Nothing));
    }
    for kept in view.kept_items().filter(|_| operates) {
        let message = format!("{kept} is in force though the file no longer names it");
        // A file does not revive it.
        let state = view.state.connections.get(&kept.key).map(|one| one.state);
        let is_over = kept.kind == ItemKind::Endpoint && state == Some(ConnectionState::Disconnected);
        let remedy = if is_over { Remedy::Delete(kept.key.clone()) } else { Remedy::NameAgain(kept.clone()) };
        all.push(condition(Severity::Warning, "KeptUnnamed", message, remedy));
    }
    for setting in &applied.needs_restart {
        let message = format!("takes effect at the next start only: {setting}");
        all.push(condition(Severity::Notice, "NeedsRestart", message, Remedy::Nothing));
    }
    for (key, _) in view.state.model.resources.iter().filter(|(_, resource)| resource.proxy_protocol) {
        let message = format!("resource {key} asks for the PROXY header, which is stored, and not sent");
        all.push(condition(Severity::Notice, "StoredOnly", message, Remedy::AskWho));
    }
    for short in state.host.shortcomings.iter().filter(|_| operates) {
        let (severity, code, message) = (Severity::Notice, short.code.clone(), short.message.clone());
        all.push(Condition { severity, code, message, remedy: short.remedy.clone() });
    }
    all.sort_by_key(|condition| condition.severity);
    all
}

/// The control plane's condition: causes are of the host, and told to who operates it.
fn told(said: &str, operates: bool) -> String {
    if operates { said.to_owned() } else { said.split(':').next().unwrap_or_default().to_owned() }
}

/// `1 line`, `2 lines`.
fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// What gives a resource more NAT ports.
pub(in crate::api) fn more_ports(resource: &LinkResource, host: &HostConfig) -> Remedy {
    let most = host.quotas.get(Quota::NatIpsPerResource).unwrap_or(u64::MAX).min(NAT_MAX as u64);
    if !resource.frontends.is_empty() {
        return Remedy::MoreInPool;
    }
    if (resource.nat.len() as u64) < most { Remedy::MoreNatAddresses } else { Remedy::MoreServers }
}

/// What servers that fail their checks mean for their target.
fn down(view: &View) -> Vec<(Severity, &'static str, String)> {
    let mut targets: BTreeMap<(Key, String), Vec<ServerView>> = BTreeMap::new();
    for view in view.servers() {
        let name = view.server.target_name();
        targets.entry((view.server.resource.clone(), name)).or_default().push(view);
    }
    let silent = |view: &ServerView| match (view.state, view.silent.as_slice()) {
        (BackendState::Down, _) => Some(view.server.address.to_string()),
        (_, []) => None,
        (_, ports) => Some(format!("{} ({})", view.server.address, silent_at(ports.iter()))),
    };
    let of = |((key, target), servers): ((Key, String), Vec<ServerView>)| {
        let target = if target.is_empty() { String::new() } else { format!(" ({target})") };
        let silent: Vec<String> = servers.iter().filter_map(silent).collect();
        let left = servers.iter().filter(|view| view.state == BackendState::Up).count();
        let (names, count) = (silent.join(" "), servers.len());
        match (silent.len(), left) {
            (0, _) => None,
            (_, 0) => Some((
                Severity::Error,
                "NoBackend",
                format!("resource {key}{target} has no backend left, {names} down: new sessions are refused"),
            )),
            _ => Some((
                Severity::Warning,
                "BackendDown",
                format!("resource {key}{target}: {names} down, {left} of {count} take new sessions"),
            )),
        }
    };
    targets.into_iter().filter_map(of).collect()
}
