//! One task at a time: submit, run, result.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use celeriac::Shutdown;
use celeriac::prelude::*;
use futures::StreamExt;
use lapin::BasicProperties;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use sqlx::postgres::{PgListener, PgPoolOptions};

use crate::Servers;
use crate::messages::{BODY, PREFETCH, Stage, connect, properties};
use crate::ours::{builder, declare, delete};
use crate::sample::{Latency, Watch};

/// Answers with its number.
#[task(name = "bench.echo")]
async fn echo(number: usize) -> TaskResult<usize> {
    Ok(number)
}

/// Submits, runs, and awaits the typed result, through Postgres.
pub(crate) async fn ours(servers: &Servers, stage: &Stage, count: usize) -> Result<Latency> {
    let app = builder(servers, stage, true).tasks(tasks![echo]).build()?;
    let client = app.client().await?;
    let worker = app.worker(client.clone())?;
    let shutdown = Shutdown::new();
    let (ran, latency) = tokio::join!(worker.run_until(shutdown.clone()), async {
        let latency = trips(&client, count).await;
        shutdown.request();
        latency
    });
    ensure!(ran?.blocking_tasks_left == 0, "a task has not ended");
    client.close().await;
    delete(servers, stage).await?;
    latency
}

async fn trips(client: &Client, count: usize) -> Result<Latency> {
    for number in 0..50 {
        echo(number).submit(client).await?.get().await?;
    }
    let watch = Watch::start()?;
    let mut trips = Vec::with_capacity(count);
    for number in 0..count {
        let begun = Instant::now();
        echo(number).submit(client).await?.get().await?;
        trips.push(begun.elapsed());
    }
    Latency::of(trips, watch)
}

/// Does the same with bare lapin: publishes with a confirm, consumes, publishes the answer to a
/// reply queue, acknowledges, and takes the answer.
pub(crate) async fn lapin(servers: &Servers, stage: &Stage, count: usize) -> Result<Latency> {
    declare(servers, stage).await?;
    let (connection, channel) = connect(servers).await?;
    let (answering, worker) = connect(servers).await?;
    let exclusive = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let reply = channel.queue_declare("".into(), exclusive, FieldTable::default()).await?.name().to_string();
    let no_ack = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let mut answers =
        channel.basic_consume(reply.as_str().into(), "answers".into(), no_ack, FieldTable::default()).await?;
    worker.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let mut requests = worker
        .basic_consume(
            stage.queue.as_str().into(),
            "requests".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await?;
    let answer = async {
        for _ in 0..count {
            let request = requests.next().await.context("the consumer ended")??;
            let options = BasicPublishOptions::default();
            worker
                .basic_publish("".into(), reply.as_str().into(), options, b"1", BasicProperties::default())
                .await?
                .await?;
            worker.basic_ack(request.delivery_tag, BasicAckOptions::default()).await?;
        }
        anyhow::Ok(())
    };
    let ask = async {
        let watch = Watch::start()?;
        let mut trips = Vec::with_capacity(count);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        for _ in 0..count {
            let begun = Instant::now();
            channel.basic_publish("".into(), stage.queue.as_str().into(), options, BODY, properties()).await?.await?;
            answers.next().await.context("the consumer ended")??;
            trips.push(begun.elapsed());
        }
        Latency::of(trips, watch)
    };
    let (answered, latency) = tokio::join!(answer, ask);
    answered?;
    connection.close(200, "done".into()).await?;
    answering.close(200, "done".into()).await?;
    delete(servers, stage).await?;
    latency
}

/// Does the same with bare sqlx: writes a row and notifies, wakes up, reads the row.
pub(crate) async fn database(servers: &Servers, count: usize) -> Result<Latency> {
    let pool = PgPoolOptions::new().max_connections(2).connect(&servers.database).await?;
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS celeriac.bench_rows (id text PRIMARY KEY, result jsonb)")
        .execute(&pool)
        .await?;
    let mut listener = PgListener::connect(&servers.database).await?;
    listener.listen("bench_rows").await?;
    let watch = Watch::start()?;
    let mut trips = Vec::with_capacity(count);
    for _ in 0..count {
        let id = uuid::Uuid::now_v7().to_string();
        let begun = Instant::now();
        sqlx::query("WITH row AS (INSERT INTO celeriac.bench_rows VALUES ($1, '1') RETURNING id) SELECT pg_notify('bench_rows', id) FROM row")
            .bind(&id)
            .execute(&pool)
            .await?;
        listener.recv().await?;
        sqlx::query("SELECT result FROM celeriac.bench_rows WHERE id = $1").bind(&id).fetch_one(&pool).await?;
        trips.push(begun.elapsed());
    }
    Latency::of(trips, watch)
}
