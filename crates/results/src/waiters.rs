//! Waits for the ends of tasks. One watcher for each store serves them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::error::{Error, Result};
use crate::record::TaskRecord;

/// The waits for the ends of tasks. One watcher for each store serves them.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    registry: Mutex<WaiterRegistry>,
    arrival: Notify,
}

#[derive(Debug, Default)]
struct WaiterRegistry {
    /// The waits, by [`announced`] id.
    waiters: HashMap<String, Vec<Waiter>>,
    /// Awaited ids that no check has covered yet, by wait number.
    unchecked: HashMap<u64, String>,
    next: u64,
    closed: bool,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    id: String,
    answer: oneshot::Sender<TaskRecord>,
}

/// Returns the part of an id in a notification: its first line, so that one notification holds many
/// ids.
pub(crate) fn announced(id: &str) -> &str {
    id.split('\n').next().unwrap_or(id)
}

impl Waiters {
    /// Waits until a watcher has delivered the end of this task.
    pub(crate) async fn wait(&self, id: &str) -> Result<TaskRecord> {
        let (answer, end) = oneshot::channel();
        let number = self.enter(id, answer)?;
        let _leave = Leave { waiting: self, id, number };
        self.arrival.notify_one();
        end.await.map_err(|_| Error::Closed)
    }

    /// Completes when there is a wait that [`Waiters::unchecked`] has not returned yet.
    pub(crate) async fn arrival(&self) {
        self.arrival.notified().await;
    }

    /// Takes the awaited ids that no check has covered yet.
    pub(crate) fn unchecked(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().unchecked).into_values().collect()
    }

    /// Returns all awaited ids.
    pub(crate) fn awaited(&self) -> Vec<String> {
        let mut registry = self.lock();
        registry.unchecked.clear();
        registry.waiters.values().flatten().map(|waiter| waiter.id.clone()).collect()
    }

    /// Returns the awaited ids of an announcement.
    pub(crate) fn awaited_of(&self, announced: &str, ids: &mut Vec<String>) {
        if let Some(waiters) = self.lock().waiters.get(announced) {
            ids.extend(waiters.iter().map(|waiter| waiter.id.clone()));
        }
    }

    /// Returns `true` if nothing is awaited.
    #[cfg(feature = "sqlite")]
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().waiters.is_empty()
    }

    /// Delivers the end of a task to all waits for it.
    pub(crate) fn deliver(&self, record: &TaskRecord) {
        let key = announced(&record.id);
        let answers = {
            let mut registry = self.lock();
            let Some(waiters) = registry.waiters.get_mut(key) else { return };
            let answers: Vec<_> = waiters.extract_if(.., |waiter| waiter.id == record.id).collect();
            if waiters.is_empty() {
                registry.waiters.remove(key);
            }
            answers
        };
        for waiter in answers {
            // The receiver of a cancelled wait is gone. The wait leaves the registry when it is
            // dropped.
            let _ = waiter.answer.send(record.clone());
        }
    }

    /// Ends all present and later waits with an error.
    pub(crate) fn close(&self) {
        let mut registry = self.lock();
        registry.closed = true;
        registry.waiters.clear();
        registry.unchecked.clear();
    }

    fn enter(&self, id: &str, answer: oneshot::Sender<TaskRecord>) -> Result<u64> {
        let mut registry = self.lock();
        if registry.closed {
            return Err(Error::Closed);
        }
        let number = registry.next;
        registry.next += 1;
        let waiter = Waiter { number, id: id.to_owned(), answer };
        registry.waiters.entry(announced(id).to_owned()).or_default().push(waiter);
        registry.unchecked.insert(number, id.to_owned());
        Ok(number)
    }

    fn leave(&self, id: &str, number: u64) {
        let mut registry = self.lock();
        registry.unchecked.remove(&number);
        if let Some(waiters) = registry.waiters.get_mut(announced(id)) {
            waiters.retain(|waiter| waiter.number != number);
            if waiters.is_empty() {
                registry.waiters.remove(announced(id));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, WaiterRegistry> {
        // No code under this lock panics in the middle of a change.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the wait from the registry when it ends or is cancelled.
struct Leave<'a> {
    waiting: &'a Waiters,
    id: &'a str,
    number: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.waiting.leave(self.id, self.number);
    }
}
