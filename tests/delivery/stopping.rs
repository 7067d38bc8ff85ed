//! The end of a worker.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use celeriac::DynamicCall;
use celeriac::prelude::*;
use celeriac_client::call::CallOptions;
use celeriac_protocol::{Body, Value};
use celeriac_tests::wait::eventually;
use celeriac_tests::{Bed, Program};

fn rest(milliseconds: i64) -> DynamicCall {
    taking("test.rest", milliseconds)
}

fn taking(task: &str, milliseconds: i64) -> DynamicCall {
    let body = Body { args: vec![Value::Int(milliseconds)], ..Body::default() };
    DynamicCall { task: task.to_owned(), body, options: CallOptions::default() }
}

/// The records of tasks in other processes.
struct Journal {
    _folder: tempfile::TempDir,
    path: String,
}

impl Journal {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal").to_string_lossy().into_owned();
        Self { _folder: folder, path }
    }

    /// Starts a worker whose tasks write to it.
    fn worker(&self, bed: &Bed, flags: &[&str]) -> Program {
        bed.process_with(&[&["worker"], flags].concat(), &[("JOURNAL", self.path.clone())])
    }

    fn begun(&self) -> usize {
        let lines = std::fs::read_to_string(&self.path).unwrap_or_default();
        lines.lines().filter(|line| line.ends_with("begun")).count()
    }
}

#[celeriac_tests::test(real)]
async fn one_sigterm_finishes_what_runs_returns_the_rest_and_exits_with_0(bed: Bed) {
    let client = bed.client(bed.program([])).await;
    let journal = Journal::new();
    let mut worker = journal.worker(&bed, &["-c", "2"]);
    worker.says("ready").await;
    let mut handles = Vec::new();
    for _ in 0..6 {
        handles.push(client.submit_dynamic(rest(1_500)).await.unwrap());
    }
    eventually("two run", async || journal.begun(), |begun| *begun == 2).await;
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(20)).await, 0, "{}", worker.output());

    let mut ended = 0;
    for handle in &handles {
        ended += usize::from(handle.successful().await.unwrap());
    }
    assert_eq!((ended, journal.begun()), (2, 2), "{}", worker.output());
    let peer = bed.peer().await;
    eventually("the rest is back", async || peer.ready("celeriac").await, |ready| *ready == 4).await;
}

#[celeriac_tests::test(real)]
async fn a_second_signal_hurries_and_what_was_interrupted_goes_back(bed: Bed) {
    let client = bed.client(bed.program([])).await;
    let journal = Journal::new();
    let mut worker = journal.worker(&bed, &["--drain-timeout", "60s"]);
    worker.says("ready").await;
    client.submit_dynamic(rest(60_000)).await.unwrap();
    eventually("it runs", async || journal.begun(), |begun| *begun == 1).await;
    let asked = Instant::now();
    worker.signal("INT");
    worker.says("stopping").await;
    worker.signal("INT");
    assert_eq!(worker.exit_code(Duration::from_secs(20)).await, 0, "{}", worker.output());
    assert!(asked.elapsed() < Duration::from_secs(20));
    let peer = bed.peer().await;
    eventually("it is back", async || peer.ready("celeriac").await, |ready| *ready == 1).await;
}

#[celeriac_tests::test(real)]
async fn sigquit_ends_it_at_once_and_what_was_interrupted_counts_as_no_attempt(bed: Bed) {
    let client = bed.client(bed.program([])).await;
    let journal = Journal::new();
    let mut first = journal.worker(&bed, &["-n", "first", "--drain-timeout", "60s"]);
    first.says("ready").await;
    let handle = client.submit_dynamic(rest(5_000)).await.unwrap();
    eventually("it runs", async || journal.begun(), |begun| *begun == 1).await;
    first.signal("QUIT");
    assert_eq!(first.exit_code(Duration::from_secs(20)).await, 0, "{}", first.output());
    assert!(first.output().contains("worker stopped name=first interrupted=1"), "{}", first.output());
    assert!(handle.record().await.unwrap().is_none(), "an interrupted attempt is none");

    let mut second = journal.worker(&bed, &["-n", "second"]);
    let record = handle.wait().await.unwrap();
    assert_eq!((record.attempts, record.worker.as_ref(), journal.begun()), (1, "second", 2));
    second.signal("TERM");
    assert_eq!(second.exit_code(Duration::from_secs(20)).await, 0, "{}", second.output());
}

#[celeriac_tests::test(real)]
async fn the_drain_time_bounds_the_wait(bed: Bed) {
    let client = bed.client(bed.program([])).await;
    let journal = Journal::new();
    let mut worker = journal.worker(&bed, &["--drain-timeout", "1s"]);
    worker.says("ready").await;
    client.submit_dynamic(rest(60_000)).await.unwrap();
    eventually("it runs", async || journal.begun(), |begun| *begun == 1).await;
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(15)).await, 0, "{}", worker.output());
    let peer = bed.peer().await;
    eventually("it is back", async || peer.ready("celeriac").await, |ready| *ready == 1).await;
}

#[celeriac_tests::test(real)]
async fn a_blocking_task_that_goes_on_does_not_keep_the_process(bed: Bed) {
    let client = bed.client(bed.program([])).await;
    let journal = Journal::new();
    let mut worker = journal.worker(&bed, &["--drain-timeout", "1s"]);
    worker.says("ready").await;
    client.submit_dynamic(taking("test.block", 600_000)).await.unwrap();
    eventually("it runs", async || journal.begun(), |begun| *begun == 1).await;
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(20)).await, 0, "{}", worker.output());
    assert!(worker.output().contains("blocking tasks left tasks=1"), "{}", worker.output());
    let peer = bed.peer().await;
    eventually("it is back", async || peer.ready("celeriac").await, |ready| *ready == 1).await;
}

