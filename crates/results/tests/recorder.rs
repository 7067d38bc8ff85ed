//! The recorder writes in batches, survives an unavailable store, and loses nothing silently.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use celeriac_protocol::{Message, TaskState};
use celeriac_results::{
    Arrival, AttemptKey, AttemptRecord, AuditLog, AuditRecord, Backend, CrashCheck, CrashCount, CrashLog, Error,
    Finished, FiredJoin, JoinMember, Joins, NewJoin, Operator, OperatorAction, Outcomes, Recorded, Recorder, Result,
    ResultsOptions, RevocationCache, Revocations, RevokeOptions, RunLog, SavedGroup, SentRecord, SentTasks, StoreClock,
    StoreHealth, TaskRecord, Turn, WorkflowChord, WorkflowTask, Workflows,
};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(3_600);

/// A store with scripted behaviour.
#[derive(Debug)]
struct Scripted {
    /// Sizes of the successful writes, in order.
    writes: Mutex<Vec<usize>>,
    /// Number of writes that fail before one succeeds.
    failures: AtomicUsize,
    /// A permit for each write that may proceed.
    gate: Semaphore,
    /// Times of the requested sweeps.
    swept: Mutex<Vec<Duration>>,
    revocations: Arc<RevocationCache>,
    health: StoreHealth,
    clock: StoreClock,
}

impl Scripted {
    fn open() -> Arc<Self> {
        let store = Self::shut();
        store.gate.add_permits(Semaphore::MAX_PERMITS / 2);
        store
    }

    fn shut() -> Arc<Self> {
        let (writes, swept) = (Mutex::default(), Mutex::default());
        Arc::new(Self {
            writes,
            failures: AtomicUsize::new(0),
            gate: Semaphore::new(0),
            swept,
            revocations: Arc::default(),
            health: StoreHealth::new("scripted".to_owned()),
            clock: StoreClock::default(),
        })
    }

    fn failing(times: usize) -> Arc<Self> {
        let store = Self::open();
        store.failures.store(times, Ordering::Relaxed);
        store
    }

    fn writes(&self) -> Vec<usize> {
        self.writes.lock().unwrap().clone()
    }
}

impl Outcomes for Scripted {
    fn record<'a>(&'a self, records: &'a [TaskRecord]) -> BoxFuture<'a, Result<Vec<Recorded>>> {
        async {
            self.gate.acquire().await.unwrap().forget();
            let fails = |left: usize| left.checked_sub(1);
            if self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fails).is_ok() {
                return Err(Error::Unreachable { url: "scripted".to_owned(), source: "away".into() });
            }
            self.writes.lock().unwrap().push(records.len());
            let refused = |record: &TaskRecord| record.state == TaskState::Rejected;
            let answer = |record| match refused(record) {
                true => Recorded::Refused { reason: "scripted".to_owned() },
                false => Recorded::Stored,
            };
            Ok(records.iter().map(answer).collect())
        }
        .boxed()
    }

    fn record_sent<'a>(&'a self, tasks: &'a [SentRecord]) -> BoxFuture<'a, Result<()>> {
        async {
            self.gate.acquire().await.unwrap().forget();
            let fails = |left: usize| left.checked_sub(1);
            if self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fails).is_ok() {
                return Err(Error::Unreachable { url: "scripted".to_owned(), source: "away".into() });
            }
            self.writes.lock().unwrap().push(tasks.len());
            Ok(())
        }
        .boxed()
    }

    fn sweep(&self, keep: Duration, _at_most: u32) -> BoxFuture<'_, Result<u64>> {
        self.swept.lock().unwrap().push(keep);
        async { Ok(0) }.boxed()
    }

    fn find<'a>(&'a self, _id: &'a str) -> BoxFuture<'a, Result<Option<TaskRecord>>> {
        async { Ok(None) }.boxed()
    }

    fn next_attempt<'a>(&'a self, _id: &'a str) -> BoxFuture<'a, Result<Option<Message>>> {
        async { Ok(None) }.boxed()
    }

    fn attempts<'a>(&'a self, _id: &'a str) -> BoxFuture<'a, Result<Vec<AttemptRecord>>> {
        unreachable!()
    }

    fn finished<'a>(&'a self, _id: &'a str) -> BoxFuture<'a, Result<TaskRecord>> {
        std::future::pending().boxed()
    }

    fn forget<'a>(&'a self, _id: &'a str) -> BoxFuture<'a, Result<bool>> {
        async { Ok(false) }.boxed()
    }
}

