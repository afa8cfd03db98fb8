//! The two networks of these tests, and what is asked of them.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use privlink::dataplane::io::tun::{self, TunQueue, TunReader};
use privlink::dataplane::io::{Batch, FrameSource, VNET_HEADER};
use privlink::host::Host;
use privlink::snapshot::AttachmentId;
use privlink::snapshot::steering::Secret;
use privlink::snapshot::topology::{AttachmentPlan, OnExit, Topology};

use crate::support::namespaces::{self, build, inside};
pub(crate) use crate::support::namespaces::{ip, run};
pub(crate) use crate::support::waiting::{WAIT_TIMEOUT, eventually};

/// [`namespaces::isolated`], with the directory that the host plane keeps its notes in.
pub(crate) fn isolated(name: &str, body: impl FnOnce(&Path)) {
    namespaces::isolated(name, || body(Path::new("/run/privlink")));
}

/// A namespace with a default route to a neighbour that swallows everything.
pub(crate) fn leg(name: &str, address: &str) {
    build(&format!("host {name}\nlink {name} eth0 {address} {name} far0 -"));
    ip(&format!("-n {name} route add default dev eth0"));
}

pub(crate) fn addresses(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|text| text.parse().expect("an address")).collect()
}

pub(crate) fn attachment(id: u16, netns: &str, vnet: &str, own: &str) -> AttachmentPlan {
    AttachmentPlan {
        id: AttachmentId(id),
        vnet: vnet.into(),
        netns: Some(netns.into()),
        device: format!("pl-{vnet}"),
        mtu: 1400,
        proxy_on: vec![],
        own_prefixes: vec![own.parse::<IpNet>().expect("a prefix")],
        dedicated: vec![],
        endpoints: vec![],
        neighbours: vec![],
        nat_addresses: vec![],
        resolvers: vec![],
        denied: vec![],
        backends: vec![],
    }
}

/// Consumer VNet in `consumer`, provider VNet in `provider`.
pub(crate) fn topology(consumer: &str, provider: &str, on_exit: OnExit) -> Topology {
    let spoke = AttachmentPlan {
        endpoints: addresses(&["10.1.9.4"]),
        neighbours: addresses(&["10.1.9.4"]),
        ..attachment(0, consumer, "spoke", "10.1.0.0/16")
    };
    let core = AttachmentPlan {
        nat_addresses: addresses(&["10.20.99.4"]),
        backends: addresses(&["10.20.0.2"]),
        ..attachment(1, provider, "core", "10.20.0.0/16")
    };
    Topology { attachments: vec![spoke, core], on_exit, workers: 2, offload: true }
}

pub(crate) fn two_legs(on_exit: OnExit) -> Topology {
    leg("spoke", "10.1.0.5/24");
    leg("core", "10.20.0.1/24");
    topology("spoke", "core", on_exit)
}

pub(crate) fn secret() -> Secret {
    Secret::new([3, 5])
}

pub(crate) fn set_up(topology: &Topology, run_dir: &Path) -> anyhow::Result<(Host, Vec<Vec<TunQueue>>)> {
    Host::set_up(topology, run_dir, &secret(), &|plan| {
        Ok(tun::open(&plan.device, plan.mtu, topology.workers, topology.offload)?)
    })
}

/// Everything about a namespace that privlink may change, to compare before and after.
pub(crate) fn state(namespace: &str) -> String {
    let mut all = String::new();
    for question in ["-o link", "route show table all", "rule", "neighbour show proxy"] {
        let answer = ip(&format!("-n {namespace} {question}"));
        // Link-local addresses of the lab's own interfaces come by themselves, a second late.
        all.extend(answer.lines().filter(|line| !line.contains("fe80:")).map(|line| format!("{line}\n")));
    }
    for value in run("ip", &format!("netns exec {namespace} sysctl -a --pattern net.ipv4.conf.*.rp_filter")).lines() {
        all += value;
    }
    all
}

pub(crate) fn files(run_dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(run_dir).expect("readable").map(|entry| entry.expect("readable").path()).collect()
}

/// The errno of a TCP connection from `namespace`; a route to nowhere shows as `TimedOut`.
pub(crate) fn connect(namespace: &str, address: &str) -> std::io::ErrorKind {
    connect_within(namespace, address, Duration::from_millis(300))
}

/// [`connect`] where some router answers that there is no way.
pub(crate) fn refused(namespace: &str, address: &str) -> std::io::ErrorKind {
    connect_within(namespace, address, WAIT_TIMEOUT)
}

fn connect_within(namespace: &str, address: &str, limit: Duration) -> std::io::ErrorKind {
    let address: SocketAddr = format!("{address}:443").parse().expect("an address");
    let result = inside(namespace, || TcpStream::connect_timeout(&address, limit));
    result.expect_err("nobody listens").kind()
}

/// Frames to `address` that wait in these queues, by queue.
pub(crate) fn frames_to(readers: &mut [TunReader], address: &str) -> Vec<Vec<Vec<u8>>> {
    let IpAddr::V4(address) = address.parse().expect("an address") else { panic!("IPv4 only") };
    let mut queues = Vec::new();
    for reader in readers {
        let mut frames = Vec::new();
        let (mut batch, mut more) = (Batch::new(), true);
        while more {
            batch.clear();
            more = reader.fill(&mut batch).expect("the device is there");
            for at in 0..batch.len() {
                let packet = &batch.frame(at)[VNET_HEADER..];
                if packet.len() >= 20 && packet[0] >> 4 == 4 && packet[16..20] == address.octets() {
                    frames.push(packet.to_vec());
                }
            }
        }
        queues.push(frames);
    }
    queues
}

pub(crate) fn readers(queues: Vec<TunQueue>) -> Vec<TunReader> {
    queues.into_iter().map(|queue| queue.split().0).collect()
}

pub(crate) fn count(frames: &[Vec<Vec<u8>>]) -> usize {
    frames.iter().map(Vec::len).sum()
}
