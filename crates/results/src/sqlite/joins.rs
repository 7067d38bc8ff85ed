//! Joins: tables `joins`, `arrivals` and `tallies`.

use std::time::Duration;

use celeriac_protocol::Failure;
use celeriac_telemetry::clock;
use jiff::Timestamp;
use sqlx::Row as _;
use sqlx::sqlite::SqlitePool;

use super::write;
use crate::joins::{
    Arrival, Decisive, FiredJoin, FiredRow, JoinMember, JoinResults, NewJoin, NextRead, Turn, end_text, turns,
};

const ADD: &str = "INSERT INTO joins (id, size, body, created_at, sent, deadline, due_at, enough, tolerated, settled)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING";

const TOUCH: &str = "UPDATE joins SET sent = ?2, sealed_at = ?3,
    due_at = CASE WHEN ?4 IS NULL THEN deadline WHEN deadline IS NULL THEN ?4 ELSE min(deadline, ?4) END
WHERE id = ?1 AND fired_at IS NULL AND sealed_at IS NULL";

const IS_OPEN: &str = "SELECT NOT EXISTS (SELECT 1 FROM joins WHERE id = ?1 AND error IS NOT NULL)";

const GIVE_UP: &str = "UPDATE joins SET fired_at = ?3, error = ?2 WHERE id = ?1 AND fired_at IS NULL";

const OVERDUE: &str = "SELECT id FROM joins WHERE fired_at IS NULL AND due_at <= ?1 ORDER BY due_at LIMIT ?2";

const END_OVERDUE: &str = "UPDATE joins SET fired_at = ?2, fired_by = -1, error = CASE
    WHEN deadline <= ?2 THEN printf('its deadline has passed: %,d of %,d members have ended', counted.ended, size)
    ELSE printf('its sender is gone: %,d of %,d sent', max(coalesce(sent, 0), counted.ended), size)
END
FROM (SELECT coalesce(sum(ok + failed), 0) AS ended FROM tallies WHERE join_id = ?1) AS counted
WHERE id = ?1 AND fired_at IS NULL AND due_at <= ?2 AND counted.ended < size";

const FIRE: &str = "UPDATE joins SET fired_at = ?3, fired_by = ?2 WHERE id = ?1 AND fired_at IS NULL AND (
    SELECT size <= ok + failed OR enough <= ok OR tolerated < failed FROM tallies WHERE join_id = ?1)";

const FIND: &str = "SELECT body, error, settled, enough,
    (SELECT count(*) FROM arrivals WHERE join_id = ?1 AND ok),
    (SELECT coalesce(sum(octet_length(coalesce(result, error_message, ''))), 0) FROM arrivals WHERE join_id = ?1)
FROM joins WHERE id = ?1 AND fired_by IS NOT NULL";

const FIRST_FAILED: &str = "SELECT task_id, error_kind, error_message FROM arrivals
WHERE join_id = ?1 AND NOT ok ORDER BY idx LIMIT 1";

const RESULTS: &str = "SELECT result FROM arrivals WHERE join_id = ?1 AND ok ORDER BY idx";

const ENDS: &str = "SELECT task_id, result, error_kind, error_message FROM arrivals WHERE join_id = ?1 ORDER BY idx";

/// Deletes in pieces. One connection writes, so no arrival comes between them.
const DELETE: [&str; 3] = [
    "DELETE FROM arrivals WHERE rowid IN (
        SELECT arrivals.rowid FROM joins JOIN arrivals ON join_id = id WHERE fired_at < ?1 LIMIT ?2)",
    "DELETE FROM tallies WHERE join_id IN (
        SELECT id FROM joins WHERE fired_at < ?1
            AND NOT EXISTS (SELECT 1 FROM arrivals WHERE join_id = id) LIMIT ?2)",
    "DELETE FROM joins WHERE id IN (
        SELECT id FROM joins WHERE fired_at < ?1 AND NOT EXISTS (SELECT 1 FROM arrivals WHERE join_id = id)
            AND NOT EXISTS (SELECT 1 FROM tallies WHERE join_id = id) LIMIT ?2)",
];

/// Adds a join.
pub(super) async fn add(pool: &SqlitePool, join: &NewJoin) -> sqlx::Result<()> {
    let now = clock::now();
    let Decisive { enough, tolerated } = join.decisive();
    let deadline = join.rules.deadline.map(|deadline| after(now, deadline));
    let due = [deadline.clone(), join.patience.map(|patience| after(now, patience))].into_iter().flatten().min();
    let query = sqlx::query(ADD)
        .bind(&join.id)
        .bind(join.size())
        .bind(&join.body)
        .bind(write::iso(now))
        .bind(join.patience.map(|_| 0))
        .bind(deadline)
        .bind(due)
        .bind(enough)
        .bind(tolerated)
        .bind(join.is_settled());
    query.execute(pool).await.map(drop)
}

/// Returns a time after `now`.
fn after(now: Timestamp, wait: Duration) -> String {
    write::iso(now.checked_add(wait).unwrap_or(Timestamp::MAX))
}

