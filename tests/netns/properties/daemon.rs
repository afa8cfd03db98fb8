//! `[daemon]` and `[[attachment]]`: nearly everything there is fixed at the start.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::{Edits, Flip, How, Row, See, refused};
use crate::lab::{ask, cli, drops, eventually, json, metrics, rest};
use crate::packets::datagram;
use crate::peers::{connect, connect_within, greeted, inject, ping, raw, tcp, udp};

const CLIENT: super::Client = ("spoke", "10.1.0.5");
const ORDERS: &str = "10.1.9.10:7";
/// A port that nothing exposes.
const CLOSED: &str = "10.1.9.10:99";

const fn start(property: &'static str, edit: Edits, before: See, after: See) -> Row {
    Row { property, how: How::Start(Flip { given: &[], edit, before, after }) }
}

const fn timeout(property: &'static str, edit: Edits, ends: fn()) -> Row {
    start(property, edit, See::Tcp(CLIENT, ORDERS, "first"), See::By(ends))
}

/// A limitation of 2019 that something of the file breaks.
const fn limit(property: &'static str, given: Edits, edit: Edits, says: &'static str) -> Row {
    let (before, after) = (See::Tcp(CLIENT, ORDERS, "first"), See::Refused(says));
    Row { property, how: How::Live(Flip { given, edit, before, after }) }
}

