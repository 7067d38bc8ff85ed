//! The run log: table `runs`.

use std::time::Duration;

use celeriac_telemetry::clock;
use jiff::Timestamp;
use sqlx::Row as _;
use sqlx::sqlite::SqlitePool;

use super::write;
use crate::crash_log::AttemptKey;

const RENEW: &str = "INSERT INTO runs (id, retries, replays, worker, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (id) DO UPDATE SET retries = ?2, replays = ?3, worker = ?4, expires_at = ?5";

const FIND: &str = "SELECT worker FROM runs WHERE id = ?1 AND retries = ?2 AND replays = ?3 AND expires_at > ?4";

const END: &str = "DELETE FROM runs WHERE id = ?1 AND retries = ?2 AND replays = ?3 AND worker = ?4";

const SWEEP: &str = "DELETE FROM runs WHERE id IN (
    SELECT id FROM runs WHERE expires_at < ?1 ORDER BY expires_at LIMIT ?2)";

/// Records that a worker runs an attempt.
pub(super) async fn renew(pool: &SqlitePool, attempt: &AttemptKey, worker: &str, lease: Duration) -> sqlx::Result<()> {
    let AttemptKey { id, retries, replays } = attempt;
    let expires_at = clock::now().checked_add(lease).unwrap_or(Timestamp::MAX);
    let query = sqlx::query(RENEW).bind(id).bind(retries).bind(replays).bind(worker).bind(write::iso(expires_at));
    query.execute(pool).await.map(drop)
}

/// Returns the worker that runs an attempt.
pub(super) async fn find(pool: &SqlitePool, attempt: &AttemptKey) -> sqlx::Result<Option<String>> {
    let AttemptKey { id, retries, replays } = attempt;
    let query = sqlx::query(FIND).bind(id).bind(retries).bind(replays).bind(write::iso(clock::now()));
    query.fetch_optional(pool).await?.map(|row| row.try_get(0)).transpose()
}

/// Removes an attempt that has ended.
pub(super) async fn end(pool: &SqlitePool, attempt: &AttemptKey, worker: &str) -> sqlx::Result<()> {
    let AttemptKey { id, retries, replays } = attempt;
    sqlx::query(END).bind(id).bind(retries).bind(replays).bind(worker).execute(pool).await.map(drop)
}

/// Deletes at most `at_most` attempts whose lease has ended, and returns their number.
pub(super) async fn sweep(pool: &SqlitePool, at_most: u32) -> sqlx::Result<u64> {
    let done = sqlx::query(SWEEP).bind(write::iso(clock::now())).bind(at_most).execute(pool).await?;
    Ok(done.rows_affected())
}
