//! The attempts in progress, and how long each occupies its thread.
//!
//! An attempt that does not yield occupies a thread of the runtime. No time limit, revocation or
//! stop ends it, and a runtime whose threads are all occupied does nothing else. So whatever
//! observes attempts has a thread of its own.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use celeriac_telemetry::Event;
use celeriac_telemetry::events::worker::task::{TaskAbandoned, TaskNotYielding};

use crate::task::received::Received;

/// Time between two `await`s after which a task is reported.
const LONGEST_POLL: Duration = Duration::from_secs(10);

/// Interval between two checks.
const CHECK: Duration = Duration::from_secs(1);

/// The tasks that a worker runs, including their hooks and follow-ups. Cheap to clone.
#[derive(Clone)]
pub struct RunningTasks(Arc<AttemptTable>);

struct AttemptTable {
    /// The origin of the times of polls.
    start: Instant,
    attempts: Mutex<HashMap<u64, Arc<PolledAttempt>>>,
    next: AtomicU64,
}

struct PolledAttempt {
    received: Arc<Received>,
    /// Nanoseconds from the origin to the start of the present poll. Zero between two polls.
    polled_at: AtomicU64,
    /// True once the present poll is reported.
    reported: AtomicBool,
    abandoned: AtomicBool,
}

/// An attempt in the table. Dropping it removes the attempt.
struct TableEntry {
    table: Arc<AttemptTable>,
    number: u64,
    attempt: Arc<PolledAttempt>,
}

/// The steps of an attempt in the table.
pub(crate) struct Observed<'a, F> {
    entry: TableEntry,
    steps: Pin<&'a mut F>,
}

/// Reports tasks that do not yield, until it is dropped.
pub(crate) struct PollReports {
    _stop: mpsc::Sender<()>,
}

impl RunningTasks {
    pub(crate) fn new() -> Self {
        let (attempts, next) = (Mutex::default(), AtomicU64::new(0));
        Self(Arc::new(AttemptTable { start: Instant::now(), attempts, next }))
    }

    /// Logs each task that still runs as abandoned, once, and returns their number.
    ///
    /// Their messages return to their queues when the connection to the broker ends.
    pub fn abandon(&self) -> usize {
        let left: Vec<_> = self.0.lock().values().cloned().collect();
        for attempt in &left {
            if !attempt.abandoned.swap(true, Ordering::Relaxed) {
                let (task, id) = (attempt.task(), attempt.id());
                TaskAbandoned { task, id }.emit();
            }
        }
        left.len()
    }

    /// Returns the attempts in progress, the oldest first.
    pub(crate) fn list(&self) -> Vec<Arc<Received>> {
        let attempts = self.0.lock();
        let mut list: Vec<_> =
            attempts.iter().map(|(number, attempt)| (*number, Arc::clone(&attempt.received))).collect();
        drop(attempts);
        list.sort_unstable_by_key(|(number, _)| *number);
        list.into_iter().map(|(_, received)| received).collect()
    }

    /// Runs the steps of an attempt, and keeps the times of their polls.
    pub(crate) fn observe<'a, F: Future>(&self, received: Arc<Received>, steps: Pin<&'a mut F>) -> Observed<'a, F> {
        Observed { entry: self.enter(received), steps }
    }

    /// Starts to report tasks that do not yield.
    pub(crate) fn report(&self) -> PollReports {
        let (stop, stopped) = mpsc::channel();
        let tasks = self.clone();
        let checks = move || {
            while stopped.recv_timeout(CHECK) == Err(RecvTimeoutError::Timeout) {
                tasks.report_longer_than(LONGEST_POLL);
            }
        };
        // Without the thread there are no reports, which is no reason not to run tasks.
        let _ = std::thread::Builder::new().name("celeriac-polls".to_owned()).spawn(checks);
        PollReports { _stop: stop }
    }

    /// Reports each poll that takes longer than `limit`, once. Returns the number of new reports.
    fn report_longer_than(&self, limit: Duration) -> usize {
        let now = self.0.elapsed();
        let attempts: Vec<_> = self.0.lock().values().cloned().collect();
        let mut reports = 0;
        for attempt in attempts {
            let Some(blocked) = attempt.polled_for(now).filter(|blocked| *blocked > limit) else { continue };
            if !attempt.reported.swap(true, Ordering::Relaxed) {
                TaskNotYielding { task: attempt.task(), id: attempt.id(), blocked }.emit();
                reports += 1;
            }
        }
        reports
    }

    fn enter(&self, received: Arc<Received>) -> TableEntry {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let attempt = Arc::new(PolledAttempt {
            received,
            polled_at: AtomicU64::new(0),
            reported: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
        });
        self.0.lock().insert(number, Arc::clone(&attempt));
        TableEntry { table: Arc::clone(&self.0), number, attempt }
    }
}

