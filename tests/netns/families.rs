//! Real kernels on both ends, and real programs: IPv6, endpoints of one family before backends of the other, a path
//! that carries less than the client believes, fragments.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::lab::{
    Daemon, attachment, daemon_table, drops, endpoint, eventually, inside, ip, isolated, join, run, sessions, sysctl,
};
use crate::peers::Program;

/// Endpoint, and the client's address of that family; the first two before IPv4 servers, the others before IPv6.
const LINKS: [(&str, &str); 4] = [
    ("10.1.9.14", "10.1.1.10"),
    ("fd01:9::14", "fd01:1::10"),
    ("10.1.9.16", "10.1.1.10"),
    ("fd01:9::16", "fd01:1::10"),
];

/// A client behind `spoke`, a server behind `core`, and a link to the server that carries `mtu` bytes.
fn lab(mtu: u16) -> Daemon {
    for name in ["client", "spoke", "core", "server"] {
        ip(&format!("netns add {name}"));
        ip(&format!("-n {name} link set lo up"));
        sysctl(name, "ipv6/conf/default/accept_dad", "0");
    }
    for router in ["spoke", "core"] {
        sysctl(router, "ipv4/ip_forward", "1");
        sysctl(router, "ipv6/conf/all/forwarding", "1");
        sysctl(router, "ipv4/icmp_ratelimit", "0");
        sysctl(router, "ipv6/icmp/ratelimit", "0");
    }
    join(("client", "eth0", "10.1.1.10/24"), ("spoke", "lan0", "10.1.1.1/24"));
    join(("server", "eth0", "10.20.1.2/24"), ("core", "net0", "10.20.1.1/24"));
    for (name, device, address) in [
        ("client", "eth0", "fd01:1::10/64"),
        ("spoke", "lan0", "fd01:1::1/64"),
        ("server", "eth0", "fd20:1::2/64"),
        ("core", "net0", "fd20:1::1/64"),
    ] {
        ip(&format!("-n {name} address add {address} dev {device} nodad"));
    }
    // The client's link is as wide as ever: it has to be told.
    ip(&format!("-n core link set net0 mtu {mtu}"));
    ip(&format!("-n server link set eth0 mtu {mtu}"));
    for (name, gates) in [("client", ["10.1.1.1", "fd01:1::1"]), ("server", ["10.20.1.1", "fd20:1::1"])] {
        for gate in gates {
            ip(&format!("-n {name} route add default via {gate}"));
        }
    }
    let service = |name: &str, nat: &str, backend: &str| {
        format!(
            "[[resource]]\nname = \"{name}\"\nvnet = \"core\"\nnat = [\"{nat}\"]\ntargets = [{{ backends = [\"{backend}\"], \
             ports = [{{ protocol = \"tcp\", port = 80, backend_port = 8080 }}, {{ protocol = \"tcp\", port = 5201 }}, \
             {{ protocol = \"udp\", port = 7, backend_port = 7000 }}, {{ protocol = \"icmp\" }}] }}]\n"
        )
    };
    let vnets = "[[vnet]]\nname = \"spoke\"\naddress_space = [\"10.1.0.0/16\", \"fd01::/16\"]\nsubnets = [{ name = \
                 \"endpoints\", prefixes = [\"10.1.9.0/24\", \"fd01:9::/64\"], dedicated = true }]\n[[vnet]]\nname = \
                 \"core\"\naddress_space = [\"10.20.0.0/16\", \"fd20::/16\"]\nsubnets = [{ name = \"nat\", prefixes = \
                 [\"10.20.99.0/24\", \"fd20:99::/64\"], nat = true }]\n";
    let endpoints: String = LINKS
        .iter()
        .zip([("four", "four"), ("four-by-six", "four"), ("six-by-four", "six"), ("six", "six")])
        .map(|((address, _), (name, resource))| endpoint(name, "spoke", address, resource, "Approved"))
        .collect();
    Daemon::start(
        &[
            daemon_table(""),
            attachment("spoke"),
            attachment("core"),
            vnets.to_owned(),
            service("four", "10.20.99.4", "10.20.1.2"),
            service("six", "fd20:99::4", "fd20:1::2"),
            endpoints,
        ]
        .concat(),
    )
}