/// Tells that the sender of a join is at work. Returns `false` if it has ended without its members.
pub(super) async fn touch(pool: &SqlitePool, id: &str, sent: u64, patience: Option<Duration>) -> sqlx::Result<bool> {
    let now = clock::now();
    let sealed = patience.is_none().then(|| write::iso(now));
    let query = sqlx::query(TOUCH).bind(id).bind(i64::try_from(sent).unwrap_or(i64::MAX)).bind(sealed);
    query.bind(patience.map(|patience| after(now, patience))).execute(pool).await?;
    sqlx::query_scalar(IS_OPEN).bind(id).fetch_one(pool).await
}

/// Returns joins that should end although members have not ended.
pub(super) async fn overdue(pool: &SqlitePool, at_most: u32) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(OVERDUE).bind(write::iso(clock::now())).bind(at_most).fetch_all(pool).await
}

/// Ends a join that is overdue.
pub(super) async fn end_overdue(pool: &SqlitePool, id: &str) -> sqlx::Result<()> {
    sqlx::query(END_OVERDUE).bind(id).bind(write::iso(clock::now())).execute(pool).await.map(drop)
}

/// Ends a join whose members could not all be sent.
pub(super) async fn give_up(pool: &SqlitePool, id: &str, error: &str) -> sqlx::Result<()> {
    let query = sqlx::query(GIVE_UP).bind(id).bind(error).bind(write::iso(clock::now()));
    query.execute(pool).await.map(drop)
}

/// Records members that have ended.
pub(super) async fn record_arrivals(pool: &SqlitePool, arrivals: &[Arrival]) -> sqlx::Result<()> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    for arrival in arrivals {
        write::record_arrival(&mut transaction, arrival).await?;
    }
    transaction.commit().await
}

/// Fires the joins that are complete, and returns what each member has to do.
pub(super) async fn fire(pool: &SqlitePool, members: &[JoinMember]) -> sqlx::Result<Vec<Turn>> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let mut known = Vec::with_capacity(members.len());
    for JoinMember { join, index } in members {
        let fired = sqlx::query(FIRE).bind(join).bind(index).bind(write::iso(clock::now()));
        let is_now = fired.execute(&mut *transaction).await?.rows_affected() > 0;
        let fired_by = sqlx::query("SELECT fired_by FROM joins WHERE id = ?1").bind(join);
        if let Some(row) = fired_by.fetch_optional(&mut *transaction).await? {
            known.push((join.as_str(), row.try_get(0)?, is_now));
        }
    }
    transaction.commit().await?;
    Ok(turns(members, known))
}

/// Returns a join that has fired.
pub(super) async fn find_fired(pool: &SqlitePool, id: &str, largest: usize) -> sqlx::Result<Option<FiredJoin>> {
    let mut connection = pool.acquire().await?;
    let Some(row) = sqlx::query(FIND).bind(id).fetch_optional(&mut *connection).await? else { return Ok(None) };
    let first_failed = sqlx::query(FIRST_FAILED).bind(id).fetch_optional(&mut *connection).await?;
    let first_failed = first_failed.map(|row| -> sqlx::Result<_> {
        Ok((row.try_get(0)?, Failure::new(row.try_get::<String, _>(1)?, row.try_get::<String, _>(2)?)))
    });
    let mut fired = FiredRow {
        body: row.try_get(0)?,
        over: row.try_get(1)?,
        settled: row.try_get(2)?,
        enough: row.try_get(3)?,
        ok: row.try_get(4)?,
        size: row.try_get(5)?,
        first_failed: first_failed.transpose()?,
    };
    let results = match fired.next(largest) {
        NextRead::Done(results) => results,
        NextRead::Results => JoinResults::All(sqlx::query_scalar(RESULTS).bind(id).fetch_all(&mut *connection).await?),
        NextRead::Ends => {
            let rows = sqlx::query(ENDS).bind(id).fetch_all(&mut *connection).await?;
            let ends = rows.iter().map(|row| -> sqlx::Result<_> {
                let kind: Option<String> = row.try_get(2)?;
                let message: Option<String> = row.try_get(3)?;
                let failure = kind.map(|kind| Failure::new(kind, message.unwrap_or_default()));
                Ok(end_text(row.try_get(0)?, row.try_get(1)?, failure.as_ref()))
            });
            JoinResults::All(ends.collect::<sqlx::Result<_>>()?)
        }
    };
    Ok(Some(FiredJoin { body: fired.body, results }))
}

/// Deletes joins that fired longer ago than `keep`, at most `at_most` rows of each table. Returns
/// the number of rows.
pub(super) async fn sweep(pool: &SqlitePool, keep: Duration, at_most: u32) -> sqlx::Result<u64> {
    let before = write::iso(clock::now().checked_sub(keep).unwrap_or(Timestamp::MIN));
    let mut gone = 0;
    for delete in DELETE {
        gone += sqlx::query(delete).bind(&before).bind(at_most).execute(pool).await?.rows_affected();
    }
    Ok(gone)
}
