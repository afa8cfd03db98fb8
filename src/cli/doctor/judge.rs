//! From what was seen to findings. Nothing is asked here.

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;

use super::super::exit::Error;
use super::super::output::short;
use super::host::{HOSTS, RESOLV_CONF, Said, Way};
use crate::types::{DiagnosedAddress, Diagnosis, Explanation, Finding, Outcome};

/// What became of asking the daemon.
#[derive(Debug)]
pub(super) enum Daemon {
    /// It answers.
    Knows(Box<Diagnosis>),
    /// It does not.
    Silent(Error),
}

impl Daemon {
    pub(super) fn known(&self) -> Option<&Diagnosis> {
        match self {
            Self::Knows(known) => Some(known),
            Self::Silent(_) => None,
        }
    }

    pub(super) fn vnet(&self) -> Option<&str> {
        self.known().map(|known| known.vnet.as_str())
    }

    /// What it knows of these addresses.
    fn of<'a>(&'a self, addresses: &'a [IpAddr]) -> impl Iterator<Item = &'a DiagnosedAddress> {
        let known = self.known().into_iter().flat_map(|known| &known.addresses);
        known.filter(|one| addresses.iter().any(|address| address.to_string() == one.address))
    }
}

/// A connection that was tried.
#[derive(Clone, Debug)]
pub(super) struct Dialled {
    pub(super) address: IpAddr,
    /// By TCP; `None`: nobody knows which.
    pub(super) port: Option<u16>,
    /// What the daemon says of its first packet.
    pub(super) explained: Option<Explanation>,
    /// What became of it; `None`: it was not tried.
    pub(super) connected: Option<Result<(), String>>,
    /// By how many sessions the endpoint's counter grew meanwhile; `None`: not known.
    pub(super) opened: Option<u64>,
}

impl Default for Dialled {
    fn default() -> Self {
        let address = IpAddr::from([0, 0, 0, 0]);
        Self { address, port: None, explained: None, connected: None, opened: None }
    }
}

fn ok(check: &str, evidence: impl Into<String>) -> Finding {
    Finding { check: check.to_owned(), outcome: Outcome::Ok, evidence: evidence.into(), remedy: String::new() }
}

fn unknown(check: &str, evidence: impl Into<String>) -> Finding {
    Finding { outcome: Outcome::Unknown, ..ok(check, evidence) }
}

fn failed(check: &str, evidence: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { outcome: Outcome::Failed, remedy: remedy.into(), ..ok(check, evidence) }
}

fn joined<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

pub(super) fn daemon(daemon: &Daemon) -> Finding {
    match daemon {
        Daemon::Knows(known) if !known.detached.is_empty() => {
            let remedy = "restart privlink: it attaches at its start; `privlink status` names the namespace";
            failed("daemon", format!("answers, but {}", known.detached.join("; ")), remedy)
        }
        Daemon::Knows(known) => ok("daemon", format!("answers, and knows VNet {}", short(&known.vnet))),
        Daemon::Silent(failure) => failed("daemon", &failure.message, failure.remedies.join("\n")),
    }
}

