//! The end of a task, and its record.

use celeriac::prelude::*;
use celeriac::{DynamicCall, Failure};
use celeriac_client::Error;
use celeriac_protocol::{Body, Value};
use celeriac_tests::{Bed, Running, assert_outcome};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Receipt {
    order: u32,
    cents: i64,
}

#[task(name = "t.charge")]
async fn charge(order: u32, #[default(100)] cents: i64) -> TaskResult<Receipt> {
    Ok(Receipt { order, cents })
}

/// Its first argument is unused, and its second has another name in messages.
#[task(name = "t.ship")]
async fn ship(_express: bool, #[name("order-id")] order: u32) -> TaskResult<u32> {
    Ok(order)
}

#[task(name = "t.sum")]
fn sum(numbers: Vec<i64>) -> TaskResult<i64> {
    Ok(numbers.iter().sum())
}

#[task(name = "t.flaky", max_retries = 3, retry_backoff = "10ms..50ms")]
async fn flaky(ctx: TaskContext, succeeds_at: u32) -> TaskResult<u32> {
    if ctx.attempt() < succeeds_at {
        return Err(TaskError::new(format!("attempt {} failed", ctx.attempt())));
    }
    Ok(ctx.attempt())
}

#[task(name = "t.parse")]
async fn parse(text: String) -> TaskResult<u32> {
    Ok(text.parse()?)
}

#[task(name = "t.panic")]
async fn panics() -> TaskResult<()> {
    panic!("on purpose")
}

#[task(name = "t.block_panic")]
fn block_panics() -> TaskResult<()> {
    panic!("on a thread")
}

#[task(name = "t.reject")]
async fn reject() -> TaskResult<()> {
    Err(TaskError::reject("not today"))
}

async fn start(bed: &Bed) -> Running {
    bed.worker(tasks![charge, ship, sum, flaky, parse, panics, block_panics, reject]).await
}

#[celeriac_tests::test]
async fn a_typed_call_comes_back_as_a_typed_result_until_it_is_forgotten(bed: Bed) {
    let running = start(&bed).await;
    let handle = charge(17, 1299).submit(&running.client).await.unwrap();
    assert_eq!(handle.get().await.unwrap(), Receipt { order: 17, cents: 1299 });
    assert!(handle.ready().await.unwrap() && handle.successful().await.unwrap() && !handle.failed().await.unwrap());
    assert_outcome!(handle, Success, attempts: 1, result: json!({"order": 17, "cents": 1299}));
    assert!(handle.forget().await.unwrap());
    assert_eq!(handle.status().await.unwrap(), TaskState::Pending);
}

#[celeriac_tests::test(real)]
async fn an_outcome_is_a_row_that_sql_reads(bed: Bed) {
    let running = start(&bed).await;
    let handle = charge(17, 1299).submit(&running.client).await.unwrap();
    handle.get().await.unwrap();
    let row: (String, String, serde_json::Value, serde_json::Value, i32, String) =
        sqlx::query_as("SELECT name, state, args, result, attempts::int, queue FROM celeriac.tasks WHERE id = $1")
            .bind(handle.id())
            .fetch_one(&mut bed.database().await)
            .await
            .unwrap();
    let expected = (
        "t.charge".to_owned(),
        "SUCCESS".to_owned(),
        serde_json::json!([17, 1299]),
        serde_json::json!({"order": 17, "cents": 1299}),
        1,
        "celeriac".to_owned(),
    );
    assert_eq!(row, expected);
}

#[celeriac_tests::test]
async fn arguments_may_come_by_name_and_be_left_out(bed: Bed) {
    let running = start(&bed).await;
    let body = Body { kwargs: [("order".to_owned(), Value::Int(3))].into_iter().collect(), ..Body::default() };
    let request = DynamicCall { task: "t.charge".to_owned(), body, options: Default::default() };
    let handle = running.client.submit_dynamic(request).await.unwrap();
    assert_eq!(handle.get().await.unwrap(), serde_json::json!({"order": 3, "cents": 100}));
}

#[celeriac_tests::test]
async fn an_argument_has_the_name_that_other_languages_write(bed: Bed) {
    let running = start(&bed).await;
    let kwargs = [("express".to_owned(), Value::Bool(true)), ("order-id".to_owned(), Value::Int(3))];
    let body = Body { kwargs: kwargs.into_iter().collect(), ..Body::default() };
    let call = DynamicCall { task: "t.ship".to_owned(), body, options: Default::default() };
    assert_eq!(running.client.submit_dynamic(call).await.unwrap().get().await.unwrap(), json!(3));
    assert_eq!(ship(true, 4).submit(&running.client).await.unwrap().get().await.unwrap(), 4);
}

#[celeriac_tests::test]
async fn a_blocking_task_runs_on_a_thread(bed: Bed) {
    let running = start(&bed).await;
    let handle = sum(vec![1, 2, 39]).submit(&running.client).await.unwrap();
    assert_eq!(handle.get().await.unwrap(), 42);
}

#[celeriac_tests::test]
async fn a_failure_is_tried_again_until_it_succeeds(bed: Bed) {
    let running = start(&bed).await;
    let handle = flaky(3).submit(&running.client).await.unwrap();
    assert_outcome!(handle, Success, attempts: 3, result: 3);
}

#[celeriac_tests::test]
async fn exhausted_retries_end_as_a_failure_and_in_the_dead_letter_queue(bed: Bed) {
    let running = start(&bed).await;
    let handle = flaky(99).submit(&running.client).await.unwrap();
    match handle.get().await {
        Err(Error::Failed { failure, .. }) => assert_eq!(*failure, Failure::new("TaskError", "attempt 4 failed")),
        other => panic!("{other:?}"),
    }
    assert_outcome!(handle, Failure, attempts: 4);
    let dead = bed.peer().await.take_all("celeriac.dead").await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].header("celeriac-dead-reason").as_deref(), Some("exhausted"));
    assert_eq!(dead[0].header("celeriac-dead-error").as_deref(), Some("TaskError: attempt 4 failed"));
    assert_eq!(dead[0].header("celeriac-dead-queue").as_deref(), Some("celeriac"));
    assert_eq!(dead[0].header("id").as_deref(), Some(handle.id()));
}

#[celeriac_tests::test]
async fn an_error_keeps_its_type_and_a_panic_stays_in_its_task(bed: Bed) {
    let running = start(&bed).await;
    let client = &running.client;
    let parsed = parse("x".to_owned()).submit(client).await.unwrap();
    assert_outcome!(parsed, Failure, kind: "ParseIntError", message: "invalid digit found in string");
    let panicked = panics().submit(client).await.unwrap();
    assert_outcome!(panicked, Failure, kind: "Panic", message: "on purpose");
    let panicked = block_panics().submit(client).await.unwrap();
    assert_outcome!(panicked, Failure, kind: "Panic", message: "on a thread");
    assert_eq!(sum(vec![1]).submit(client).await.unwrap().get().await.unwrap(), 1, "the worker goes on");
}

#[celeriac_tests::test]
async fn a_task_may_put_itself_on_the_dead_letter_queue(bed: Bed) {
    let running = start(&bed).await;
    let handle = reject().submit(&running.client).await.unwrap();
    assert_outcome!(handle, Failure, attempts: 1, kind: "Reject", message: "not today");
    let dead = bed.peer().await.take_all("celeriac.dead").await;
    assert_eq!(dead[0].header("celeriac-dead-reason").as_deref(), Some("rejected"));
}
