//! What README and the guide tell a reader to type does what they say: their `sh` blocks are run as they stand. The comment
//! `<!-- in NAME -->` before a block says that it is for another host, here the namespace of that name.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::lab::{ip, isolated, leg, run};
use crate::peers::serve;

/// The `sh` blocks of a page's section, each on the host that it is for, as one script.
fn script(page: &str, section: &str) -> String {
    let (_, section) = page.split_once(&format!("\n## {section}\n")).expect(section);
    let section = section.split("\n## ").next().expect("its text");
    let (mut script, mut host, mut block) = (String::from("set -euo pipefail -m\n"), None, None);
    for line in section.lines() {
        let text = line.trim_start();
        match &mut block {
            None if text.starts_with("<!-- in ") => host = text.split(' ').nth(2),
            None if text == "```sh" => block = Some((line.len() - text.len(), String::new())),
            Some((_, commands)) if text == "```" => {
                let commands = match host.take() {
                    Some(host) => format!("ip netns exec {host} bash -euo pipefail <<'HOST'\n{commands}HOST\n"),
                    None => std::mem::take(commands),
                };
                script.push_str(&commands);
                block = None;
            }
            Some((indent, commands)) => {
                commands.push_str(line.get(*indent..).unwrap_or_default());
                commands.push('\n');
            }
            None => {}
        }
    }
    assert!(script.lines().count() > 10, "{script}");
    script
}

/// What a script says that has to succeed, with the program in its path; nothing of this machine's `/var/lib` is touched.
fn typed(script: &str) -> String {
    run("mount", "-t tmpfs tmpfs /var/lib");
    let binaries = Path::new(env!("CARGO_BIN_EXE_privlink")).parent().expect("a directory");
    let path = format!("{}:{}:/usr/sbin:/sbin", binaries.display(), std::env::var("PATH").expect("a path"));
    let output = Command::new("timeout")
        .args(["--kill-after=10", "300", "bash", "-c", script])
        .current_dir("/run")
        .env("PATH", path)
        .output()
        .expect("bash");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{script}\n{said}");
    said
}

/// A client in the namespace `from` of the endpoint `at`, which says what it is told; then the daemon is stopped.
fn knock(from: &str, at: &str) -> String {
    let client = format!("exec 3<>/dev/tcp/{at}/5432; echo >&3; read -r -t 10 -u 3 line || true; echo \"told: $line\"");
    format!("ip netns exec {from} bash -c '{client}'\nkill %1\nwait\n")
}

#[test]
fn the_start_of_the_readme_does_what_it_says() {
    isolated("guide::the_start_of_the_readme_does_what_it_says", || {
        if !has_users() {
            println!("skipped the start of README: it asks for root, and PostgreSQL for a user of its own");
            return;
        }
        let script = script(include_str!("../../README.md"), "Ten minutes");
        let said = typed(&script.replace("/tmp/orders", "/run/orders"));
        for text in [
            "refused: the connection is Pending",
            "orders: Pending → Approved",
            "\n 10.1.99.4\n",
            "passes: admitted by default/orders, to 10.1.0.2:5432",
            "orders: Approved → Rejected",
            "refused: the connection is Rejected",
            "not_approved_rejected",
            "removed spoke: ip route add unreachable 10.1.9.0/24",
        ] {
            assert!(said.contains(text), "{text}: {said}");
        }
        assert!(!Path::new("/run/orders").exists() && ip("netns list").is_empty(), "it cleans up");
    });
}

/// Whether there are other users here than root: a user namespace of a caller who is not root has none.
fn has_users() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").expect("a map");
    map.split_whitespace().nth(2).is_some_and(|count| count != "1")
}

#[test]
fn the_guide_connects_two_networks() {
    isolated("guide::the_guide_connects_two_networks", || {
        for (name, interface, address) in [("theirs", "eth1", "10.1.0.5/16"), ("ours", "eth2", "10.20.0.2/16")] {
            leg(name, &[]);
            ip(&format!("link add {interface} type veth peer name eth0 netns {name}"));
            ip(&format!("-n {name} address add {address} dev eth0"));
            ip(&format!("-n {name} link set eth0 up"));
        }
        serve("ours", "10.20.0.2:5432", "postgresql");
        let script = script(include_str!("../../docs/guide.md"), "Connect two real networks");
        let said = typed(&(script + &knock("theirs", "10.1.9.5")));
        for text in ["orders.toml: ok", "nightly reports", "reporting: Pending → Approved", "told: postgresql"] {
            assert!(said.contains(text), "{text}: {said}");
        }
    });
}

#[test]
fn the_guide_gives_each_author_a_half() {
    isolated("guide::the_guide_gives_each_author_a_half", || {
        leg("spoke", &["10.1.0.5"]);
        leg("core", &["10.20.0.2"]);
        serve("core", "10.20.0.2:5432", "postgresql");
        let script = script(include_str!("../../docs/guide.md"), "Two halves, two authors");
        let said = typed(&(script + &knock("spoke", "10.1.9.4")));
        for text in ["ticket 4711", "orders: Pending → Approved", "told: postgresql"] {
            assert!(said.contains(text), "{text}: {said}");
        }
    });
}
