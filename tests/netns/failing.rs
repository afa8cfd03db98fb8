//! A daemon that dies fails closed; one that cannot start says why in one line and leaves nothing behind.

use std::io::ErrorKind::{HostUnreachable, TimedOut};
use std::io::Write as _;

use crate::lab::{
    Daemon, ask, cli, endpoint, eventually, fails_to_start, ip, isolated, join, leg, orders, read_log, run, sysctl,
    two_legs, two_sides,
};
use crate::peers::{Capture, accept_all, connect, listen, serve, tcp, tcp_once, udp};

/// Both legs with a neighbour on their default route that hears whatever has no better way.
fn legs_with_decoys() {
    two_legs();
    for (side, here, there) in [("spoke", "10.1.255.2/24", "10.1.255.1"), ("core", "10.20.255.2/24", "10.20.255.1")] {
        let decoy = format!("decoy-{side}");
        leg(&decoy, &[]);
        join((side, "wan", here), (&decoy, "wan", &format!("{there}/24")));
        ip(&format!("-n {side} route add default via {there}"));
    }
}

/// Packets to endpoint and NAT addresses that a decoy has heard.
fn leaked(decoy: &Capture) -> Vec<Vec<u8>> {
    let ours = |packet: &Vec<u8>| [[10, 1, 9], [10, 20, 99]].contains(&[packet[16], packet[17], packet[18]]);
    decoy.packets().into_iter().filter(ours).collect()
}

