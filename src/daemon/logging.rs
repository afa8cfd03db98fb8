//! The daemon's log: a queue in front of standard error, for events, panics and the final error.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal as _};
use std::panic::PanicHookInfo;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::cli::{Error, shows_colours};
use crate::observe::log_writer::{LogCounts, LogQueue};
use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long the daemon waits at its end until its log is read.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// A process has one log. A second start in the same process uses it too.
static LOG: OnceLock<LogQueue> = OnceLock::new();

/// Sends events and panics into the queue from now on.
pub(super) fn start() -> anyhow::Result<()> {
    if LOG.get().is_some() {
        return Ok(());
    }
    let log = LogQueue::to_stderr().context("the log cannot be started")?;
    let filter = tracing_subscriber::EnvFilter::try_from_env("PRIVLINK_LOG").unwrap_or_else(|_| {
        // Newer kernels send longer netlink structures than the library knows, and it warns about each. Malformed DNS
        // names are counted instead of logged.
        "info,netlink_packet_route=error,hickory_proto=error".into()
    });
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(log.clone())
        // Its own reporting writes to standard error, and panics if that fails.
        .log_internal_errors(false)
        .with_ansi(shows_colours(io::stderr().is_terminal()))
        .with_target(false);
    if subscriber.try_init().is_ok() && LOG.set(log.clone()).is_ok() {
        // The default hook writes to standard error directly, and blocks until it is read.
        std::panic::set_hook(Box::new(move |panic| log.put(panic_text(panic).as_bytes())));
    }
    Ok(())
}

/// The number of lost log lines.
pub(super) fn counts() -> Arc<LogCounts> {
    LOG.get().map(|log| Arc::clone(log.counts())).unwrap_or_default()
}

/// Waits for the log's last lines, up to a limit. Returns whether they are written.
pub(super) fn flush() -> bool {
    LOG.get().is_none_or(|log| log.flush(FLUSH_LIMIT))
}

/// The final error of the daemon, without its text if nobody reads it: the process must end.
pub(super) fn last_word(mut failure: Error) -> Error {
    if !(flush() && stderr_takes_more()) {
        failure.message.clear();
    }
    failure
}

/// Whether a write to standard error would return: a pipe may be full.
fn stderr_takes_more() -> bool {
    let limit = Timespec::try_from(FLUSH_LIMIT).ok();
    poll(&mut [PollFd::new(&io::stderr(), PollFlags::OUT)], limit.as_ref()).is_ok_and(|ready| ready > 0)
}

fn panic_text(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let text = panic.payload_as_str().unwrap_or("no text");
    let backtrace = Backtrace::capture();
    let trace = if backtrace.status() == BacktraceStatus::Captured { format!("{backtrace}\n") } else { String::new() };
    format!("ERROR thread {name} panicked at {place}: {text}; this is a bug\n{trace}")
}
