//! The tasks `rust.*` and `shared.*`. `tests/interop/python/app.py` has the same tasks in Python.

use std::time::Duration;

use celeriac::TaskDefinition;
use celeriac::prelude::*;
use celeriac::protocol::Value;
use serde_json::json;

pub(crate) fn tasks() -> Vec<TaskDefinition> {
    tasks![
        add, concat, echo, greet, length, fail, flaky, exhausted, given_up, ignored, collect, on_error, rest, double,
        describe
    ]
    .into_iter()
    .collect()
}

#[task(name = "rust.add")]
async fn add(x: i64, y: i64) -> TaskResult<i64> {
    x.checked_add(y).ok_or_else(|| TaskError::of_kind("OverflowError", "the sum is too large"))
}

#[task(name = "rust.concat")]
async fn concat(first: String, #[default] second: String, #[default] third: String) -> TaskResult<String> {
    Ok(first + &second + &third)
}

#[task(name = "rust.echo")]
async fn echo(value: Value) -> TaskResult<Value> {
    Ok(value)
}

#[task(name = "rust.grüße")]
async fn greet(größe: String) -> TaskResult<String> {
    Ok(format!("Grüße, {größe} 👋"))
}

#[task(name = "rust.length")]
async fn length(text: String) -> TaskResult<usize> {
    Ok(text.chars().count())
}

/// Fails with an error of this kind.
#[task(name = "rust.fail")]
async fn fail(kind: String, #[default("failed")] message: String) -> TaskResult<()> {
    Err(TaskError::of_kind(kind, message))
}

/// Fails this many times, and then returns the number of attempts.
#[task(name = "rust.flaky", max_retries = 100)]
async fn flaky(ctx: TaskContext, times: u32, #[default] countdown: u64) -> TaskResult<u32> {
    if ctx.attempt() <= times {
        return Err(TaskError::retry_in(Duration::from_secs(countdown), format!("attempt {}", ctx.attempt())));
    }
    Ok(ctx.attempt())
}

#[task(name = "rust.exhausted", max_retries = 1)]
async fn exhausted(ctx: TaskContext, #[default] countdown: u64) -> TaskResult<()> {
    Err(TaskError::retry_in(Duration::from_secs(countdown), format!("attempt {}", ctx.attempt())))
}

/// Retries without saying why.
#[task(name = "rust.given_up", max_retries = 1)]
async fn given_up(#[default] countdown: u64) -> TaskResult<()> {
    Err(TaskError::retry_in(Duration::from_secs(countdown), ""))
}

/// Takes its time.
#[task(name = "rust.rest")]
async fn rest(seconds: u64) -> TaskResult<u64> {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    Ok(seconds)
}

#[task(name = "rust.ignored", ignore_result = true)]
async fn ignored(ctx: TaskContext, #[default] note: Value) -> TaskResult<String> {
    super::journal(&json!(["ignored", ctx.id(), note]).to_string())?;
    Ok("nobody asks".to_owned())
}

/// Records its arguments, and returns them.
#[task(name = "rust.collect")]
async fn collect(ctx: TaskContext, first: Value, #[default] second: Value) -> TaskResult<Vec<Value>> {
    let note: Vec<_> = [first, second].into_iter().filter(|value| *value != Value::Null).collect();
    let mut line = vec![json!("collect"), json!(ctx.id())];
    line.extend(note.iter().map(|value| json!(value)));
    super::journal(&json!(line).to_string())?;
    Ok(note)
}

#[task(name = "rust.on_error")]
async fn on_error(ctx: TaskContext, task_id: String, #[default] note: Value) -> TaskResult<String> {
    super::journal(&json!(["on_error", ctx.id(), task_id, note]).to_string())?;
    Ok(task_id)
}

/// Known on both sides, for workers that share a queue.
#[task(name = "shared.double")]
async fn double(number: i64) -> TaskResult<serde_json::Value> {
    Ok(json!({"doubled": 2 * number, "by": "rust"}))
}

/// Returns the worker's view of the message.
#[task(name = "rust.describe")]
async fn describe(ctx: TaskContext) -> TaskResult<serde_json::Value> {
    let limits = ctx.time_limits();
    let headers: serde_json::Map<_, _> =
        ctx.headers().iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    Ok(json!({
        "id": ctx.id(),
        "root_id": ctx.root_id(),
        "parent_id": ctx.parent_id(),
        "group": ctx.group(),
        "group_index": ctx.group_index(),
        "retries": ctx.attempt() - 1,
        "eta": ctx.eta().map(|time| time.to_string()),
        "expires": ctx.expires().map(|time| time.to_string()),
        "timelimit": [limits.hard.map(|limit| limit.as_secs_f64()), limits.soft.map(|limit| limit.as_secs_f64())],
        "stamps": ctx.stamps(),
        "headers": headers,
    }))
}
