//! The crash log: table `suspects`.

use std::time::Duration;

use celeriac_telemetry::clock;
use sqlx::Row as _;
use sqlx::sqlite::SqlitePool;

use super::write;
use crate::crash_log::{CrashCheck, CrashCount, Finished};

const COUNT_START: &str = "INSERT INTO suspects (id, retries, replays, starts, waits, worker, seen_at)
VALUES (?1, ?2, ?3, 0 < ?4, 0 >= ?4, ?5, ?6)
ON CONFLICT (id) DO UPDATE SET
    starts = iif(retries = ?2 AND replays = ?3, starts + (starts < ?4), 0 < ?4),
    waits = iif(retries = ?2 AND replays = ?3, starts >= ?4, 0 >= ?4),
    retries = ?2,
    replays = ?3,
    worker = ?5,
    seen_at = ?6
RETURNING starts, waits";

const TAKE_BACK: &str = "UPDATE suspects SET starts = starts - 1 WHERE id = ?1 AND retries = ?2 AND replays = ?3";

const CLEAR: &str = "DELETE FROM suspects WHERE id = ?1 AND retries = ?2 AND replays = ?3 AND (starts <= 0 OR NOT ?4)";

const SWEEP: &str = "DELETE FROM suspects WHERE id IN (
    SELECT id FROM suspects WHERE seen_at < ?1 ORDER BY seen_at LIMIT ?2)";

/// Time that an attempt is kept after it was last seen.
const KEEP: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Records the attempts that start, and returns the counts in order.
pub(super) async fn count_starts(pool: &SqlitePool, checks: &[CrashCheck]) -> sqlx::Result<Vec<CrashCount>> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let mut counts = Vec::with_capacity(checks.len());
    for CrashCheck { attempt, worker, max_starts } in checks {
        let query =
            sqlx::query(COUNT_START).bind(&attempt.id).bind(attempt.retries).bind(attempt.replays).bind(max_starts);
        let row = query.bind(&**worker).bind(write::iso(clock::now())).fetch_one(&mut *transaction).await?;
        counts.push(CrashCount { starts: row.try_get(0)?, begins: !row.try_get::<bool, _>(1)? });
    }
    transaction.commit().await?;
    Ok(counts)
}

/// Removes these attempts from the record.
pub(super) async fn clear(pool: &SqlitePool, finished: &[Finished]) -> sqlx::Result<()> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    for Finished { attempt, interrupted } in finished {
        if *interrupted {
            let query = sqlx::query(TAKE_BACK).bind(&attempt.id).bind(attempt.retries).bind(attempt.replays);
            query.execute(&mut *transaction).await?;
        }
        let query = sqlx::query(CLEAR).bind(&attempt.id).bind(attempt.retries).bind(attempt.replays);
        query.bind(*interrupted).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

/// Deletes at most `at_most` attempts that were last seen a week ago, and returns their number.
pub(super) async fn sweep(pool: &SqlitePool, at_most: u32) -> sqlx::Result<u64> {
    let before = clock::now().checked_sub(KEEP).unwrap_or(jiff::Timestamp::MIN);
    let done = sqlx::query(SWEEP).bind(write::iso(before)).bind(at_most).execute(pool).await?;
    Ok(done.rows_affected())
}
