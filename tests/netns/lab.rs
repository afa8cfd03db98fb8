//! Namespaces of a test's own, the daemon in them, and what is asked of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use privlink::host::netns::Namespace;
use serde_json::Value;

const INSIDE: &str = "PRIVLINK_TEST_INSIDE";

/// The configuration file of the daemon under test.
pub(crate) const FILE: &str = "/run/privlink/lab.toml";
pub(crate) const LOG: &str = "/run/privlink/log";
const METRICS: &str = "127.0.0.1:9464";

/// How long anything may take that is not timed. It ends as soon as it comes, and a loaded machine is no failure.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

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
    if std::env::var("PRIVLINK_TESTS").is_ok_and(|wish| wish == "no-netns") {
        println!("skipped {name}: PRIVLINK_TESTS=no-netns");
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

/// A namespace whose hosts are addresses of its loopback.
pub(crate) fn leg(name: &str, addresses: &[&str]) {
    ip(&format!("netns add {name}"));
    ip(&format!("-n {name} link set lo up"));
    for address in addresses {
        ip(&format!("-n {name} address add {address}/32 dev lo"));
    }
}

/// Two namespaces joined by a veth pair: `(namespace, interface, address with prefix)` at each end.
pub(crate) fn join(one: (&str, &str, &str), other: (&str, &str, &str)) {
    let ((ns1, if1, ip1), (ns2, if2, ip2)) = (one, other);
    ip(&format!("-n {ns1} link add {if1} type veth peer name {if2} netns {ns2}"));
    for (ns, interface, address) in [(ns1, if1, ip1), (ns2, if2, ip2)] {
        if !address.is_empty() {
            ip(&format!("-n {ns} address add {address} dev {interface}"));
        }
        ip(&format!("-n {ns} link set {interface} up"));
    }
}

/// Sets `net/…` of a namespace, such as `ipv4/ip_forward`.
pub(crate) fn sysctl(namespace: &str, key: &str, value: &str) {
    inside(namespace, || fs::write(format!("/proc/sys/net/{key}"), value)).expect(key);
}

/// `[daemon]` with two workers, and whatever `extra` says.
pub(crate) fn daemon_table(extra: &str) -> String {
    let workers = if extra.contains("workers") { "" } else { "workers = 2\n" };
    format!("[daemon]\nstate = \"/run/privlink/state\"\nmetrics = \"{METRICS}\"\n{workers}{extra}\n")
}

/// An attachment in the namespace that is called like its VNet.
pub(crate) fn attachment(vnet: &str) -> String {
    format!("[[attachment]]\nvnet = \"{vnet}\"\nnetns = \"{vnet}\"\n")
}

/// The VNet 10.1.0.0/16 with a dedicated subnet for endpoints.
pub(crate) fn consumer_vnet(name: &str, extra: &str) -> String {
    format!(
        "[[vnet]]\nname = \"{name}\"\naddress_space = [\"10.1.0.0/16\"]\n\
         subnets = [{{ name = \"endpoints\", prefix = \"10.1.9.0/24\", dedicated = true }}]\n{extra}\n"
    )
}

/// The VNet 10.20.0.0/16 with a subnet for NAT addresses.
pub(crate) const CORE: &str = "[[vnet]]\nname = \"core\"\naddress_space = [\"10.20.0.0/16\"]\n\
     subnets = [{ name = \"nat\", prefix = \"10.20.99.0/24\", nat = true }]\n";

/// A service that echoes on port 7 (7000 at the backend), TCP and UDP, and answers pings.
pub(crate) fn echo_service(name: &str, backend: &str, nat: &str) -> String {
    format!(
        "[[resource]]\nname = \"{name}\"\nvnet = \"core\"\nnat = [{nat}]\n\
         targets = [{{ backends = [\"{backend}\"], ports = [{{ protocol = \"tcp\", port = 7, backend_port = 7000 }}, \
         {{ protocol = \"udp\", port = 7, backend_port = 7000 }}, {{ protocol = \"icmp\" }}] }}]\n"
    )
}

/// An endpoint of `resource`; `status` is the owner's first decision.
pub(crate) fn endpoint(name: &str, vnet: &str, ip: &str, resource: &str, status: &str) -> String {
    format!(
        "[[endpoint]]\nname = \"{name}\"\nvnet = \"{vnet}\"\nsubnet = \"endpoints\"\nip = \"{ip}\"\n\
         resource = \"{resource}\"\nmanual = true\nstatus = \"{status}\"\n"
    )
}

/// `spoke` and `core`: the service `echo` at 10.20.0.2, and `endpoints` after it.
pub(crate) fn two_sides(daemon: &str, endpoints: &str) -> String {
    [
        daemon_table(daemon),
        attachment("spoke"),
        attachment("core"),
        consumer_vnet("spoke", ""),
        CORE.to_owned(),
        echo_service("echo", "10.20.0.2", "\"10.20.99.4\", \"10.20.99.5\""),
        endpoints.to_owned(),
    ]
    .concat()
}

/// [`two_sides`] with the endpoint `orders` at 10.1.9.4, decided as `status` says.
pub(crate) fn orders(status: &str) -> String {
    two_sides("", &endpoint("orders", "spoke", "10.1.9.4", "echo", status))
}

/// The namespaces of [`two_sides`]; 172.16.0.9 is a host that is no part of the VNet.
pub(crate) fn two_legs() {
    leg("spoke", &["10.1.0.5", "10.1.0.6", "172.16.0.9"]);
    leg("core", &["10.20.0.2", "10.20.0.3"]);
}

/// The daemon under test. Killed when it goes out of scope.
pub(crate) struct Daemon(Child);

impl Daemon {
    /// Writes `file` and starts the daemon on it; returns when it is ready.
    pub(crate) fn start(file: &str) -> Self {
        fs::write(FILE, file).expect("written");
        Self::again(&[])
    }

    /// Starts it on the file that is there.
    pub(crate) fn again(arguments: &[&str]) -> Self {
        let mut daemon = Self::launch(&[&[env!("CARGO_BIN_EXE_privlink"), "run", "-c", FILE], arguments].concat());
        assert!(daemon.is_ready(), "the daemon ended:\n{}", read_log());
        daemon
    }

    /// Starts it on the file that is there, and does not wait for it.
    pub(crate) fn begin() -> Self {
        Self::launch(&[env!("CARGO_BIN_EXE_privlink"), "run", "-c", FILE])
    }

    pub(crate) fn runs(&mut self) -> bool {
        !self.has_ended()
    }

    /// Starts a command line that ends in the daemon's, and waits for nothing.
    pub(crate) fn launch(line: &[&str]) -> Self {
        let log = File::options().append(true).create(true).open(LOG).expect("log");
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().unwrap_or_else(|error| panic!("{}: {error}", line[0])))
    }

    /// Starts it on `file` with another standard error and more in its environment; returns when it is ready.
    pub(crate) fn start_with(file: &str, stderr: impl Into<Stdio>, environment: &[(&str, &str)]) -> Self {
        fs::write(FILE, file).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_privlink"));
        command.args(["run", "-c", FILE]).envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let mut daemon = Self(command.spawn().expect("the daemon"));
        assert!(daemon.is_ready(), "the daemon ended:\n{}", read_log());
        daemon
    }

    /// Waits until it answers, or has ended.
    pub(crate) fn is_ready(&mut self) -> bool {
        let mut ended = false;
        eventually("the daemon is ready", || {
            ended = self.has_ended();
            ended || cli("status").status.success()
        });
        !ended
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("asked").is_some()
    }

    /// SIGTERM, unless it has ended already; how it ended.
    pub(crate) fn end(mut self) -> ExitStatus {
        if !self.has_ended() {
            self.signal(rustix::process::Signal::TERM);
        }
        self.0.wait().expect("ended")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).expect("signalled");
    }

    /// Replaces the file and has it read anew: the verdict, which is `configuration applied` or `configuration refused,
    /// nothing changed`, and what there is to say. It has to hold `outcome`.
    #[allow(clippy::unused_self, reason = "a daemon has to run")]
    pub(crate) fn reload(&self, file: &str, outcome: &str) -> String {
        fs::write(FILE, file).expect("written");
        let done = cli("reload");
        let verdict =
            if done.status.success() { "configuration applied" } else { "configuration refused, nothing changed" };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = format!("{verdict}\n{}{}", text(&done.stdout), text(&done.stderr));
        assert!(said.contains(outcome), "the reload says {outcome:?}: {said}");
        said
    }

    /// [`Self::reload`] of a file that is applied.
    pub(crate) fn apply(&self, file: &str) -> String {
        self.reload(file, "unchanged")
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("dead");
    }

    /// SIGTERM; it has to end well.
    pub(crate) fn stop(self) {
        assert!(self.end().success(), "{}", read_log());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
        if std::thread::panicking() {
            eprintln!("--- the daemon's log\n{}", read_log());
        }
    }
}

