//! Two tenants behind one NAT address, one with a way that carries less: its transfers pass, cut by the kernel, and
//! nobody learns anything of the address that both have.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use privlink::wire::{Address, build, vnet};
use rustix::net::ipproto;

use crate::lab::{Daemon, attachment, daemon_table, drops, endpoint, eventually, inside, ip, isolated, join, sysctl};
use crate::packets::datagram;
use crate::peers::{ANSWER, inject, raw};

/// Endpoints of the tenant with the narrow way, and its own address of their family: IPv4, IPv6, and one of each
/// before a service of the other.
const NARROW: [(&str, &str); 4] = [
    ("10.1.9.14", "10.1.1.10"),
    ("fd01:9::14", "fd01:1::10"),
    ("10.1.9.16", "10.1.1.10"),
    ("fd01:9::16", "fd01:1::10"),
];

/// The same of its neighbour.
const WIDE: [(&str, &str); 2] = [("10.2.9.14", "10.2.1.10"), ("fd02:9::14", "fd02:1::10")];

const NATS: [&str; 2] = ["10.20.99.4", "fd20:99::4"];

/// Bytes that a client asks for.
const BULK: usize = 2 << 20;

/// `client` behind the routers `near` and `far`, between which 1,300 bytes pass, and `spoke`; `other` behind `lane`.
fn lab() -> Daemon {
    for name in ["client", "near", "far", "spoke", "other", "lane", "core", "server"] {
        ip(&format!("netns add {name}"));
        ip(&format!("-n {name} link set lo up"));
        sysctl(name, "ipv6/conf/default/accept_dad", "0");
        sysctl(name, "ipv4/ip_forward", "1");
        sysctl(name, "ipv6/conf/all/forwarding", "1");
        sysctl(name, "ipv4/icmp_ratelimit", "0");
        sysctl(name, "ipv6/icmp/ratelimit", "0");
    }
    for (near, far) in [
        (("client", "eth0", "1.1.10", "01:1::10"), ("near", "lan0", "1.1.1", "01:1::1")),
        (("near", "wan0", "1.2.1", "01:2::1"), ("far", "lan0", "1.2.2", "01:2::2")),
        (("far", "wan0", "1.3.2", "01:3::2"), ("spoke", "lan0", "1.3.1", "01:3::1")),
        (("other", "eth0", "2.1.10", "02:1::10"), ("lane", "lan0", "2.1.1", "02:1::1")),
        (("server", "eth0", "20.1.2", "20:1::2"), ("core", "net0", "20.1.1", "20:1::1")),
    ] {
        join((near.0, near.1, &format!("10.{}/24", near.2)), (far.0, far.1, &format!("10.{}/24", far.2)));
        for (name, device, _, six) in [near, far] {
            ip(&format!("-n {name} address add fd{six}/64 dev {device} nodad"));
        }
    }
    for (name, device) in [("near", "wan0"), ("far", "lan0")] {
        ip(&format!("-n {name} link set {device} mtu 1300"));
    }
    for (name, to, via) in [
        ("client", "default", ["10.1.1.1", "fd01:1::1"]),
        ("near", "default", ["10.1.2.2", "fd01:2::2"]),
        ("far", "default", ["10.1.3.1", "fd01:3::1"]),
        ("other", "default", ["10.2.1.1", "fd02:1::1"]),
        ("server", "default", ["10.20.1.1", "fd20:1::1"]),
    ] {
        for gate in via {
            ip(&format!("-n {name} route add {to} via {gate}"));
        }
    }
    for (name, gates) in [("far", ["10.1.2.1", "fd01:2::1"]), ("spoke", ["10.1.3.2", "fd01:3::2"])] {
        ip(&format!("-n {name} route add 10.1.1.0/24 via {}", gates[0]));
        ip(&format!("-n {name} route add fd01:1::/64 via {}", gates[1]));
    }
    let vnet = |name: &str, four: &str, six: &str, subnet: &str| {
        format!(
            "[[vnet]]\nname = \"{name}\"\naddress_space = [\"{four}.0.0/16\", \"{six}::/16\"]\nsubnets = [{subnet}]\n"
        )
    };
    let consumer = |name: &str, number: u8| {
        let subnet = format!(
            "{{ name = \"endpoints\", prefixes = [\"10.{number}.9.0/24\", \"fd0{number}:9::/64\"], dedicated = true }}"
        );
        vnet(name, &format!("10.{number}"), &format!("fd0{number}"), &subnet)
    };
    let service = |name: &str, nat: &str, backend: &str| {
        format!(
            "[[resource]]\nname = \"{name}\"\nvnet = \"core\"\nnat = [\"{nat}\"]\ntargets = [{{ backends = [\"{backend}\"], \
             ports = [{{ protocol = \"tcp\", port = 80, backend_port = 8080 }}, \
             {{ protocol = \"udp\", port = 7, backend_port = 7000 }}] }}]\n"
        )
    };
    let nat = "{ name = \"nat\", prefixes = [\"10.20.99.0/24\", \"fd20:99::/64\"], nat = true }";
    let mut file =
        vec![daemon_table(""), consumer("spoke", 1), consumer("lane", 2), vnet("core", "10.20", "fd20", nat)];
    file.extend(["spoke", "lane", "core"].map(attachment));
    file.extend([service("four", NATS[0], "10.20.1.2"), service("six", NATS[1], "fd20:1::2")]);
    let bound = ["four", "six", "six", "four"];
    for (number, ((at, _), resource)) in NARROW.iter().zip(bound).enumerate() {
        file.push(endpoint(&format!("narrow-{number}"), "spoke", at, resource, "Approved"));
    }
    for (number, ((at, _), resource)) in WIDE.iter().zip(bound).enumerate() {
        file.push(endpoint(&format!("wide-{number}"), "lane", at, resource, "Approved"));
    }
    Daemon::start(&file.concat())
}