/// Whom this host asks, and whether that is the VNet's resolver.
pub(super) fn resolver(daemon: &Daemon, servers: &[IpAddr], said: Option<&Said>) -> Finding {
    const CHECK: &str = "resolver";
    let listed = joined(servers);
    let known = daemon.known();
    let ours = |server: &IpAddr| known.is_some_and(|known| known.listen.contains(&server.to_string()));
    let Some(said) = said else {
        let evidence = format!("{listed} of {RESOLV_CONF} does not answer");
        let remedy = match known {
            Some(known) if !known.silent.is_empty() => format!("the VNet's resolver is silent: {}", known.silent),
            Some(known) if servers.iter().any(ours) => {
                format!(
                    "see that UDP port 53 of {} is reached from here, and what the daemon's log says",
                    joined(&known.listen)
                )
            }
            Some(known) if !known.listen.is_empty() => point_at(known),
            Some(known) => give_one(known),
            None => "start the daemon: its resolver ends with it".to_owned(),
        };
        return failed(CHECK, evidence, remedy);
    };
    let server = said.server;
    let Some(known) = known else {
        return unknown(CHECK, format!("{server} answers; whether it is the VNet's own, only the daemon knows"));
    };
    if ours(&server) {
        return ok(CHECK, format!("{server} of {RESOLV_CONF} is the resolver of VNet {}", short(&known.vnet)));
    }
    let private =
        said.addresses.iter().any(|address| known.addresses.iter().any(|one| one.address == address.to_string()));
    if private || said.why.contains("privlink: ") {
        return ok(
            CHECK,
            format!("{server} of {RESOLV_CONF} is another server, and says what the VNet's resolver does"),
        );
    }
    if known.listen.is_empty() {
        let evidence = format!(
            "{server} of {RESOLV_CONF} knows no private names, and VNet {} has no resolver",
            short(&known.vnet)
        );
        return failed(CHECK, evidence, give_one(known));
    }
    if known.chain.is_empty() {
        return unknown(
            CHECK,
            format!("{server} of {RESOLV_CONF} is another server than the VNet's at {}", joined(&known.listen)),
        );
    }
    let evidence = format!("{server} of {RESOLV_CONF} is asked, not the VNet's resolver at {}", joined(&known.listen));
    failed(CHECK, evidence, point_at(known))
}

fn point_at(known: &Diagnosis) -> String {
    let (at, vnet) = (known.listen.first().map_or("", String::as_str), short(&known.vnet));
    format!(
        "write `nameserver {at}` into {RESOLV_CONF}, or have the other server forward to it:\n`privlink dns export --vnet \
         {vnet} --format unbound` (or dnsmasq, bind, coredns, resolved)"
    )
}

fn give_one(known: &Diagnosis) -> String {
    format!("give VNet {} a resolver: `dns = {{ listen = \"ADDRESS\", upstream = [\"SERVER\"] }}`", short(&known.vnet))
}

/// What the name leads to, by DNS.
pub(super) fn name(daemon: &Daemon, name: &str, said: Option<&Said>) -> Finding {
    const CHECK: &str = "name";
    let Some(said) = said else { return unknown(CHECK, "nobody answers") };
    let chain = said.chain.join(" → ");
    if said.addresses.is_empty() {
        return nothing(CHECK, daemon, name, said);
    }
    let shown = format!("{chain} → {}", joined(&said.addresses));
    let Some(known) = daemon.known() else {
        let private = said.addresses.iter().all(is_private);
        let remedy = "ask the VNet's resolver; `privlink doctor` says which one once the daemon answers";
        return if private { ok(CHECK, shown) } else { failed(CHECK, format!("{shown}, which is public"), remedy) };
    };
    let foreign: Vec<&IpAddr> = said
        .addresses
        .iter()
        .filter(|one| !known.addresses.iter().any(|known| known.address == one.to_string()))
        .collect();
    if foreign.is_empty() {
        return ok(CHECK, shown);
    }
    let vnet = short(&known.vnet);
    if known.chain.is_empty() {
        let evidence = format!("{shown}: a public answer, since no endpoint that VNet {vnet} sees has this name");
        return failed(CHECK, evidence, elsewhere(known));
    }
    let expected: Vec<&str> = known.addresses.iter().map(|one| one.address.as_str()).collect();
    let evidence = format!("{shown}, where the endpoints have {}", expected.join(", "));
    failed(
        CHECK,
        evidence,
        format!("ask the VNet's resolver at {}; an older answer may be kept for a while", joined(&known.listen)),
    )
}

fn elsewhere(known: &Diagnosis) -> String {
    let vnet = short(&known.vnet);
    match known.elsewhere.as_slice() {
        _ if !known.waiting.is_empty() => known.waiting.join("; "),
        [] => format!(
            "create an endpoint in VNet {vnet}: `privlink endpoint create NAME --vnet {vnet} --subnet SUBNET --resource RESOURCE`"
        ),
        several => format!(
            "{} has it: create one in VNet {vnet}, or let the VNets list each other in `peerings`",
            several.join(", ")
        ),
    }
}