/// Everything the daemons of this test have written.
pub(crate) fn read_log() -> String {
    fs::read_to_string(LOG).unwrap_or_default()
}

/// A start that has to fail: its exit code and what it says.
pub(crate) fn fails_to_start(file: &str) -> (Option<i32>, String) {
    const OTHER: &str = "/run/privlink/other.toml";
    fs::write(OTHER, file).expect("written");
    let mut child = Command::new(env!("CARGO_BIN_EXE_privlink"))
        .args(["run", "-c", OTHER])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut status = None;
    let began = now();
    while status.is_none() && began.elapsed() < PATIENCE {
        status = child.try_wait().expect("asked");
        std::thread::sleep(Duration::from_millis(10));
    }
    // The pipe ends with the child.
    let _ = child.kill();
    let output = child.wait_with_output().expect("ended");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (status.unwrap_or_else(|| panic!("it runs:\n{said}")).code(), said)
}

/// A command to the daemon.
pub(crate) fn cli(arguments: &str) -> Output {
    let arguments = arguments.split_whitespace();
    Command::new(env!("CARGO_BIN_EXE_privlink")).args(arguments).output().expect("the command line")
}

/// The text of a command that has to succeed.
pub(crate) fn ask(arguments: &str) -> String {
    let output = cli(arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments}: {}\n{}", text(&output.stderr), read_log());
    text(&output.stdout)
}

