//! When a failed attempt is followed by another, and what is on record of all of them.

use std::fmt;
use std::time::Duration;

use celeriac::prelude::*;
use celeriac_tests::{Bed, Peer, Running, eventually};
use lapin::options::{BasicGetOptions, BasicNackOptions};
use sqlx::PgConnection;

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
        (1, None) => Err(TaskError::from(Broken("the line".to_owned())).retry_after(Duration::from_millis(1_200))),
        (attempt, _) => Ok(attempt),
    }
}

#[task(name = "t.bounded", max_retries = none, retry_backoff = "2500ms", retry_jitter = 0, retry_within = "4s")]
async fn bounded() -> TaskResult<()> {
    Err(TaskError::of_kind("Busy", "still"))
}

async fn start(bed: &Bed) -> Running {
    let tasks = tasks![classes, some, stubborn, patient, bounded];
    let app = bed.program(tasks).set("client.result_timeout", "40s").build().unwrap();
    Running::start(&app).await
}

/// An attempt as SQL shows it.
#[derive(Debug, sqlx::FromRow)]
struct Attempt {
    attempt: i64,
    state: String,
    error_kind: Option<String>,
    error_message: Option<String>,
    /// Seconds from the end of this one until the next is due.
    wait: Option<f64>,
    /// Seconds from when this one was due to its start.
    late: Option<f64>,
}

/// Every attempt of a task, in order.
async fn history(database: &mut PgConnection, id: &str) -> Vec<Attempt> {
    sqlx::query_as(
        "SELECT attempt, state, error_kind, error_message,
                extract(epoch FROM next_at - finished_at)::double precision AS wait,
                extract(epoch FROM started_at - lag(next_at) OVER (ORDER BY attempt))::double precision AS late
         FROM celeriac.attempt_history WHERE id = $1 ORDER BY attempt",
    )
    .bind(id)
    .fetch_all(database)
    .await
    .unwrap()
}

fn states(attempts: &[Attempt]) -> Vec<(i64, &str, Option<&str>)> {
    attempts.iter().map(|one| (one.attempt, one.state.as_str(), one.error_kind.as_deref())).collect()
}

#[tokio::test]
async fn each_class_of_errors_is_tried_again_in_its_own_way() {
    let bed = Bed::new().await;
    let running = start(&bed).await;
    let mut database = bed.database().await;
    for (what, kind, attempts) in [
        ("broken", "Broken", 4),
        ("Declined", "Declined", 1),
        ("seven", "ParseIntError", 3),
        ("panic", "Panic", 2),
        ("Other", "Other", 2),
    ] {
        let handle = classes(what.to_owned()).submit(&running.client).await.unwrap();
        let row = handle.wait().await.unwrap();
        assert_eq!((row.state, row.attempts, row.failure.unwrap().kind.as_str()), (State::Failure, attempts, kind));
        let attempts: Vec<_> = (1..=i64::from(attempts))
            .map(|attempt| (attempt, if attempt == i64::from(attempts) { "FAILURE" } else { "RETRY" }, Some(kind)))
            .collect();
        assert_eq!(states(&history(&mut database, handle.id()).await), attempts, "{what}");
    }
    let peer = bed.peer().await;
    let dead = peer.take_all("celeriac.dead").await;
    assert_eq!(dead.len(), 4, "all but the one that was never to be tried again");
    running.stop().await;
    bed.clear().await;
}

#[tokio::test]
async fn where_errors_are_listed_only_those_are_tried_again() {
    let bed = Bed::new().await;
    let running = start(&bed).await;
    for (broken, attempts) in [(true, 4), (false, 1)] {
        let row = some(broken).submit(&running.client).await.unwrap().wait().await.unwrap();
        assert_eq!((row.state, row.attempts), (State::Failure, attempts));
    }
    running.stop().await;
    bed.clear().await;
}

