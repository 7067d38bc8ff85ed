//! Counts of outcomes: table `rollups`. Triggers write the rows of ten seconds; see
//! `migrations/postgres/0013_rollups.sql`.

use std::sync::Arc;
use std::time::Duration;

use super::pool::PostgresPool;
use crate::error::Result;
use crate::options::StatsOptions;

/// Moves rows to the next interval in one statement, so that each outcome stays counted once.
const ADD_UP: &str = include_str!("add_up.sql");

const SWEEP: &str = "WITH gone AS (
    DELETE FROM celeriac.rollups WHERE (seconds, at, queue, name, state, writer) IN (
        SELECT seconds, at, queue, name, state, writer FROM celeriac.rollups
        WHERE seconds = 3600 AND at < clock_timestamp() - make_interval(secs => $1)
        ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED
    ) RETURNING 1
) SELECT count(*) FROM gone";

const WAITS: &str = "SELECT celeriac.expected_wait(queue, ready)
FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS given (queue, ready, place)
ORDER BY place";

/// Returns the time that each queue takes at the rate of the last minute. `None` if no attempt
/// ended in it.
pub(super) async fn expected_waits(
    connections: &PostgresPool,
    queues: &[(Arc<str>, u32)],
) -> Result<Vec<Option<Duration>>> {
    let failed = |cause| connections.error("reading the rates of queues", cause);
    let (names, ready): (Vec<_>, Vec<_>) =
        queues.iter().map(|(queue, ready)| (queue.to_string(), i64::from(*ready))).unzip();
    let mut lease = connections.lease().await?;
    let query = sqlx::query_scalar(WAITS).bind(names).bind(ready);
    let answer = connections.within(query.fetch_all(&mut lease.connection)).await;
    let seconds: Vec<Option<f64>> = lease.conclude(answer).map_err(failed)?;
    Ok(seconds.into_iter().map(|seconds| Duration::try_from_secs_f64(seconds?).ok()).collect())
}

/// Adds old rows up to rows of longer intervals, and deletes the oldest.
pub(super) async fn compact(connections: &PostgresPool, keep: &StatsOptions, at_most: u32) -> Result<()> {
    for (from, to, age) in [(10, 60, keep.ten_seconds), (60, 3600, keep.minutes)] {
        while add_up(connections, (from, to), age, at_most).await? == i64::from(at_most) {}
    }
    if !keep.hours.is_zero() {
        while sweep(connections, keep.hours, at_most).await? == i64::from(at_most) {}
    }
    Ok(())
}

/// Adds up at most `at_most` rows, and returns their number.
async fn add_up(connections: &PostgresPool, (from, to): (i32, i32), age: Duration, at_most: u32) -> Result<i64> {
    let mut lease = connections.lease().await?;
    let query = sqlx::query_scalar(ADD_UP).bind(from).bind(to).bind(age.as_secs_f64()).bind(i64::from(at_most));
    let answer = connections.within(query.fetch_one(&mut lease.connection)).await;
    lease.conclude(answer).map_err(|cause| connections.error("adding up counts", cause))
}

async fn sweep(connections: &PostgresPool, keep: Duration, at_most: u32) -> Result<i64> {
    let mut lease = connections.lease().await?;
    let query = sqlx::query_scalar(SWEEP).bind(keep.as_secs_f64()).bind(i64::from(at_most));
    let answer = connections.within(query.fetch_one(&mut lease.connection)).await;
    lease.conclude(answer).map_err(|cause| connections.error("deleting old counts", cause))
}
