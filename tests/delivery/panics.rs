//! Panics of users' code, wherever it is called, fail the task and nothing else.

use std::fmt;
use std::time::{Duration, Instant};

use celeriac::PgConnection;
use celeriac::hooks::{Start, TaskOutput};
use celeriac::prelude::*;
use celeriac_client::DynamicCall;
use celeriac_client::call::CallOptions;
use celeriac_protocol::Body;
use celeriac_tests::{Bed, Running};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Panics when it is read.
#[derive(Debug, Serialize)]
struct Unreadable;

impl<'de> Deserialize<'de> for Unreadable {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("in deserialize")
    }
}

/// Panics when it is written.
#[derive(Debug, Deserialize)]
struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("in serialize")
    }
}

/// Panics when it is dropped.
#[derive(Debug, Serialize, Deserialize)]
struct Undroppable;

impl Drop for Undroppable {
    fn drop(&mut self) {
        panic!("in drop")
    }
}

/// Panics when it is printed.
#[derive(Debug)]
struct Unprintable;

impl fmt::Display for Unprintable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("in display")
    }
}

impl std::error::Error for Unprintable {}

/// Panics with a value that panics when it is dropped.
#[task(name = "t.payload")]
async fn payload() -> TaskResult<()> {
    std::panic::panic_any(Undroppable)
}

#[task(name = "t.read")]
async fn read(_argument: Unreadable) -> TaskResult<()> {
    Ok(())
}

#[task(name = "t.read_on_a_thread")]
fn read_on_a_thread(_argument: Unreadable) -> TaskResult<()> {
    Ok(())
}

#[task(name = "t.read_in_a_transaction", transactional)]
async fn read_in_a_transaction(_tx: &mut PgConnection, _argument: Unreadable) -> TaskResult<()> {
    Ok(())
}

#[task(name = "t.write")]
async fn write() -> TaskResult<Unwritable> {
    Ok(Unwritable)
}

#[task(name = "t.write_on_a_thread")]
fn write_on_a_thread() -> TaskResult<Unwritable> {
    Ok(Unwritable)
}

#[task(name = "t.drop_result")]
async fn drop_result() -> TaskResult<Undroppable> {
    Ok(Undroppable)
}

#[task(name = "t.display")]
async fn display() -> TaskResult<()> {
    Err(Unprintable)?
}

/// Is cut off by its time limit.
#[task(name = "t.cut_off", time_limit = "100ms")]
async fn cut_off() -> TaskResult<()> {
    let _held = Undroppable;
    std::future::pending().await
}

#[task(name = "t.cut_off_in_a_transaction", transactional, time_limit = "100ms")]
async fn cut_off_in_a_transaction(_tx: &mut PgConnection) -> TaskResult<()> {
    let _held = Undroppable;
    std::future::pending().await
}

/// Hooks that panic at the drop of their future, which the time limit cuts off.
struct CutOff;

impl Hooks for CutOff {
    async fn before_start(&self, ctx: &TaskContext) -> TaskResult<Start> {
        if ctx.name() == "t.hooked" {
            let _held = Undroppable;
            std::future::pending::<()>().await;
        }
        Ok(Start::Run)
    }

    async fn on_failure(&self, ctx: &TaskContext, error: TaskError) -> TaskResult<TaskOutput> {
        if ctx.name() == "t.hooked_late" {
            let _held = Undroppable;
            std::future::pending::<()>().await;
        }
        Err(error)
    }
}

#[task(name = "t.hooked", time_limit = "100ms", hooks = CutOff)]
async fn hooked() -> TaskResult<()> {
    Ok(())
}

#[task(name = "t.hooked_late", time_limit = "100ms", hooks = CutOff)]
async fn hooked_late() -> TaskResult<()> {
    Err(TaskError::of_kind("Late", "no"))
}

/// Runs a task, whose argument is read only if it has one, and returns kind and message of its
/// failure. It has run once.
async fn failure(running: &Running, task: &str, arguments: usize) -> (String, String) {
    let body = Body { args: vec![celeriac_protocol::Value::Null; arguments], ..Body::default() };
    let call = DynamicCall { task: task.to_owned(), body, options: CallOptions::default() };
    let handle = running.client.submit_dynamic(call).await.unwrap();
    let asked = Instant::now();
    let record = loop {
        match handle.record().await.unwrap() {
            Some(record) if record.state.is_final() => break record,
            _ if asked.elapsed() > Duration::from_secs(20) => panic!("{task} has no outcome"),
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    assert_eq!(record.attempts, 1, "{task}: {record:?}");
    let failure = record.failure.unwrap_or_else(|| panic!("{task} did not fail"));
    (failure.kind, failure.message)
}

#[celeriac_tests::test]
async fn a_panic_of_a_tasks_own_types_is_its_failure(bed: Bed) {
    let program = bed.program(tasks![payload, read, read_on_a_thread, write, write_on_a_thread, drop_result, display]);
    let running = bed.start(program).await;
    for (task, arguments, message) in [
        ("t.read", 1, "in deserialize"),
        ("t.read_on_a_thread", 1, "in deserialize"),
        ("t.write", 0, "in serialize"),
        ("t.write_on_a_thread", 0, "in serialize"),
        ("t.drop_result", 0, "in drop"),
        ("t.display", 0, "in display"),
        ("t.payload", 0, "the task panicked"),
    ] {
        let expected = ("Panic".to_owned(), message.to_owned());
        assert_eq!(failure(&running, task, arguments).await, expected, "{task}");
    }
    running.stop().await;
}

#[celeriac_tests::test]
async fn a_panic_in_the_drop_of_a_future_does_not_replace_the_reason_of_its_end(bed: Bed) {
    let running = bed.start(bed.program(tasks![cut_off, hooked, hooked_late])).await;
    for (task, kind) in
        [("t.cut_off", "TimeLimitExceeded"), ("t.hooked", "TimeLimitExceeded"), ("t.hooked_late", "Late")]
    {
        assert_eq!(failure(&running, task, 0).await.0, kind, "{task}");
    }
    running.stop().await;
}

#[celeriac_tests::test(real)]
async fn a_panic_around_a_transaction_is_the_failure_of_its_task(bed: Bed) {
    let running = bed.start(bed.program(tasks![read_in_a_transaction, cut_off_in_a_transaction])).await;
    assert_eq!(failure(&running, "t.read_in_a_transaction", 1).await.0, "Panic");
    assert_eq!(failure(&running, "t.cut_off_in_a_transaction", 0).await.0, "TimeLimitExceeded");
    running.stop().await;
}