/// A name without an address.
fn nothing(check: &str, daemon: &Daemon, name: &str, said: &Said) -> Finding {
    let why = if said.why.is_empty() { String::new() } else { format!(", {}", said.why) };
    let evidence = if said.code == ResponseCode::NXDomain {
        format!("{} says there is no such name{why}", said.server)
    } else if said.code == ResponseCode::NoError {
        format!("{} knows the name, and no address of it{why}", said.server)
    } else {
        format!("{} answers {}{why}", said.server, said.code)
    };
    let Some(known) = daemon.known() else {
        return failed(check, evidence, format!("see whose it is: `privlink dns query {name} --vnet VNET`"));
    };
    let kept = known.addresses.iter().find(|one| !one.answered);
    let remedy = match kept {
        Some(one) => decide(one),
        None if known.chain.is_empty() && said.code == ResponseCode::NXDomain => {
            format!("see that the name is spelled as the resource's, or {}", elsewhere(known))
        }
        None if known.upstream.is_empty() => "name servers for other names: `dns.upstream` of the VNet".to_owned(),
        None => format!("see that {} answers: it is asked for names that are not private", joined(&known.upstream)),
    };
    failed(check, evidence, remedy)
}

/// What to do about a connection that is not Approved.
fn decide(one: &DiagnosedAddress) -> String {
    let (endpoint, resource) = (short(&one.endpoint), short(&one.resource));
    match one.state.as_str() {
        "Pending" => format!("the owner of {resource} decides: `privlink connection approve {endpoint}`"),
        "Rejected" => {
            format!("ask the owner of {resource}, who may still approve it: `privlink connection show {endpoint}`")
        }
        _ => format!("`privlink endpoint delete {endpoint}`, and create it anew if it is still wanted"),
    }
}

/// Private by RFC 1918, RFC 6598 or RFC 4193.
fn is_private(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => four.is_private() || (four.octets()[0] == 100 && four.octets()[1] & 0xc0 == 64),
        IpAddr::V6(six) => six.is_unique_local(),
    }
}

/// What programs get, who ask the hosts file first.
pub(super) fn hosts(
    daemon: &Daemon,
    name: &str,
    listed: &[(usize, IpAddr)],
    system: Option<&Result<Vec<IpAddr>, String>>,
    said: Option<&Said>,
) -> Finding {
    const CHECK: &str = "hosts";
    let right: Vec<String> = match (daemon.known(), said) {
        (Some(known), _) if !known.addresses.is_empty() => {
            known.addresses.iter().map(|one| one.address.clone()).collect()
        }
        (_, Some(said)) => said.addresses.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    };
    if let Some((line, wrong)) = listed.iter().find(|(_, address)| !right.contains(&address.to_string())) {
        let evidence = format!("line {line} of {HOSTS} says {wrong}, and programs ask it before any server");
        return failed(CHECK, evidence, format!("remove line {line} of {HOSTS}"));
    }
    if let Some((line, address)) = listed.first() {
        return ok(CHECK, format!("line {line} of {HOSTS} says {address} too; it will not follow a change"));
    }
    match system {
        None => unknown(CHECK, format!("{HOSTS} does not name it")),
        Some(Ok(addresses)) if addresses.iter().all(|one| right.contains(&one.to_string())) => {
            ok(CHECK, format!("{HOSTS} does not name it; programs get {}", joined(addresses)))
        }
        Some(Ok(addresses)) => {
            let evidence = format!("programs get {} (getaddrinfo), DNS says otherwise", joined(addresses));
            failed(CHECK, evidence, "see what else answers before DNS: the `hosts` line of /etc/nsswitch.conf")
        }
        Some(Err(_)) if said.is_none_or(|said| said.addresses.is_empty()) => {
            unknown(CHECK, format!("{HOSTS} does not name {name}, and no server does"))
        }
        Some(Err(error)) => {
            let evidence = format!("programs get no address (getaddrinfo: {error}), DNS has one");
            failed(CHECK, evidence, "see that the `hosts` line of /etc/nsswitch.conf has `dns`")
        }
    }
}

