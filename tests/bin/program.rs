//! A program with tasks, which tests start, stop and kill.

mod effects;
mod interop;

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use celeriac::cli::Exit;
use celeriac::prelude::*;
use celeriac::{Group, PgConnection, RouteDecision, RouteRequest, sqlx};

/// Records in a file that it ran, and returns its number. The file stays after the process is
/// killed.
#[task(name = "test.note")]
async fn note(ctx: TaskContext, number: u64) -> TaskResult<u64> {
    journal(&format!("{} {number}", ctx.id()))?;
    Ok(number)
}

/// Sleeps.
#[task(name = "test.rest")]
async fn rest(ctx: TaskContext, milliseconds: u64) -> TaskResult<u64> {
    journal(&format!("{} begun", ctx.id()))?;
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    journal(&format!("{} ended", ctx.id()))?;
    Ok(milliseconds)
}

/// Blocks its thread, and never checks if it should end.
#[task(name = "test.block")]
fn block(ctx: TaskContext, milliseconds: u64) -> TaskResult<u64> {
    journal(&format!("{} begun", ctx.id()))?;
    block_thread(Duration::from_millis(milliseconds));
    journal(&format!("{} ended", ctx.id()))?;
    Ok(milliseconds)
}

/// Never yields, for this long: it occupies a thread of the runtime.
#[task(name = "test.spin")]
async fn spin(ctx: TaskContext, milliseconds: u64) -> TaskResult<()> {
    journal(&format!("{} begun", ctx.id()))?;
    block_thread(Duration::from_millis(milliseconds));
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a task that does what it should not is what is tested")]
fn block_thread(time: Duration) {
    std::thread::sleep(time);
}

/// Aborts its process, after a while.
#[task(name = "test.abort")]
async fn abort(ctx: TaskContext, milliseconds: u64) -> TaskResult<()> {
    journal(&format!("{} begun", ctx.id()))?;
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    std::process::abort();
}

/// Has a span of its own.
#[task(name = "test.story")]
async fn story(text: String) -> TaskResult<usize> {
    let span = tracing::info_span!("telling", text);
    Ok(span.in_scope(|| {
        tracing::info!("inside the task");
        text.len()
    }))
}

/// Logs lines that repeat a secret, and fails at its first attempt.
#[task(name = "test.log", redact = ["secret"], max_retries = 1, retry_backoff = "10ms..20ms")]
async fn log(ctx: TaskContext, lines: u32, secret: String) -> TaskResult<u32> {
    let attempt = ctx.attempt();
    for line in 1..=lines {
        tracing::info!(line, secret, "attempt {attempt} has {secret}\0");
    }
    if attempt == 1 { Err(TaskError::new("not yet")) } else { Ok(attempt) }
}

/// Logs the id of its process, and ends once a file exists.
#[task(name = "test.log_when")]
async fn log_when(ctx: TaskContext, path: String) -> TaskResult<()> {
    tracing::info!(process = std::process::id(), "waiting");
    journal(&format!("{} begun", ctx.id()))?;
    while !std::path::Path::new(&path).exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Writes a line with one `write` to a file opened for appending, so that the line is whole even if
/// the process is killed right after.
fn journal(line: &str) -> TaskResult<()> {
    let environment = celeriac_config::Environment::from_process();
    let Some(path) = environment.get("JOURNAL") else { return Ok(()) };
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    Ok(())
}

/// Follows from another task, and returns that task's result.
#[task(name = "test.after")]
async fn after(ctx: TaskContext, result: u64) -> TaskResult<u64> {
    journal(&format!("{} {result}", ctx.id()))?;
    Ok(result)
}

/// Is the body of a chord, and returns the results of its members.
#[task(name = "test.gather")]
async fn gather(ctx: TaskContext, results: Vec<u64>) -> TaskResult<Vec<u64>> {
    journal(&format!("{} {}", ctx.id(), results.len()))?;
    Ok(results)
}

/// Sends a chord of so many members, whose errback gets their number. A lost worker does not send
/// it again.
#[task(name = "test.scatter", acks = "early")]
async fn scatter(ctx: TaskContext, members: u64) -> TaskResult<()> {
    let header: Group = (0..members).map(|number| Signature::new("test.note").arg(number)).collect();
    let errback = Signature::new("test.note").arg(members).immutable();
    header.then(Signature::new("test.gather")).on_error(errback).submit(ctx.client()).await?;
    Ok(())
}

/// Fails while a file is missing.
#[task(name = "test.need", max_retries = 1, retry_backoff = "10ms..20ms")]
async fn need(ctx: TaskContext, path: String) -> TaskResult<String> {
    journal(&format!("{} attempt {}", ctx.id(), ctx.attempt()))?;
    match std::path::Path::new(&path).exists() {
        true => Ok(path),
        false => Err(TaskError::of_kind("Missing", format!("{path} is not there"))),
    }
}

/// Fails once a file exists: with a next attempt, or as a dead letter at once.
#[task(name = "test.fail_when", max_retries = 1, retry_backoff = "10ms..20ms")]
async fn fail_when(ctx: TaskContext, path: String, rejected: bool) -> TaskResult<()> {
    journal(&format!("{} attempt {}", ctx.id(), ctx.attempt()))?;
    while !std::path::Path::new(&path).exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(if rejected { TaskError::reject("not today") } else { TaskError::new("not yet") })
}

/// Ends once a file exists, as the variable `ENDS` of its process says.
#[task(name = "test.end_when")]
async fn end_when(ctx: TaskContext, path: String) -> TaskResult<u64> {
    journal(&format!("{} attempt {}", ctx.id(), ctx.attempt()))?;
    while !std::path::Path::new(&path).exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ends = celeriac_config::Environment::from_process().get("ENDS").unwrap_or_default().to_owned();
    if ends == "fails" { Err(TaskError::new("not here")) } else { Ok(1) }
}

/// Sleeps, and fails if the variable `BUILD` of its process is `bad`.
#[task(name = "test.build")]
async fn build(milliseconds: u64) -> TaskResult<u64> {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    let is_bad = celeriac_config::Environment::from_process().get("BUILD") == Some("bad");
    if is_bad { Err(TaskError::new("a bad build")) } else { Ok(milliseconds) }
}

/// Records that it ran, and fails.
#[task(name = "test.fail")]
async fn fail(ctx: TaskContext, number: u64) -> TaskResult<()> {
    journal(&format!("{} {number}", ctx.id()))?;
    Err(TaskError::of_kind("ValueError", format!("{number} is no good")))
}

/// Fails this often, and requests another attempt in one of several ways.
#[task(
    name = "test.retry",
    max_retries = 4,
    retry_backoff = "1s..4s",
    retry_on(std::num::ParseIntError = "4 times immediately", "Slow" = "2s..3s", "Hopeless" = "2 times 1s")
)]
async fn retry(ctx: TaskContext, pattern: String, failures: u32) -> TaskResult<u32> {
    let attempt = ctx.attempt();
    if attempt > failures {
        return Ok(attempt);
    }
    let wait = Duration::from_millis(1_500);
    Err(match pattern.as_str() {
        "immediately" => pattern.parse::<u32>().map_or_else(TaskError::from, |_| TaskError::new("a number")),
        "class" => TaskError::of_kind("Slow", "not yet"),
        "hint" => TaskError::of_kind("Throttled", "too many requests").with_retry_delay(wait),
        "time" => {
            let time = celeriac_telemetry::clock::now().checked_add(wait);
            TaskError::retry_at(time.map_err(TaskError::from)?, "not open yet")
        }
        "exhausted" => TaskError::of_kind("Hopeless", "never"),
        _ => TaskError::new("not yet"),
    })
}