impl AttemptTable {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<PolledAttempt>>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the nanoseconds since the origin, which are never zero.
    fn elapsed(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
    }
}

impl PolledAttempt {
    fn task(&self) -> &str {
        &self.received.headers.task
    }

    fn id(&self) -> &str {
        &self.received.headers.id
    }

    /// Returns the time that the present poll has taken so far.
    fn polled_for(&self, now: u64) -> Option<Duration> {
        let polled_at = self.polled_at.load(Ordering::Relaxed);
        (polled_at != 0).then(|| Duration::from_nanos(now.saturating_sub(polled_at)))
    }
}

impl TableEntry {
    fn poll_started(&self) {
        self.attempt.polled_at.store(self.table.elapsed(), Ordering::Relaxed);
    }

    fn poll_ended(&self) {
        self.attempt.polled_at.store(0, Ordering::Relaxed);
        self.attempt.reported.store(false, Ordering::Relaxed);
    }
}

impl<F: Future> Future for Observed<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.entry.poll_started();
        let polled = self.steps.as_mut().poll(context);
        self.entry.poll_ended();
        polled
    }
}

impl Drop for TableEntry {
    fn drop(&mut self) {
        let removed = self.table.lock().remove(&self.number);
        // The lock is free again when the message is dropped.
        drop(removed);
    }
}

impl fmt::Debug for RunningTasks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RunningTasks({})", self.0.lock().len())
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;
    use crate::attempt::testing::TestWorker;

    #[tokio::test]
    async fn only_a_poll_that_takes_long_is_reported_and_only_once() {
        let worker = TestWorker::new().await;
        let attempt = worker.deliver("succeed").await;
        let tasks = RunningTasks::new();
        let observed = tasks.clone();
        let steps = pin!(async {
            assert_eq!(observed.report_longer_than(Duration::from_secs(60)), 0);
            assert_eq!(observed.report_longer_than(Duration::ZERO), 1);
            assert_eq!(observed.report_longer_than(Duration::ZERO), 0, "the same poll");
            tokio::task::yield_now().await;
            assert_eq!(observed.report_longer_than(Duration::ZERO), 1, "the next poll");
            assert_eq!(observed.abandon(), 1);
        });

        tasks.observe(Arc::clone(&attempt.received), steps).await;

        assert_eq!(tasks.report_longer_than(Duration::ZERO), 0);
        assert_eq!(tasks.abandon(), 0, "it has ended");
    }

    #[tokio::test]
    async fn a_task_that_only_waits_is_not_reported() {
        let worker = TestWorker::new().await;
        let attempt = worker.deliver("succeed").await;
        let tasks = RunningTasks::new();
        let mut steps = Box::pin(std::future::pending::<()>());
        let mut waiting = Box::pin(tasks.observe(Arc::clone(&attempt.received), steps.as_mut()));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        assert_eq!(tasks.report_longer_than(Duration::ZERO), 0);
        drop(waiting);
        assert_eq!(tasks.abandon(), 0);
    }
}
