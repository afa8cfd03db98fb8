//! Namespaces of a test's own, and what the tests ask of them.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ipnet::IpNet;
use privlink::dataplane::device::tun::{self, TunQueue, TunReader};
use privlink::dataplane::device::{Batch, FrameSource, VNET_HEADER};
use privlink::host::Host;
use privlink::host::netns::Namespace;
use privlink::snapshot::AttachmentId;
use privlink::snapshot::steering::Secret;
use privlink::snapshot::topology::{AttachmentPlan, OnExit, Topology};

const INSIDE: &str = "PRIVLINK_TEST_INSIDE";

/// Runs `body` inside namespaces of its own: the test named `name` is started again there.
pub(crate) fn isolated(name: &str, body: impl FnOnce(&Path)) {
    if std::env::var_os(INSIDE).is_some() {
        run("mount", "-t tmpfs tmpfs /run");
        run("mkdir", "-p /run/netns /run/privlink");
        run("ip", "link set lo up");
        return body(Path::new("/run/privlink"));
    }
    if std::env::var("PRIVLINK_TESTS").is_ok_and(|wish| wish == "no-netns") {
        println!("skipped {name}: PRIVLINK_TESTS=no-netns");
        return;
    }
    let user: &[&str] = if is_root() { &[] } else { &["--user", "--map-root-user"] };
    let test = std::env::current_exe().expect("this test");
    let output = Command::new("unshare")
        .args(user)
        .args(["--net", "--mount", "--kill-child", "--fork"])
        .arg(test)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare (package util-linux)");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} inside its namespaces:\n{out}\n{err}");
    assert!(out.contains("1 passed"), "{name} did not run:\n{out}\n{err}");
    print!("{out}");
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Output of a command that has to succeed; arguments are separated by spaces.
pub(crate) fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split_whitespace()).output().expect(program);
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

pub(crate) fn ip(arguments: &str) -> String {
    run("ip", arguments)
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    const STEP: Duration = Duration::from_millis(20);
    let holds = (0..PATIENCE.as_millis() / STEP.as_millis()).any(|_| {
        condition() || {
            std::thread::sleep(STEP);
            false
        }
    });
    assert!(holds, "waited in vain: {what}");
}

/// A namespace with a default route to a neighbour that swallows everything.
pub(crate) fn leg(name: &str, address: &str) {
    ip(&format!("netns add {name}"));
    ip(&format!("-n {name} link set lo up"));
    ip(&format!("-n {name} link add eth0 type veth peer name far0"));
    ip(&format!("-n {name} address add {address} dev eth0"));
    ip(&format!("-n {name} link set far0 up"));
    ip(&format!("-n {name} link set eth0 up"));
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

/// Longest wait for what comes: a busy machine may need it.
const PATIENCE: Duration = Duration::from_mins(2);

/// The errno of a TCP connection from `namespace`; a route to nowhere shows as `TimedOut`.
pub(crate) fn connect(namespace: &str, address: &str) -> std::io::ErrorKind {
    connect_within(namespace, address, Duration::from_millis(300))
}

/// [`connect`] where some router answers that there is no way.
pub(crate) fn refused(namespace: &str, address: &str) -> std::io::ErrorKind {
    connect_within(namespace, address, PATIENCE)
}

fn connect_within(namespace: &str, address: &str, limit: Duration) -> std::io::ErrorKind {
    let address: SocketAddr = format!("{address}:443").parse().expect("an address");
    let attempt = || Ok(TcpStream::connect_timeout(&address, limit));
    let result = Namespace::open(Some(namespace)).expect("there").run(attempt).expect("entered");
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