/// The addresses that the other checks are about: what DNS says where that is private, else what the endpoints have.
pub(super) fn targets(daemon: &Daemon, said: Option<&Said>) -> Vec<IpAddr> {
    let said = said.map(|said| said.addresses.clone()).unwrap_or_default();
    let Some(known) = daemon.known() else { return said.into_iter().filter(is_private).collect() };
    let own: Vec<IpAddr> = known.addresses.iter().filter_map(|one| one.address.parse().ok()).collect();
    let told: Vec<IpAddr> = said.into_iter().filter(|address| own.contains(address)).collect();
    if told.is_empty() { own } else { told }
}

pub(super) fn address(daemon: &Daemon, addresses: &[IpAddr]) -> Finding {
    const CHECK: &str = "address";
    if addresses.is_empty() {
        return unknown(CHECK, "no private address is known");
    }
    if daemon.known().is_none() {
        return unknown(CHECK, format!("{}: only the daemon knows whose", joined(addresses)));
    }
    let whose: Vec<String> =
        daemon.of(addresses).map(|one| format!("{} is endpoint {}", one.address, short(&one.endpoint))).collect();
    ok(CHECK, whose.join(", "))
}

pub(super) fn connection(daemon: &Daemon, addresses: &[IpAddr]) -> Finding {
    const CHECK: &str = "connection";
    let Some(first) = daemon.of(addresses).next() else { return unknown(CHECK, "not known") };
    let reason =
        |one: &DiagnosedAddress| if one.reason.is_empty() { String::new() } else { format!(" ({})", one.reason) };
    let shown = |one: &DiagnosedAddress| {
        format!("{} to {} is {}{}", short(&one.endpoint), short(&one.resource), one.state, reason(one))
    };
    match daemon.of(addresses).find(|one| one.state != "Approved") {
        Some(one) => failed(CHECK, shown(one), decide(one)),
        None => ok(CHECK, shown(first)),
    }
}

/// Whether packets to the addresses go into the device; `here`: it stands in this namespace.
pub(super) fn route(daemon: &Daemon, ways: &[(IpAddr, Result<Way, String>)], here: bool) -> Finding {
    const CHECK: &str = "route";
    let device = daemon.known().and_then(|known| known.device.as_deref());
    let mut seen = Vec::new();
    for (address, way) in ways {
        let way = match way {
            Ok(way) => way,
            Err(error) => {
                let remedy = match device {
                    Some(device) if here => {
                        format!("`ip route add {address} dev {device}`, or start the daemon anew: it sets its routes")
                    }
                    _ => format!("`ip route add {address} via ROUTER`, the host that the daemon runs on"),
                };
                return failed(CHECK, format!("no way to {address}: {error}"), remedy);
            }
        };
        let by = way.gateway.map_or(String::new(), |gateway| format!(" via {gateway}"));
        let source = way.source.map_or(String::new(), |source| format!(", from {source}"));
        match device {
            Some(device) if here && way.device != device => {
                let evidence = format!("{address} goes by {}{by}, not into {device}", way.device);
                return failed(
                    CHECK,
                    evidence,
                    format!("remove the route that covers it: `ip route get {address}` names it"),
                );
            }
            Some(device) if here => seen.push(format!("{address} goes into {device}{source}")),
            _ => seen
                .push(format!("{address} goes by {}{by}{source}; what lies beyond is not seen from here", way.device)),
        }
    }
    if seen.is_empty() { unknown(CHECK, "no address, no way") } else { ok(CHECK, seen.join(", ")) }
}