#[celeriac_tests::test(real)]
async fn a_task_that_does_not_yield_is_abandoned_and_keeps_neither_its_neighbours_nor_the_process(bed: Bed) {
    let client = bed.client(bed.program([])).await;
    let journal = Journal::new();
    let threads = [("JOURNAL", journal.path.clone()), ("TOKIO_WORKER_THREADS", "2".to_owned())];
    let mut worker = bed.process_with(&["worker", "--drain-timeout", "2s"], &threads);
    worker.says("ready").await;
    let neighbour = client.submit_dynamic(rest(1_000)).await.unwrap();
    eventually("the neighbour runs", async || journal.begun(), |begun| *begun == 1).await;
    let spinning = client.submit_dynamic(taking("test.spin", 600_000)).await.unwrap();
    eventually("both run", async || journal.begun(), |begun| *begun == 2).await;
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(20)).await, 0, "{}", worker.output());

    let named = format!("task abandoned task=test.spin id={}", spinning.id());
    assert!(worker.output().contains(&named), "{}", worker.output());
    assert!(neighbour.successful().await.unwrap(), "{}", worker.output());
    let peer = bed.peer().await;
    eventually("it is back", async || peer.ready("celeriac").await, |ready| *ready == 1).await;
}

/// The records of tasks so far.
#[derive(Default)]
struct Seen(Mutex<Vec<String>>);

impl Seen {
    fn note(ctx: &TaskContext, word: &str) -> TaskResult<()> {
        ctx.state::<Self>()?.0.lock().unwrap().push(format!("{} {word}", ctx.id()));
        Ok(())
    }

    fn count(&self, word: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|line| line.ends_with(word)).count()
    }
}

/// Runs until it is signalled to end, cleans up, and ends in one of several ways.
#[task(name = "t.listen", max_retries = 1)]
async fn listen(ctx: TaskContext, ending: String) -> TaskResult<String> {
    Seen::note(&ctx, "begun")?;
    ctx.cancelled().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    Seen::note(&ctx, "tidied")?;
    match ending.as_str() {
        "success" => Ok(ending),
        "later" => Err(TaskError::retry_in(Duration::from_secs(60), "not here")),
        "late" => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok(ending)
        }
        _ => Err(TaskError::new("told to end")),
    }
}

/// The same on a thread.
#[task(name = "t.listen_on_a_thread")]
fn listen_on_a_thread(ctx: TaskContext) -> TaskResult<()> {
    Seen::note(&ctx, "begun")?;
    while !ctx.is_cancelled() {
        nap();
    }
    Seen::note(&ctx, "tidied")?;
    Err(TaskError::new("told to end"))
}

#[expect(clippy::disallowed_methods, reason = "a thread of its own")]
fn nap() {
    std::thread::sleep(Duration::from_millis(20));
}

/// Does not listen, and fails at the moment when the worker stops.
#[task(name = "t.deaf")]
async fn deaf(ctx: TaskContext) -> TaskResult<()> {
    Seen::note(&ctx, "begun")?;
    tokio::time::sleep(Duration::from_secs(60)).await;
    Ok(())
}

#[celeriac_tests::test]
async fn who_listens_may_tidy_up_and_an_error_after_that_is_no_attempt(bed: Bed) {
    let seen = Arc::new(Seen::default());
    let program = bed.program(tasks![listen, listen_on_a_thread, deaf]).shared(Arc::clone(&seen));
    let running = bed.start(program.set("worker.drain_timeout", "0s")).await;
    let send = async |ending: &str| listen(ending.to_owned()).submit(&running.client).await.unwrap();
    let (failed, succeeded) = (send("error").await, send("success").await);
    let (later, late) = (send("later").await, send("late").await);
    let threaded = listen_on_a_thread().submit(&running.client).await.unwrap();
    let deaf = deaf().submit(&running.client).await.unwrap();
    eventually("all run", async || seen.count("begun"), |begun| *begun == 6).await;
    let asked = Instant::now();
    running.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(20));

    assert_eq!(seen.count("tidied"), 5, "{:?}", seen.0.lock().unwrap());
    let client = bed.client(bed.program([])).await;
    let record = async |id: &str| client.handle::<()>(id).record().await.unwrap().map(|row| (row.state, row.attempts));
    assert_eq!(record(succeeded.id()).await, Some((TaskState::Success, 1)));
    assert_eq!(record(later.id()).await, Some((TaskState::Retry, 1)), "it says itself what comes next");
    for id in [failed.id(), late.id(), threaded.id(), deaf.id()] {
        assert_eq!(record(id).await, None);
    }
    let peer = bed.peer().await;
    eventually("they are back", async || peer.ready("celeriac").await, |ready| *ready == 4).await;
}

#[celeriac_tests::test(real)]
async fn a_worker_without_a_command_line_logs_and_stops_on_a_signal(bed: Bed) {
    let client = bed.client(bed.program([])).await;
    let journal = Journal::new();
    let mut worker = bed.process_with(&["without-command-line"], &[("JOURNAL", journal.path.clone())]);
    worker.says("worker ready").await;
    let handle = client.submit_dynamic(rest(500)).await.unwrap();
    eventually("it runs", async || journal.begun(), |begun| *begun == 1).await;
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(20)).await, 0, "{}", worker.output());
    assert_eq!(handle.get_timeout(Duration::from_secs(5)).await.unwrap(), 500);
}