pub(super) const ROWS: &[Row] = &[
    start(
        "attachment.vnet",
        &[("vnet = \"spoke\"\nnetns = \"spoke\"", "vnet = \"hub\"\nnetns = \"spoke\"")],
        See::Tcp(("spoke", "192.168.40.5"), ORDERS, "first"),
        // A peer's on-premises prefixes are not inherited.
        See::Dropped(("spoke", "192.168.40.5"), ORDERS, "source_not_allowed"),
    ),
    start("attachment.netns", &[("netns = \"spoke\"", "netns = \"moved\"")], See::By(in_spoke), See::By(in_moved)),
    start(
        "attachment.device",
        &[("netns = \"spoke\"", "netns = \"spoke\"\ndevice = \"other\"")],
        See::Host("-n spoke route get 10.1.9.10", "dev pl-spoke"),
        See::Host("-n spoke route get 10.1.9.10", "dev other"),
    ),
    start(
        "attachment.mtu",
        &[("netns = \"spoke\"", "netns = \"spoke\"\nmtu = 1400")],
        See::Host("-n spoke link show pl-spoke", "mtu 1500"),
        See::Host("-n spoke link show pl-spoke", "mtu 1400"),
    ),
    start(
        "attachment.proxy_on",
        &[("netns = \"spoke\"", "netns = \"spoke\"\nproxy_on = [\"eth0\"]")],
        See::Silence(("lan", "10.1.77.2"), ORDERS),
        See::Tcp(("lan", "10.1.77.2"), ORDERS, "first"),
    ),
    refused(
        "attachment.reach",
        &[
            ("netns = \"core\"\n", "netns = \"core\"\nreach = [\"10.32.0.0/16\"]\n"),
            ("backends = [\"10.20.0.2\"]", "backends = [\"10.33.0.2\"]"),
        ],
        "backend 10.33.0.2 is neither in VNet `core` nor on its premises",
    ),
    refused(
        "attachment.allow",
        &[
            ("netns = \"core\"\n", "netns = \"core\"\nallow = [\"10.20.0.0/16\"]\n"),
            (
                "name = \"core\"\naddress_space = [\"10.20.0.0/16\"]",
                "name = \"core\"\naddress_space = [\"10.20.0.0/15\"]",
            ),
        ],
        "10.20.0.0/15 is not among what the attachment of VNet `core` may carry on this host",
    ),
    start(
        "daemon.api",
        &[("api = \"127.0.0.1:8480\"", "api = \"127.0.0.1:8481\"")],
        See::By(|| assert!(listens(8480) && !listens(8481))),
        See::By(|| assert!(!listens(8480) && listens(8481))),
    ),
    start(
        "daemon.deny",
        &[("workers = 2", "workers = 2\ndeny = \"drop\"")],
        See::Reset(CLIENT, CLOSED),
        See::Silence(CLIENT, CLOSED),
    ),
    start(
        "daemon.deny_rate",
        &[("workers = 2", "workers = 2\ndeny_rate = 0")],
        See::Reset(CLIENT, CLOSED),
        See::Silence(CLIENT, CLOSED),
    ),
    start(
        "daemon.cloud",
        &[("workers = 2", "workers = 2\ncloud = \"china\"")],
        See::Shows("/metadata/endpoints", "core.windows.net"),
        See::Shows("/metadata/endpoints", "core.chinacloudapi.cn"),
    ),
    start(
        "daemon.audit.max_bytes",
        &[("workers = 2", "workers = 2\naudit = { max_bytes = \"1MiB\" }")],
        See::By(much_is_recorded),
        See::By(old_records_are_gone),
    ),
    start(
        "daemon.audit.retain",
        &[("workers = 2", "workers = 2\naudit = { retain = \"1s\" }")],
        See::By(more_than_the_newest_is_kept),
        See::By(old_records_are_gone),
    ),
    start(
        "daemon.flow_log",
        &[("workers = 2", "workers = 2\nflow_log = false")],
        See::By(an_end_is_kept),
        See::By(no_end_is_kept),
    ),
    start(
        "daemon.flow_log.max_bytes",
        &[("workers = 2", "workers = 2\nflow_log = { max_bytes = \"1MiB\" }\ntimeouts = { udp = \"1s\" }")],
        See::By(an_end_is_kept),
        See::By(little_is_kept),
    ),
    start(
        "daemon.flow_log.retain",
        &[("workers = 2", "workers = 2\nflow_log = { retain = \"1s\" }")],
        See::By(an_end_is_kept),
        See::By(an_end_is_forgotten),
    ),
    refused("daemon.limits", &[("workers = 2", "workers = 2\nlimits = \"azure-2019\"")], "(limits: network_policies)"),
    limit(
        "daemon.limits.base",
        &[("workers = 2", "workers = 2\nlimits = { base = \"today\", cross_region = true }")],
        &[("base = \"today\"", "base = \"azure-2019\"")],
        "(limits: network_policies)",
    ),
    limit(
        "daemon.limits.network_policies",
        &[("workers = 2", "workers = 2\nlimits = { network_policies = true }")],
        &[("network_policies = true", "network_policies = false")],
        "subnet `ruled` has network policies enabled",
    ),
    limit(
        "daemon.limits.service_endpoints",
        &[
            ("workers = 2", "workers = 2\nlimits = { service_endpoints = true }"),
            ("name = \"quiet\",", "name = \"quiet\", service_endpoints = [\"Microsoft.Storage\"],"),
        ],
        &[("service_endpoints = true", "service_endpoints = false")],
        "subnet `quiet` has service endpoints (Microsoft.Storage)",
    ),
    limit(
        "daemon.limits.cross_region",
        &[
            ("workers = 2", "workers = 2\nlimits = { cross_region = true }"),
            ("visibility = [\"*\"]", "visibility = [\"*\"]\nregion = \"elsewhere\""),
        ],
        &[("cross_region = true", "cross_region = false")],
        "private link service `echo` is in region `elsewhere`",
    ),
    limit(
        "daemon.limits.workloads",
        &[
            ("workers = 2", "workers = 2\nlimits = { workloads = true }"),
            ("private_endpoints = false", "private_endpoints = true"),
        ],
        &[("workloads = true", "workloads = false")],
        "workload `Azure Container Instance` cannot access private endpoints",
    ),
    start(
        "daemon.max_sessions",
        &[("workers = 2", "workers = 2\nmax_sessions = 2")],
        See::By(many_sessions_fit),
        See::By(few_sessions_fit),
    ),
    start(
        "daemon.metrics",
        &[("metrics = \"127.0.0.1:9464\"", "metrics = \"127.0.0.1:9465\"")],
        See::By(|| assert!(listens(9464) && !listens(9465))),
        See::By(|| assert!(!listens(9464) && listens(9465))),
    ),
    start(
        "daemon.offload",
        &[("workers = 2", "workers = 2\noffload = false")],
        See::Host("-d -n spoke link show pl-spoke", "vnet_hdr on"),
        See::Host("-d -n spoke link show pl-spoke", "vnet_hdr off"),
    ),
    Row {
        property: "daemon.on_exit",
        how: How::End(Flip {
            given: &[],
            edit: &[("workers = 2", "workers = 2\non_exit = \"undo\"")],
            before: See::Unreachable(CLIENT, ORDERS),
            after: See::NoRoute(CLIENT, ORDERS),
        }),
    },
    start(
        "daemon.on_request",
        &[(
            "workers = 2",
            "workers = 2\non_request = [\"sh\", \"-c\", \"echo $PRIVLINK_CONNECTION for $PRIVLINK_MESSAGE > /run/privlink/asked\"]",
        )],
        See::By(nobody_is_told),
        See::By(somebody_is_told),
    ),
    refused(
        "daemon.quotas.vnets_per_subscription",
        &[("workers = 2", "workers = 2\nquotas = { vnets_per_subscription = 4 }")],
        "subscription default would have 5 VNets, and the quota `vnets_per_subscription` is 4",
    ),
    refused(
        "daemon.quotas.resources_per_subscription",
        &[("workers = 2", "workers = 2\nquotas = { resources_per_subscription = 5 }")],
        "would have 6 resources, and the quota `resources_per_subscription` is 5",
    ),
    refused(
        "daemon.quotas.nat_ips_per_resource",
        &[("workers = 2", "workers = 2\nquotas = { nat_ips_per_resource = 0 }")],
        "would have 1 NAT IPs, and the quota `nat_ips_per_resource` is 0",
    ),
    quota(
        "daemon.quotas.endpoints_per_subscription",
        &[("workers = 2", "workers = 2\nquotas = { endpoints_per_subscription = 11 }")],
        "endpoints_per_subscription",
    ),
    quota(
        "daemon.quotas.endpoints_per_vnet",
        &[("workers = 2", "workers = 2\nquotas = { endpoints_per_vnet = 11 }")],
        "endpoints_per_vnet",
    ),
    quota(
        "daemon.quotas.endpoints_per_resource",
        &[("workers = 2", "workers = 2\nquotas = { endpoints_per_resource = 5 }")],
        "endpoints_per_resource",
    ),
    start(
        "daemon.socket",
        &[("workers = 2", "workers = 2\nsocket = \"/run/privlink/other.sock\"")],
        See::Fails("--socket /run/privlink/other.sock status", "other.sock"),
        See::Says("--socket /run/privlink/other.sock status", "orders"),
    ),
    start(
        "daemon.socket_group",
        &[("workers = 2", "workers = 2\nsocket_group = \"root\"")],
        See::Fails("access why gid:0 Microsoft.Network/privateEndpoints/read /", "gid:0 may not"),
        See::Says("access why gid:0 Microsoft.Network/privateEndpoints/read /", "gid:0 is Reader"),
    ),
    start(
        "daemon.state",
        &[("/run/privlink/state", "/run/privlink/other")],
        See::By(a_decision_is_remembered),
        See::Tcp(CLIENT, "10.1.9.18:7", "queue"),
    ),
    timeout(
        "daemon.timeouts.tcp_established",
        &[("workers = 2", "workers = 2\ntimeouts = { tcp_established = \"1s\" }")],
        || ends(&ESTABLISHED),
    ),
    timeout(
        "daemon.timeouts.tcp_transitory",
        &[("workers = 2", "workers = 2\ntimeouts = { tcp_transitory = \"1s\" }")],
        || ends(&OPENING),
    ),
    timeout("daemon.timeouts.udp", &[("workers = 2", "workers = 2\ntimeouts = { udp = \"1s\" }")], || ends(&UDP)),
    timeout("daemon.timeouts.icmp", &[("workers = 2", "workers = 2\ntimeouts = { icmp = \"1s\" }")], || ends(&ECHO)),
    timeout(
        "daemon.timeouts.fragment",
        &[("workers = 2", "workers = 2\ntimeouts = { fragment = \"1s\" }")],
        a_piece_is_given_up,
    ),
    // Its own certificate, given by name: then no authority of its own vouches for it.
    start(
        "daemon.tls.cert",
        &[(
            "workers = 2",
            "workers = 2\ntls = { cert = \"/run/privlink/state/tls/server.pem\", key = \"/run/privlink/state/tls/server.key\" }",
        )],
        See::Says("ca show", "BEGIN CERTIFICATE"),
        See::Fails("ca show", "authority"),
    ),
    refused(
        "daemon.tls.key",
        &[("workers = 2", "workers = 2\ntls = { cert = \"/run/privlink/state/tls/server.pem\" }")],
        "`tls` needs both `cert` and `key`",
    ),
    start(
        "daemon.workers",
        &[("workers = 2", "workers = 3")],
        See::Says("status --json", "\"workers\": 2"),
        See::Says("status --json", "\"workers\": 3"),
    ),
];

