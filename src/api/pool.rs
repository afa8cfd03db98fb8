//! Where requests are worked on: a few threads for each kind of work, and each caller in its turn.
//!
//! The threads that read and write sockets never walk the model, parse a document or wait for the writer: whatever a
//! handler computes is computed here. What only takes something away has threads of its own, so that it waits neither
//! for questions nor for changes; and a caller that asks a lot waits for itself, not others for it.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use tokio::sync::{Notify, oneshot};

use super::error::Rejection;
use crate::control::access::Principal;

/// Requests of one caller that may wait in one lane.
pub(super) const WAITING_EACH: usize = 32;

/// Requests that may wait in one lane.
const WAITING: usize = 1024;

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Questions.
    Reads,
    /// What gives something, and documents.
    Changes,
    /// What only takes something away.
    Revocations,
}

/// The threads.
#[derive(Debug)]
pub struct Pool {
    reads: Arc<Queue>,
    changes: Arc<Queue>,
    revocations: Arc<Queue>,
}

impl Pool {
    /// Starts the threads; they end with the pool.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start() -> std::io::Result<Arc<Self>> {
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let reads = Queue::start("reads", cores.max(2))?;
        let (changes, revocations) = (Queue::start("changes", 2)?, Queue::start("revocations", 2)?);
        Ok(Arc::new(Self { reads, changes, revocations }))
    }

    /// Answers a request on the threads of `lane`: each step of it until it waits for something else. While it does, it
    /// holds no thread.
    ///
    /// # Errors
    /// Too much of this caller waits already, or a step has ended in the middle.
    pub(super) async fn answer<T: Send + 'static>(
        &self,
        lane: Lane,
        caller: Option<&Principal>,
        request: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Rejection> {
        let queue = match lane {
            Lane::Reads => &self.reads,
            Lane::Changes => &self.changes,
            Lane::Revocations => &self.revocations,
        };
        let runtime = tokio::runtime::Handle::current();
        let woken = Arc::new(Woken(Notify::new()));
        let mut request = Box::pin(request);
        loop {
            let (done, answer) = oneshot::channel();
            let (waker, runtime) = (Waker::from(Arc::clone(&woken)), runtime.clone());
            let step = move || {
                // Nobody waits for the answer any more. What only takes something away is done all the same.
                if done.is_closed() && lane != Lane::Revocations {
                    return;
                }
                let _within = runtime.enter();
                let progress = request.as_mut().poll(&mut Context::from_waker(&waker));
                let _ = done.send((request, progress));
            };
            queue.push(caller, Box::new(step)).map_err(|Full| Rejection::too_busy(WAITING_EACH))?;
            let (rest, progress) = answer.await.map_err(|_| Rejection::lost())?;
            match progress {
                Poll::Ready(answer) => return Ok(answer),
                Poll::Pending => request = rest,
            }
            woken.0.notified().await;
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for queue in [&self.reads, &self.changes, &self.revocations] {
            queue.lock().closed = true;
            queue.came.notify_all();
        }
    }
}

/// A request that waited can go on.
struct Woken(Notify);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

type Step = Box<dyn FnOnce() + Send>;

/// No more may wait.
#[derive(Debug)]
struct Full;

/// What waits for the threads of one lane.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    came: Condvar,
}

#[derive(Default)]
struct Waiting {
    of: BTreeMap<Option<Principal>, Caller>,
    /// Whose turn is next, of those that have something to do and are not at their share of the threads.
    turns: VecDeque<Option<Principal>>,
    steps: usize,
    /// Threads that one caller may have at once.
    share: usize,
    closed: bool,
}

#[derive(Default)]
struct Caller {
    steps: VecDeque<Step>,
    running: usize,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("steps", &self.steps).finish_non_exhaustive()
    }
}

