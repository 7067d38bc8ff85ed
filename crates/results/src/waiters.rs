//! Waits for the ends of tasks. One watcher for each store serves them.

use std::collections::{HashMap, HashSet};
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
    answer: Answer,
}

/// The answer that a wait is for.
#[derive(Debug)]
enum Answer {
    /// The row of the ended task.
    Row(oneshot::Sender<TaskRecord>),
    /// State, result and error of the ended task.
    Outcome(oneshot::Sender<TaskRecord>),
    /// `true` if there is a row, of an ended task or not.
    Presence(oneshot::Sender<bool>),
}

impl Answer {
    /// Sends the end of the task. The receiver of a cancelled wait is gone, and the wait leaves the
    /// registry when it is dropped.
    fn send(self, record: &TaskRecord) {
        match self {
            Self::Row(answer) | Self::Outcome(answer) => drop(answer.send(record.clone())),
            Self::Presence(answer) => drop(answer.send(true)),
        }
    }
}

/// Returns the part of an id in a notification: its first line, so that one notification holds many
/// ids.
pub(crate) fn announced(id: &str) -> &str {
    id.split('\n').next().unwrap_or(id)
}

impl Waiters {
    /// Waits until a watcher has delivered the row of this task after its end.
    pub(crate) async fn wait(&self, id: &str) -> Result<TaskRecord> {
        self.answer(id, Answer::Row).await
    }

    /// Waits until a watcher has delivered state, result and error of this task after its end.
    pub(crate) async fn wait_for_outcome(&self, id: &str) -> Result<TaskRecord> {
        self.answer(id, Answer::Outcome).await
    }

    /// Waits until a watcher has looked for a row of this task. Returns `true` if there is one.
    pub(crate) async fn wait_for_presence(&self, id: &str) -> Result<bool> {
        self.answer(id, Answer::Presence).await
    }

    async fn answer<T>(&self, id: &str, wanted: impl FnOnce(oneshot::Sender<T>) -> Answer) -> Result<T> {
        let (answer, end) = oneshot::channel();
        let number = self.enter(id, wanted(answer))?;
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

    /// Returns `true` if one of these announced ids is awaited.
    pub(crate) fn awaits_any<'a>(&self, mut announced: impl Iterator<Item = &'a str>) -> bool {
        let registry = self.lock();
        !registry.waiters.is_empty() && announced.any(|id| registry.waiters.contains_key(id))
    }

    /// Returns those of the ids of which only the presence of a row is awaited.
    pub(crate) fn presence_awaited<'a>(&self, ids: &'a [String]) -> Vec<&'a String> {
        let registry = self.lock();
        let is_asked = |id: &str| {
            let waiters = registry.waiters.get(announced(id)).into_iter().flatten();
            waiters.filter(|waiter| waiter.id == id).any(|waiter| matches!(waiter.answer, Answer::Presence(_)))
        };
        ids.iter().filter(|id| is_asked(id)).collect()
    }

    /// Answers the questions for the presence of rows: `present` are those of the ids that have
    /// one.
    pub(crate) fn deliver_presence(&self, ids: &[&String], present: &HashSet<String>) {
        for &id in ids {
            for answer in self.take(id, |answer| matches!(answer, Answer::Presence(_))) {
                if let Answer::Presence(answer) = answer {
                    let _ = answer.send(present.contains(id));
                }
            }
        }
    }

    /// Returns `true` if nothing is awaited.
    #[cfg(feature = "sqlite")]
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().waiters.is_empty()
    }

    /// Delivers the row of an ended task to all waits for it.
    pub(crate) fn deliver(&self, record: &TaskRecord) {
        for answer in self.take(&record.id, |_| true) {
            answer.send(record);
        }
    }

    /// Delivers the outcome of a task to the waits that need nothing more.
    pub(crate) fn deliver_outcome(&self, record: &TaskRecord) {
        for answer in self.take(&record.id, |answer| !matches!(answer, Answer::Row(_))) {
            answer.send(record);
        }
    }

    /// Removes the waits of a task whose answer is of this kind.
    fn take(&self, id: &str, is_wanted: impl Fn(&Answer) -> bool) -> Vec<Answer> {
        let mut registry = self.lock();
        let Some(waiters) = registry.waiters.get_mut(announced(id)) else { return Vec::new() };
        let is_taken = |waiter: &mut Waiter| waiter.id == id && is_wanted(&waiter.answer);
        let taken: Vec<_> = waiters.extract_if(.., is_taken).collect();
        if waiters.is_empty() {
            registry.waiters.remove(announced(id));
        }
        // A wait that has its answer needs no check.
        taken.iter().for_each(|waiter| drop(registry.unchecked.remove(&waiter.number)));
        taken.into_iter().map(|waiter| waiter.answer).collect()
    }

    /// Ends all present and later waits with an error.
    pub(crate) fn close(&self) {
        let mut registry = self.lock();
        registry.closed = true;
        registry.waiters.clear();
        registry.unchecked.clear();
    }

    fn enter(&self, id: &str, answer: Answer) -> Result<u64> {
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
