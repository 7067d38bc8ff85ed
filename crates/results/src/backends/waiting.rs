//! Who waits for which task.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::error::{Error, Result};
use crate::record::TaskRecord;

/// Who waits for which task. One watcher per store answers them all.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    register: Mutex<Register>,
    arrival: Notify,
}

#[derive(Debug, Default)]
struct Register {
    /// Those who wait, by [`announced`] id.
    waiters: HashMap<String, Vec<Waiter>>,
    /// Ids that somebody waits for and nobody has looked at yet, by the number of their waiter.
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

/// What a notification says of an id: its first line, so that a notification can hold many.
pub(super) fn announced(id: &str) -> &str {
    id.split('\n').next().unwrap_or(id)
}

impl Waiting {
    /// Waits until a watcher has delivered the end of this task.
    pub(super) async fn wait(&self, id: &str) -> Result<TaskRecord> {
        let (answer, end) = oneshot::channel();
        let number = self.enter(id, answer)?;
        let _leave = Leave { waiting: self, id, number };
        self.arrival.notify_one();
        end.await.map_err(|_| Error::Closed)
    }

    /// Returns when somebody has come whom [`Waiting::unchecked`] has not told of yet.
    pub(super) async fn arrival(&self) {
        self.arrival.notified().await;
    }

    /// Ids that somebody waits for and nobody has looked at yet.
    pub(super) fn unchecked(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().unchecked).into_values().collect()
    }

    /// All ids that somebody waits for.
    pub(super) fn awaited(&self) -> Vec<String> {
        let mut register = self.lock();
        register.unchecked.clear();
        register.waiters.values().flatten().map(|waiter| waiter.id.clone()).collect()
    }

    /// Those ids behind an announcement that somebody waits for.
    pub(super) fn awaited_of(&self, announced: &str, ids: &mut Vec<String>) {
        if let Some(waiters) = self.lock().waiters.get(announced) {
            ids.extend(waiters.iter().map(|waiter| waiter.id.clone()));
        }
    }

    /// Whether anybody waits.
    #[cfg(feature = "sqlite")]
    pub(super) fn is_empty(&self) -> bool {
        self.lock().waiters.is_empty()
    }

    /// Hands the end of a task to everybody who waits for it.
    pub(super) fn deliver(&self, record: &TaskRecord) {
        let key = announced(&record.id);
        let answers = {
            let mut register = self.lock();
            let Some(waiters) = register.waiters.get_mut(key) else { return };
            let answers: Vec<_> = waiters.extract_if(.., |waiter| waiter.id == record.id).collect();
            if waiters.is_empty() {
                register.waiters.remove(key);
            }
            answers
        };
        for waiter in answers {
            // One who has stopped waiting leaves the register a moment later.
            let _ = waiter.answer.send(record.clone());
        }
    }

    /// Sends everybody away, now and from now on.
    pub(super) fn close(&self) {
        let mut register = self.lock();
        register.closed = true;
        register.waiters.clear();
        register.unchecked.clear();
    }

    fn enter(&self, id: &str, answer: oneshot::Sender<TaskRecord>) -> Result<u64> {
        let mut register = self.lock();
        if register.closed {
            return Err(Error::Closed);
        }
        let number = register.next;
        register.next += 1;
        let waiter = Waiter { number, id: id.to_owned(), answer };
        register.waiters.entry(announced(id).to_owned()).or_default().push(waiter);
        register.unchecked.insert(number, id.to_owned());
        Ok(number)
    }

    fn leave(&self, id: &str, number: u64) {
        let mut register = self.lock();
        register.unchecked.remove(&number);
        if let Some(waiters) = register.waiters.get_mut(announced(id)) {
            waiters.retain(|waiter| waiter.number != number);
            if waiters.is_empty() {
                register.waiters.remove(announced(id));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Register> {
        // Nothing in here panics half-way through a change.
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leaves the register when the wait ends, also when its caller gives up.
struct Leave<'a> {
    waiting: &'a Waiting,
    id: &'a str,
    number: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.waiting.leave(self.id, self.number);
    }
}