impl Queue {
    /// A queue with `threads`, of which every caller leaves one to the others.
    fn start(name: &str, threads: usize) -> std::io::Result<Arc<Self>> {
        let queue = Arc::new(Self::default());
        queue.lock().share = threads.saturating_sub(1).max(1);
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name(name.to_owned()).spawn(move || queue.work())?;
        }
        Ok(queue)
    }

    fn push(&self, caller: Option<&Principal>, step: Step) -> Result<(), Full> {
        let mut waiting = self.lock();
        waiting.push(caller.cloned(), step)?;
        drop(waiting);
        self.came.notify_one();
        Ok(())
    }

    fn work(&self) {
        let mut waiting = self.lock();
        loop {
            if waiting.closed {
                return;
            }
            let Some((caller, step)) = waiting.pop() else {
                waiting = self.came.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(waiting);
            // Whoever waits for a step that panics is told so: its sender is gone.
            let _ = catch_unwind(AssertUnwindSafe(step));
            waiting = self.lock();
            waiting.ran(&caller);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn push(&mut self, key: Option<Principal>, step: Step) -> Result<(), Full> {
        let caller = self.of.entry(key.clone()).or_default();
        if caller.steps.len() >= WAITING_EACH || self.steps >= WAITING {
            self.forget(&key);
            return Err(Full);
        }
        caller.steps.push_back(step);
        self.steps += 1;
        if caller.steps.len() == 1 && caller.running < self.share {
            self.turns.push_back(key);
        }
        Ok(())
    }

    /// The next step, of the caller whose turn it is.
    fn pop(&mut self) -> Option<(Option<Principal>, Step)> {
        let key = self.turns.pop_front()?;
        let caller = self.of.get_mut(&key)?;
        let step = caller.steps.pop_front()?;
        self.steps -= 1;
        caller.running += 1;
        if !caller.steps.is_empty() && caller.running < self.share {
            self.turns.push_back(key.clone());
        }
        Some((key, step))
    }

    /// A step of `key` has ended.
    fn ran(&mut self, key: &Option<Principal>) {
        let Some(caller) = self.of.get_mut(key) else { return };
        let was_full = caller.running == self.share;
        caller.running -= 1;
        if was_full && !caller.steps.is_empty() {
            self.turns.push_back(key.clone());
        }
        self.forget(key);
    }

    fn forget(&mut self, key: &Option<Principal>) {
        if self.of.get(key).is_some_and(|caller| caller.steps.is_empty() && caller.running == 0) {
            self.of.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(id: u32) -> Option<Principal> {
        Some(Principal::Uid(id))
    }

    fn order(waiting: &mut Waiting) -> Vec<Option<Principal>> {
        let next = |waiting: &mut Waiting| {
            let (key, _) = waiting.pop()?;
            waiting.ran(&key);
            Some(key)
        };
        std::iter::from_fn(|| next(waiting)).collect()
    }

    #[test]
    fn each_caller_has_its_turn() {
        let mut waiting = Waiting { share: 1, ..Waiting::default() };
        for (id, steps) in [(1, 4), (2, 1), (3, 2)] {
            for _ in 0..steps {
                waiting.push(uid(id), Box::new(|| ())).unwrap();
            }
        }
        assert_eq!(order(&mut waiting), [1, 2, 3, 1, 3, 1, 1].map(uid));
        assert!(waiting.of.is_empty() && waiting.steps == 0, "nobody is remembered for nothing");
    }

    #[test]
    fn a_caller_leaves_a_thread_to_the_others_and_waits_within_bounds() {
        let mut waiting = Waiting { share: 1, ..Waiting::default() };
        for _ in 0..WAITING_EACH {
            waiting.push(uid(1), Box::new(|| ())).unwrap();
        }
        assert!(waiting.push(uid(1), Box::new(|| ())).is_err());
        let (running, _) = waiting.pop().unwrap();
        assert!(waiting.pop().is_none(), "the other thread is not for the same caller");
        waiting.push(uid(2), Box::new(|| ())).unwrap();
        assert_eq!(waiting.pop().unwrap().0, uid(2));
        waiting.ran(&running);
        assert_eq!(waiting.pop().unwrap().0, uid(1));
    }

    #[tokio::test]
    async fn a_request_that_waits_holds_no_thread_and_one_that_panics_takes_none_away() {
        let pool = Pool::start().unwrap();
        let (go, gone) = oneshot::channel::<u32>();
        let waits = pool.answer(Lane::Revocations, None, async { gone.await.unwrap() });
        let others = async {
            for number in 0..20_u32 {
                let lost =
                    pool.answer(Lane::Revocations, None, async { panic!("{}", thread::current().name().unwrap()) });
                let lost: Result<(), Rejection> = lost.await;
                assert!(lost.unwrap_err().is("InternalError"));
                let name = pool.answer(Lane::Revocations, None, async { thread::current().name().map(str::to_owned) });
                assert_eq!(name.await.unwrap().as_deref(), Some("revocations"), "{number}");
            }
            go.send(7).unwrap();
        };
        assert_eq!(tokio::join!(waits, others).0.unwrap(), 7);
    }
}
