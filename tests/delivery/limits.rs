//! Time limits of a task: from its call, its declaration, and its worker.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use celeriac::prelude::*;
use celeriac::{Cancellation, TaskDefinition};
use celeriac_tests::{Bed, assert_outcome, eventually};

/// Never ends, and would be retried after a failure.
#[task(name = "t.long", time_limit = "300ms", max_retries = 3, retry_backoff = "10ms..20ms")]
async fn long() -> TaskResult<()> {
    std::future::pending().await
}

/// Sleeps, if it is not ended.
#[task(name = "t.rest", time_limit = "300ms")]
async fn rest(milliseconds: u64) -> TaskResult<u64> {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    Ok(milliseconds)
}

/// Sets no limits, and returns those that apply.
#[task(name = "t.plain")]
async fn plain(ctx: TaskContext) -> TaskResult<(Option<f64>, Option<f64>, bool)> {
    let limits = ctx.time_limits();
    let left = ctx.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let seconds = |limit: Option<Duration>| limit.map(|limit| limit.as_secs_f64());
    Ok((seconds(limits.hard), seconds(limits.soft), left.is_some_and(|left| Some(left) <= limits.hard)))
}

/// Is exempt from the worker's limit.
#[task(name = "t.free", time_limit = none)]
async fn free(milliseconds: u64) -> TaskResult<u64> {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    Ok(milliseconds)
}

/// Cleans up at the signal, and returns the reason for it.
#[task(name = "t.tidy", time_limit = "30s", soft_time_limit = "200ms")]
async fn tidy(ctx: TaskContext) -> TaskResult<String> {
    ctx.cancelled().await;
    Ok(format!("{:?}", ctx.cancellation()))
}

/// The same on a thread of its own.
#[task(name = "t.thread", soft_time_limit = "200ms")]
fn thread(ctx: TaskContext) -> TaskResult<(String, bool)> {
    let (_never, tick) = mpsc::channel::<()>();
    while !ctx.is_cancelled() {
        let _ = tick.recv_timeout(Duration::from_millis(5));
    }
    Ok((format!("{:?}", ctx.cancellation()), ctx.deadline().is_some()))
}

/// Has only a soft limit.
#[task(name = "t.slow", soft_time_limit = "1s")]
async fn slow() -> TaskResult<()> {
    Ok(())
}

/// Signals that it runs, and records the reason for its end.
#[task(name = "t.told")]
async fn told(ctx: TaskContext) -> TaskResult<()> {
    let told = ctx.state::<Told>()?;
    told.0.send_modify(|words| words.push("begun".to_owned()));
    ctx.cancelled().await;
    told.0.send_modify(|words| words.push(format!("{:?}", ctx.cancellation())));
    std::future::pending().await
}

struct Told(tokio::sync::watch::Sender<Vec<String>>);

#[celeriac_tests::test]
async fn a_limit_of_the_task_ends_an_attempt_for_good_unless_the_call_says_otherwise(bed: Bed) {
    let running = bed.worker(tasks![long, rest]).await;
    let client = &running.client;
    let ended = long().submit(client).await.unwrap();
    assert_outcome!(ended, Failure, attempts: 1, kind: "TimeLimitExceeded", message: "0.3");

    let longer = rest(900).time_limit(seconds(60)).submit(client).await.unwrap();
    assert_outcome!(longer, Success, result: 900);
    let shorter = rest(250).time_limit(Duration::from_millis(50)).submit(client).await.unwrap();
    assert_outcome!(shorter, Failure, message: "0.05");
}

#[celeriac_tests::test]
async fn a_limit_of_the_worker_holds_for_tasks_that_say_nothing(bed: Bed) {
    let program = bed.program(tasks![plain, rest, free, told]).shared(std::sync::Arc::new(told_nothing()));
    let program = program.set("worker.time_limit", "500ms").set("worker.soft_time_limit", "250ms");
    let running = bed.start(program).await;
    let client = &running.client;
    assert_eq!(plain().submit(client).await.unwrap().get().await.unwrap(), (Some(0.5), Some(0.25), true));
    // Its own limit overrides the worker's.
    let own = rest(60_000).submit(client).await.unwrap();
    assert_outcome!(own, Failure, message: "0.3");
    assert_eq!(free(1_200).submit(client).await.unwrap().get().await.unwrap(), 1_200, "it has none");
    let ended = told().submit(client).await.unwrap();
    assert_outcome!(ended, Failure, message: "0.5");
}

#[celeriac_tests::test]
async fn a_soft_limit_of_a_call_that_is_never_reached_is_refused(bed: Bed) {
    let client = bed.client(bed.program(tasks![plain])).await;
    let seconds = Duration::from_secs;
    let refused = plain().time_limit(seconds(1)).soft_time_limit(seconds(5)).submit(&client).await.unwrap_err();
    assert!(refused.to_string().contains("soft time limit of 5s is never reached: the hard one ends it after 1s"));
    plain().time_limit(seconds(5)).soft_time_limit(seconds(1)).submit(&client).await.unwrap();
    // Zero means no limit in Celery.
    plain().time_limit(seconds(0)).soft_time_limit(seconds(5)).submit(&client).await.unwrap();
}

#[celeriac_tests::test]
async fn a_task_is_told_why_it_should_come_to_an_end(bed: Bed) {
    let state = std::sync::Arc::new(told_nothing());
    let program = bed.program(tasks![tidy, thread, told]).shared(std::sync::Arc::clone(&state));
    let running = bed.start(program.set("worker.drain_timeout", "0s")).await;
    let why = format!("{:?}", Some(Cancellation::SoftTimeLimit));
    assert_eq!(tidy().submit(&running.client).await.unwrap().get().await.unwrap(), why);
    assert_eq!(thread().submit(&running.client).await.unwrap().get().await.unwrap(), (why, false));

    told().submit(&running.client).await.unwrap();
    eventually("it runs", async || state.0.borrow().len(), |said| *said == 1).await;
    running.stop().await;
    let why = format!("{:?}", Some(Cancellation::Stopping));
    assert_eq!(*state.0.borrow(), ["begun".to_owned(), why]);
    let peer = bed.peer().await;
    eventually("it is back", async || peer.ready("celeriac").await, |ready| *ready == 1).await;
}

fn told_nothing() -> Told {
    Told(tokio::sync::watch::Sender::new(Vec::new()))
}

fn refused(tasks: impl IntoIterator<Item = TaskDefinition>, settings: &[(&str, &str)]) -> String {
    let environment = celeriac_config::Environment::new(settings.iter().copied());
    Celeriac::builder().environment(environment).tasks(tasks).build().unwrap_err().to_string()
}

#[test]
fn limits_that_cannot_be_kept_do_not_start() {
    const HARD: &str = "CELERIAC__WORKER__TIME_LIMIT";
    const SOFT: &str = "CELERIAC__WORKER__SOFT_TIME_LIMIT";
    let cases = [
        (vec![(HARD, "0s")], format!("environment: {HARD}: should be more than 0s; null sets no limit")),
        (vec![(HARD, "5s"), (SOFT, "5s")], format!("environment: {SOFT}: should be shorter than worker.time_limit")),
        (
            vec![(HARD, "200ms")],
            format!(
                "environment: {HARD}: task `t.slow`: worker.time_limit ends it after 200ms, before its soft_time_limit of \
                 1s: give it a time_limit of its own, or none"
            ),
        ),
    ];
    for (settings, expected) in cases {
        assert_eq!(refused(tasks![thread, slow], &settings), expected);
    }
}