fn at(host: &str, port: u16) -> SocketAddr {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!("{host}:{port}").parse().expect("an address")
}

/// Sends [`BULK`] on every connection, and 1,400 bytes for every datagram, whole if it can.
fn serve() {
    let (listener, socket) = inside("server", || {
        (TcpListener::bind("[::]:8080").expect("bound"), UdpSocket::bind("[::]:7000").expect("bound"))
    });
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // A client that gives up needs no more.
            std::thread::spawn(move || stream.write_all(&pattern(BULK)));
        }
    });
    std::thread::spawn(move || {
        let mut asked = [0; 16];
        while let Ok((_, peer)) = socket.recv_from(&mut asked) {
            let _ = socket.send_to(&pattern(1_400), peer);
        }
    });
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..251).cycle().take(bytes).collect()
}

fn downloads(namespace: &str, (to, from): (&str, &str)) {
    let mut stream = inside(namespace, || TcpStream::connect_timeout(&at(to, 80), ANSWER))
        .unwrap_or_else(|error| panic!("{from} to {to}: {error}"));
    stream.set_read_timeout(Some(ANSWER)).expect("set");
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap_or_else(|error| panic!("{from} from {to}: {error}; {:?}", drops()));
    assert!(got == pattern(BULK), "{} bytes from {to}", got.len());
}

/// One session of datagrams: large ones arrive, though the first of them may teach where they do not fit.
fn large_datagrams(namespace: &str, (to, from): (&str, &str)) -> UdpSocket {
    let socket = inside(namespace, || UdpSocket::bind(at(from, 0))).expect("bound");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("set");
    eventually(&format!("1,400 bytes from {to}"), || asks(&socket, to));
    socket
}

fn asks(socket: &UdpSocket, to: &str) -> bool {
    let mut got = [0; 2_000];
    socket.send_to(b"?", at(to, 7)).is_ok() && socket.recv(&mut got).is_ok_and(|length| got[..length] == pattern(1_400))
}

/// A counter of `/proc/net/snmp6`, or of `/proc/net/snmp` with its protocol before a dot.
fn counter(namespace: &str, name: &str) -> u64 {
    let read =
        |file: &str| inside(namespace, || fs::read_to_string(format!("/proc/thread-self/net/{file}"))).expect("read");
    let number = if let Some((protocol, name)) = name.split_once('.') {
        let text = read("snmp");
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(&format!("{protocol}: ")));
        let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
        names.split(' ').zip(values.split(' ')).find(|(own, _)| *own == name).map(|(_, value)| value.to_owned())
    } else {
        let text = read("snmp6");
        text.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim().to_owned())
    };
    number.expect(name).parse().expect("a number")
}

/// The server knows of no smaller way to either NAT address.
fn learned_nothing() {
    for nat in NATS {
        let route = ip(&format!("-n server route get {nat}"));
        assert!(!route.contains("mtu"), "{route}");
    }
    assert_eq!(counter("server", "Icmp6InPktTooBigs"), 0);
}

#[test]
fn a_narrow_way_of_one_tenant_is_nobody_elses() {
    isolated("path_mtu::a_narrow_way_of_one_tenant_is_nobody_elses", || {
        let _daemon = lab();
        serve();
        let neighbours = WIDE.map(|link| large_datagrams("other", link));
        for link in NARROW {
            downloads("client", link);
            large_datagrams("client", link);
            learned_nothing();
        }
        // The routers did say so, and the client got pieces.
        for counted in ["Icmp.OutDestUnreachs", "Icmp6OutPktTooBigs"] {
            assert!(counter("far", counted) >= 2, "{counted}");
        }
        for counted in ["Ip.ReasmOKs", "Ip6ReasmOKs"] {
            assert!(counter("client", counted) >= 2, "{counted}");
            assert_eq!(counter("other", counted), 0, "{counted}");
        }
        for (link, socket) in WIDE.iter().zip(&neighbours) {
            downloads("other", *link);
            eventually("whole datagrams", || asks(socket, link.0));
        }
        // Forged: below every link's, and of a session that is not there. Then one that may be true.
        let (to, from) = WIDE[0];
        let own = neighbours[0].local_addr().expect("bound").port();
        let wire = raw("other", ipproto::RAW);
        let tell = |mtu: u32, port: u16| {
            let four = |text: &str| text.parse().expect("an address");
            let quoted = datagram((four(to), 7), (four(from), port), &pattern(1_400));
            let host = |text: &str| Address::from(text.parse::<std::net::IpAddr>().expect("an address"));
            let frame = build::icmp(host("10.2.1.99"), host(to), [3, 4], mtu, &quoted[..28]);
            inject(&wire, &frame[vnet::LENGTH..]).expect("sent");
        };
        tell(68, own);
        tell(575, own);
        tell(600, own ^ 1);
        eventually("whole datagrams still", || asks(&neighbours[0], to));
        assert_eq!(counter("other", "Ip.ReasmOKs"), 0);
        tell(600, own);
        eventually("pieces", || asks(&neighbours[0], to) && counter("other", "Ip.ReasmOKs") > 0);
        learned_nothing();
    });
}
