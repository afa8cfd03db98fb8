//! The networks that every row is flipped in: one file that names every kind of object, servers behind it, and a
//! client whose session has to outlive every flip.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::lab::{eventually, inside, ip, join, leg, sysctl};
use crate::peers::{address, connect, greeted, listen, serve};

/// What is in force before and after each flip.
pub(super) const BASE: &str = r#"
[daemon]
state = "/run/privlink/state"
metrics = "127.0.0.1:9464"
api = "127.0.0.1:8480"
workers = 2

[[attachment]]
vnet = "spoke"
netns = "spoke"

[[attachment]]
vnet = "core"
netns = "core"

[[attachment]]
vnet = "core2"
netns = "core2"

[[vnet]]
name = "spoke"
address_space = ["10.1.0.0/16"]
on_premises = ["192.168.40.0/24"]
peerings = ["hub"]
workloads = [{ class = "Azure Container Instance", prefix = "10.1.5.0/24", private_endpoints = false }]
subnets = [
  { name = "endpoints", prefix = "10.1.9.0/24", dedicated = true },
  { name = "ruled", prefix = "10.1.8.0/24", network_policies = "Enabled", security_group = "default/default/rules" },
  { name = "whole", prefix = "10.1.12.0/25", dedicated = true },
  { name = "pieces", prefixes = ["10.1.13.0/26"], dedicated = true },
  { name = "quiet", prefix = "10.1.7.0/24" },
]

[[vnet]]
name = "hub"
address_space = ["10.3.0.0/16"]
peerings = ["spoke"]
subnets = [{ name = "endpoints", prefix = "10.3.9.0/24", dedicated = true }]

[[vnet]]
name = "core"
address_space = ["10.20.0.0/16"]
subnets = [{ name = "nat", prefix = "10.20.99.0/24", nat = true }]

[[vnet]]
name = "core2"
address_space = ["10.20.0.0/16"]
subnets = [{ name = "nat", prefix = "10.20.99.0/24", nat = true }]

[[vnet]]
name = "spare"
address_space = ["10.9.0.0/16"]

[[dns_zone]]
name = "corp.internal"
records = [{ name = "www", type = "A", ttl = "1m", values = ["10.0.0.1"] }]
links = [{ vnet = "spoke" }]

[[security_group]]
name = "rules"
rules = [
  { name = "no-fives", priority = 200, access = "deny", protocol = "tcp", sources = ["10.1.0.5/32"], destinations = ["10.1.8.10/32"], ports = [7] },
  { name = "fives", priority = 300, access = "allow", sources = ["10.1.0.5/32"] },
]

[[resource_type]]
name = "Example.Own/things"
regions = ["local"]

[[resource_type]]
name = "Example.Other/things"
regions = ["elsewhere"]

[[resource]]
name = "steady"
vnet = "core"
nat = ["10.20.99.4"]
targets = [{ backends = ["10.20.0.9"], ports = [{ protocol = "tcp", port = 7, backend_port = 7000 }] }]

[[resource]]
name = "echo"
vnet = "core"
nat = ["10.20.99.5"]
visibility = ["*"]
targets = [{ backends = ["10.20.0.2"], ports = [{ protocol = "tcp", port = 7, backend_port = 7000 }, { protocol = "udp", port = 7, backend_port = 7000 }] }]

[[resource]]
name = "few"
vnet = "core"
nat = ["10.20.99.6"]
targets = [{ backends = ["10.20.0.3"], ports = [{ protocol = "tcp", port = 7, backend_port = 7000 }, { protocol = "tcp", port = 9, backend_port = 7002 }, { protocol = "udp", port = 7, backend_port = 7000 }, { protocol = "icmp" }] }]

[[resource]]
name = "mirror"
vnet = "core"
nat = ["10.20.99.7"]
alias = "mirror"
destination = "10.20.0.4"
ports = [{ protocol = "tcp", port = 8, backend_port = 7100 }]

[[resource]]
type = "Microsoft.Storage/storageAccounts"
name = "account"
vnet = "core"
nat = ["10.20.99.8"]
targets = [
  { subresource = "blob", member = "a", backends = ["10.20.0.5"], ports = [{ protocol = "tcp", port = 7, backend_port = 7000 }] },
  { subresource = "blob", member = "b", backends = ["10.20.0.6"], ports = [{ protocol = "tcp", port = 7, backend_port = 7000 }] },
  { subresource = "file", backends = ["10.20.0.7"], ports = [{ protocol = "tcp", port = 7, backend_port = 7000 }] },
  { subresource = "queue", backends = [{ address = "10.20.0.8", drain = false }], ports = [{ protocol = "tcp", port = 7, backend_port = 7000 }] },
]

[[resource]]
type = "Example.Own/things"
name = "thing"
vnet = "core"
nat = ["10.20.99.9"]
targets = [{ subresource = "part", backends = ["10.20.0.10"], ports = [{ protocol = "tcp", port = 7, backend_port = 7000 }] }]

[[endpoint]]
name = "steady"
vnet = "spoke"
subnet = "endpoints"
ip = "10.1.9.250"
resource = "steady"

[[endpoint]]
name = "orders"
vnet = "spoke"
subnet = "endpoints"
ip = "10.1.9.10"
resource = "echo"
manual = true
request_message = "first words"
status = "Approved"
reason = "first reason"

[[endpoint]]
name = "few"
vnet = "spoke"
subnet = "endpoints"
ip = "10.1.9.11"
resource = "few"

[[endpoint]]
name = "mirror"
vnet = "spoke"
subnet = "endpoints"
ip = "10.1.9.13"
resource = "mirror"

[[endpoint]]
name = "members"
vnet = "spoke"
subnet = "endpoints"
addresses = [{ member = "a", ip = "10.1.9.14" }, { member = "b", ip = "10.1.9.15" }]
resource = "account"
subresource = "blob"

