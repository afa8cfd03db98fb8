//! Namespaces of a test's own, and what is built in them.

use std::fs;
use std::process::Command;

use privlink::host::netns::Namespace;

use super::{networks, wanted};

/// Set where a test runs itself again.
const INSIDE: &str = "PRIVLINK_TEST_INSIDE";

/// Where a test runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Namespaces of its own; a user namespace too where the caller is not root.
    Own,
    /// A user namespace whoever calls: the kernel refuses BPF there.
    User,
}

/// Runs `body` inside namespaces of its own: the test named `name` is started again there.
pub(crate) fn isolated(name: &str, body: impl FnOnce()) {
    isolated_in(Place::Own, name, body);
}

/// [`isolated`], with a choice of place.
pub(crate) fn isolated_in(place: Place, name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        run("mount", "-t tmpfs tmpfs /run");
        fs::create_dir_all("/run/netns").expect("made");
        fs::create_dir_all("/run/privlink").expect("made");
        ip("link set lo up");
        return body();
    }
    if !wanted::netns() {
        return;
    }
    let as_user = place == Place::User || !rustix::process::geteuid().is_root();
    let user: &[&str] = if as_user { &["--user", "--map-root-user"] } else { &[] };
    let output = Command::new("unshare")
        .args(user)
        .args(["--net", "--mount", "--kill-child", "--fork"])
        .arg(std::env::current_exe().expect("this test"))
        .args(["--exact", name, "--nocapture", "--test-threads=1", "--include-ignored"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare (package util-linux)");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} inside its namespaces:\n{out}\n{err}");
    assert!(out.contains("1 passed"), "{name} did not run:\n{out}\n{err}");
    print!("{out}");
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

/// What `work` returns on a thread inside the namespace; sockets made there stay there.
pub(crate) fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    Namespace::open(Some(namespace)).expect("the namespace").run(|| Ok(work())).expect("entered")
}

/// Builds networks as [`networks`] says.
pub(crate) fn build(text: &str) {
    networks::build(text).unwrap_or_else(|error| panic!("{error}"));
}

/// A namespace whose hosts are addresses of its loopback.
pub(crate) fn leg(name: &str, addresses: &[&str]) {
    build(&format!("host {name}\naddress {name} {}", addresses.join(" ")));
}

/// Two namespaces joined by a veth pair: `(namespace, interface, address with prefix or nothing)` at each end.
pub(crate) fn join((ns1, if1, ip1): (&str, &str, &str), (ns2, if2, ip2): (&str, &str, &str)) {
    let [ip1, ip2] = [ip1, ip2].map(|address| if address.is_empty() { "-" } else { address });
    build(&format!("link {ns1} {if1} {ip1} {ns2} {if2} {ip2}"));
}

/// Sets `net/…` of a namespace, such as `ipv4/ip_forward`.
pub(crate) fn sysctl(namespace: &str, key: &str, value: &str) {
    build(&format!("set {namespace} net/{key}={value}"));
}
