//! The baseline: lapin and sqlx alone.

use anyhow::{Context, Result};
use futures::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use sqlx::postgres::{PgPool, PgPoolOptions};

use crate::messages::{Messages, PREFETCH, Stage, TASK, connect, publish};
use crate::sample::{Sample, Watch};
use crate::{Servers, ours};

/// Number of deliveries that are acknowledged together.
const ACK_GROUP: u64 = 16;
/// Number of rows that are written together.
const BATCH: usize = 256;

/// Publishes with confirms, in a window.
pub(crate) async fn submit(servers: &Servers, stage: &Stage, count: usize) -> Result<Sample> {
    ours::declare(servers, stage).await?;
    let (connection, channel) = connect(servers).await?;
    let watch = Watch::start()?;
    publish(&channel, &stage.queue, &Messages::empty(count)).await?;
    let sample = watch.stop(count)?;
    connection.close(200, "done".into()).await?;
    ours::delete(servers, stage).await?;
    Ok(sample)
}

/// Drains a queue. With `results`, each message has its row before it is acknowledged.
pub(crate) async fn drain(servers: &Servers, stage: &Stage, count: usize, results: bool) -> Result<Sample> {
    ours::declare(servers, stage).await?;
    let (connection, channel) = connect(servers).await?;
    publish(&channel, &stage.queue, &Messages::empty(count)).await?;
    let database = if results { Some(database(servers).await?) } else { None };
    let watch = Watch::start()?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let consumer = channel
        .basic_consume(
            stage.queue.as_str().into(),
            "bare".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await?;
    match &database {
        None => acknowledge_all(&channel, consumer, count).await?,
        Some(database) => record_all(&channel, consumer, count, database).await?,
    }
    let sample = watch.stop(count)?;
    connection.close(200, "done".into()).await?;
    ours::delete(servers, stage).await?;
    Ok(sample)
}

async fn acknowledge_all(channel: &lapin::Channel, mut consumer: lapin::Consumer, count: usize) -> Result<()> {
    let together = BasicAckOptions { multiple: true };
    let count = count as u64;
    for number in 1..=count {
        let delivery = consumer.next().await.context("the consumer ended")??;
        if number % ACK_GROUP == 0 || number == count {
            channel.basic_ack(delivery.delivery_tag, together).await?;
        }
    }
    Ok(())
}

async fn record_all(
    channel: &lapin::Channel,
    consumer: lapin::Consumer,
    count: usize,
    database: &PgPool,
) -> Result<()> {
    let mut deliveries = consumer.ready_chunks(BATCH);
    let mut recorded = 0;
    while recorded < count {
        let batch: Vec<Delivery> =
            deliveries.next().await.context("the consumer ended")?.into_iter().collect::<Result<_, _>>()?;
        write(database, &batch).await?;
        recorded += batch.len();
        let last = batch.last().context("an empty batch")?;
        channel.basic_ack(last.delivery_tag, BasicAckOptions { multiple: true }).await?;
    }
    Ok(())
}

/// Connects to a table like that of the results, with a pool of the same size.
async fn database(servers: &Servers) -> Result<PgPool> {
    let pool = PgPoolOptions::new().max_connections(4).connect(&servers.database).await?;
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS celeriac.bench_tasks (LIKE celeriac.tasks INCLUDING ALL); TRUNCATE celeriac.bench_tasks",
    )
    .execute(&pool)
    .await?;
    Ok(pool)
}

async fn write(database: &PgPool, batch: &[Delivery]) -> Result<()> {
    let ids: Vec<String> = batch.iter().map(|delivery| id(delivery).unwrap_or_default()).collect();
    sqlx::query(
        "WITH written AS (
             INSERT INTO celeriac.bench_tasks
                 (id, name, state, args, kwargs, result, queue, exchange, routing_key, worker, attempts, received_at,
                  started_at, finished_at, runtime)
             SELECT id, $2, 'SUCCESS', '[]'::jsonb, '{}'::jsonb, 'null'::jsonb, 'q', '', 'q', 'bare', 1, now(), now(), now(), 0
             FROM UNNEST($1::text[]) AS given (id)
             ON CONFLICT (id) DO NOTHING
             RETURNING id)
         SELECT pg_notify('bench_finished', count(*)::text) FROM written",
    )
    .bind(&ids)
    .bind(TASK)
    .execute(database)
    .await?;
    Ok(())
}

fn id(delivery: &Delivery) -> Option<String> {
    let headers = delivery.properties.headers().as_ref()?;
    Some(headers.inner().get("id")?.as_long_string()?.to_string())
}
