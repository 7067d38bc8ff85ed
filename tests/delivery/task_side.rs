//! The requests of a task to its worker: back to the queue, another task in its place, waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use celeriac::prelude::*;
use celeriac::settings::{Binding, ExchangeKind, ExchangeOptions, QueueOptions, TaskRoute};
use celeriac::{Chain, Chord, ClientError, Group, TaskRecord};
use celeriac_tests::{Bed, assert_outcome, eventually};
use serde_json::json;
use tokio::sync::Notify;

#[task(name = "t.add")]
async fn add(a: i64, b: i64) -> TaskResult<i64> {
    Ok(a + b)
}

#[task(name = "t.sum")]
async fn sum(numbers: Vec<i64>) -> TaskResult<i64> {
    Ok(numbers.iter().sum())
}

/// Fails at its first attempt.
#[task(name = "t.second", max_retries = 1, retry_backoff = "10ms")]
async fn second(ctx: TaskContext, number: i64) -> TaskResult<i64> {
    if ctx.attempt() == 1 { Err(TaskError::new("not yet")) } else { Ok(number) }
}

/// Is replaced in the way that its argument names. Each way ends with 10.
#[task(name = "t.replaced", max_retries = 1, retry_backoff = "10ms")]
async fn replaced(ctx: TaskContext, way: String) -> TaskResult<i64> {
    match way.as_str() {
        "task" => ctx.replace(add(3, 7)),
        "chain" => ctx.replace(add(1, 2).then(add.with(7))),
        "chord" => ctx.replace(Group::new([add(1, 2), add(3, 4)]).then(sum)),
        "signature" => ctx.replace(Chain::new(add(1, 2).signature()?).then(Signature::new("t.add").arg(7))),
        "itself" if ctx.replaced_task_nesting() < 2 => ctx.replace(replaced(way).signature()?),
        "itself" => Ok(10),
        "retried" if ctx.attempt() == 1 => Err(TaskError::new("not yet")),
        "retried" => ctx.replace(second(10).signature()?),
        _ => ctx.replace(Signature::new("t.missing").option("chord", 1)),
    }
}

/// Is replaced by a group, whose results are a list.
#[task(name = "t.several")]
async fn several(ctx: TaskContext) -> TaskResult<Vec<i64>> {
    ctx.replace(Group::new((1..=3).map(|number| add(number, 10))))
}

#[celeriac_tests::test]
async fn a_replacement_ends_the_task(bed: Bed) {
    let running = bed.worker(tasks![add, sum, second, replaced, several]).await;
    for way in ["task", "chain", "chord", "signature", "itself", "retried"] {
        let handle = replaced(way.to_owned()).submit(&running.client).await.unwrap();
        assert_eq!(handle.get().await.unwrap(), 10, "{way}");
    }
    let handle = several().submit(&running.client).await.unwrap();
    assert_eq!(handle.get().await.unwrap(), [11, 12, 13]);
    let handle = replaced("impossible".to_owned()).submit(&running.client).await.unwrap();
    assert_outcome!(handle.wait().await.unwrap(), Failure, attempts: 1, kind: "Fatal");
}

#[celeriac_tests::test]
async fn what_follows_from_a_task_follows_from_its_replacement(bed: Bed) {
    let running = bed.worker(tasks![add, sum, second, replaced, several]).await;
    let step = |way: &str| replaced(way.to_owned()).signature().unwrap();
    for way in ["task", "chain", "chord", "signature", "itself", "retried"] {
        let chain = Chain::new(step(way)).then(Signature::new("t.add").arg(5));
        assert_eq!(chain.submit(&running.client).await.unwrap().get().await.unwrap(), 15, "{way}");
    }
    let several = Chain::new(several().signature().unwrap()).then(Signature::new("t.sum"));
    assert_eq!(several.submit(&running.client).await.unwrap().get().await.unwrap(), 36);
    let members: Group = ["task", "chain", "itself", "retried"].into_iter().map(step).collect();
    let chord: Chord = members.then(Signature::new("t.sum"));
    let chord = chord.submit(&running.client).await.unwrap();
    assert_eq!(chord.get().await.unwrap(), 40);
    let results = chord.header().get().await.unwrap();
    assert_eq!(results, [json!(10), json!(10), json!(10), json!(10)]);
}

#[derive(Default)]
struct Runs(AtomicU32);

/// Returns to its queue twice.
#[task(name = "t.not_here")]
async fn not_here(ctx: TaskContext) -> TaskResult<(u32, u32)> {
    let runs = ctx.state::<Runs>()?.0.fetch_add(1, Ordering::Relaxed) + 1;
    if runs < 3 {
        return Err(TaskError::requeue_in(Duration::ZERO, "not here"));
    }
    Ok((runs, ctx.attempt()))
}

#[celeriac_tests::test]
async fn a_task_returns_itself_to_its_queue_and_that_is_no_attempt(bed: Bed) {
    for early in [false, true] {
        let acks = if early { "early" } else { "late" };
        let program = bed.program(tasks![not_here]).state(Runs::default());
        let program = program.set("task_options", format!("[{{task: t.not_here, acks: {acks}}}]"));
        let running = bed.start(program).await;
        let handle = not_here().submit(&running.client).await.unwrap();
        assert_eq!(handle.get().await.unwrap(), (3, 1), "acks {acks}");
        assert_eq!(handle.attempts().await.unwrap().len(), 1);
        running.stop().await;
    }
}