fn everything(namespace: &str) -> String {
    let questions = ["-o link", "route show table all", "rule", "neighbour show proxy"];
    let answers = questions.map(|question| ip(&format!("-n {namespace} {question}")));
    // Addresses and neighbours of the lab's own links come and go by themselves.
    answers.concat().lines().filter(|line| !line.contains("fe80:")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_killed_daemon_leaks_nothing_to_a_decoy_and_the_next_start_recovers() {
    isolated("failing::a_killed_daemon_leaks_nothing_to_a_decoy_and_the_next_start_recovers", || {
        legs_with_decoys();
        let accepted = accept_all(listen("core", "10.20.0.3:7000", 16));
        serve("core", "10.20.0.2:7000", "echo");
        let file = orders("Approved").replace("\"10.20.0.2\"", "\"10.20.0.3\"");
        let daemon = Daemon::start(&file);
        let mut client = connect("spoke", "10.1.0.5:0", "10.1.9.4:7").expect("connected");
        let mut server = accepted.recv().expect("accepted").0;
        let decoys = ["decoy-spoke", "decoy-core"].map(Capture::start);
        daemon.kill();

        // Both ends go on sending; the kernel of each retransmits.
        client.write_all(&[1; 10_000]).expect("into the buffer");
        server.write_all(&[2; 10_000]).expect("into the buffer");
        assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.4:7"), Err(HostUnreachable), "at once");
        assert!(udp("spoke", "10.1.0.5:0", "10.1.9.77:7").is_err(), "the dedicated subnet is closed whole");
        assert_eq!(tcp("core", "10.20.0.2:0", "10.20.99.4:7"), Err(HostUnreachable));
        assert_eq!(tcp("core", "10.20.0.2:0", "10.20.99.5:7"), Err(HostUnreachable));
        std::thread::sleep(std::time::Duration::from_millis(700));
        // The decoys hear: what is no address of ours reaches them.
        assert_eq!(tcp_once("spoke", "10.1.0.5:0", "10.1.8.4:7"), Err(TimedOut));
        assert_eq!(tcp_once("core", "10.20.0.2:0", "10.20.98.4:7"), Err(TimedOut));
        for (decoy, control) in decoys.iter().zip([[10, 1, 8], [10, 20, 98]]) {
            let heard = decoy.packets();
            let to = |packet: &Vec<u8>| [packet[16], packet[17], packet[18]];
            assert!(heard.iter().any(|packet| to(packet) == control), "the decoy is deaf");
            let leaked: Vec<_> =
                heard.iter().filter(|packet| [[10, 1, 9], [10, 20, 99]].contains(&to(packet))).collect();
            assert!(leaked.is_empty(), "{leaked:?}");
        }

        std::fs::write(crate::lab::FILE, orders("Approved")).expect("written");
        let daemon = Daemon::again(&[]);
        assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.4:7").as_deref(), Ok("echo"));
        assert_eq!(udp("spoke", "10.1.0.5:0", "10.1.9.4:7").as_deref(), Ok("echo"));
        daemon.stop();
        assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.4:7"), Err(HostUnreachable), "a good end blocks too");
        assert!(decoys.iter().all(|decoy| leaked(decoy).is_empty()));
    });
}

#[test]
fn a_clean_removes_what_a_killed_daemon_left() {
    isolated("failing::a_clean_removes_what_a_killed_daemon_left", || {
        legs_with_decoys();
        let before = ["spoke", "core"].map(everything);
        let daemon = Daemon::start(&orders("Approved"));
        assert_ne!(["spoke", "core"].map(everything), before);
        daemon.kill();
        assert_ne!(["spoke", "core"].map(everything), before);
        let removed = ask("clean");
        assert!(removed.contains("removed"), "{removed}");
        assert_eq!(["spoke", "core"].map(everything), before);
        let decoy = Capture::start("decoy-spoke");
        assert_eq!(tcp_once("spoke", "10.1.0.5:0", "10.1.9.4:7"), Err(TimedOut));
        assert!(!leaked(&decoy).is_empty(), "the default route has it again: the block is gone");
    });
}

#[test]
fn a_clean_finds_what_is_left_where_the_run_directory_is_gone() {
    isolated("failing::a_clean_finds_what_is_left_where_the_run_directory_is_gone", || {
        two_legs();
        let before = ["spoke", "core"].map(everything);
        // Both families; and both sides in one namespace, which takes rules.
        let both = orders("Approved")
            .replace("netns = \"core\"", "netns = \"spoke\"")
            .replace("[\"10.1.0.0/16\"]", "[\"10.1.0.0/16\", \"fd00:1::/32\"]")
            .replace("prefix = \"10.1.9.0/24\"", "prefixes = [\"10.1.9.0/24\", \"fd00:1:0:9::/64\"]");
        for file in [orders("Approved"), both] {
            Daemon::start(&file).kill();
            assert_ne!(["spoke", "core"].map(everything), before);
            for left in std::fs::read_dir("/run/privlink").expect("readable").flatten() {
                let name = left.file_name().to_string_lossy().into_owned();
                if name.contains("journal") || name.contains("lock") || name.contains("sock") {
                    std::fs::remove_file(left.path()).expect("removed");
                }
            }
            let removed = ask("clean");
            assert!(removed.contains("removed spoke: ip route add unreachable 10.1.9.0/24"), "{removed}");
            assert_eq!(["spoke", "core"].map(everything), before, "{removed}");
            assert_eq!(ask("clean"), "nothing to clean up\n");
        }
        // Where a daemon lives, what it needs is left alone.
        serve("core", "10.20.0.2:7000", "echo");
        let daemon = Daemon::start(&orders("Approved"));
        let running = ["spoke", "core"].map(everything);
        assert_eq!(ask("clean --socket /run/elsewhere/privlink.sock"), "nothing to clean up\n");
        assert_eq!(["spoke", "core"].map(everything), running);
        assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.4:7").as_deref(), Ok("echo"));
        daemon.stop();
    });
}

#[test]
fn a_dedicated_subnet_may_be_the_last_of_its_vnet() {
    isolated("failing::a_dedicated_subnet_may_be_the_last_of_its_vnet", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        join(("spoke", "lan0", "10.1.0.1/16"), ("core", "lan1", ""));
        assert!(ip("-n spoke route show table local").contains("broadcast 10.1.255.255"), "the kernel's own");
        let daemon = Daemon::start(&orders("Approved").replace("10.1.9.", "10.1.255."));
        assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.255.4:7").as_deref(), Ok("echo"));
        daemon.stop();
    });
}

#[test]
fn undo_on_exit_leaves_the_host_as_it_was() {
    isolated("failing::undo_on_exit_leaves_the_host_as_it_was", || {
        two_legs();
        let before = ["spoke", "core"].map(everything);
        let file = two_sides("on_exit = \"undo\"", &endpoint("orders", "spoke", "10.1.9.4", "echo", "Approved"));
        let daemon = Daemon::start(&file);
        assert_ne!(["spoke", "core"].map(everything), before);
        daemon.stop();
        assert_eq!(["spoke", "core"].map(everything), before);
        assert!(!std::path::Path::new("/run/privlink/privlink.sock").exists());
    });
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() {
    isolated("failing::a_second_daemon_is_refused_and_the_first_goes_on", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        let file = orders("Approved");
        let daemon = Daemon::start(&file);
        let before = ["spoke", "core"].map(everything);
        let (code, said) = fails_to_start(&file);
        assert_eq!(said.lines().filter(|line| line.starts_with("privlink:")).count(), 1, "{said}");
        assert_eq!(code, Some(5), "{said}");
        // Another socket and state, the same device: the packets of the first are not stolen.
        let other = file
            .replace("\"/run/privlink/state\"", "\"/run/other/state\"\nsocket = \"/run/other/privlink.sock\"")
            .replace("127.0.0.1:9464", "127.0.0.1:9465");
        let (code, said) = fails_to_start(&other);
        assert_eq!(code, Some(5), "{said}");
        assert!(said.contains("pl-spoke"), "{said}");
        assert_eq!(["spoke", "core"].map(everything), before);
        for _ in 0..20 {
            assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.4:7").as_deref(), Ok("echo"));
        }
        drop(daemon);
        assert!(!read_log().contains("ERROR"), "{}", read_log());
    });
}

/// `file` for a daemon of its own in the same namespaces: other state, socket, metrics and devices.
fn of_a_second(file: &str) -> String {
    let state = "\"/run/other/state\"\nsocket = \"/run/other/privlink.sock\"";
    let file = file.replace("\"/run/privlink/state\"", state).replace("127.0.0.1:9464", "127.0.0.1:9465");
    ["spoke", "core"].iter().fold(file, |file, side| {
        let netns = format!("netns = \"{side}\"\n");
        file.replace(&netns, &format!("{netns}device = \"other-{side}\"\n"))
    })
}

#[test]
fn a_daemon_that_wants_what_another_routes_is_refused_with_who_holds_it() {
    isolated("failing::a_daemon_that_wants_what_another_routes_is_refused_with_who_holds_it", || {
        const OTHER: &str = "/run/other/lab.toml";
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        let daemon = Daemon::start(&orders("Approved"));
        let before = ["spoke", "core"].map(everything);
        let holder = format!("pid {} (`{} run -c {}`)", daemon.pid(), env!("CARGO_BIN_EXE_privlink"), crate::lab::FILE);
        let same = of_a_second(&orders("Approved"));
        // An address inside the first one's subnet, and a subnet around the first one's address.
        let inside = same
            .replace("prefix = \"10.1.9.0/24\", dedicated = true", "prefix = \"10.1.0.0/20\"")
            .replace("\"10.20.99.4\", \"10.20.99.5\"", "\"10.20.99.8\"");
        for (what, file, route) in [
            ("the same", &same, "routes 10.1.9.0/24 to pl-spoke"),
            ("an address inside", &inside, "routes 10.1.9.0/24 to pl-spoke"),
            ("NAT addresses", &same.replace("10.1.9.", "10.1.8."), "routes 10.20.99.4/32 to pl-core"),
        ] {
            let (code, said) = fails_to_start(file);
            assert_eq!(code, Some(5), "{what}: {said}");
            let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("privlink:")).collect();
            assert!(lines.len() == 1 && lines[0].contains(route) && lines[0].contains(&holder), "{what}: {said}");
            assert_eq!(["spoke", "core"].map(everything), before, "{what}");
            assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.4:7").as_deref(), Ok("echo"), "{what}");
        }

        // Networks of its own do no harm, as long as they stay so.
        let apart = same.replace("10.1.9.", "10.1.8.").replace("10.20.99.4", "10.20.99.8").replace("99.5", "99.9");
        std::fs::create_dir_all("/run/other").expect("made");
        std::fs::write(OTHER, apart).expect("written");
        let mut second = Daemon::launch(&[env!("CARGO_BIN_EXE_privlink"), "run", "-c", OTHER]);
        eventually("the second is ready", || {
            assert!(second.runs(), "{}", read_log());
            cli("--socket /run/other/privlink.sock status").status.success()
        });
        let before = ["spoke", "core"].map(everything);
        let both = crate::lab::echo_service("taken", "10.20.0.3", "\"10.20.99.5\"").replace("7,", "9,");
        std::fs::write("/run/other/more.toml", both).expect("written");
        let refused = cli("--socket /run/other/privlink.sock apply -f /run/other/more.toml");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            !refused.status.success() && said.contains("10.20.99.5/32 to pl-core") && said.contains(&holder),
            "{said}"
        );
        assert_eq!(["spoke", "core"].map(everything), before);
        for to in ["10.1.9.4:7", "10.1.8.4:7"] {
            assert_eq!(tcp("spoke", "10.1.0.5:0", to).as_deref(), Ok("echo"), "{to}");
        }
        second.stop();
        assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.4:7").as_deref(), Ok("echo"), "the first goes on");

        // What a killed daemon left is nobody's, of both families.
        daemon.stop();
        let both = orders("Approved")
            .replace("[\"10.1.0.0/16\"]", "[\"10.1.0.0/16\", \"fd00:1::/32\"]")
            .replace("prefix = \"10.1.9.0/24\"", "prefixes = [\"10.1.9.0/24\", \"fd00:1:0:9::/64\"]");
        Daemon::start(&both).kill();
        assert!(everything("spoke").contains("unreachable fd00:1:0:9::/64 dev lo"), "{}", everything("spoke"));
        Daemon::start(&both).stop();
    });
}

