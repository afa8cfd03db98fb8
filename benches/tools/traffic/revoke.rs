//! A right to pass is taken away while traffic flows: when did the last packet arrive, seen from the moment the
//! command began and from the moment it returned?

use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{Ends, Pattern, WARM_UP, bulk, datagrams, within};

/// What of this load may be chosen.
#[derive(clap::Args, Debug)]
pub(super) struct Revoke {
    /// The command, and its arguments.
    #[arg(required = true, last = true)]
    command: Vec<String>,
}

/// Datagrams per second beside the stream: one every 50 µs tells the time of the last one well enough.
const RATE: u64 = 20_000;
const SIZE: usize = 64;
const FLOWS: u32 = 4;
/// For how long something could still arrive.
const AFTER: Duration = Duration::from_millis(700);

impl Revoke {
    pub(super) fn run(&self, ends: &Ends) -> anyhow::Result<Value> {
        let (progress, pattern, start) = (datagrams::Progress::default(), Pattern::new(), Instant::now());
        let stream = bulk::start(ends, 1, true)?;
        let server = datagrams::listen(ends)?;
        let clients = within(&ends.client, || datagrams::connect(ends, FLOWS))?;
        let (before, began, returned) = std::thread::scope(|scope| -> anyhow::Result<_> {
            scope.spawn(|| datagrams::take_all(&server, SIZE, FLOWS, &progress, &pattern, start));
            scope.spawn(|| datagrams::send_all(&clients, SIZE, RATE, &progress, &pattern));
            std::thread::sleep(WARM_UP * 2);
            let before = progress.received.load(Ordering::Relaxed);
            let began = start.elapsed();
            let outcome = Command::new(&self.command[0]).args(&self.command[1..]).output();
            let returned = start.elapsed();
            std::thread::sleep(AFTER);
            progress.stop.store(true, Ordering::Relaxed);
            stream.stop.store(true, Ordering::Relaxed);
            let outcome = outcome.with_context(|| format!("cannot run {}", self.command[0]))?;
            ensure!(outcome.status.success(), "the command fails: {}", String::from_utf8_lossy(&outcome.stderr));
            Ok((before, began, returned))
        })?;
        ensure!(before > 0 && stream.received.load(Ordering::Relaxed) > 0, "nothing passed even before");
        let last = Duration::from_nanos(progress.last.load(Ordering::Relaxed)).as_secs_f64();
        let ms = |seconds: f64| seconds * 1e3;
        Ok(json!({
            "call_ms": ms(returned.as_secs_f64() - began.as_secs_f64()),
            "last_after_begin_ms": ms(last - began.as_secs_f64()),
            "last_after_return_ms": ms(last - returned.as_secs_f64()),
            "stream_ended": stream.ended(),
        }))
    }
}