#[tokio::test]
async fn exhausted_retries_fail_with_the_last_cause_and_every_attempt_is_on_record() {
    let bed = Bed::new().await;
    let running = start(&bed).await;
    let handle = stubborn().submit(&running.client).await.unwrap();
    let row = handle.wait().await.unwrap();
    assert_eq!((row.state, row.attempts), (State::Failure, 3));
    assert_eq!(row.failure.unwrap().message, "attempt 3 failed");
    let attempts = history(&mut bed.database().await, handle.id()).await;
    let messages: Vec<_> = attempts.iter().map(|one| one.error_message.as_deref().unwrap()).collect();
    assert_eq!(messages, ["attempt 1 failed", "attempt 2 failed", "attempt 3 failed"]);
    assert!(attempts.iter().skip(1).all(|one| one.late.unwrap() >= 0.0), "{attempts:?}");
    assert_eq!(handle.attempts().await.unwrap().len(), 3);
    let dead = bed.peer().await.take_all("celeriac.dead").await;
    assert_eq!(dead[0].header("celeriac-dead-reason").as_deref(), Some("exhausted"));
    running.stop().await;
    bed.clear().await;
}

#[tokio::test]
async fn an_attempt_is_made_when_it_was_asked_for() {
    let bed = Bed::new().await;
    let running = start(&bed).await;
    let mut database = bed.database().await;
    let hinted = patient(None).submit(&running.client).await.unwrap();
    let time = celeriac_telemetry::clock::now().checked_add(Duration::from_millis(2_300)).unwrap();
    let timed = patient(Some(time)).submit(&running.client).await.unwrap();
    let past = patient(Some(jiff::Timestamp::UNIX_EPOCH)).submit(&running.client).await.unwrap();
    for (handle, kind) in [(&hinted, "Broken"), (&timed, "Retry"), (&past, "Retry")] {
        assert_eq!(handle.get().await.unwrap(), 2);
        let attempts = history(&mut database, handle.id()).await;
        assert_eq!(states(&attempts), [(1, "RETRY", Some(kind)), (2, "SUCCESS", None)]);
        assert!(attempts[1].late.unwrap() >= 0.0, "{attempts:?}");
    }
    let waited = history(&mut database, hinted.id()).await[0].wait.unwrap();
    assert!((1.2..600.0).contains(&waited), "{waited}");
    let row = timed.record().await.unwrap().unwrap();
    assert!(row.started_at.unwrap() >= time);
    assert!(history(&mut database, past.id()).await[0].wait.unwrap() < 600.0, "what is past is due");
    running.stop().await;
    bed.clear().await;
}

#[tokio::test]
async fn no_attempt_is_made_when_the_time_for_all_of_them_is_over() {
    let bed = Bed::new().await;
    let running = start(&bed).await;
    let handle = bounded().submit(&running.client).await.unwrap();
    let row = handle.wait().await.unwrap();
    // The third would come five seconds after the first.
    assert_eq!((row.state, row.attempts, row.failure.unwrap().kind.as_str()), (State::Failure, 2, "Busy"));
    let dead = bed.peer().await.take_all("celeriac.dead").await;
    assert_eq!(dead[0].header("celeriac-dead-reason").as_deref(), Some("exhausted"));
    running.stop().await;
    bed.clear().await;
}

#[tokio::test]
async fn a_redelivery_between_two_attempts_is_no_attempt() {
    let bed = Bed::new().await;
    let running = start(&bed).await;
    let time = celeriac_telemetry::clock::now().checked_add(Duration::from_secs(2)).unwrap();
    let handle = patient(Some(time)).submit(&running.client).await.unwrap();
    eventually("the first attempt", async || handle.status().await.unwrap(), |state| *state == State::Retry).await;
    running.stop().await;

    let peer = bed.peer().await;
    for _ in 0..3 {
        give_back(&peer).await;
    }
    let running = start(&bed).await;
    let handle = running.client.handle::<u32>(handle.id());
    assert_eq!(handle.get().await.unwrap(), 2);
    let attempts = history(&mut bed.database().await, handle.id()).await;
    assert_eq!(states(&attempts), [(1, "RETRY", Some("Retry")), (2, "SUCCESS", None)]);
    running.stop().await;
    bed.clear().await;
}

/// Takes the message and puts it back, which the broker counts as a delivery.
async fn give_back(peer: &Peer) {
    let take = async || peer.channel().basic_get("celeriac".into(), BasicGetOptions::default()).await.unwrap();
    let taken = eventually("the next attempt stands on the queue", take, Option::is_some).await;
    let back = BasicNackOptions { requeue: true, multiple: false };
    peer.channel().basic_nack(taken.unwrap().delivery.delivery_tag, back).await.unwrap();
}