#[test]
fn a_start_that_cannot_be_says_why_in_one_line_and_leaves_nothing() {
    isolated("failing::a_start_that_cannot_be_says_why_in_one_line_and_leaves_nothing", || {
        two_legs();
        let file = orders("Approved");
        let refuse = |what: &str, exit: i32, file: &str, words: &[&str]| {
            let before = ["spoke", "core"].map(everything);
            let (code, said) = fails_to_start(file);
            assert_eq!(code, Some(exit), "{what}: {said}");
            assert!(!said.contains("closed cleanly"), "{what}: {said}");
            let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("privlink:")).collect();
            assert_eq!(lines.len(), 1, "{what}: {said}");
            assert!(words.iter().all(|word| lines[0].contains(word)), "{what}: {said}");
            assert_eq!(["spoke", "core"].map(everything), before, "{what}");
        };
        refuse(
            "a missing namespace",
            1,
            &file.replace("netns = \"core\"", "netns = \"nowhere\""),
            &["nowhere", "ip netns add"],
        );
        ip("-n core tuntap add dev pl-core mode tun");
        refuse("a device that exists", 5, &file, &["pl-core"]);
        ip("-n core link del pl-core");
        ip("-n spoke address add 10.1.9.4/32 dev lo");
        refuse("an address in use", 5, &file, &["10.1.9.4", "in use"]);
        ip("-n spoke address del 10.1.9.4/32 dev lo");
        let listener = std::net::TcpListener::bind("127.0.0.1:9464").expect("bound");
        refuse("a metrics port in use", 5, &file, &["127.0.0.1:9464"]);
        drop(listener);
        let wide = file
            .replace("[\"10.1.0.0/16\"]", "[\"10.1.0.0/16\", \"fd00:1::/32\"]")
            .replace("prefix = \"10.1.9.0/24\"", "prefixes = [\"10.1.9.0/24\", \"fd00:1:0:9::/64\"]");
        sysctl("spoke", "ipv6/conf/all/disable_ipv6", "1");
        refuse("IPv6 is switched off", 1, &wide, &["IPv6 is switched off", "net.ipv6.conf.all.disable_ipv6"]);
        sysctl("spoke", "ipv6/conf/all/disable_ipv6", "0");
        std::fs::create_dir_all("/run/small").expect("made");
        run("mount", "-t tmpfs -o size=16k tmpfs /run/small");
        std::fs::write("/run/small/full", vec![1; 12 << 10]).expect("filled");
        let room = ["no room is left for /run/small", "free space"];
        refuse(
            "no room in the run directory",
            1,
            &file.replace("[daemon]", "[daemon]\nsocket = \"/run/small/d/s\""),
            &room,
        );
        let room = ["no room left for the state in /run/small/", "free space"];
        refuse("no room for the state", 1, &file.replace("/run/privlink/state", "/run/small/state"), &room);
        // The state that there is, on a disk that is full since.
        run("mount", "-t tmpfs -o size=400k tmpfs /run/small");
        let moved = file.replace("/run/privlink/state", "/run/small/state");
        Daemon::start(&moved).stop();
        while std::fs::File::options()
            .append(true)
            .create(true)
            .open("/run/small/full")
            .and_then(|mut full| full.write_all(&[1; 512]))
            .is_ok()
        {}
        refuse("no room for the state that there is", 1, &moved, &room);
        drop(Daemon::start(&file));
    });
}