impl Revocations for Scripted {
    fn revoke<'a>(&'a self, _ids: &'a [String], _options: RevokeOptions) -> BoxFuture<'a, Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn revocation_cache(&self) -> &Arc<RevocationCache> {
        &self.revocations
    }

    fn sweep_revocations(&self, _at_most: u32) -> BoxFuture<'_, Result<u64>> {
        async { Ok(0) }.boxed()
    }
}

impl CrashLog for Scripted {
    fn count_starts<'a>(&'a self, _checks: &'a [CrashCheck]) -> BoxFuture<'a, Result<Vec<CrashCount>>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn clear_finished<'a>(&'a self, _finished: &'a [Finished]) -> BoxFuture<'a, Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn sweep_crashes(&self, _at_most: u32) -> BoxFuture<'_, Result<u64>> {
        async { Ok(0) }.boxed()
    }
}

impl RunLog for Scripted {
    fn renew_run<'a>(&'a self, _: &'a AttemptKey, _: &'a str, _: Duration) -> BoxFuture<'a, Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn find_run<'a>(&'a self, _: &'a AttemptKey) -> BoxFuture<'a, Result<Option<String>>> {
        async { Ok(None) }.boxed()
    }

    fn end_run<'a>(&'a self, _: &'a AttemptKey, _: &'a str) -> BoxFuture<'a, Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn sweep_runs(&self, _at_most: u32) -> BoxFuture<'_, Result<u64>> {
        async { Ok(0) }.boxed()
    }
}

impl AuditLog for Scripted {
    fn begin_action<'a>(&'a self, _operator: &'a Operator, _action: &'a OperatorAction) -> BoxFuture<'a, Result<i64>> {
        unreachable!()
    }

    fn end_action<'a>(&'a self, _number: i64, _count: u64, _error: Option<&'a str>) -> BoxFuture<'a, Result<()>> {
        unreachable!()
    }

    fn actions(&self, _open: bool, _at_most: u32) -> BoxFuture<'_, Result<Vec<AuditRecord>>> {
        unreachable!()
    }

    fn sweep_audit(&self, keep: Duration, _at_most: u32) -> BoxFuture<'_, Result<u64>> {
        self.swept.lock().unwrap().push(keep);
        async { Ok(0) }.boxed()
    }
}

impl Joins for Scripted {
    fn add_join<'a>(&'a self, _: &'a NewJoin) -> BoxFuture<'a, Result<()>> {
        unreachable!()
    }

    fn touch_join<'a>(&'a self, _: &'a str, _: u64, _: Option<Duration>) -> BoxFuture<'a, Result<bool>> {
        unreachable!()
    }

    fn overdue_joins(&self, _: u32) -> BoxFuture<'_, Result<Vec<String>>> {
        unreachable!()
    }

    fn end_overdue_join<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<()>> {
        unreachable!()
    }

    fn give_up_join<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<()>> {
        unreachable!()
    }

    fn record_arrivals<'a>(&'a self, _: &'a [Arrival]) -> BoxFuture<'a, Result<()>> {
        unreachable!()
    }

    fn fire<'a>(&'a self, _: &'a [JoinMember]) -> BoxFuture<'a, Result<Vec<Turn>>> {
        unreachable!()
    }

    fn find_fired<'a>(&'a self, _: &'a str, _: usize) -> BoxFuture<'a, Result<Option<FiredJoin>>> {
        unreachable!()
    }

    fn sweep_joins(&self, _: Duration, _: u32) -> BoxFuture<'_, Result<u64>> {
        async { Ok(0) }.boxed()
    }
}

impl Workflows for Scripted {
    fn workflow<'a>(&'a self, _: &'a str, _: u32) -> BoxFuture<'a, Result<Vec<WorkflowTask>>> {
        unreachable!()
    }

