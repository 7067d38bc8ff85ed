//! The tasks of a fixture, and their recording.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use celeriac::prelude::*;
use celeriac::{Builder, Chain};
use celeriac_tests::Bed;
use celeriac_tests::wait::eventually;
use lapin::options::{BasicAckOptions, BasicGetOptions};
use serde_json::{Value as Json, json};
use sqlx::{Connection, PgConnection};

use super::fixture::Fixture;
use super::message::Stored;
use super::statements::LoggingPostgres;

/// Longer than the time between two versions.
const FOR_EVER: Duration = Duration::from_secs(3_650 * 24 * 60 * 60);

/// The cause of the failures of [`refuse`].
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) mended: AtomicBool,
}

#[task(name = "version.add")]
pub(super) async fn add(a: i64, b: i64) -> TaskResult<i64> {
    tracing::info!(a, b, "adding");
    Ok(a + b)
}

/// Fails at its first attempt.
#[task(name = "version.retry", max_retries = 1, retry_backoff = "50s..50s")]
async fn retry(ctx: TaskContext) -> TaskResult<u32> {
    if ctx.attempt() == 1 { Err(TaskError::new("not yet")) } else { Ok(ctx.attempt()) }
}

/// Is dead-lettered until the cause is mended.
#[task(name = "version.refuse")]
async fn refuse(ctx: TaskContext, number: i64) -> TaskResult<i64> {
    match ctx.state::<World>()?.mended.load(Ordering::Relaxed) {
        true => Ok(number),
        false => Err(TaskError::reject("not mended")),
    }
}

/// Returns the program of a fixture, with all that writes rows switched on.
pub(super) fn program(bed: &Bed, database: &str, world: Arc<World>) -> Builder {
    let program = bed.program(tasks![add, retry, refuse]).set("results.url", database).shared(world);
    let program = program.set("results.track", "sent").set("results.logs", "64KiB");
    // Rows of a fixture are old.
    program.set("results.retention", "36500d").set("results.audit_retention", "36500d").set("worker.name", "recorder")
}

/// Returns the rows that each task has once a present worker has run, and after the replay.
fn expected() -> Json {
    let row = |state: &str, result: Option<&str>, attempts: u32| json!({ "state": state, "result": result, "attempts": attempts });
    let same = |row: Json| json!({ "first": row.clone(), "last": row });
    json!({
        "done": same(row("SUCCESS", Some("3"), 1)),
        "plain": same(row("SUCCESS", Some("7"), 1)),
        "delayed": same(row("SUCCESS", Some("11"), 1)),
        "retried": same(row("SUCCESS", Some("2"), 2)),
        "chained": same(row("SUCCESS", Some("15"), 1)),
        "chained-on": same(row("SUCCESS", Some("24"), 1)),
        "revoked": same(row("REVOKED", None, 0)),
        "stored": same(row("SUCCESS", Some("21"), 1)),
        "keyed": same(row("SUCCESS", Some("25"), 1)),
        "dead": { "first": row("FAILURE", None, 1), "last": row("SUCCESS", Some("9"), 1) },
    })
}

/// Runs and sends the tasks of a fixture, and takes what they leave behind.
pub(super) async fn record(bed: &Bed) -> Fixture {
    let postgres = tokio::task::spawn_blocking(LoggingPostgres::start).await.unwrap();
    let program = || program(bed, &postgres.url(), Arc::default());
    let running = bed.start(program()).await;
    add(1, 2).task_id("done").submit(&running.client).await.unwrap().get().await.unwrap();
    for (call, state) in [
        (retry().task_id("retried").submit(&running.client).await.unwrap().id().to_owned(), TaskState::Retry),
        (refuse(9).task_id("dead").submit(&running.client).await.unwrap().id().to_owned(), TaskState::Failure),
    ] {
        let handle = running.client.handle::<Json>(&call);
        eventually(&call, async || handle.status().await.ok(), |status| *status == Some(state)).await;
    }
    running.stop().await;

    let client = bed.client(program()).await;
    add(3, 4).task_id("plain").submit(&client).await.unwrap();
    add(5, 6).task_id("delayed").delay(Duration::from_secs(50)).submit(&client).await.unwrap();
    let step = |id: &str| Signature::new("version.add").option("task_id", id);
    let first = step("chained").arg(7_i64).arg(8_i64);
    Chain::new(first).then(step("chained-on").arg(9_i64)).submit(&client).await.unwrap();
    add(8, 9).task_id("revoked").submit(&client).await.unwrap();
    client.revoke(["revoked"]).lasting(FOR_EVER).await.unwrap();
    add(12, 13).task_id("keyed").idempotency_key("order-17").submit(&client).await.unwrap();
    let mut database = PgConnection::connect(&postgres.url()).await.unwrap();
    client.submit_in(&mut database, add(10, 11).task_id("stored")).await.unwrap();
    sqlx::query("UPDATE celeriac.idempotency SET expires_at = '3000-01-01'").execute(&mut database).await.unwrap();
    client.close().await;

    let topology = topology(bed).await;
    let messages = messages(bed, &topology).await;
    let schema = dump(&postgres.url());
    Fixture { schema, statements: postgres.statements().await, topology, messages, expected: expected() }
}

/// Returns exchanges, queues and bindings.
async fn topology(bed: &Bed) -> Json {
    let (management, vhost) = bed.management();
    let all = management.get(&format!("definitions/{vhost}")).await;
    json!({ "exchanges": all["exchanges"], "queues": all["queues"], "bindings": all["bindings"] })
}

/// Takes the messages of all queues.
async fn messages(bed: &Bed, topology: &Json) -> Vec<Stored> {
    let peer = bed.peer().await;
    let mut messages = Vec::new();
    for queue in topology["queues"].as_array().unwrap().iter().map(|queue| queue["name"].as_str().unwrap()) {
        while let Some(message) = peer.channel().basic_get(queue.into(), BasicGetOptions::default()).await.unwrap() {
            messages.push(Stored::of(queue, &message));
            peer.channel().basic_ack(message.delivery_tag, BasicAckOptions::default()).await.unwrap();
        }
    }
    messages
}

/// Returns tables and rows as SQL.
fn dump(url: &str) -> String {
    let options = ["--schema=celeriac", "--inserts", "--no-owner", "--no-privileges", "--dbname"];
    let output = Command::new("pg_dump").args(options).arg(url).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    // A line with a backslash is for psql.
    let is_sql = |line: &&str| !(line.is_empty() || line.starts_with("--") || line.starts_with('\\'));
    text.lines().filter(is_sql).map(|line| format!("{line}\n")).collect()
}