/// The first item of a command's JSON.
pub(crate) fn json(arguments: &str) -> Value {
    let list: Value = serde_json::from_str(&ask(&format!("{arguments} --json"))).expect("JSON");
    list["items"][0].clone()
}

/// What Azure's paths answer over the control socket: the status and the JSON.
pub(crate) fn rest(method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect("/run/privlink/privlink.sock").expect("the socket");
    let head = format!("{method} {path}?api-version=2025-05-01 HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n");
    write!(stream, "{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

/// State of an endpoint's connection.
pub(crate) fn state_of(endpoint: &str) -> String {
    json(&format!("connection show {endpoint}"))["state"].as_str().expect("a state").to_owned()
}

/// Live sessions, all endpoints together.
pub(crate) fn sessions() -> u64 {
    metrics().iter().filter(|(name, _)| name.starts_with("privlink_sessions{")).map(|(_, value)| value).sum()
}

/// The samples of one scrape, by their name with labels.
pub(crate) fn metrics() -> BTreeMap<String, u64> {
    let mut stream = TcpStream::connect(METRICS).expect("the metrics listener");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n").expect("asked");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("answered");
    let samples = text.lines().filter(|line| line.starts_with("privlink_"));
    samples
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.to_owned(), value.parse().expect(name)))
        .collect()
}

/// The sum over workers of a verdict.
pub(crate) fn verdict(metrics: &BTreeMap<String, u64>, verdict: &str) -> u64 {
    let wanted = format!("verdict=\"{verdict}\"");
    let mine = metrics.iter().filter(|(name, _)| name.starts_with("privlink_packets_total") && name.contains(&wanted));
    mine.map(|(_, value)| value).sum()
}

/// Drops so far by reason, over all workers; reasons that never occurred are left out.
pub(crate) fn drops() -> BTreeMap<String, u64> {
    let mut drops = BTreeMap::new();
    for (name, value) in metrics() {
        let Some(labels) = name.strip_prefix("privlink_drops_total{").filter(|_| value > 0) else { continue };
        let reason =
            labels.split('"').find(|part| !part.contains('=') && part.parse::<u64>().is_err() && part.len() > 2);
        *drops.entry(reason.expect("a reason").to_owned()).or_default() += value;
    }
    drops
}

/// Runs `action`, and asserts that exactly `count` packets more were dropped, all of them for `reason`.
pub(crate) fn drops_exactly<T>(reason: &str, count: u64, action: impl FnOnce() -> T) -> T {
    drops_within(PATIENCE, reason, count, action)
        .unwrap_or_else(|grown| panic!("{reason} should have grown by {count} alone, but: {grown:?}"))
}

/// What `action` returns if exactly `count` packets more were dropped, all of them for `reason`; else what was. For an
/// action that is repeated: a packet that a full queue loses is given up soon.
pub(crate) fn drops_grow<T>(reason: &str, count: u64, action: impl FnOnce() -> T) -> Result<T, BTreeMap<String, u64>> {
    drops_within(PATIENCE / 24, reason, count, action)
}

fn drops_within<T>(
    limit: Duration,
    reason: &str,
    count: u64,
    action: impl FnOnce() -> T,
) -> Result<T, BTreeMap<String, u64>> {
    let before = drops();
    let result = action();
    let mut grown = BTreeMap::new();
    eventually_or(
        || {
            grown = drops();
            for (reason, value) in &before {
                if let Some(now) = grown.get_mut(reason) {
                    *now -= value;
                }
            }
            grown.retain(|_, value| *value > 0);
            // Counters never shrink: what is too much already stays so.
            grown.values().sum::<u64>() >= count
        },
        limit,
    )
    .map_err(|()| grown.clone())?;
    if grown == BTreeMap::from([(reason.to_owned(), count)]) { Ok(result) } else { Err(grown) }
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, condition: impl FnMut() -> bool) {
    eventually_or(condition, PATIENCE).unwrap_or_else(|()| panic!("waited in vain: {what}"));
}

fn eventually_or(mut condition: impl FnMut() -> bool, limit: Duration) -> Result<(), ()> {
    let began = now();
    while !condition() {
        if began.elapsed() > limit {
            return Err(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "a test against a real kernel waits in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
