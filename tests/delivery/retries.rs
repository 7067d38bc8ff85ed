//! Retries after a failure, and their records.

use std::fmt;
use std::time::Duration;

use celeriac::RetryOptions;
use celeriac::prelude::*;
use celeriac_results::AttemptRecord;
use celeriac_tests::{Bed, Running, assert_outcome, eventually};
use jiff::SignedDuration;
use serde_json::json;
use sqlx::PgConnection;

use crate::letter::Letter;
use crate::stage::Stage;

#[derive(Debug)]
struct Broken(String);

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} is broken", self.0)
    }
}

impl std::error::Error for Broken {}

#[task(
    name = "t.classes",
    max_retries = 1,
    retry_backoff = "20ms",
    retry_on(Broken = "3 times immediately", "Declined" = never, std::num::ParseIntError = "2 times 10ms..20ms")
)]
async fn classes(what: String) -> TaskResult<()> {
    match what.as_str() {
        "broken" => Err(Broken(what))?,
        "panic" => panic!("on purpose"),
        "seven" => drop(what.parse::<u32>()?),
        kind => return Err(TaskError::of_kind(kind, "no")),
    }
    Ok(())
}

#[task(name = "t.some", retry_backoff = "10ms", autoretry_for = [Broken])]
fn some(broken: bool) -> TaskResult<()> {
    if broken { Err(Broken("it".to_owned()))? } else { Err(TaskError::new("another")) }
}

#[task(name = "t.stubborn", max_retries = 2, retry_backoff = "10ms")]
async fn stubborn(ctx: TaskContext) -> TaskResult<()> {
    Err(TaskError::new(format!("attempt {} failed", ctx.attempt())))
}

#[task(name = "t.patient", max_retries = 2, retry_backoff = "1h")]
async fn patient(ctx: TaskContext, at: Option<jiff::Timestamp>) -> TaskResult<u32> {
    match (ctx.attempt(), at) {
        (1, Some(time)) => Err(TaskError::retry_at(time, "not open yet")),
        (1, None) => Err(TaskError::from(Broken("the line".to_owned())).with_retry_delay(Duration::from_millis(1_200))),
        (attempt, _) => Ok(attempt),
    }
}

#[task(name = "t.bounded", max_retries = none, retry_backoff = "2500ms", retry_jitter = 0, retry_within = "4s")]
async fn bounded() -> TaskResult<()> {
    Err(TaskError::of_kind("Busy", "still"))
}

/// Counts down to page 0, on another queue, and tells what it saw there.
#[task(name = "t.pages")]
async fn pages(ctx: TaskContext, page: u32, #[default] note: String) -> TaskResult<serde_json::Value> {
    if page > 0 {
        let rest = RetryOptions::new()
            .args([page - 1])
            .kwargs([("note", format!("{note}{page}"))])
            .header("page", page)
            .queue("t.others")
            .priority(3)
            .expires_in(hours(1))
            .max_retries(5);
        return Err(TaskError::retry_in(Duration::ZERO, "").with_retry_options(rest));
    }
    Ok(json!({
        "note": note,
        "attempt": ctx.attempt(),
        "queue": ctx.queue(),
        "priority": ctx.priority(),
        "page": ctx.header("page"),
        "expires": ctx.expires().is_some(),
    }))
}

/// Retries without a reason until the cause is the number of the attempt.
#[task(name = "t.caused", max_retries = 1)]
async fn caused(number: Option<String>) -> TaskResult<()> {
    let request = TaskError::retry_in(Duration::ZERO, "");
    match number {
        None => Err(request),
        Some(number) => Err(request.caused_by(number.parse::<u16>().unwrap_err())),
    }
}

async fn start(bed: &Bed) -> Running {
    let tasks = tasks![classes, some, stubborn, patient, bounded];
    bed.start(bed.program(tasks).set("client.result_timeout", "40s")).await
}

/// Returns the end of each attempt, in order, with the kind of its error.
fn ends(attempts: &[AttemptRecord]) -> Vec<(u32, TaskState, Option<&str>)> {
    let kinds = attempts.iter().map(|one| one.failure.as_ref().map(|failure| failure.kind.as_str()));
    attempts.iter().zip(kinds).map(|(one, kind)| (one.attempt, one.state, kind)).collect()
}

/// Returns the time from the end of an attempt until the next is due.
fn wait(attempt: &AttemptRecord) -> SignedDuration {
    attempt.next_at.unwrap().duration_since(attempt.finished_at.unwrap())
}

/// Asserts that no attempt started before it was due.
fn assert_in_time(attempts: &[AttemptRecord]) {
    for pair in attempts.windows(2) {
        assert!(pair[1].started_at >= pair[0].next_at.unwrap(), "{pair:#?}");
    }
}

/// An attempt, from SQL.
#[derive(Debug, sqlx::FromRow)]
struct Row {
    attempt: i64,
    state: String,
    error_message: Option<String>,
    /// Seconds from the end of this attempt until the next is due.
    wait: Option<f64>,
    /// Seconds from the due time of this attempt to its start.
    late: Option<f64>,
}

