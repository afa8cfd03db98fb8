//! The daemon in namespaces, and what is asked of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::waiting::{WAIT_TIMEOUT, eventually, eventually_or, now};

/// The configuration file of the daemon under test.
pub(crate) const FILE: &str = "/run/privlink/lab.toml";
pub(crate) const LOG: &str = "/run/privlink/log";
pub(crate) const METRICS: &str = "127.0.0.1:9464";

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
    while status.is_none() && began.elapsed() < WAIT_TIMEOUT {
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
    drops_within(WAIT_TIMEOUT, reason, count, action)
        .unwrap_or_else(|grown| panic!("{reason} should have grown by {count} alone, but: {grown:?}"))
}

/// What `action` returns if exactly `count` packets more were dropped, all of them for `reason`; else what was. For an
/// action that is repeated: a packet that a full queue loses is given up soon.
pub(crate) fn drops_grow<T>(reason: &str, count: u64, action: impl FnOnce() -> T) -> Result<T, BTreeMap<String, u64>> {
    drops_within(WAIT_TIMEOUT / 24, reason, count, action)
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