/// A quota that is used up once the daemon has started with it.
const fn quota(property: &'static str, edit: Edits, says: &'static str) -> Row {
    const CREATE: &str = "endpoint create one-more --vnet spoke --subnet whole --resource echo";
    start(property, edit, See::By(one_more_fits), See::Fails(CREATE, says))
}

fn one_more_fits() {
    ask("endpoint create one-more --vnet spoke --subnet whole --resource echo");
    ask("endpoint delete one-more");
}

fn in_spoke() {
    assert_eq!(tcp("spoke", "10.1.0.5:0", ORDERS).as_deref(), Ok("first"));
    tcp("moved", "10.1.0.5:0", ORDERS).expect_err("no route in `moved`");
}

fn in_moved() {
    assert_eq!(tcp("moved", "10.1.0.5:0", ORDERS).as_deref(), Ok("first"));
    tcp("spoke", "10.1.0.5:0", ORDERS).expect_err("no route in `spoke`");
}

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// A session that begins and ends, as its server sees it.
fn ended_session() -> String {
    let mut stream = connect("spoke", "10.1.0.6:0", ORDERS).expect("connected");
    greeted(&mut stream).expect("greeted");
    let port = stream.local_addr().expect("an address").port();
    let flow = flows().into_iter().find(|flow| flow["consumer"]["port"] == port).expect("its flow");
    drop(stream);
    let peer = format!("{}:{}", flow["nat"]["ip"].as_str().expect("an address"), flow["nat"]["port"]);
    eventually("it ends", || !matches(&peer).iter().any(|found| found["state"] == "live"));
    peer
}