/// A program in the client's namespace.
fn client(line: &str) -> Output {
    let words: Vec<&str> = ["netns", "exec", "client"].into_iter().chain(line.split_whitespace()).collect();
    Command::new("ip").args(words).output().expect("ip")
}

fn succeeds(line: &str) -> String {
    let output = client(line);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{line}: {}{}\n{:?}", text(&output.stdout), text(&output.stderr), drops());
    text(&output.stdout)
}

fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

/// An HTTP server of one file at every address of the server; what it serves.
fn serve_file() -> Vec<u8> {
    let body: Vec<u8> = (0..251).cycle().take(3 << 20).collect();
    let served = body.clone();
    let listener = inside("server", || TcpListener::bind("[::]:8080").expect("bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let served = served.clone();
            std::thread::spawn(move || answer(stream, &served));
        }
    });
    body
}

fn answer(mut stream: TcpStream, body: &[u8]) {
    let mut asked = Vec::new();
    let mut byte = [0];
    while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|length| length == 1) {
        asked.push(byte[0]);
    }
    let length = String::from_utf8_lossy(&asked)
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: ").and_then(|text| text.parse().ok()))
        .unwrap_or(0_usize);
    let mut taken = vec![0; length];
    if stream.read_exact(&mut taken).is_ok() {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        // A client that has gone needs no answer.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    }
}

/// UDP that answers with what it got.
fn serve_datagrams() {
    let socket = inside("server", || UdpSocket::bind("[::]:7000").expect("bound"));
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], peer);
        }
    });
}

/// A datagram of `size` bytes there and back.
fn echoes(to: &str, from: &str, size: usize) -> bool {
    let socket = inside("client", || UdpSocket::bind(format!("{}:0", bracketed(from)))).expect("bound");
    socket.set_read_timeout(Some(Duration::from_millis(700))).expect("set");
    let to: SocketAddr = format!("{}:7", bracketed(to)).parse().expect("an address");
    let payload: Vec<u8> = (0..=255).cycle().take(size).collect();
    inside("client", || socket.send_to(&payload, to)).expect("sent");
    let mut buffer = vec![0; 65_536];
    socket.recv(&mut buffer).is_ok_and(|length| buffer[..length] == payload)
}

#[test]
fn ping_traceroute_and_large_datagrams_over_every_pair_of_families() {
    isolated("families::ping_traceroute_and_large_datagrams_over_every_pair_of_families", || {
        let _daemon = lab(1500);
        serve_datagrams();
        for (endpoint, from) in LINKS {
            succeeds(&format!("ping -n -c 3 -i 0.2 -W 2 {endpoint}"));
            succeeds(&format!("ping -n -c 1 -W 2 -s 3000 {endpoint}"));
            for size in [1, 1_400, 1_473, 9_000, 60_000] {
                // The first datagrams over a narrower way are lost to path-MTU discovery.
                eventually(&format!("{size} bytes to {endpoint}"), || echoes(endpoint, from, size));
            }
            // Hops: the router, privlink, the router behind it, the server.
            let trace = succeeds(&format!("traceroute -n -I -q 1 -w 2 -m 8 {endpoint}"));
            let hops: Vec<&str> = trace.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
            assert_eq!(hops.len(), 4, "{trace}");
            assert!(hops[1..].iter().all(|hop| *hop == endpoint), "nothing of the provider's shows: {trace}");
        }
    });
}

#[test]
fn a_path_of_1280_bytes_carries_bulk_both_ways() {
    isolated("families::a_path_of_1280_bytes_carries_bulk_both_ways", || {
        let _daemon = lab(1280);
        let body = serve_file();
        fs::write("/run/up", &body).expect("written");
        serve_datagrams();
        for (endpoint, from) in LINKS {
            let url = format!("http://{}/", bracketed(endpoint));
            succeeds(&format!("curl -gfsS --max-time 20 -o /run/down {url}"));
            assert!(fs::read("/run/down").expect("downloaded") == body, "down from {endpoint}");
            succeeds(&format!("curl -gfsS --max-time 20 -o /run/down --data-binary @/run/up -H Expect: {url}"));
            for size in [1_400, 9_000] {
                eventually(&format!("{size} bytes to {endpoint}"), || echoes(endpoint, from, size));
            }
        }
    });
}

