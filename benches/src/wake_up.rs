//! The time from recording an outcome until the caller that waits for it goes on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use celeriac::TaskRecord;
use celeriac::prelude::*;
use celeriac_results::Recorded;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio_util::task::TaskTracker;

use crate::Servers;
use crate::messages::Stage;
use crate::ours::app;
use crate::sample::{Latency, Watch};

/// Handles that are awaited at once.
const WAITS: usize = 10_000;

/// Longest wait of a handle, beyond the end of a round.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Awaits thousands of handles, and records the outcomes of some of them, one after the other. Each
/// sample ends when its caller goes on.
pub(crate) async fn ours(servers: &Servers, stage: &Stage, count: usize) -> Result<Latency> {
    let client = app(servers, stage, true)?.client().await?;
    let store = client.results().context("no result store")?;
    let id = |number: usize| format!("{}-{number}", stage.queue);
    let tracker = TaskTracker::new();
    let waits: Vec<_> = (0..WAITS.max(count))
        .map(|number| {
            let handle = client.handle::<usize>(id(number));
            tracker.spawn(async move { (handle.get_timeout(PATIENCE).await, Instant::now()) })
        })
        .collect();
    let record = async |number: usize| {
        let success = TaskRecord {
            result: Some(number.to_string()),
            worker: "bench".into(),
            attempts: 1,
            finished_at: Some(client.clock().now()),
            ..TaskRecord::new(id(number), "bench.wait", TaskState::Success)
        };
        let recorded = store.record(&[success]).await?;
        ensure!(recorded == [Recorded::Stored], "an outcome was not stored");
        anyhow::Ok(())
    };
    // The waits are registered and checked: of two later ones, the second is checked after them.
    for marker in [WAITS.max(count), WAITS.max(count) + 1] {
        record(marker).await?;
        client.handle::<usize>(id(marker)).get().await?;
    }
    let watch = Watch::start()?;
    let mut samples = Vec::with_capacity(count);
    let mut waits = waits.into_iter();
    for (number, wait) in waits.by_ref().take(count).enumerate() {
        let begun = Instant::now();
        record(number).await?;
        let (result, woken) = wait.await?;
        ensure!(result? == number, "the result of another task");
        samples.push(woken.saturating_duration_since(begun));
    }
    let latency = Latency::of(samples, watch);
    client.close().await;
    for wait in waits {
        // The client was closed.
        let _ = wait.await?;
    }
    latency
}

/// Does the same with bare sqlx: notifies, with or without a row in the same statement, and
/// receives the notification.
pub(crate) async fn database(servers: &Servers, with_row: bool, count: usize) -> Result<Latency> {
    let pool = PgPoolOptions::new().max_connections(1).connect(&servers.database).await?;
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS celeriac.bench_rows (id text PRIMARY KEY, result jsonb)")
        .execute(&pool)
        .await?;
    let statement = match with_row {
        true => {
            "WITH row AS (INSERT INTO celeriac.bench_rows VALUES ($1, '1') RETURNING id)
             SELECT pg_notify('bench_wake', id) FROM row"
        }
        false => "SELECT pg_notify('bench_wake', $1)",
    };
    let mut listener = PgListener::connect(&servers.database).await?;
    listener.listen("bench_wake").await?;
    let tracker = TaskTracker::new();
    let mut received = tracker.spawn(async move {
        let mut received = Vec::new();
        while received.len() < count {
            received.push((listener.recv().await?.payload().to_owned(), Instant::now()));
        }
        anyhow::Ok(received)
    });
    let watch = Watch::start()?;
    let mut begun = Vec::with_capacity(count);
    for _ in 0..count {
        let id = uuid::Uuid::now_v7().to_string();
        begun.push((id.clone(), Instant::now()));
        sqlx::query(statement).bind(&id).execute(&pool).await?;
    }
    let samples = (&mut received).await??.into_iter().zip(begun).map(|((heard, woken), (id, begun))| {
        ensure!(heard == id, "another notification");
        Ok(woken.saturating_duration_since(begun))
    });
    Latency::of(samples.collect::<Result<_>>()?, watch)
}