/// What `who` knows of a peer.
fn matches(peer: &str) -> Vec<Value> {
    // A peer that nobody knows is not found.
    let list: Value = serde_json::from_slice(&cli(&format!("who {peer} --json")).stdout).expect("JSON");
    list["items"][0]["matches"].as_array().cloned().unwrap_or_default()
}

fn flows() -> Vec<Value> {
    let list: Value = serde_json::from_str(&ask("flows --json")).expect("JSON");
    list["items"].as_array().expect("a list").clone()
}

fn an_end_is_kept() {
    let peer = ended_session();
    eventually("its end is in the flow log", || !matches(&peer).is_empty());
}

fn no_end_is_kept() {
    ended_session();
    assert_eq!(metrics().get("privlink_flow_log_records_total").copied().unwrap_or_default(), 0);
}

/// Decisions whose records take more than a mebibyte.
fn much_is_recorded() {
    let body = format!("{{\"reason\":\"{}\"}}", "x".repeat(120));
    for _ in 0..1_700 {
        for verb in ["reject", "approve"] {
            let (status, answer) = rest("POST", &format!("/v1/connections/orders/{verb}"), &body);
            assert_eq!(status, 200, "{answer}");
        }
    }
    let verified = json("audit verify");
    assert!(verified["count"].as_u64() >= Some(3_400), "all of them are kept: {verified}");
}

fn more_than_the_newest_is_kept() {
    let verified = json("audit verify");
    assert!(verified["count"].as_u64() > Some(1), "{verified}");
}

fn old_records_are_gone() {
    eventually("old records are removed, and the chain holds", || json("audit verify")["pruned"].as_u64() > Some(0));
}

fn an_end_is_forgotten() {
    let peer = ended_session();
    eventually("others make the log forget it", || {
        ended_session();
        matches(&peer).is_empty()
    });
}

/// A record takes 128 bytes: what 9,000 of them need is more than a mebibyte.
fn little_is_kept() {
    let sends = raw("spoke", rustix::net::ipproto::RAW);
    let opened = || -> u64 {
        let named = |(name, _): &(&String, &u64)| name.starts_with("privlink_sessions_opened_total");
        metrics().iter().filter(named).map(|(_, count)| count).sum()
    };
    // Some at a time, and those again that a full queue of the device has lost.
    let ports: Vec<u16> = (20_000..29_500).collect();
    for some in ports.chunks(250) {
        let before = opened();
        eventually("their sessions are open", || {
            for port in some {
                let packet = datagram(([10, 1, 0, 6].into(), *port), ([10, 1, 9, 10].into(), 7), b"x");
                inject(&sends, &packet).expect("sent");
            }
            opened() >= before + some.len() as u64
        });
    }
    eventually("their ends are noted", || metrics().get("privlink_flow_log_records_total") >= Some(&9_000));
    let files = fs::read_dir("/run/privlink/state/flows").expect("the log").flatten();
    let bytes: u64 = files.map(|file| file.metadata().expect("a file").len()).sum();
    assert!(bytes <= 1 << 20, "{bytes} bytes are kept");
}

