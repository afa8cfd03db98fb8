//! The host plane against a real kernel. Each test runs itself again inside a network and mount
//! namespace of its own, with a private `/run/netns`, so that nothing of this machine is touched and
//! a crash leaves nothing behind. `PRIVLINK_TESTS=netns` runs them; then a machine without TUN fails.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "helpers of tests fail by panicking")]

/// What all tests share.
#[path = "../support/mod.rs"]
mod support;

/// The two networks of these tests.
mod lab;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lab::{
    addresses, connect, count, eventually, files, frames_to, ip, isolated, readers, refused, run, set_up, state,
    topology, two_legs,
};
use privlink::dataplane::io::tun::{self, TunQueue};
use privlink::dataplane::io::{Batch, FrameSource};
use privlink::host::netns::Namespace;
use privlink::host::{self, Host};
use privlink::snapshot::steering::nat_queue;
use privlink::snapshot::topology::{OnExit, Topology};
use privlink::wire::Address;

#[test]
fn a_closed_device_leaves_its_addresses_unreachable_and_blocked_until_a_clean() {
    isolated("a_closed_device_leaves_its_addresses_unreachable_and_blocked_until_a_clean", |run_dir| {
        let topology = two_legs(OnExit::Block);
        let before = (state("spoke"), state("core"));
        let (host, queues) = set_up(&topology, run_dir).expect("set up");
        let routes = ip("-n spoke -j route show");
        assert!(routes.contains(r#""dst":"10.1.9.4","dev":"pl-spoke","protocol":"112""#), "{routes}");
        assert!(routes.contains(r#""type":"unreachable","dst":"10.1.9.4""#), "{routes}");
        assert!(!routes.contains("10.20.99.4"), "the sides share no route: {routes}");
        let link = ip("-n spoke -d link show pl-spoke");
        for part in ["UP", "mtu 1400", "addrgenmode none", "qlen 4096"] {
            assert!(link.contains(part), "{part}: {link}");
        }
        assert_eq!(connect("spoke", "10.1.9.4"), std::io::ErrorKind::TimedOut);
        let mut queues = queues.into_iter();
        let mut spoke = readers(queues.next().expect("spoke"));
        assert!(count(&frames_to(&mut spoke, "10.1.9.4")) > 0, "the SYN arrived on the device");

        drop(spoke);
        assert_eq!(connect("spoke", "10.1.9.4"), std::io::ErrorKind::HostUnreachable, "at once, before any clean-up");
        drop(queues);
        host.tear_down().expect("torn down");
        for (namespace, address) in [("spoke", "10.1.9.4"), ("core", "10.20.99.4")] {
            assert_eq!(connect(namespace, address), std::io::ErrorKind::HostUnreachable, "blocked: {address}");
        }
        let report = host::clean(run_dir).expect("cleaned");
        assert_eq!(report.lines.len(), 2, "{report:?}");
        assert_eq!((state("spoke"), state("core")), before);
        assert_eq!(connect("spoke", "10.1.9.4"), std::io::ErrorKind::TimedOut, "the default route has it again");
        assert_eq!(files(run_dir), Vec::<PathBuf>::new());
        assert_eq!(host::clean(run_dir).expect("nothing to do"), host::Report::default());
    });
}

#[test]
fn undo_leaves_nothing_behind() {
    isolated("undo_leaves_nothing_behind", |run_dir| {
        let topology = two_legs(OnExit::Undo);
        let before = (state("spoke"), state("core"));
        let (host, queues) = set_up(&topology, run_dir).expect("set up");
        assert_ne!(state("spoke"), before.0);
        drop(queues);
        host.tear_down().expect("torn down");
        assert_eq!((state("spoke"), state("core")), before);
        assert_eq!(files(run_dir), Vec::<PathBuf>::new());
    });
}

/// Not a test of its own: a daemon to kill. Holds a set-up until its standard input ends.
#[test]
#[ignore = "started by other tests as the daemon that they kill"]
fn holder() {
    let topology = topology("spoke", "core", OnExit::Block);
    let held = set_up(&topology, Path::new("/run/privlink")).expect("set up");
    println!("\nREADY");
    let _ = std::io::stdin().read(&mut [0]);
    drop(held);
}

fn start_holder() -> Child {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "holder", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut lines = BufReader::new(child.stdout.as_mut().expect("piped")).lines();
    assert!(lines.any(|line| line.expect("text") == "READY"), "the holder could not set up");
    child
}

#[test]
fn a_killed_daemon_fails_closed_and_a_clean_or_the_next_start_follows_it_up() {
    isolated("a_killed_daemon_fails_closed_and_a_clean_or_the_next_start_follows_it_up", |run_dir| {
        let topology = two_legs(OnExit::Undo);
        let before = (state("spoke"), state("core"));
        for restart in [false, true] {
            let mut daemon = start_holder();
            let error = host::clean(run_dir).expect_err("the daemon lives").to_string();
            assert!(error.contains(&format!("pid {}", daemon.id())), "{error}");
            daemon.kill().expect("killed");
            daemon.wait().expect("dead");
            assert_eq!(connect("spoke", "10.1.9.4"), std::io::ErrorKind::HostUnreachable);
            if restart {
                let (host, queues) = set_up(&topology, run_dir).expect("takes over");
                assert_eq!(connect("spoke", "10.1.9.4"), std::io::ErrorKind::TimedOut, "the device has it again");
                drop(queues);
                host.tear_down().expect("torn down");
            } else {
                host::clean(run_dir).expect("cleaned");
            }
            assert_eq!((state("spoke"), state("core")), before, "restart: {restart}");
        }
    });
}

#[test]
fn a_start_that_fails_after_a_kill_leaves_the_block_in_force() {
    isolated("a_start_that_fails_after_a_kill_leaves_the_block_in_force", |run_dir| {
        let topology = two_legs(OnExit::Block);
        let mut daemon = start_holder();
        daemon.kill().expect("killed");
        daemon.wait().expect("dead");
        let failed =
            Host::set_up::<TunQueue>(&topology, run_dir, &lab::secret(), &|_| anyhow::bail!("no device today"));
        assert!(failed.is_err());
        assert_eq!(connect("spoke", "10.1.9.4"), std::io::ErrorKind::HostUnreachable);
        assert_eq!(host::clean(run_dir).expect("cleaned").lines.len(), 2);
    });
}

#[test]
fn a_second_daemon_is_told_who_has_the_device() {
    isolated("a_second_daemon_is_told_who_has_the_device", |run_dir| {
        let topology = two_legs(OnExit::Undo);
        let _first = set_up(&topology, run_dir).expect("set up");
        let error = set_up(&topology, run_dir).expect_err("taken").to_string();
        assert!(error.starts_with(&format!("device pl-spoke is in use by pid {}", std::process::id())), "{error}");
        let before = (state("spoke"), state("core"));
        let elsewhere = Path::new("/run/other");
        let error = format!("{:#}", set_up(&topology, elsewhere).expect_err("the kernel knows it too"));
        assert!(error.contains("device pl-spoke exists already"), "{error}");
        assert_eq!(files(elsewhere), Vec::<PathBuf>::new());
        assert_eq!((state("spoke"), state("core")), before, "the first one's routes stand");
        let error = host::clean(run_dir).expect_err("a daemon lives").to_string();
        assert!(error.contains("stop it first"), "{error}");
    });
}

#[test]
fn a_failed_set_up_leaves_nothing_behind() {
    isolated("a_failed_set_up_leaves_nothing_behind", |run_dir| {
        let topology = two_legs(OnExit::Block);
        let before = (state("spoke"), state("core"));
        let failed = Host::set_up(&topology, run_dir, &lab::secret(), &|plan| {
            anyhow::ensure!(plan.vnet == "spoke", "no device for {}", plan.vnet);
            Ok(tun::open(&plan.device, plan.mtu, 2, true)?)
        });
        assert_eq!(failed.map(drop).expect_err("fails").to_string(), "no device for core");
        assert_eq!((state("spoke"), state("core")), before);
        assert_eq!(files(run_dir), Vec::<PathBuf>::new());
    });
}

#[test]
fn a_dry_run_prints_what_a_start_does_and_changes_nothing() {
    isolated("a_dry_run_prints_what_a_start_does_and_changes_nothing", |run_dir| {
        let topology = two_legs(OnExit::Block);
        let before = (state("spoke"), state("core"));
        let plan = Host::dry_run(&topology, run_dir).expect("planned");
        let lines: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
        for expected in [
            "spoke: ip route add unreachable 10.1.9.4/32 metric 4000000 proto 112",
            "spoke: make TUN device pl-spoke mtu 1400 queues 2 offload on",
            "core: ip route add 10.20.99.4/32 dev pl-core metric 1 proto 112",
        ] {
            assert!(lines.iter().any(|line| line == expected), "{expected} is not in {lines:#?}");
        }
        assert!(plan.warnings.iter().any(|line| line.starts_with("forwarding is off in namespace core: backends")));
        assert_eq!((state("spoke"), state("core")), before);
        let missing = topology_in("nowhere");
        let error = format!("{:#}", Host::dry_run(&missing, run_dir).expect_err("no such namespace"));
        assert!(error.contains("there are: core, spoke") && error.contains("ip netns add nowhere"), "{error}");
    });
}

fn topology_in(namespace: &str) -> Topology {
    topology(namespace, namespace, OnExit::Block)
}

#[test]
fn a_live_change_adds_and_removes_routes_and_a_refused_one_changes_nothing() {
    isolated("a_live_change_adds_and_removes_routes_and_a_refused_one_changes_nothing", |run_dir| {
        let mut wanted = two_legs(OnExit::Undo);
        let (host, _queues) = set_up(&wanted, run_dir).expect("set up");
        wanted.attachments[0].endpoints = addresses(&["10.1.9.5", "10.1.9.6"]);
        wanted.attachments[1].nat_addresses.extend(addresses(&["10.20.99.5"]));
        host.reconcile(&wanted).expect("changed");
        let (spoke, core) = (ip("-n spoke route show"), ip("-n core route show"));
        for address in ["10.1.9.5", "10.1.9.6"] {
            assert!(spoke.contains(&format!("{address} dev pl-spoke")), "{spoke}");
            assert!(spoke.contains(&format!("unreachable {address}")), "{spoke}");
        }
        assert!(!spoke.contains("10.1.9.4"), "{spoke}");
        assert!(core.contains("10.20.99.4 dev pl-core") && core.contains("10.20.99.5 dev pl-core"), "{core}");

        let mut clash = wanted.clone();
        clash.attachments[0].endpoints.extend(addresses(&["10.1.9.7", "10.1.0.5"]));
        let error = host.reconcile(&clash).expect_err("an address of this host").to_string();
        assert!(error.contains("10.1.0.5 is an address of this host"), "{error}");
        assert_eq!(ip("-n spoke route show"), spoke);
        clash.attachments.pop();
        assert!(host.reconcile(&clash).expect_err("fixed").to_string().contains("restart"));
        host.reconcile(&wanted).expect("idempotent");
        assert_eq!(ip("-n spoke route show"), spoke);
    });
}

/// A router with a leg to consumers and one to providers, both reached through real interfaces.
fn one_namespace() -> Topology {
    ip("netns add router");
    ip("-n router link set lo up");
    for (name, near, far) in [("client", "10.1.0.1", "10.1.0.5"), ("backend", "10.20.0.1", "10.20.0.2")] {
        ip(&format!("netns add {name}"));
        ip(&format!("-n router link add {name} type veth peer name eth0 netns {name}"));
        ip(&format!("-n router address add {near}/24 dev {name}"));
        ip(&format!("-n {name} address add {far}/24 dev eth0"));
        ip(&format!("-n router link set {name} up"));
        ip(&format!("-n {name} link set eth0 up"));
        ip(&format!("-n {name} route add default via {near}"));
    }
    // An interface has its carrier a moment after the far end is up.
    eventually("every interface has its carrier", || !ip("-n router -o link").contains("NO-CARRIER"));
    run("ip", "netns exec router sysctl -qw net.ipv4.ip_forward=1");
    run("ip", "netns exec router sysctl -qw net.ipv4.conf.all.rp_filter=2");
    topology("router", "router", OnExit::Undo)
}

#[test]
fn in_one_namespace_each_side_reaches_only_its_own_addresses() {
    isolated("in_one_namespace_each_side_reaches_only_its_own_addresses", |run_dir| {
        let topology = one_namespace();
        let before = state("router");
        let (host, queues) = set_up(&topology, run_dir).expect("set up");
        assert_eq!(host.warnings(), Vec::<String>::new());
        let mut devices = queues.into_iter().map(readers);
        let mut spoke = devices.next().expect("spoke");
        let mut core = devices.next().expect("core");

        assert_eq!(connect("client", "10.1.9.4"), std::io::ErrorKind::TimedOut);
        assert!(count(&frames_to(&mut spoke, "10.1.9.4")) > 0, "a client reaches its endpoint");
        assert_eq!(connect("backend", "10.20.99.4"), std::io::ErrorKind::TimedOut);
        assert!(count(&frames_to(&mut core, "10.20.99.4")) > 0, "a backend reaches the NAT address");

        assert_eq!(refused("client", "10.20.99.4"), std::io::ErrorKind::HostUnreachable);
        assert_eq!(count(&frames_to(&mut core, "10.20.99.4")), 0, "a client does not reach a NAT address");
        assert_eq!(refused("backend", "10.1.9.4"), std::io::ErrorKind::HostUnreachable);
        assert_eq!(count(&frames_to(&mut spoke, "10.1.9.4")), 0, "a backend does not reach an endpoint");

        assert_eq!(connect("router", "10.20.99.4"), std::io::ErrorKind::TimedOut, "local processes are trusted");
        ip("-n router link add late type veth peer name eth1 netns client");
        ip("-n router address add 10.77.0.1/24 dev late");
        ip("-n router link set late up");
        ip("-n client address add 10.77.0.5/24 dev eth1");
        ip("-n client link set eth1 up");
        ip("-n client route add 10.20.99.4 via 10.77.0.1");
        frames_to(&mut core, "10.20.99.4");
        connect("client", "10.20.99.4");
        assert_eq!(count(&frames_to(&mut core, "10.20.99.4")), 0, "nor by an interface that appears later");
        ip("-n router link delete late");

        let filters = run(
            "ip",
            "netns exec router sysctl -n net.ipv4.conf.all.rp_filter net.ipv4.conf.client.rp_filter net.ipv4.conf.backend.rp_filter",
        );
        assert_eq!(filters.split_whitespace().collect::<Vec<_>>(), ["0", "1", "1"]);
        drop((spoke, core));
        host.tear_down().expect("torn down");
        assert_eq!(state("router"), before);
    });
}

#[test]
fn proxy_neighbours_answer_on_the_interface_and_go_with_their_endpoint() {
    isolated("proxy_neighbours_answer_on_the_interface_and_go_with_their_endpoint", |run_dir| {
        let mut topology = one_namespace();
        topology.attachments[0].proxy_on = vec!["client".into()];
        let (host, _queues) = set_up(&topology, run_dir).expect("set up");
        ip("-n client route add 10.1.9.0/24 dev eth0");
        // The kernel delays proxy answers by up to 0.8 s.
        eventually("the client knows its neighbour", || {
            connect("client", "10.1.9.4");
            ip("-n client neighbour show 10.1.9.4").contains("lladdr")
        });
        topology.attachments[0].endpoints.clear();
        topology.attachments[0].neighbours.clear();
        host.reconcile(&topology).expect("removed");
        assert_eq!(ip("-n router neighbour show proxy"), "");
        run("ip", "netns exec router sysctl -qw net.ipv4.ip_forward=0");
        topology.attachments[0].endpoints = addresses(&["10.1.9.8"]);
        topology.attachments[0].neighbours = addresses(&["10.1.9.8"]);
        let error = host.reconcile(&topology).expect_err("does not forward").to_string();
        assert!(error.contains("client does not forward"), "{error}");
    });
}

#[test]
fn the_kernel_delivers_each_packet_to_the_queue_that_steering_names() {
    isolated("the_kernel_delivers_each_packet_to_the_queue_that_steering_names", |run_dir| {
        let topology = two_legs(OnExit::Undo);
        let (_host, queues) = set_up(&topology, run_dir).expect("set up");
        let mut devices = queues.into_iter().map(readers);
        let mut spoke = devices.next().expect("spoke");
        let mut core = devices.next().expect("core");
        send_datagrams("spoke", "10.1.9.4", 1..=64);
        send_datagrams("core", "10.20.99.4", (1_024..=65_024).step_by(1_000));
        let word = |packet: &[u8], at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().expect("four"));
        let half = |packet: &[u8], at: usize| u16::from_be_bytes(packet[at..at + 2].try_into().expect("two"));
        let mut wrong = 0;
        let mut used = BTreeSet::new();
        for (queue, packets) in (0_u16..).zip(frames_to(&mut spoke, "10.1.9.4")) {
            for packet in packets {
                let [source, destination] = [12, 16].map(|at| Address::v4(word(&packet, at)));
                let ports = (half(&packet, 20), half(&packet, 22));
                let expected = lab::secret().consumer_queue(source, destination, ports.0, ports.1, 2);
                wrong += u16::from(expected != queue);
                used.insert(("spoke", queue));
            }
        }
        for (queue, packets) in (0_u16..).zip(frames_to(&mut core, "10.20.99.4")) {
            for packet in packets {
                wrong += u16::from(nat_queue(half(&packet, 22), 2) != queue);
                used.insert(("core", queue));
            }
        }
        assert_eq!(used.len(), 4, "both queues of both devices: {used:?}");
        if !owns_the_machine() {
            println!("not root of this machine: the kernel refuses steering, {wrong} packets to hand over");
            return;
        }
        assert_eq!(wrong, 0);
    });
}

fn owns_the_machine() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").expect("readable");
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// One datagram to each port, each from a port of its own.
fn send_datagrams(namespace: &str, address: &str, ports: impl Iterator<Item = u16> + Send) {
    let send = || {
        for port in ports {
            UdpSocket::bind("0.0.0.0:0")?.send_to(b"where to?", (address, port))?;
        }
        Ok(())
    };
    Namespace::open(Some(namespace)).expect("there").run(send).expect("sent");
}

#[test]
fn a_machine_that_cannot_have_a_device_is_told_why() {
    isolated("a_machine_that_cannot_have_a_device_is_told_why", |run_dir| {
        let topology = two_legs(OnExit::Block);
        ip("-n core tuntap add dev pl-core mode tun multi_queue vnet_hdr");
        let error = format!("{:#}", set_up(&topology, run_dir).expect_err("taken"));
        assert!(error.contains("device pl-core exists already"), "{error}");
        ip("-n core link del pl-core");
        let before = (state("spoke"), state("core"));
        run("mount", "-t tmpfs tmpfs /dev/net");
        let error = format!("{:#}", set_up(&topology, run_dir).expect_err("no TUN"));
        assert!(error.contains("there is no /dev/net/tun") && error.contains("modprobe tun"), "{error}");
        assert_eq!((state("spoke"), state("core")), before);
        assert_eq!(files(run_dir), Vec::<PathBuf>::new());
    });
}

#[test]
fn a_device_without_offload_and_a_device_that_goes_away_are_handled() {
    isolated("a_device_without_offload_and_a_device_that_goes_away_are_handled", |run_dir| {
        let mut topology = two_legs(OnExit::Undo);
        topology.offload = false;
        topology.workers = 1;
        let (_host, queues) = set_up(&topology, run_dir).expect("set up");
        let mut spoke = readers(queues.into_iter().next().expect("spoke"));
        connect("spoke", "10.1.9.4");
        let frames = frames_to(&mut spoke, "10.1.9.4");
        assert!(!frames[0].is_empty(), "frames begin with a header all the same");
        ip("-n spoke link set pl-spoke down");
        let mut batch = Batch::new();
        assert!(!spoke[0].fill(&mut batch).expect("a device that is down is no error") && batch.is_empty());
        ip("-n spoke link delete pl-spoke");
        assert!(spoke[0].fill(&mut batch).is_err(), "a device that is gone is one");
    });
}