/// Whether the forwarder would let the first packet pass.
pub(super) fn policy(tried: &[Dialled]) -> Finding {
    const CHECK: &str = "policy";
    let all = || tried.iter().filter_map(|one| one.explained.as_ref());
    let Some(first) = all().next() else {
        let unasked = tried.first().map_or("nothing to ask about", |one| match one.port {
            None => "no TCP port is known: name one with `--port`",
            Some(_) => "only the daemon knows",
        });
        return unknown(CHECK, unasked);
    };
    let denied = all().find(|one| !one.admitted && one.reason.as_deref() != Some(NO_BACKEND));
    match denied {
        Some(one) => {
            let reason = one.reason.as_deref().unwrap_or_default();
            failed(
                CHECK,
                format!("{} to {}:{} would drop as {reason}: {}", one.source, one.destination, one.port, one.message),
                &one.remedy,
            )
        }
        None => ok(CHECK, format!("{} may open {}:{} tcp", first.source, first.destination, first.port)),
    }
}

/// The drop reason that is about servers.
const NO_BACKEND: &str = "no_backend";

/// Whether there is room for one more, and whether the one that was tried passed here.
pub(super) fn sessions(daemon: &Daemon, tried: &[Dialled]) -> Finding {
    const CHECK: &str = "sessions";
    let addresses: Vec<IpAddr> = tried.iter().map(|one| one.address).collect();
    let Some(first) = daemon.of(&addresses).next() else { return unknown(CHECK, "only the daemon counts them") };
    for one in daemon.of(&addresses) {
        let tcp = one.exhausted.iter().find(|server| server.starts_with("tcp"));
        if let Some(server) = tcp {
            let evidence = format!("no NAT port is left towards {server}");
            return failed(
                CHECK,
                evidence,
                format!("add an address to `nat` of {}, or a backend", short(&one.resource)),
            );
        }
        if one.max_sessions.is_some_and(|limit| one.sessions >= limit) {
            let evidence = format!("{} has {} sessions, as many as it may", short(&one.endpoint), one.sessions);
            return failed(
                CHECK,
                evidence,
                format!("raise `max_sessions` of {}; `privlink flows` lists them", short(&one.endpoint)),
            );
        }
    }
    let lost = tried.iter().find(|one| one.opened == Some(0) && matches!(one.connected, Some(Ok(()))));
    if let Some(one) = lost {
        let evidence =
            format!("a connection to {} was taken, and none passed here: something else answers there", one.address);
        return failed(CHECK, evidence, format!("see who has {}: `ip route get {}`", one.address, one.address));
    }
    let (live, opened) = (first.sessions, first.sessions_opened);
    let grown: u64 = tried.iter().filter_map(|one| one.opened).sum();
    ok(CHECK, format!("{} has {live} live, {opened} opened before, {grown} by this look", short(&first.endpoint)))
}

/// Whether a server answers.
pub(super) fn backend(tried: &[Dialled]) -> Finding {
    const CHECK: &str = "backend";
    for one in tried {
        let server = one.explained.as_ref().map(|explained| explained.backends.join(" or ")).unwrap_or_default();
        let down = one.explained.as_ref().filter(|explained| explained.reason.as_deref() == Some(NO_BACKEND));
        if let Some(explained) = down {
            return failed(
                CHECK,
                &explained.message,
                "see whether the servers run: `privlink resource show` says which are down or drained",
            );
        }
        if let (Some(Err(error)), Some(port)) = (&one.connected, one.port) {
            let behind = if server.is_empty() { String::new() } else { format!(", behind which is {server}") };
            let evidence = format!("{}:{port}{behind}: {error}", one.address);
            return failed(
                CHECK,
                evidence,
                format!("see whether the server runs, and lets the NAT addresses in: {server}"),
            );
        }
    }
    let answered = tried.iter().filter(|one| matches!(one.connected, Some(Ok(()))));
    let shown: Vec<String> =
        answered.map(|one| format!("{}:{} takes connections", one.address, one.port.unwrap_or_default())).collect();
    if shown.is_empty() { unknown(CHECK, "not tried") } else { ok(CHECK, shown.join(", ")) }
}

/// The first port of `tcp 443` or `tcp 8000-8100`.
pub(super) fn first_tcp(port: &str) -> Option<u16> {
    port.strip_prefix("tcp ")?.split('-').next()?.parse().ok()
}