/// Records a number in the table `effects`, sleeps, and ends.
#[task(name = "test.pay", transactional)]
async fn pay(ctx: TaskContext, tx: &mut PgConnection, number: i64, milliseconds: u64) -> TaskResult<i64> {
    let effect = sqlx::query("INSERT INTO effects (number, task) VALUES ($1, $2)").bind(number).bind(ctx.id());
    effect.execute(&mut *tx).await?;
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    Ok(number)
}

/// Logs a line in its transaction.
#[task(name = "test.log_in", transactional)]
async fn log_in(_tx: &mut PgConnection) -> TaskResult<()> {
    tracing::info!("in the transaction");
    Ok(())
}

/// Returns `true` if tasks can have transactions.
fn is_on_postgres() -> bool {
    let environment = celeriac_config::Environment::from_process();
    environment.get("CELERIAC__RESULTS__URL").is_some_and(|url| url.starts_with("postgres://"))
}

/// A route function: decides by the first argument, or by the named one.
fn by_size(call: &RouteRequest<'_>) -> Option<RouteDecision> {
    match call.args {
        [_, ..] => Some(RouteDecision::queue("reports")),
        [] => call.kwargs.get("size").map(|_| RouteDecision::exchange("orders", "billing.small")),
    }
}

#[tokio::main]
async fn main() -> Exit {
    if let Some(phrase) = celeriac_config::Environment::from_process().get("PANIC_AT") {
        celeriac_tests::PanicAt::install(phrase);
    }
    let tasks = tasks![
        note, rest, block, spin, abort, story, after, gather, scatter, need, fail, fail_when, end_when, build, retry,
        log, log_when
    ];
    let app = Celeriac::builder().config_if_present("config").tasks(tasks).tasks(interop::tasks());
    let app = if is_on_postgres() { app.tasks(tasks![pay, log_in]).tasks(effects::tasks()) } else { app };
    let app = app.route("by_size", by_size);
    if std::env::args().nth(1).as_deref() == Some("without-command-line") {
        return match app.build() {
            Ok(app) => app.run_worker(celeriac::RunOptions::new()).await.map_or(Exit::Internal, |_| Exit::Done),
            Err(_) => Exit::Config,
        };
    }
    celeriac::cli::run(app).await
}