#[test]
fn iperf_runs_both_ways_between_families() {
    isolated("families::iperf_runs_both_ways_between_families", || {
        let _daemon = lab(1500);
        let server = || {
            let words = ["netns", "exec", "server", "iperf3", "-s", "-1"];
            let server = Command::new("ip").args(words).stdout(Stdio::null()).spawn().expect("iperf3");
            let listens = || !run("ip", "netns exec server ss -Hltn sport = :5201").trim().is_empty();
            eventually("iperf3 listens", listens);
            server
        };
        for (endpoint, _) in LINKS {
            for reverse in ["", " -R"] {
                let mut serving = server();
                let said = succeeds(&format!("iperf3 -c {endpoint} -t 1 -J{reverse}"));
                serving.wait().expect("ended");
                let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
                let bytes = said["end"]["sum_received"]["bytes"].as_u64().unwrap_or(0);
                assert!(bytes > 1 << 20, "{endpoint}{reverse}: {bytes} bytes");
            }
        }
    });
}

/// Echoes on every connection, however many there are at once.
const ECHO: &str = "
import selectors, socket
listener = socket.create_server(('::', 8080), family=socket.AF_INET6, backlog=4096, dualstack_ipv6=True)
poll = selectors.EpollSelector()
poll.register(listener, selectors.EVENT_READ)
while True:
    for key, _ in poll.select():
        if key.fileobj is listener:
            poll.register(listener.accept()[0], selectors.EVENT_READ)
            continue
        data = key.fileobj.recv(4096)
        if data:
            key.fileobj.sendall(data)
        else:
            poll.unregister(key.fileobj)
            key.fileobj.close()
";

/// As many connections to each endpoint as are asked for; a line of its own on each, twice, and back.
const HOLD: &str = "
import os, socket, sys
count, endpoints = int(sys.argv[1]), sys.argv[2:]
held = []
for number in range(count):
    for endpoint in endpoints:
        held.append((socket.create_connection((endpoint, 80), timeout=10), os.urandom(64)))
for turn in range(2):
    for connection, line in held:
        connection.sendall(line)
    for connection, line in held:
        got = b''
        while len(got) < 64:
            got += connection.recv(64 - len(got)) or sys.exit('closed')
        if got != line:
            sys.exit('another line came back')
    print(len(held), flush=True)
    sys.stdin.readline()
";

#[test]
fn ten_thousand_connections_over_every_pair_of_families_are_held_at_once() {
    isolated("families::ten_thousand_connections_over_every_pair_of_families_are_held_at_once", || {
        let _daemon = lab(1500);
        let python = |namespace: &str, program: &str, arguments: &[&str]| {
            let mut line = Command::new("python3");
            line.args(["-c", program]).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
            Program(inside(namespace, || line.spawn()).expect("python3"))
        };
        let _server = python("server", ECHO, &[]);
        eventually("the server listens", || inside("server", || TcpStream::connect("10.20.1.2:8080")).is_ok());
        let endpoints: Vec<&str> = LINKS.iter().map(|(endpoint, _)| *endpoint).collect();
        let mut holder = python("client", HOLD, &[&["2500"], &*endpoints].concat());
        let (mut orders, mut said) = (holder.0.stdin.take().expect("piped"), holder.0.stdout.take().expect("piped"));
        let mut line = || {
            let mut bytes = [0; 6];
            said.read_exact(&mut bytes).map(|()| bytes)
        };
        let dropped = || {
            let mut reasons = drops();
            // A new device's kernel looks for routers.
            reasons.remove("icmp_unmatched");
            reasons
        };
        assert_eq!(line().expect("every line came back"), *b"10000\n");
        assert_eq!(sessions(), 10_000);
        orders.write_all(b"\n").expect("told");
        assert_eq!(line().expect("every line came back again"), *b"10000\n");
        assert_eq!(dropped(), BTreeMap::new(), "nothing is dropped");
        orders.write_all(b"\n").expect("told");
        assert!(holder.0.wait().expect("ended").success());
        eventually("all are closed", || sessions() == 0);
    });
}