    fn chords<'a>(&'a self, _: &'a [String]) -> BoxFuture<'a, Result<Vec<WorkflowChord>>> {
        unreachable!()
    }

    fn save_group<'a>(&'a self, _: &'a SavedGroup) -> BoxFuture<'a, Result<()>> {
        unreachable!()
    }

    fn find_group<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<SavedGroup>>> {
        unreachable!()
    }

    fn sweep_groups(&self, _: Duration, _: u32) -> BoxFuture<'_, Result<u64>> {
        async { Ok(0) }.boxed()
    }
}

impl Backend for Scripted {
    fn health(&self) -> &StoreHealth {
        &self.health
    }

    fn clock(&self) -> &StoreClock {
        &self.clock
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

fn options(rows: usize, in_flight: usize) -> ResultsOptions {
    let mut options = ResultsOptions { retention: Duration::ZERO, ..ResultsOptions::default() };
    options.batch.max_rows = rows;
    options.batch.max_in_flight = in_flight;
    options
}

/// Runs the service beside `work`, then stops it and waits for its end.
async fn beside<T>(store: &Arc<Scripted>, options: &ResultsOptions, work: impl AsyncFnOnce(Recorder) -> T) -> T {
    let (recorder, service) = Recorder::new(Arc::clone(store) as Arc<dyn Backend>, options);
    let stop = CancellationToken::new();
    let work = async {
        let answer = work(recorder).await;
        stop.cancel();
        answer
    };
    timeout(DEADLINE, async { tokio::join!(service.run(stop.clone()), work).1 }).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_comes_together_is_written_together() {
    let store = Scripted::open();
    let answers = beside(&store, &options(256, 1), async |recorder| {
        join_all((0..600).map(|number| recorder.record(Box::new(ended(number))))).await
    })
    .await;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(Recorded::Stored))));
    let writes = store.writes();
    assert_eq!(writes.iter().sum::<usize>(), 600);
    assert!(writes.iter().all(|&rows| rows <= 256) && writes.len() <= 5, "{writes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lone_outcome_waits_for_no_other() {
    let store = Scripted::open();
    let begun = tokio::time::Instant::now();
    let recorded = beside(&store, &options(256, 1), async |recorder| recorder.record(Box::new(ended(1))).await).await;
    assert_eq!(recorded.unwrap(), Recorded::Stored);
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_bounded_in_bytes() {
    let store = Scripted::open();
    let answers = beside(&store, &options(256, 1), async |recorder| {
        let large = |number| TaskRecord { result: Some("7".repeat(1 << 20)), ..ended(number) };
        join_all((0..16).map(|number| recorder.record(Box::new(large(number))))).await
    })
    .await;
    assert!(answers.iter().all(Result::is_ok));
    assert!(store.writes().iter().all(|&rows| rows <= 4), "{:?}", store.writes());
}

#[tokio::test(start_paused = true)]
async fn everybody_gets_the_answer_to_his_own_record() {
    let store = Scripted::open();
    let answers = beside(&store, &options(16, 2), async |recorder| {
        let state = |number| if number % 3 == 0 { TaskState::Rejected } else { TaskState::Success };
        join_all((0..100).map(|number| recorder.record(Box::new(TaskRecord { state: state(number), ..ended(number) }))))
            .await
    })
    .await;
    for (number, answer) in answers.into_iter().enumerate() {
        assert_eq!(matches!(answer.unwrap(), Recorded::Refused { .. }), number % 3 == 0, "record {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_while_the_store_is_away() {
    let store = Scripted::failing(20);
    let answers = beside(&store, &options(8, 2), async |recorder| {
        join_all((0..100).map(|number| recorder.record(Box::new(ended(number))))).await
    })
    .await;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(Recorded::Stored))));
    assert_eq!(store.writes().iter().sum::<usize>(), 100);
}

#[tokio::test(start_paused = true)]
async fn callers_wait_when_the_queue_is_full() {
    let store = Scripted::shut();
    let (recorder, service) = Recorder::new(Arc::clone(&store) as Arc<dyn Backend>, &options(4, 1));
    let mut waits: Vec<_> = (0..100).map(|number| Box::pin(recorder.record(Box::new(ended(number))))).collect();
    for wait in &mut waits {
        assert!(futures::poll!(wait).is_pending());
    }
    store.gate.add_permits(100);
    let stop = CancellationToken::new();
    stop.cancel();
    let (answers, ()) = timeout(DEADLINE, async { tokio::join!(join_all(waits), service.run(stop)) }).await.unwrap();
    // A write of four, and four behind it; the others had not been accepted.
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Ok(Recorded::Stored))).count(), 8);
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Err(Error::Closed))).count(), 92);
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_before_the_stop_is_written() {
    let store = Scripted::open();
    let (recorder, service) = Recorder::new(Arc::clone(&store) as Arc<dyn Backend>, &options(4, 1));
    let mut waits: Vec<_> = (0..8).map(|number| Box::pin(recorder.record(Box::new(ended(number))))).collect();
    for wait in &mut waits {
        assert!(futures::poll!(wait).is_pending());
    }
    let stop = CancellationToken::new();
    stop.cancel();
    timeout(DEADLINE, service.run(stop)).await.unwrap();
    for wait in waits {
        assert_eq!(wait.await.unwrap(), Recorded::Stored);
    }
    assert!(matches!(recorder.record(Box::new(ended(9))).await, Err(Error::Closed)));
}

