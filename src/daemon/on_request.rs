//! `on_request`: runs a program for each new request. A run has a time limit, and no command ever waits for it.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::control::codec::Record;
use crate::model::text::visible;
use crate::observe::hooks::HookCounts;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// How long one run may take. Then it is killed with all its children.
const LIMIT: Duration = Duration::from_secs(30);

/// The most runs at once, so that one that hangs does not block others.
const RUNNERS: usize = 4;

/// The most requests that wait for a run. Further ones are dropped.
const QUEUE: usize = 1_000;

/// Runs a program for requests.
#[derive(Debug)]
pub(super) struct Hook {
    queue: SyncSender<Record>,
    counts: Arc<HookCounts>,
    running: Arc<Running>,
}

/// The running programs. `None`: the daemon is stopping, and starts no more.
#[derive(Debug)]
struct Running(Mutex<Option<Vec<Pid>>>);

impl Default for Running {
    fn default() -> Self {
        Self(Mutex::new(Some(Vec::new())))
    }
}

impl Running {
    fn start(&self, command: &mut Command) -> io::Result<Child> {
        let mut pids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pids) = pids.as_mut() else { return Err(io::Error::other("the daemon ends")) };
        let child = command.spawn()?;
        pids.push(Pid::from_child(&child));
        Ok(child)
    }

    /// Must be called before waiting for `pid`: until then its number cannot be reused.
    fn forget(&self, pid: Pid) {
        let mut pids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pids.iter_mut().for_each(|pids| pids.retain(|one| *one != pid));
    }

    fn end(&self) {
        let pids = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        for pid in pids.into_iter().flatten() {
            // A process that has ended already needs nothing.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
enum HookResult {
    Well,
    Badly(String),
    NotStarted(String),
    Late,
}

impl Hook {
    /// Prepares to run `words`, a program and its arguments. `None`: no program is configured.
    pub(super) fn start(words: &[String], counts: &Arc<HookCounts>) -> io::Result<Option<Self>> {
        if words.is_empty() {
            return Ok(None);
        }
        let (queue, requests) = sync_channel(QUEUE);
        let requests = Arc::new(Mutex::new(requests));
        let running = Arc::new(Running::default());
        for _ in 0..RUNNERS {
            let (words, requests, counts) = (words.to_vec(), Arc::clone(&requests), Arc::clone(counts));
            let running = Arc::clone(&running);
            let work = move || serve(&words, &requests, &counts, &running);
            std::thread::Builder::new().name("on_request".to_owned()).spawn(work)?;
        }
        Ok(Some(Self { queue, counts: Arc::clone(counts), running }))
    }

    /// Kills running programs: after the daemon's end nobody would watch them.
    pub(super) fn end(&self) {
        self.running.end();
    }

    /// Queues a run for `request`. Never blocks.
    pub(super) fn tell(&self, request: &Record) {
        if self.queue.try_send(request.clone()).is_err() {
            self.counts.skipped.fetch_add(1, Ordering::Relaxed);
            tracing::error!(request = request.object, "on_request is too slow: it is not told of this request");
        }
    }
}

fn serve(words: &[String], requests: &Mutex<Receiver<Record>>, counts: &HookCounts, running: &Running) {
    loop {
        // The lock is held while waiting for a request, but not during a run.
        let next = requests.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(request) = next else { return };
        let object = &request.object;
        let count = match run(words, &request, LIMIT, running) {
            HookResult::Well => &counts.done,
            HookResult::Badly(how) => {
                tracing::error!(request = object, program = words.first(), "on_request failed: {how}");
                &counts.failed
            }
            HookResult::NotStarted(why) => {
                tracing::error!(request = object, program = words.first(), "on_request cannot be started: {why}");
                &counts.not_started
            }
            HookResult::Late => {
                tracing::error!(request = object, program = words.first(), "on_request was killed after {LIMIT:?}");
                &counts.late
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs `words` for `request`, at most for `limit`.
fn run(words: &[String], request: &Record, limit: Duration, running: &Running) -> HookResult {
    let [program, arguments @ ..] = words else { return HookResult::Well };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    let name = request.object.rsplit_once(' ').map_or(request.object.as_str(), |(_, name)| name);
    // A NUL in a value would prevent the start of the program. A state of an older release may contain one.
    command.env("PRIVLINK_CONNECTION", &*visible(name));
    command.env("PRIVLINK_REQUESTER", &*visible(&request.by.principal.to_string()));
    command.env("PRIVLINK_MESSAGE", &*visible(&request.detail));
    command.env("PRIVLINK_LINK", request.link.unwrap_or_default().to_string());
    match running.start(&mut command) {
        Ok(mut child) => ended(&mut child, limit, running).unwrap_or_else(|error| HookResult::Badly(error.to_string())),
        Err(error) => HookResult::NotStarted(error.to_string()),
    }
}

/// Waits for `child` and kills its process group when `limit` is over.
fn ended(child: &mut Child, limit: Duration, running: &Running) -> io::Result<HookResult> {
    let pid = Pid::from_child(child);
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
    let in_time = loop {
        match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit)) {
            Ok(ready) => break ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    if !in_time {
        kill_process_group(pid, Signal::KILL)?;
    }
    running.forget(pid);
    let status = child.wait()?;
    Ok(match (in_time, status.success()) {
        (false, _) => HookResult::Late,
        (true, true) => HookResult::Well,
        (true, false) => HookResult::Badly(status.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Record {
        let by = crate::model::Caller::user(1000, "ada").actor();
        Record {
            link: Some(7),
            to: Some("Pending".to_owned()),
            detail: "ticket 4711".to_owned(),
            ..Record::new(jiff::Timestamp::UNIX_EPOCH, by, "create", "endpoint default/orders")
        }
    }

    fn shell(script: &str, limit: Duration) -> HookResult {
        run(&["sh", "-c", script].map(str::to_owned), &request(), limit, &Running::default())
    }

    #[test]
    fn a_run_knows_the_request() {
        let script = "test \"$PRIVLINK_CONNECTION $PRIVLINK_REQUESTER $PRIVLINK_MESSAGE $PRIVLINK_LINK\" = \
                      'default/orders uid:1000 ticket 4711 7'";
        assert_eq!(shell(script, LIMIT), HookResult::Well);
    }

    #[test]
    fn a_run_gets_values_without_control_characters() {
        let mut odd = request();
        odd.detail = "ticket\0 4711\u{1b}[2K\n".to_owned();
        let script = "test \"$PRIVLINK_MESSAGE\" = 'ticket\\u{0} 4711\\u{1b}[2K\\n'";
        assert_eq!(run(&["sh", "-c", script].map(str::to_owned), &odd, LIMIT, &Running::default()), HookResult::Well);
    }

    #[test]
    fn a_run_that_fails_or_hangs_is_told_apart() {
        assert_eq!(shell("exit 3", LIMIT), HookResult::Badly("exit status: 3".to_owned()));
        let missing = run(&["/nonexistent/program".to_owned()], &request(), LIMIT, &Running::default());
        assert!(matches!(missing, HookResult::NotStarted(_)), "{missing:?}");
        // Its children die too, so the pipe that they share is closed.
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & sleep 1000"]).stdout(writer).process_group(0);
        let mut child = command.spawn().expect("spawned");
        drop(command);
        assert_eq!(
            ended(&mut child, Duration::from_millis(50), &Running::default()).expect("waited"),
            HookResult::Late
        );
        io::copy(&mut reader, &mut io::sink()).expect("the last writer is gone");
    }
    #[test]
    fn nothing_goes_on_after_the_daemon() {
        let running = Arc::new(Running::default());
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let mut command = Command::new("sh");
        command.args(["-c", "echo; sleep 1000 & sleep 1000"]).stdout(writer).process_group(0);
        let mut child = running.start(&mut command).expect("spawned");
        drop(command);
        io::Read::read_exact(&mut reader, &mut [0]).expect("it runs");
        running.end();
        assert!(
            matches!(ended(&mut child, LIMIT, &running).expect("waited"), HookResult::Badly(how) if how.contains("signal: 9"))
        );
        io::copy(&mut reader, &mut io::sink()).expect("what it has started is gone, too");
        let late = run(&["true".to_owned()], &request(), LIMIT, &running);
        assert_eq!(late, HookResult::NotStarted("the daemon ends".to_owned()));
    }
}