/// Returns all attempts of a task, in order.
async fn history(database: &mut PgConnection, id: &str) -> Vec<Row> {
    sqlx::query_as(
        "SELECT attempt, state, error_message,
                extract(epoch FROM next_at - finished_at)::double precision AS wait,
                extract(epoch FROM started_at - lag(next_at) OVER (ORDER BY attempt))::double precision AS late
         FROM celeriac.attempt_history WHERE id = $1 ORDER BY attempt",
    )
    .bind(id)
    .fetch_all(database)
    .await
    .unwrap()
}

#[celeriac_tests::test]
async fn each_class_of_errors_is_tried_again_in_its_own_way(bed: Bed) {
    let running = start(&bed).await;
    for (what, kind, attempts) in [
        ("broken", "Broken", 4),
        ("Declined", "Declined", 1),
        ("seven", "ParseIntError", 3),
        ("panic", "Panic", 2),
        ("Other", "Other", 2),
    ] {
        let handle = classes(what.to_owned()).submit(&running.client).await.unwrap();
        assert_outcome!(handle, Failure, attempts: attempts, kind: kind);
        let expected: Vec<_> = (1..=attempts)
            .map(|attempt| {
                (attempt, if attempt == attempts { TaskState::Failure } else { TaskState::Retry }, Some(kind))
            })
            .collect();
        assert_eq!(ends(&handle.attempts().await.unwrap()), expected, "{what}");
    }
    let peer = bed.peer().await;
    let dead = peer.take_all("celeriac.dead").await;
    assert_eq!(dead.len(), 4, "all but the one that was never to be tried again");
}

#[celeriac_tests::test]
async fn where_errors_are_listed_only_those_are_tried_again(bed: Bed) {
    let running = start(&bed).await;
    for (broken, attempts) in [(true, 4), (false, 1)] {
        let handle = some(broken).submit(&running.client).await.unwrap();
        assert_outcome!(handle, Failure, attempts: attempts);
    }
}

#[celeriac_tests::test]
async fn exhausted_retries_fail_with_the_last_cause_and_every_attempt_is_on_record(bed: Bed) {
    let running = start(&bed).await;
    let handle = stubborn().submit(&running.client).await.unwrap();
    assert_outcome!(handle, Failure, attempts: 3, message: "attempt 3 failed");
    let attempts = handle.attempts().await.unwrap();
    let messages: Vec<_> = attempts.iter().map(|one| one.failure.as_ref().unwrap().message.as_str()).collect();
    assert_eq!(messages, ["attempt 1 failed", "attempt 2 failed", "attempt 3 failed"]);
    assert_in_time(&attempts);
    let dead = bed.peer().await.take_all("celeriac.dead").await;
    assert_eq!(dead[0].header("celeriac-dead-reason").as_deref(), Some("exhausted"));
}

#[celeriac_tests::test(real)]
async fn every_attempt_is_a_row_that_sql_reads(bed: Bed) {
    let running = start(&bed).await;
    let handle = stubborn().submit(&running.client).await.unwrap();
    handle.wait().await.unwrap();
    let rows = history(&mut bed.database().await, handle.id()).await;
    let states: Vec<_> = rows.iter().map(|row| (row.attempt, row.state.as_str())).collect();
    assert_eq!(states, [(1, "RETRY"), (2, "RETRY"), (3, "FAILURE")]);
    assert_eq!(rows[2].error_message.as_deref(), Some("attempt 3 failed"));
    assert!(rows[..2].iter().all(|row| row.wait.unwrap() >= 0.0), "{rows:?}");
    assert!(rows[1..].iter().all(|row| row.late.unwrap() >= 0.0), "{rows:?}");
}

#[celeriac_tests::test]
async fn an_attempt_is_made_when_it_was_asked_for(bed: Bed) {
    let running = start(&bed).await;
    let hinted = patient(None).submit(&running.client).await.unwrap();
    let time = celeriac_telemetry::clock::now().checked_add(Duration::from_millis(2_300)).unwrap();
    let timed = patient(Some(time)).submit(&running.client).await.unwrap();
    let past = patient(Some(jiff::Timestamp::UNIX_EPOCH)).submit(&running.client).await.unwrap();
    for (handle, kind) in [(&hinted, "Broken"), (&timed, "Retry"), (&past, "Retry")] {
        assert_eq!(handle.get().await.unwrap(), 2);
        let attempts = handle.attempts().await.unwrap();
        assert_eq!(ends(&attempts), [(1, TaskState::Retry, Some(kind)), (2, TaskState::Success, None)]);
        assert_in_time(&attempts);
    }
    let waited = wait(&hinted.attempts().await.unwrap()[0]);
    assert!(waited >= SignedDuration::from_millis(1_200) && waited < SignedDuration::from_mins(10), "{waited}");
    let row = timed.record().await.unwrap().unwrap();
    assert!(row.started_at.unwrap() >= time);
    assert!(wait(&past.attempts().await.unwrap()[0]) < SignedDuration::from_mins(10), "what is past is due");
}

