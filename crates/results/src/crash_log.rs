//! The crash log: how often each attempt was begun without an end, since it may have brought its worker down.
//!
//! Only what was delivered before is ever suspected, so a queue in good order costs nothing here. After the death of a
//! worker all that it held comes back at once: what is asked then is asked together.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::backoff::StoreBackoff;
use crate::error::{Error, Result};
use crate::record::is_id;

/// Most of them in one statement.
const PIECE: usize = 256;

/// The record of attempts that began and did not end.
pub trait CrashLog: fmt::Debug + Send + Sync + 'static {
    /// Puts on record which of these attempts begin, each of another task, and returns how often each has begun without an
    /// end, in their order. Another attempt of the same task begins with a clean record.
    fn count_starts<'a>(&'a self, checks: &'a [CrashCheck]) -> BoxFuture<'a, Result<Vec<CrashCount>>>;

    /// Takes attempts off that record.
    fn clear_finished<'a>(&'a self, finished: &'a [Finished]) -> BoxFuture<'a, Result<()>>;

    /// Deletes attempts that nobody has seen for a week, no more than `at_most` of them; returns how many it were.
    fn sweep_crashes(&self, at_most: u32) -> BoxFuture<'_, Result<u64>>;
}

/// One attempt of a task.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AttemptKey {
    /// Task id.
    pub id: String,
    /// Attempts before it.
    pub retries: u32,
    /// The number of times that the task was replayed.
    pub replays: u32,
}

/// A suspected attempt that is about to begin.
#[derive(Debug, Clone)]
pub struct CrashCheck {
    /// The attempt.
    pub attempt: AttemptKey,
    /// The worker that would run it.
    pub worker: Arc<str>,
    /// It begins only if it has begun less often.
    pub max_starts: u32,
}

/// The starts of an attempt without an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrashCount {
    /// The number of starts without an end, this one included.
    pub starts: u32,
    /// True if it begins: this is on record now.
    pub begins: bool,
}

/// An attempt that has ended in order.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The attempt.
    pub attempt: AttemptKey,
    /// True if it was only interrupted: then one start is taken back, and the others stay.
    pub interrupted: bool,
}

/// Asks the crash log, many attempts at a time. Clones share one queue.
#[derive(Debug, Clone)]
pub struct CrashTracker {
    queue: mpsc::Sender<CrashRequest>,
}

#[derive(Debug)]
enum CrashRequest {
    Begin(CrashCheck, oneshot::Sender<CrashCount>),
    Clear(Finished),
}

impl CrashTracker {
    /// A record, and the service that has to run for it.
    pub fn new(log: Arc<dyn CrashLog>) -> (Self, CrashTrackerService) {
        let (queue, entries) = mpsc::channel(2 * PIECE);
        (Self { queue }, CrashTrackerService { entries, log })
    }

    /// Asks whether an attempt may begin, and puts on record that it does.
    ///
    /// While the store is away that takes as long as it is away.
    ///
    /// # Errors
    /// When the service has ended before that.
    pub async fn count_start(&self, check: CrashCheck) -> Result<CrashCount> {
        if !is_id(&check.attempt.id) {
            // It runs, and is dead-lettered for what its id is: no store can hold its row either.
            return Ok(CrashCount { starts: 0, begins: true });
        }
        let (answer, count) = oneshot::channel();
        self.queue.send(CrashRequest::Begin(check, answer)).await.map_err(|_| Error::Closed)?;
        count.await.map_err(|_| Error::Closed)
    }

    /// Takes an attempt off the record, a moment later. One that stays there because its worker ended in that moment does
    /// no harm but to count against the same attempt.
    pub async fn clear(&self, finished: Finished) {
        if !is_id(&finished.attempt.id) {
            return;
        }
        // After the service there is nobody to tell.
        let _ = self.queue.send(CrashRequest::Clear(finished)).await;
    }
}

/// The part of [`CrashTracker`] that reads and writes.
#[derive(Debug)]
pub struct CrashTrackerService {
    entries: mpsc::Receiver<CrashRequest>,
    log: Arc<dyn CrashLog>,
}

impl CrashTrackerService {
    /// Answers what comes. After `stop` it takes nothing more, writes what it has taken, and returns; while the store is
    /// away, drop the future when patience ends.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(PIECE);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled(), if !self.entries.is_closed() => self.entries.close(),
                taken = self.entries.recv_many(&mut batch, PIECE) => match taken {
                    0 => return,
                    _ => self.write(&mut batch).await,
                },
            }
        }
    }

    /// Clears before it asks: who comes again may be among those that are finished.
    async fn write(&self, batch: &mut Vec<CrashRequest>) {
        let (mut finished, mut asking) = (Vec::new(), Vec::new());
        for entry in batch.drain(..) {
            match entry {
                CrashRequest::Begin(check, answer) => asking.push((check, answer)),
                CrashRequest::Clear(one) => finished.push(one),
            }
        }
        if !finished.is_empty() {
            self.insist(|| self.log.clear_finished(&finished)).await;
        }
        while !asking.is_empty() {
            let (checks, answers): (Vec<_>, Vec<_>) = take_each_once(&mut asking).into_iter().unzip();
            let Some(counts) = self.insist(|| self.log.count_starts(&checks)).await else { return };
            for (answer, count) in answers.into_iter().zip(counts) {
                // One who no longer waits is not begun, and so is on record once too often.
                let _: Result<_, _> = answer.send(count);
            }
        }
    }

    /// Does it as often as it takes; `None` when the store was closed.
    async fn insist<'a, T>(&self, attempt: impl Fn() -> BoxFuture<'a, Result<T>>) -> Option<T> {
        let mut backoff = StoreBackoff::new();
        loop {
            match attempt().await {
                Ok(done) => return Some(done),
                Err(Error::Closed) => return None,
                Err(error) => tracing::warn!("no suspect begins, trying again: {}", error.chain()),
            }
            sleep(backoff.next_wait()).await;
        }
    }
}

/// Takes out one of each task: a statement cannot write a row twice.
fn take_each_once(
    asking: &mut Vec<(CrashCheck, oneshot::Sender<CrashCount>)>,
) -> Vec<(CrashCheck, oneshot::Sender<CrashCount>)> {
    let mut seen = HashSet::new();
    asking.extract_if(.., |(check, _)| seen.insert(check.attempt.id.clone())).collect()
}
