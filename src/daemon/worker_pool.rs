//! Starts, reaches and stops the workers' threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::cli::Exit;
use crate::control::sinks;
use crate::dataplane::counters::WorkerCounters;
use crate::dataplane::handoff::Shared;
use crate::dataplane::io::tun::{TunQueue, TunReader, TunWriter};
use crate::dataplane::pace::Moment;
use crate::dataplane::queries::Mailbox;
use crate::dataplane::record::RecordRing;
use crate::dataplane::{Forwarder, Position};
use crate::dataplane::{Waker, Worker};
use crate::host::thread::Thread;
use crate::model::links::LinkKey;
use crate::snapshot::steering::Secret;
use crate::snapshot::{PathMtus, Publisher, Snapshot};
use tokio::sync::watch;

/// How long workers may take in an orderly stop: on a busy machine they wait for a processor, and for the kernel to
/// remove their devices.
const ORDERLY: Duration = Duration::from_mins(1);

/// How long they may take if the daemon stops because of an error, perhaps of a worker.
const BROKEN: Duration = Duration::from_secs(2);

/// The workers' threads, and the channels to them.
pub(super) struct WorkerPool {
    pub(super) port: Arc<WorkersSink>,
    pub(super) counters: Vec<Arc<WorkerCounters>>,
    pub(super) mailboxes: Vec<Mailbox>,
    notifiers: Vec<Arc<dyn Fn() + Send + Sync>>,
    threads: Vec<JoinHandle<std::io::Result<()>>>,
    end: Arc<AtomicBool>,
}

impl WorkerPool {
    /// Starts one thread per worker over queue *i* of every device. They forward nothing until the
    /// first snapshot is published.
    pub(super) fn start(
        devices: Vec<Vec<TunQueue>>,
        max_sessions: u32,
        rings: Option<&[Arc<RecordRing>]>,
        (path_mtus, steering): (Arc<PathMtus>, Secret),
        began: Instant,
        stop: &watch::Sender<bool>,
    ) -> anyhow::Result<Self> {
        let workers = u16::try_from(devices.first().map_or(0, Vec::len)).unwrap_or(u16::MAX);
        let wakers = (0..workers).map(|_| Waker::new()).collect::<std::io::Result<Vec<_>>>()?;
        let notifiers: Vec<_> = wakers.iter().map(Waker::notifier).collect();
        let shared = Arc::new(Shared::new(notifiers.clone()).with_path_mtus(path_mtus).with_steering(steering));
        let mut publisher = Publisher::new();
        let known: Vec<Arc<OnceLock<Thread>>> = (0..workers).map(|_| Arc::default()).collect();
        let mut devices: Vec<_> = devices.into_iter().map(Vec::into_iter).collect();
        let mut worker_pool = Self {
            port: Arc::new(WorkersSink { publisher: Publisher::new(), threads: Vec::new() }),
            counters: Vec::new(),
            mailboxes: Vec::new(),
            notifiers,
            threads: Vec::new(),
            end: Arc::new(AtomicBool::new(false)),
        };
        for ((number, waker), place) in (0..workers).zip(wakers).zip(&known) {
            let position = Position { worker: number, workers };
            let forwarder = Forwarder::new(position, position.share_of(max_sessions), seeds()?, Arc::clone(&shared));
            let ring = rings.and_then(|rings| rings.get(usize::from(number)));
            let forwarder = match ring {
                Some(ring) => forwarder.with_flow_log(Arc::clone(ring)),
                None => forwarder,
            };
            let (mailbox, questions) = waker.mailbox();
            worker_pool.counters.push(forwarder.published());
            worker_pool.mailboxes.push(mailbox);
            let wake = waker.notifier();
            let reader = publisher.reader(Box::new(move || wake()));
            let mine = devices.iter_mut().filter_map(Iterator::next);
            let (sources, sinks): (Vec<TunReader>, Vec<TunWriter>) = mine.map(TunQueue::split).unzip();
            let worker = Worker::new(forwarder, sources, sinks, reader, questions);
            let (end, stop, place) = (Arc::clone(&worker_pool.end), stop.clone(), Arc::clone(place));
            let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                // A worker that panics or loses a device stops the daemon, closed.
                let _last_words = ExitGuard(stop);
                // Without `/proc`, every delay counts as the worker's own.
                let _ = Thread::current().map(|thread| place.set(thread));
                worker.run(&waker, &end, || Moment::after(now() - began))
            })?;
            worker_pool.threads.push(thread);
        }
        worker_pool.port = Arc::new(WorkersSink { publisher, threads: known });
        Ok(worker_pool)
    }

    /// Stops every worker. Their devices close with the last of them. `orderly`: there was no error.
    pub(super) fn stop(self, orderly: bool) -> anyhow::Result<()> {
        let limit = if orderly { ORDERLY } else { BROKEN };
        self.end.store(true, Ordering::Relaxed);
        self.notifiers.iter().for_each(|wake| wake());
        let asked = now();
        while self.threads.iter().any(|thread| !thread.is_finished()) {
            if now() - asked > limit {
                // A worker that hangs cannot be joined. The devices close with the process. Unreachable routes stay;
                // the next start or `privlink clean` finds them in the journal.
                tracing::error!("a worker does not end; the daemon ends without it, closed");
                super::logging::flush();
                std::process::exit(Exit::Failed as i32);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut outcome = Ok(());
        for (number, thread) in self.threads.into_iter().enumerate() {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => outcome = Err(anyhow::anyhow!("worker {number} lost its device: {error}")),
                Err(_) => outcome = Err(anyhow::anyhow!("worker {number} panicked; this is a bug")),
            }
        }
        outcome
    }
}

/// Stops the daemon when its worker ends, for any reason.
struct ExitGuard(watch::Sender<bool>);

impl Drop for ExitGuard {
    fn drop(&mut self) {
        let _ = self.0.send(true);
    }
}

/// Gives the control plane access to the packet path.
pub(super) struct WorkersSink {
    pub(super) publisher: Publisher,
    /// The workers' threads, once they run.
    threads: Vec<Arc<OnceLock<Thread>>>,
}

impl sinks::Workers for WorkersSink {
    fn publish(&self, snapshot: Snapshot, limit: Duration) -> anyhow::Result<()> {
        self.publisher.publish(snapshot);
        let thread = |worker: usize| self.threads.get(worker)?.get();
        let held_up = |worker, passed| thread(worker).map_or(passed, |thread| thread.held_up(passed));
        Ok(self.publisher.wait(limit, held_up)?)
    }
}

/// The random secret for steering packets to workers, new at every start.
pub(super) fn steering_secret() -> anyhow::Result<Secret> {
    let [one, other, _] = seeds()?;
    Ok(Secret::new([one, other]))
}

/// The key for link identifiers of a new state.
pub(super) fn link_key() -> anyhow::Result<LinkKey> {
    Ok(LinkKey::new(random()?))
}

/// Random bytes from the system.
fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("the system gives no random numbers: {error}"))?;
    Ok(bytes)
}

/// Seeds of a worker's table and of its NAT ports (RFC 6056).
fn seeds() -> anyhow::Result<[u64; 3]> {
    let bytes: [u8; 24] = random()?;
    let (words, _) = bytes.as_chunks::<8>();
    Ok([u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1]), u64::from_ne_bytes(words[2])])
}

#[allow(clippy::disallowed_methods, reason = "the daemon is where time enters (law 8)")]
pub(super) fn now() -> Instant {
    Instant::now()
}
