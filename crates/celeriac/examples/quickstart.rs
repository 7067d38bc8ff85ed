//! Three tasks, a worker and a client in one process.
//!
//! `cargo run --example quickstart` needs no server. With `CELERIAC__BROKER__URL` and
//! `CELERIAC__RESULTS__URL` set, the program uses RabbitMQ and Postgres.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what happens")]

use std::process::ExitCode;

use celeriac::prelude::*;
use celeriac::{ClientError, Shutdown, Worker};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Receipt {
    order: u32,
    cents: i64,
}

/// Typed arguments and a typed result.
#[task(name = "shop.charge")]
async fn charge(order: u32, cents: i64) -> TaskResult<Receipt> {
    Ok(Receipt { order, cents })
}

/// Fails twice and then succeeds: an error leads to a retry, at most `max_retries` times.
#[task(name = "shop.email", max_retries = 3, retry_backoff = "200ms..2s")]
async fn email(ctx: TaskContext, to: String) -> TaskResult<String> {
    if ctx.attempt() < 3 {
        return Err(TaskError::new("the mail server is busy"));
    }
    Ok(format!("sent to {to} at attempt {}", ctx.attempt()))
}

/// Not async, so it runs on a thread of its own. It fails on purpose: its argument is no number.
/// The caller gets the error of the task.
#[task(name = "shop.report")]
fn report(day: String) -> TaskResult<u64> {
    let day: u32 = day.parse()?;
    Ok(u64::from(day) * 42)
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:?}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> celeriac::Result<()> {
    let app = Celeriac::builder().tasks(tasks![charge, email, report]).build()?;
    let client = app.client().await?;
    let worker = app.worker(client.clone())?;
    println!("{}", worker.banner());

    // Worker and sender run in one program here. Usually they are two programs.
    let shutdown = Shutdown::new();
    let (worked, submitted) = tokio::join!(work(worker, shutdown.clone()), async {
        let submitted = submit(&client).await;
        shutdown.request();
        submitted
    });
    client.close().await;
    worked?;
    submitted?;
    next_step(app.settings().broker.url.masked().starts_with("memory://"));
    Ok(())
}

async fn work(worker: Worker, shutdown: Shutdown) -> celeriac::Result<()> {
    let _none_of_these_tasks_blocks = worker.run_until(shutdown).await?;
    Ok(())
}

async fn submit(client: &Client) -> celeriac::Result<()> {
    let charged = charge(17, 1299).submit(client).await?;
    let receipt = charged.get().await?;
    println!("  shop.charge   succeeded   {receipt:?}");

    let sent = email("ada@example.org".to_owned()).submit(client).await?;
    println!("  shop.email    succeeded   {:?}", sent.get().await?);

    let failed = report("monday".to_owned()).submit(client).await?;
    match failed.get().await {
        Ok(sum) => println!("  shop.report   succeeded   {sum}"),
        Err(error @ ClientError::Failed { .. }) => {
            println!("  shop.report   failed      on purpose, because `monday` is no number:");
            println!("                            {error}");
        }
        Err(error) => return Err(error.into()),
    }

    let rows = [charged.record().await?, sent.record().await?, failed.record().await?];
    println!("\n  what is recorded of them:");
    for row in rows.into_iter().flatten() {
        println!("    {} {:<12} {:<8} attempts {}", row.id, row.name, row.state, row.attempts);
    }
    Ok(())
}

fn next_step(in_process: bool) {
    if in_process {
        println!(
            "\n  That was a broker inside this process, and results in celeriac.db. Next, the same on real servers:\n\n    \
             cargo xtask services up\n    eval \"$(cargo xtask services env)\"\n    cargo run --example quickstart\n"
        );
    } else {
        println!("\n  That was RabbitMQ and Postgres. Next: docs/start.md, to make a program of your own.\n");
    }
}
