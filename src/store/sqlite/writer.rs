//! The one thread that writes. Changes that arrive while it waits for the disk share the next commit
//! (group commit): each is answered when the sync that made it durable has returned.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use super::files::Mark;
use super::rows::Tables;
use crate::store::StoreError;
use crate::store::draft::{Draft, Head};
use crate::store::watch::{Event, History};

/// Changes in one commit, at most: bounds how long the first of them waits for the last.
const BATCH: usize = 256;

/// One change and who waits for it.
pub(super) trait Request: Send {
    /// Applies the change, and keeps what to answer; an error is the disk's or the engine's, never the caller's.
    fn apply(&mut self, draft: &mut Draft<'_, Tables<'_>>) -> Result<(), StoreError>;

    /// Tells who waits: the change is durable, or this is why not.
    fn answer(self: Box<Self>, durable: Result<(), StoreError>);
}

/// A [`Request`] whose answer is a `T`.
pub(super) struct Change<F, T> {
    pub(super) make: F,
    pub(super) result: Option<Result<T, StoreError>>,
    pub(super) reply: SyncSender<Result<T, StoreError>>,
}

impl<F, T> Request for Change<F, T>
where
    F: Fn(&mut Draft<'_, Tables<'_>>) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn apply(&mut self, draft: &mut Draft<'_, Tables<'_>>) -> Result<(), StoreError> {
        let result = (self.make)(draft);
        match result {
            Ok(_) | Err(StoreError::Invalid(_) | StoreError::NoLease(_)) => {
                self.result = Some(result);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn answer(self: Box<Self>, durable: Result<(), StoreError>) {
        let Self { result, reply, .. } = *self;
        // Who no longer waits needs no answer.
        let _ = reply.send(durable.and_then(|()| result.unwrap_or(Err(StoreError::Closed))));
    }
}

/// What the thread owns.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) head: Head,
    pub(super) mark: Mark,
    pub(super) history: Arc<History>,
    /// Whether anything was committed.
    pub(super) wrote: bool,
}

impl Writer {
    /// Serves until every sender is gone, then closes the database.
    pub(super) fn run(mut self, requests: &Receiver<Box<dyn Request>>) {
        while let Ok(first) = requests.recv() {
            let mut batch = vec![first];
            batch.extend(requests.try_iter().take(BATCH - 1));
            self.commit(batch);
        }
        self.close();
    }

    /// Commits the batch as one, or else each by itself: one that needs too much room fails alone.
    fn commit(&mut self, mut batch: Vec<Box<dyn Request>>) {
        match self.attempt(&mut batch) {
            Ok((head, events)) => {
                self.wrote = true;
                if head.revision > self.head.revision {
                    if let Err(error) = self.mark.write(head.revision) {
                        tracing::warn!("a later loss of state may go unnoticed: the mark cannot be written: {error}");
                    }
                    self.history.publish(head.revision, events);
                }
                self.head = head;
                for request in batch {
                    request.answer(Ok(()));
                }
            }
            Err(_) if batch.len() > 1 => {
                for request in batch {
                    self.commit(vec![request]);
                }
            }
            Err(error) => {
                if let Some(request) = batch.pop() {
                    request.answer(Err(error));
                }
            }
        }
    }

    fn attempt(&mut self, batch: &mut [Box<dyn Request>]) -> Result<(Head, Vec<Event>), StoreError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut tables = Tables(&transaction);
        let mut draft = Draft { rows: &mut tables, head: self.head, events: Vec::new() };
        batch.iter_mut().try_for_each(|request| request.apply(&mut draft))?;
        let Draft { head, events, .. } = draft;
        if head != self.head {
            tables.put_head(&head)?;
        }
        match transaction.commit() {
            Ok(()) => Ok((head, events)),
            Err(error) => Err(match error.sqlite_error_code() {
                // Nothing of the commit can be on the disk: its last frame makes it one.
                Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy) => error.into(),
                _ if self.overwrite().is_ok() => StoreError::Failed(error.to_string()),
                _ => StoreError::Uncertain(error.to_string()),
            }),
        }
    }

    /// Commits what was before, in the place in the log where a commit has failed: once that is durable, no
    /// start can find the failed one.
    fn overwrite(&mut self) -> Result<(), StoreError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        Tables(&transaction).put_head(&self.head)?;
        Ok(transaction.commit()?)
    }

    /// Leaves one file and a mark that is durable, too.
    fn close(self) {
        let closed = super::schema::fold(&self.connection).map_err(|error| error.to_string());
        match closed.and_then(|()| self.mark.sync().map_err(|error| error.to_string())) {
            // Nothing is lost: the next start reads the log.
            Err(error) if self.wrote => tracing::warn!("the state was not closed cleanly: {error}"),
            // A start that fails has its own reason to tell.
            Err(error) => tracing::debug!("the state, which was not changed, was not closed cleanly: {error}"),
            Ok(()) => {}
        }
    }
}