#[celeriac_tests::test]
async fn no_attempt_is_made_when_the_time_for_all_of_them_is_over(bed: Bed) {
    let running = start(&bed).await;
    let handle = bounded().submit(&running.client).await.unwrap();
    // The third attempt would start five seconds after the first.
    assert_outcome!(handle, Failure, attempts: 2, kind: "Busy");
    let dead = bed.peer().await.take_all("celeriac.dead").await;
    assert_eq!(dead[0].header("celeriac-dead-reason").as_deref(), Some("exhausted"));
}

#[celeriac_tests::test]
async fn a_redelivery_between_two_attempts_is_no_attempt(bed: Bed) {
    let running = start(&bed).await;
    let time = celeriac_telemetry::clock::now().checked_add(Duration::from_secs(5)).unwrap();
    let handle = patient(Some(time)).submit(&running.client).await.unwrap();
    eventually("the first attempt", async || handle.status().await.unwrap(), |state| *state == TaskState::Retry).await;
    running.stop().await;

    let peer = bed.peer().await;
    for _ in 0..3 {
        let give_back = async || peer.give_back("celeriac").await;
        eventually("the next attempt stands on the queue", give_back, |stood| *stood).await;
    }
    let running = start(&bed).await;
    let handle = running.client.handle::<u32>(handle.id());
    assert_eq!(handle.get().await.unwrap(), 2);
    let attempts = handle.attempts().await.unwrap();
    assert_eq!(ends(&attempts), [(1, TaskState::Retry, Some("Retry")), (2, TaskState::Success, None)]);
}

#[celeriac_tests::test(real)]
async fn a_message_with_headers_that_are_too_large_to_be_sent_again_is_a_failure_with_a_dead_letter(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let large = |task: &str, id: &str| Letter::new(task, id, &json!([])).header("pad", &json!("x".repeat(100_000)));
    let told = json!({"errbacks": [{"task": "t.see", "args": ["told"], "immutable": true}]});
    large("t.flaky", "retried").carrying(&json!([3]), &told).put(&stage.peer).await;
    let early = large("t.see", "early").header("eta", &json!("2099-01-01T00:00:00+00:00"));
    early.carrying(&json!([1]), &told).put(&stage.peer).await;

    for (id, attempts, reason) in [("retried", 1, "attempt 1 failed"), ("early", 0, "cannot be sent again")] {
        let row = stage.row(id).await;
        assert_eq!((row.state, row.attempts), (TaskState::Failure, attempts), "{id}");
        let failure = row.failure.unwrap();
        assert_eq!(failure.kind, "UnsendableError");
        assert!(failure.message.contains("headers too large") && failure.message.contains(reason), "{failure}");
    }
    let reasons: Vec<_> =
        stage.dead(2).await.iter().map(|letter| letter.header("celeriac-dead-reason").unwrap()).collect();
    assert_eq!(reasons, ["unsendable", "unsendable"]);
    stage.seen(3).await;
    let ids: Vec<_> = stage.finish().await.into_iter().map(|call| call.id == "retried").collect();
    assert_eq!(ids.iter().filter(|retried| **retried).count(), 1, "one attempt");
    assert_eq!(ids.len(), 3, "and both errbacks");
}

#[celeriac_tests::test]
async fn a_retry_has_the_arguments_and_the_queue_that_the_task_has_chosen(bed: Bed) {
    let queues = "{celeriac: {}, t.others: {type: classic, max_priority: 9}}";
    let running = bed.start(bed.program(tasks![pages]).set("queues", queues)).await;

    let handle = pages(3, String::new()).submit(&running.client).await.unwrap();

    let expected = json!({"note": "321", "attempt": 4, "queue": "t.others", "priority": 3, "page": 1, "expires": true});
    assert_eq!(handle.get().await.unwrap(), expected);
    let over = pages(9, String::new()).submit(&running.client).await.unwrap();
    let row = over.wait().await.unwrap();
    let message = format!("Can't retry t.pages[{}]", over.id());
    assert_outcome!(row, Failure, attempts: 6, kind: "MaxRetriesExceededError", message: message.as_str());
}

#[celeriac_tests::test]
async fn a_retry_with_a_cause_ends_with_it(bed: Bed) {
    let running = bed.worker(tasks![caused]).await;
    let [without, with] = [None, Some("x".to_owned())].map(caused);
    let (without, with) = (without.submit(&running.client), with.submit(&running.client));
    let (without, with) = (without.await.unwrap().wait().await.unwrap(), with.await.unwrap().wait().await.unwrap());
    assert_outcome!(without, Failure, attempts: 2, kind: "MaxRetriesExceededError");
    assert_outcome!(with, Failure, attempts: 2, kind: "ParseIntError", message: "invalid digit found in string");
}
