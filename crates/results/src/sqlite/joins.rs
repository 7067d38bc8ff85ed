//! Joins: tables `joins`, `arrivals` and `tallies`.

use std::time::Duration;

use celeriac_protocol::Failure;
use celeriac_telemetry::clock;
use sqlx::Row as _;
use sqlx::sqlite::SqlitePool;

use super::write;
use crate::joins::{Arrival, FiredJoin, JoinMember, JoinResults, NewJoin, Turn, turns};

const ADD: &str = "INSERT INTO joins (id, size, body, created_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";

const GIVE_UP: &str = "UPDATE joins SET fired_at = ?3, error = ?2 WHERE id = ?1 AND fired_at IS NULL";

const FIRE: &str = "UPDATE joins SET fired_at = ?3, fired_by = ?2
WHERE id = ?1 AND fired_at IS NULL AND size <= (SELECT ok + failed FROM tallies WHERE join_id = ?1)";

const FIND: &str = "SELECT body, (SELECT coalesce(sum(octet_length(result)), 0) FROM arrivals WHERE join_id = ?1)
FROM joins WHERE id = ?1 AND fired_at IS NOT NULL AND error IS NULL";

const FIRST_FAILED: &str = "SELECT task_id, error_kind, error_message FROM arrivals
WHERE join_id = ?1 AND NOT ok ORDER BY idx LIMIT 1";

const RESULTS: &str = "SELECT result FROM arrivals WHERE join_id = ?1 ORDER BY idx";

const OLD: &str = "SELECT id FROM joins WHERE fired_at < ?1 ORDER BY fired_at LIMIT ?2";

const DELETE: [&str; 3] = [
    "DELETE FROM arrivals WHERE join_id = ?1",
    "DELETE FROM tallies WHERE join_id = ?1",
    "DELETE FROM joins WHERE id = ?1",
];

/// Adds a join.
pub(super) async fn add(pool: &SqlitePool, join: &NewJoin) -> sqlx::Result<()> {
    let size = i64::try_from(join.size).unwrap_or(i64::MAX);
    let query = sqlx::query(ADD).bind(&join.id).bind(size).bind(&join.body).bind(write::iso(clock::now()));
    query.execute(pool).await.map(drop)
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
    let (body, size): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
    let size = u64::try_from(size).unwrap_or_default();
    let results = match sqlx::query(FIRST_FAILED).bind(id).fetch_optional(&mut *connection).await? {
        Some(row) => {
            let failure = Failure::new(row.try_get::<String, _>(1)?, row.try_get::<String, _>(2)?);
            JoinResults::Failed { task: row.try_get(0)?, failure }
        }
        None if size > largest as u64 => JoinResults::TooLarge { size },
        None => JoinResults::All(sqlx::query_scalar(RESULTS).bind(id).fetch_all(&mut *connection).await?),
    };
    Ok(Some(FiredJoin { body, results }))
}

/// Deletes joins that fired longer ago than `keep`, and returns their number.
pub(super) async fn sweep(pool: &SqlitePool, keep: Duration, at_most: u32) -> sqlx::Result<u64> {
    let before = clock::now().checked_sub(keep).unwrap_or(jiff::Timestamp::MIN);
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let old = sqlx::query_scalar(OLD).bind(write::iso(before)).bind(at_most);
    let old: Vec<String> = old.fetch_all(&mut *transaction).await?;
    for id in &old {
        for delete in DELETE {
            sqlx::query(delete).bind(id).execute(&mut *transaction).await?;
        }
    }
    transaction.commit().await?;
    Ok(old.len() as u64)
}