fn open_sessions() -> Vec<bool> {
    (0..8).map(|port| udp("spoke", &format!("10.1.0.6:{}", 6_000 + port), ORDERS).is_ok()).collect()
}

fn many_sessions_fit() {
    assert_eq!(open_sessions(), [true; 8]);
}

fn few_sessions_fit() {
    assert!(open_sessions().contains(&false), "two sessions and no more");
    eventually("what did not fit is counted", || drops().contains_key("table_full"));
}

fn asks() {
    // What an earlier start has left.
    let _ = fs::remove_file("/run/privlink/asked");
    ask("endpoint create asking --vnet spoke --subnet quiet --resource echo --manual --request-message please");
    ask("endpoint delete asking");
}

fn nobody_is_told() {
    asks();
    assert!(fs::read_to_string("/run/privlink/asked").is_err());
}

fn somebody_is_told() {
    asks();
    let said = || fs::read_to_string("/run/privlink/asked").unwrap_or_default();
    eventually("the hook has run", || said().contains("default/asking for please"));
}

fn a_decision_is_remembered() {
    if crate::lab::state_of("queue") == "Approved" {
        ask("connection reject queue --reason remembered");
    }
    assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.18:7"), Err(std::io::ErrorKind::ConnectionRefused));
}

/// A way to open a session that idles from then on.
pub(super) struct Idle {
    protocol: &'static str,
    /// Port or identifier of the consumer.
    open: fn() -> u16,
}

pub(super) const ESTABLISHED: Idle = Idle {
    protocol: "tcp",
    open: || {
        let mut stream = connect("spoke", "10.1.0.6:0", "10.1.9.11:7").expect("connected");
        greeted(&mut stream).expect("greeted");
        let port = stream.local_addr().expect("an address").port();
        // It stays open, and silent.
        std::mem::forget(stream);
        port
    },
};

/// The server does not answer its SYN.
pub(super) const OPENING: Idle = Idle {
    protocol: "tcp",
    open: || {
        let limit = Duration::from_millis(100);
        connect_within("spoke", "10.1.0.6:5556", "10.1.9.11:9", limit).expect_err("no answer");
        5_556
    },
};

pub(super) const UDP: Idle = Idle {
    protocol: "udp",
    open: || {
        assert_eq!(udp("spoke", "10.1.0.6:5555", "10.1.9.11:7").as_deref(), Ok("second"));
        5_555
    },
};

pub(super) const ECHO: Idle = Idle {
    protocol: "icmp",
    open: || {
        assert!(ping("spoke", "10.1.0.6", "10.1.9.11"));
        0x5143
    },
};

fn is_live(idle: &Idle, port: u16) -> bool {
    flows()
        .iter()
        .any(|flow| flow["protocol"] == idle.protocol && flow["consumer"]["port"] == port && flow["state"] != "ended")
}

/// An idle session ends by itself.
pub(super) fn ends(idle: &Idle) {
    let port = (idle.open)();
    eventually("the idle session ends", || !is_live(idle, port));
}

/// The first piece of a datagram to the second endpoint; how many were given up before.
fn a_piece() -> u64 {
    /// Each is of another datagram.
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let mut packet = datagram((Ipv4Addr::new(10, 1, 0, 5), 4_000), (Ipv4Addr::new(10, 1, 9, 11), 7), &[7; 64]);
    packet[4..6].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    packet[6] = 0x20;
    packet[10..12].fill(0);
    let sum = !privlink::wire::checksum::sum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let before = given_up();
    inject(&raw("spoke", rustix::net::ipproto::RAW), &packet).expect("sent");
    before
}

fn given_up() -> u64 {
    drops().get("fragment_timeout").copied().unwrap_or(0)
}

pub(super) fn a_piece_is_given_up() {
    let before = a_piece();
    eventually("the piece is given up", || given_up() > before);
}

pub(super) fn a_piece_is_kept() {
    let before = a_piece();
    std::thread::sleep(Duration::from_millis(2_100));
    assert_eq!(given_up(), before);
}

/// It does not, for longer than [`ends`] needs as a rule.
pub(super) fn stays(idle: &Idle) {
    let port = (idle.open)();
    std::thread::sleep(Duration::from_millis(2_100));
    assert!(is_live(idle, port), "an idle {} session lives on", idle.protocol);
}
