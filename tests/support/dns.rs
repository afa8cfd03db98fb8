//! Names: servers that answer for the public side, and clients of every kind that ask.

use std::fs;
use std::process::{Command, Output, Stdio};

use super::namespaces::inside;
use super::peers::Program;

/// Where the resolver of `spoke` listens.
pub(crate) const RESOLVER: &str = "10.1.255.254";

/// A dnsmasq at an address of a namespace, that knows what `options` say and nothing else.
pub(crate) fn dnsmasq(namespace: &str, at: &str, options: &[&str]) -> Program {
    let usual =
        "--keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root --pid-file= --bind-interfaces";
    let start = || {
        let mut command = Command::new("dnsmasq");
        command.args(usual.split(' ')).arg(format!("--listen-address={at}")).args(options);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    };
    Program(inside(namespace, start).expect("dnsmasq starts"))
}

/// What the public internet says, at an address of a namespace: names of private zones lead to public addresses.
pub(crate) fn public_server(namespace: &str, at: &str) -> Program {
    let options = [
        "--local=/windows.net/",
        "--host-record=account.privatelink.blob.core.windows.net,203.0.113.9",
        "--cname=account.blob.core.windows.net,account.privatelink.blob.core.windows.net",
        "--host-record=orders.privatelink.database.windows.net,203.0.113.10",
        "--cname=orders.database.windows.net,orders.privatelink.database.windows.net",
    ];
    dnsmasq(namespace, at, &options)
}

/// What `dig` says in a namespace.
pub(crate) fn dig(namespace: &str, arguments: &str) -> String {
    let line = format!("netns exec {namespace} dig +time=3 +tries=1 {arguments}");
    let output = Command::new("ip").args(line.split_whitespace()).output().expect("dig");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The answers to `name`, in short, from the resolver of `spoke`.
pub(crate) fn short(name: &str, kind: &str) -> Vec<String> {
    dig("spoke", &format!("@{RESOLVER} +short {name} {kind}")).lines().map(str::to_owned).collect()
}

/// A program in a namespace on a host whose resolv.conf names `resolver`.
pub(crate) fn client(namespace: &str, resolver: &str, line: &str) -> Output {
    let file = format!("/run/resolv.{namespace}.conf");
    fs::write(&file, format!("nameserver {resolver}\noptions timeout:2 attempts:2\n")).expect("written");
    let script = format!("mount --bind {file} /etc/resolv.conf && exec {line}");
    Command::new("ip")
        .args(["netns", "exec", namespace, "unshare", "--mount", "sh", "-c", &script])
        .output()
        .expect("ip")
}

/// The addresses that glibc's resolver finds.
pub(crate) fn answers(namespace: &str, resolver: &str, name: &str) -> Vec<String> {
    let output = client(namespace, resolver, &format!("getent ahosts {name}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut found: Vec<String> = text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    found.sort();
    found.dedup();
    found
}