#[tokio::test(start_paused = true)]
async fn who_was_not_written_gets_an_error() {
    let store = Scripted::failing(usize::MAX);
    let (recorder, service) = Recorder::new(Arc::clone(&store) as Arc<dyn Backend>, &options(4, 1));
    let stop = CancellationToken::new();
    stop.cancel();
    let wait = recorder.record(Box::new(ended(1)));
    let mut wait = std::pin::pin!(wait);
    assert!(futures::poll!(&mut wait).is_pending());
    assert!(timeout(Duration::from_secs(30), service.run(stop)).await.is_err(), "it never gives up by itself");
    assert!(matches!(wait.await, Err(Error::Closed)));
}

#[tokio::test(start_paused = true)]
async fn old_rows_are_swept_now_and_then() {
    let store = Scripted::open();
    let keep = Duration::from_secs(24 * 60 * 60);
    let options = ResultsOptions { retention: keep, ..options(4, 1) };
    beside(&store, &options, async |_recorder| tokio::time::sleep(Duration::from_secs(150)).await).await;
    let swept = store.swept.lock().unwrap().clone();
    let audit = options.audit_retention;
    assert_eq!(swept, [keep, audit, keep, audit]);
}

fn ended(number: usize) -> TaskRecord {
    TaskRecord {
        queue: "celeriac".into(),
        routing_key: "celeriac".to_owned(),
        worker: "worker".into(),
        attempts: 1,
        ..TaskRecord::new(number.to_string(), "test", TaskState::Success)
    }
}

fn sent(number: usize) -> SentRecord {
    SentRecord {
        id: number.to_string(),
        name: "t".to_owned(),
        queue: "q".to_owned(),
        exchange: String::new(),
        routing_key: "q".to_owned(),
        sent_at: jiff::Timestamp::UNIX_EPOCH,
        eta: None,
        expires: None,
        root_id: None,
        parent_id: None,
        group_id: None,
    }
}

#[tokio::test(start_paused = true)]
async fn rows_of_sent_tasks_wait_for_the_store_up_to_a_bound() {
    let store = Scripted::failing(3);
    let tasks = SentTasks::start(Arc::clone(&store) as Arc<dyn Backend>);
    for number in 0..20_000 {
        tasks.add(sent(number)).await;
    }
    tasks.close().await;
    let written: usize = store.writes().iter().sum();
    assert_eq!(written, 20_000, "a send waits for room while the store takes writes");

    let store = Scripted::failing(usize::MAX);
    let tasks = SentTasks::start(Arc::clone(&store) as Arc<dyn Backend>);
    let began = tokio::time::Instant::now();
    for number in 0..9_300 {
        tasks.add(sent(number)).await;
    }
    assert!(began.elapsed() < Duration::from_secs(200), "{:?}", began.elapsed());
    tasks.close().await;
    assert!(store.writes().is_empty());
}
