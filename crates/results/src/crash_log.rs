//! The crash log: counts the starts of an attempt that did not end. Such an attempt may have
//! crashed its worker.
//!
//! Only redelivered attempts are counted, so other attempts cost nothing here. After a crash all
//! messages of the worker are redelivered at once, so their checks are sent to the store together.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use celeriac_telemetry::Event;
use celeriac_telemetry::events::results::{CrashLogUnavailable, StoreAwaited};
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::backoff::StoreBackoff;
use crate::error::{Error, Result};
use crate::record::is_id;

/// Most attempts in one statement.
const PIECE: usize = 256;

/// Records attempts that started and did not end.
pub trait CrashLog: fmt::Debug + Send + Sync + 'static {
    /// Records the attempts that start, each of another task. Returns the number of starts without
    /// an end for each check, in order.
    ///
    /// A different attempt of the same task starts with a count of zero.
    fn count_starts<'a>(&'a self, checks: &'a [CrashCheck]) -> BoxFuture<'a, Result<Vec<CrashCount>>>;

    /// Removes finished attempts from the record.
    fn clear_finished<'a>(&'a self, finished: &'a [Finished]) -> BoxFuture<'a, Result<()>>;

    /// Deletes at most `at_most` attempts that were last seen a week ago, and returns their number.
    fn sweep_crashes(&self, at_most: u32) -> BoxFuture<'_, Result<u64>>;
}

/// One attempt of a task.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AttemptKey {
    /// The task id.
    pub id: String,
    /// Number of earlier attempts.
    pub retries: u32,
    /// Number of times that the task was replayed.
    pub replays: u32,
}

/// A suspect attempt that is about to start.
#[derive(Debug, Clone)]
pub struct CrashCheck {
    /// The attempt.
    pub attempt: AttemptKey,
    /// The worker that would run it.
    pub worker: Arc<str>,
    /// The attempt starts only if it has started fewer times than this.
    pub max_starts: u32,
}

/// The starts of an attempt without an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrashCount {
    /// Number of starts without an end, including this one.
    pub starts: u32,
    /// True if the attempt starts, which is recorded now.
    pub begins: bool,
}

/// An attempt that has ended in order.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The attempt.
    pub attempt: AttemptKey,
    /// True for an interrupted attempt: only its last start is removed, and earlier ones stay.
    pub interrupted: bool,
}

/// Queries the crash log, many attempts at a time. Clones share one queue.
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
    /// Returns a tracker, and the service that must run for it.
    pub fn new(log: Arc<dyn CrashLog>) -> (Self, CrashTrackerService) {
        let (queue, entries) = mpsc::channel(2 * PIECE);
        (Self { queue }, CrashTrackerService { entries, log })
    }

    /// Records the start of an attempt, if it may start. Waits while the store is unavailable.
    ///
    /// # Errors
    /// Returns an error if the service has ended first.
    pub async fn count_start(&self, check: CrashCheck) -> Result<CrashCount> {
        if !is_id(&check.attempt.id) {
            // No store can hold the row of this attempt. It runs, and is dead-lettered because of
            // its id.
            return Ok(CrashCount { starts: 0, begins: true });
        }
        let (answer, count) = oneshot::channel();
        self.queue.send(CrashRequest::Begin(check, answer)).await.map_err(|_| Error::Closed)?;
        count.await.map_err(|_| Error::Closed)
    }

    /// Removes an attempt from the record, a moment later.
    ///
    /// If its worker ends in that moment, the record stays. The only effect is a higher count for
    /// the same attempt.
    pub async fn clear(&self, finished: Finished) {
        if !is_id(&finished.attempt.id) {
            return;
        }
        // After the service has ended, the record stays.
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
    /// Answers requests until `stop`, then writes those that it has accepted, and returns.
    ///
    /// While the store is unavailable it does not return: drop the future to end it.
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

    /// Clears before it counts, because a new start may be of a finished attempt.
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
                // If the caller no longer waits, it does not start the attempt, and the count is
                // one too high.
                let _: Result<_, _> = answer.send(count);
            }
        }
    }

    /// Repeats an operation until it succeeds. Returns `None` if the store was closed.
    async fn insist<'a, T>(&self, attempt: impl Fn() -> BoxFuture<'a, Result<T>>) -> Option<T> {
        let mut backoff = StoreBackoff::new();
        loop {
            let error = match attempt().await {
                Ok(done) => return Some(done),
                Err(Error::Closed) => return None,
                Err(error) => error,
            };
            let retry_in = backoff.next_wait();
            let told = error.to_string();
            match error.is_retryable() {
                true => StoreAwaited { work: "crash log", retry_in, error: &told }.emit(),
                false => CrashLogUnavailable { retry_in, error: &told }.emit(),
            }
            sleep(retry_in).await;
        }
    }
}

/// Takes at most one check of each task, because a statement cannot write a row twice.
fn take_each_once(
    asking: &mut Vec<(CrashCheck, oneshot::Sender<CrashCount>)>,
) -> Vec<(CrashCheck, oneshot::Sender<CrashCount>)> {
    let mut seen = HashSet::new();
    asking.extract_if(.., |(check, _)| seen.insert(check.attempt.id.clone())).collect()
}
