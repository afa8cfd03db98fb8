//! The command line against a daemon that it reaches over HTTPS only.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use crate::lab::{Daemon, ask, cli, endpoint, isolated, json, two_legs, two_sides};

/// A command of somebody whose home is in the lab.
fn at_home(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_privlink"))
        .args(arguments)
        .env("XDG_CONFIG_HOME", "/run/privlink/home")
        .output()
        .expect("the command line")
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_login_keeps_who_vouches_for_the_daemon_and_every_command_works_from_afar() {
    isolated("remote::a_login_keeps_who_vouches_for_the_daemon_and_every_command_works_from_afar", || {
        two_legs();
        let file = two_sides("api = \"127.0.0.1:8480\"", &endpoint("orders", "spoke", "10.1.9.4", "echo", "Approved"));
        let _daemon = Daemon::start(&file);
        ask("token create far --out /run/privlink/far.token");
        ask("assignment create --principal token:far --role Owner --scope /");
        let fingerprint = json("ca show")["fingerprint"].as_str().expect("a fingerprint").to_owned();
        let url = "https://127.0.0.1:8480";
        let login = |url: &str, fingerprint: &str, token: &str| {
            at_home(&["login", url, "--ca-fingerprint", fingerprint, "--token-file", token, "--name", "lab"])
        };
        fs::write("/run/privlink/bad.token", "privlink_nobody").expect("written");
        let other = format!("sha256:{}", "ab".repeat(32));
        for (url, fingerprint, token, code, words) in [
            (url, other.as_str(), "/run/privlink/far.token", 7, "does not prove to be whom the fingerprint names"),
            (url, "sha256:12", "/run/privlink/far.token", 2, "64 hexadecimal digits"),
            (url, &fingerprint, "/run/privlink/bad.token", 6, "token"),
            (url, &fingerprint, "/run/privlink/none.token", 6, "cannot be read"),
            ("http://127.0.0.1:8480", &fingerprint, "/run/privlink/far.token", 2, "no https URL"),
            ("https://127.0.0.1:9464", &fingerprint, "/run/privlink/far.token", 7, "does not prove"),
        ] {
            let refused = login(url, fingerprint, token);
            assert_eq!(refused.status.code(), Some(code), "{url} {fingerprint} {token}: {}", said(&refused));
            assert!(said(&refused).contains(words), "{words}: {}", said(&refused));
            assert!(!fs::exists("/run/privlink/home/privlink/contexts.toml").expect("asked"), "nothing is kept");
        }
        let done = login(url, &fingerprint, "/run/privlink/far.token");
        assert!(done.status.success(), "{}", said(&done));
        let kept = fs::metadata("/run/privlink/home/privlink/contexts.toml").expect("kept");
        assert_eq!(kept.permissions().mode() & 0o777, 0o600);
        assert!(said(&at_home(&["context", "list"])).contains(url));

        let far = |arguments: &[&str]| at_home(&[&["--context", "lab", "--socket", "/nowhere"], arguments].concat());
        assert!(said(&far(&["endpoint", "list"])).contains("orders"));
        let rejected = far(&["connection", "reject", "orders", "--reason", "from afar"]);
        assert!(rejected.status.success(), "{}", said(&rejected));
        assert_eq!(json("connection show orders")["state"], "Rejected");
        // Its holder tells its id to whoever is to assign something to it without knowing its name.
        let me = said(&far(&["whoami"]));
        let by_id = me.lines().find(|line| line.starts_with("token-id:")).expect("its id");
        assert!(me.starts_with("token:far\n"), "{me}");
        ask(&format!("assignment create --principal {by_id} --role Reader --scope /subscriptions/default"));
        assert!(said(&far(&["assignment", "list"])).contains(by_id));
        let why = far(&["access", "why", by_id, "Microsoft.Network/virtualNetworks/read", "/subscriptions/default"]);
        assert!(why.status.success(), "{}", said(&why));
        // What it was told once counts: a daemon with another authority is somebody else.
        ask("token revoke far");
        assert_eq!(far(&["endpoint", "list"]).status.code(), Some(6));
        let unknown = at_home(&["--context", "nobody", "status"]);
        assert!(unknown.status.code() == Some(2) && said(&unknown).contains("known ones: lab"), "{}", said(&unknown));
        assert!(at_home(&["logout", "lab"]).status.success());
        assert_eq!(far(&["endpoint", "list"]).status.code(), Some(2));
        assert!(cli("status").status.success(), "the socket is as it was");
    });
}