[[endpoint]]
name = "part"
vnet = "spoke"
subnet = "endpoints"
ip = "10.1.9.16"
resource = "account"
subresource = "file"

[[endpoint]]
name = "queue"
vnet = "spoke"
subnet = "endpoints"
ip = "10.1.9.18"
resource = "account"
subresource = "queue"

[[endpoint]]
name = "ruled"
vnet = "spoke"
subnet = "ruled"
ip = "10.1.8.10"
resource = "echo"

[[endpoint]]
name = "placed"
vnet = "spoke"
subnet = "endpoints"
resource = "echo"

[[endpoint]]
name = "pending"
vnet = "spoke"
subnet = "endpoints"
ip = "10.1.9.17"
resource = "echo"
manual = true

[[endpoint]]
name = "named"
vnet = "spoke"
subnet = "quiet"
resource = "echo"

[[role]]
name = "watcher"
description = "sees services"
actions = ["Microsoft.Network/privateLinkServices/read"]
not_actions = ["Microsoft.Network/loadBalancers/read"]

[[role]]
name = "unused"
actions = ["*/read"]

[[assignment]]
principal = "uid:4711"
role = "watcher"
scope = "/subscriptions/default"
"#;

/// The namespaces of [`BASE`] and the servers in them.
pub(super) fn build() {
    leg("spoke", &["10.1.0.5", "10.1.0.6", "10.1.0.99", "10.1.5.5", "172.16.0.9", "192.168.40.5", "10.3.0.5"]);
    leg("moved", &["10.1.0.5"]);
    let servers = ["10.20.0.2", "10.20.0.3", "10.20.0.4", "10.20.0.5", "10.20.0.6", "10.20.0.7", "10.20.0.8"];
    leg("core", &[servers.as_slice(), &["10.20.0.9", "10.20.0.10", "10.20.0.11"]].concat());
    leg("core2", &["10.20.0.2"]);
    // A client behind a wire, which finds endpoints by ARP alone.
    leg("lan", &[]);
    join(("spoke", "eth0", "10.1.77.1/24"), ("lan", "eth0", "10.1.77.2/24"));
    ip("-n lan route add 10.1.9.0/24 dev eth0");
    // The kernel answers for others after a random part of 0.8 s unless told otherwise.
    sysctl("spoke", "ipv4/neigh/eth0/proxy_delay", "0");
    for namespace in ["spoke", "core", "core2", "moved"] {
        sysctl(namespace, "ipv4/ip_forward", "1");
    }
    let names = ["first", "second", "fourth", "member a", "member b", "file", "queue"];
    for (server, name) in servers.iter().zip(names) {
        serve("core", &format!("{server}:7000"), name);
    }
    serve("core", "10.20.0.2:7001", "first, other port");
    serve("core", "10.20.0.9:7000", "steady");
    serve("core", "10.20.0.11:7000", "eleventh");
    serve("core2", "10.20.0.2:7000", "second core");
    // One whose queue is full: it answers no more SYNs.
    std::mem::forget(listen("core", "10.20.0.3:7002", 0));
    std::mem::forget(connect("core", "10.20.0.2:0", "10.20.0.3:7002"));
    mirror("core", "10.20.0.4:7100");
    mirror("core", "10.20.0.4:7101");
    mirror("core", "10.20.0.3:7100");
}

/// A server whose name is the address and port that it is asked at, and the address that asks.
fn mirror(namespace: &str, at: &str) {
    let listener = inside(namespace, || TcpListener::bind(address(at))).expect("bound");
    let at = at.to_owned();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let peer = stream.peer_addr().expect("a peer").ip();
            // A client that is gone needs no answer.
            let _ = stream.write_all(format!("{at} asked by {peer}\n").as_bytes());
            let mut word = [0; 5];
            let _ = stream.read_exact(&mut word).and_then(|()| stream.write_all(&word));
        }
    });
}

/// A client that sends and hears an echo all the time, in one session.
pub(super) struct Steady {
    echoes: Arc<AtomicU64>,
    ended: Arc<Mutex<Option<String>>>,
    stop: Arc<AtomicBool>,
}

impl Steady {
    pub(super) fn begin() -> Self {
        let mut stream = connect("spoke", "10.1.0.99:0", "10.1.9.250:7").expect("the steady client");
        assert_eq!(greeted(&mut stream).expect("greeted"), "steady");
        let steady = Self { echoes: Arc::default(), ended: Arc::default(), stop: Arc::default() };
        let (echoes, ended, stop) = (Arc::clone(&steady.echoes), Arc::clone(&steady.ended), Arc::clone(&steady.stop));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                match echo(&mut stream, echoes.load(Ordering::Relaxed)) {
                    Ok(()) => _ = echoes.fetch_add(1, Ordering::Relaxed),
                    Err(error) => {
                        *ended.lock().expect("not poisoned") = Some(error.to_string());
                        return;
                    }
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        steady
    }

    /// Asserts that its session lives, and has lived all the time.
    pub(super) fn lives(&self, during: &str) {
        let before = self.echoes.load(Ordering::Relaxed);
        eventually(&format!("an echo after {during}"), || {
            let ended = self.ended.lock().expect("not poisoned");
            assert!(ended.is_none(), "{during} ended the session of another endpoint: {ended:?}");
            self.echoes.load(Ordering::Relaxed) > before
        });
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn echo(stream: &mut TcpStream, number: u64) -> std::io::Result<()> {
    let mut answer = [0; 8];
    stream.write_all(&number.to_be_bytes())?;
    stream.read_exact(&mut answer)?;
    assert_eq!(answer, number.to_be_bytes(), "an echo of something else");
    Ok(())
}