/// Says how far it is, and ends when it is told to.
#[task(name = "t.progress")]
async fn progress(ctx: TaskContext) -> TaskResult<u32> {
    ctx.update_state("PROGRESS", &json!({"done": 1})).await?;
    ctx.update_state("NEARLY", &value!({"done": 9})).await?;
    ctx.state::<Notify>()?.notified().await;
    Ok(10)
}

/// Gives itself a state that is Celery's.
#[task(name = "t.pretends")]
async fn pretends(ctx: TaskContext) -> TaskResult<()> {
    ctx.update_state("SUCCESS", &()).await
}

#[celeriac_tests::test]
async fn a_running_task_gives_itself_a_state(bed: Bed) {
    let told = Arc::new(Notify::new());
    let running = bed.start(bed.program(tasks![progress, pretends]).shared(Arc::clone(&told))).await;
    for ignored in [false, true] {
        let mut call = progress();
        if ignored {
            call = call.ignore_result();
        }
        let sent = call.submit(&running.client).await.unwrap();
        // The handle of a call whose result is ignored does not look for it.
        let handle = running.client.handle::<u32>(sent.id());
        let is_nearly =
            |row: &Option<TaskRecord>| row.as_ref().is_some_and(|row| row.custom_state.as_deref() == Some("NEARLY"));
        let row = eventually("the state", async || handle.record().await.unwrap(), is_nearly).await.unwrap();
        assert_eq!(row.state, TaskState::Started);
        let meta: serde_json::Value = serde_json::from_str(row.result.as_deref().unwrap()).unwrap();
        assert_eq!((meta, row.attempts, row.name.as_str()), (json!({"done": 9}), 1, "t.progress"));
        told.notify_one();
        let is_ended = |row: &Option<TaskRecord>| row.as_ref().is_some_and(|row| row.state.is_final());
        let row = eventually("the end", async || handle.record().await.unwrap(), is_ended).await.unwrap();
        let expected = if ignored { (TaskState::Ignored, None) } else { (TaskState::Success, Some("10")) };
        assert_eq!((row.state, row.result.as_deref(), row.custom_state), (expected.0, expected.1, None));
    }
    let refused = pretends().submit(&running.client).await.unwrap();
    assert_outcome!(refused, Failure, kind: "Fatal");
}

/// Waits for another task on the same worker.
#[task(name = "t.waits")]
async fn waits(ctx: TaskContext, allowed: bool) -> TaskResult<i64> {
    let client = if allowed { ctx.client().allow_sync_subtasks() } else { ctx.client().clone() };
    let handle = add(1, 2).submit(&client).await?;
    match handle.get().await {
        Err(error @ ClientError::WaitInTask { .. }) => Err(TaskError::of_kind("WaitInTask", error.to_string())),
        result => Ok(result?),
    }
}

#[celeriac_tests::test]
async fn a_task_waits_for_another_one_only_if_it_says_so(bed: Bed) {
    let running = bed.worker(tasks![add, waits]).await;
    let refused = waits(false).submit(&running.client).await.unwrap();
    let row = refused.wait().await.unwrap();
    assert_outcome!(row.clone(), Failure, attempts: 1, kind: "WaitInTask");
    let said = row.failure.unwrap().message;
    assert!(said.starts_with(&format!("task {} cannot wait for task ", refused.id())), "{said}");
    let allowed = waits(true).submit(&running.client).await.unwrap();
    assert_eq!(allowed.get().await.unwrap(), 3);
}

/// Returns the queue that it came from.
#[task(name = "t.arrives")]
async fn arrives(ctx: TaskContext) -> TaskResult<String> {
    Ok(ctx.queue().to_owned())
}

#[celeriac_tests::test]
async fn queues_and_routes_are_declared_in_code_and_checked_as_in_files(bed: Bed) {
    let topic = ExchangeOptions { kind: ExchangeKind::Topic, ..ExchangeOptions::default() };
    let urgent = QueueOptions { bindings: vec![Binding::new("orders", "*.urgent")], ..QueueOptions::default() };
    let (exchange, routing_key) = (Some("orders".to_owned()), Some("a.urgent".to_owned()));
    let route = TaskRoute { task: "t.arr*".to_owned(), exchange, routing_key, ..TaskRoute::default() };
    let program = bed.program(tasks![arrives]).exchange("orders", topic).queue("urgent", urgent.clone());
    let running = bed.start(program.task_route(route)).await;
    assert_eq!(arrives().submit(&running.client).await.unwrap().get().await.unwrap(), "urgent");

    let nowhere = TaskRoute { task: "t.*".to_owned(), queue: Some("urgnt".to_owned()), ..TaskRoute::default() };
    let unbound = QueueOptions { bindings: Vec::new(), ..urgent.clone() };
    let error = bed.program([]).queue("urgent", unbound).task_route(nowhere).build().unwrap_err().to_string();
    assert!(error.contains("urgnt") && error.contains("`urgent`"), "{error}");

    let bounded = QueueOptions { max_length: Some(1), max_age: None, ..QueueOptions::default() };
    let program = bed.program([]).queue("urgent", bounded).set("queues", "{urgent: {max_length: 5}}");
    assert_eq!(program.build().unwrap().settings().queues["urgent"].max_length, Some(5));
}
