//! Joins: tables `joins`, `arrivals` and `tallies`.

use std::time::Duration;

use celeriac_protocol::Failure;
use sqlx::Row as _;
use sqlx::postgres::{PgBindIterExt, PgConnection};

use super::pool::PostgresPool;
use crate::error::Result;
use crate::exact;
use crate::joins::{
    Arrival, Decisive, FiredJoin, FiredRow, JoinMember, JoinResults, NewJoin, NextRead, Turn, end_text, turns,
};

const ADD: &str = "SELECT celeriac.open_join($1, $2, $3, $4, $5, $6, $7, $8)";

const TOUCH: &str = "SELECT celeriac.touch_join($1, $2, $3)";

const GIVE_UP: &str = "SELECT celeriac.give_up_join($1, $2)";

const ARRIVE: &str = include_str!("arrive.sql");

const FIRE: &str = include_str!("fire.sql");

const OVERDUE: &str = "SELECT id FROM celeriac.joins WHERE fired_at IS NULL AND due_at <= clock_timestamp()
ORDER BY due_at LIMIT $1";

const END_OVERDUE: &str = include_str!("end_overdue.sql");

/// The body, what decides, and the size of the results.
const FIND: &str = "SELECT body, error, settled, enough, coalesce(ok, 0), coalesce(bytes, 0)
FROM celeriac.joins LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE ok) AS ok, sum(octet_length(coalesce(result, error_message, '')))::bigint AS bytes
    FROM celeriac.arrivals WHERE join_id = joins.id
) AS ended ON true
WHERE id = $1 AND fired_by IS NOT NULL";

const FIRST_FAILED: &str = "SELECT task_id, error_kind, error_message FROM celeriac.arrivals
WHERE join_id = $1 AND NOT ok ORDER BY idx LIMIT 1";

const RESULTS: &str = "SELECT result FROM celeriac.arrivals WHERE join_id = $1 AND ok ORDER BY idx";

const ENDS: &str = "SELECT task_id, result, error_kind, error_message FROM celeriac.arrivals
WHERE join_id = $1 ORDER BY idx";

/// Longest time that a statement of before still records an arrival.
const SETTLED: Duration = Duration::from_secs(60);

/// Closes joins to arrivals. Their rows are deleted later, because a statement that began before
/// may still record one.
const CLOSE: &str = "UPDATE celeriac.joins SET swept_at = clock_timestamp() WHERE id IN (
    SELECT id FROM celeriac.joins
    WHERE fired_at < clock_timestamp() - make_interval(secs => $1) AND swept_at IS NULL
    ORDER BY fired_at LIMIT $2 FOR UPDATE SKIP LOCKED)";

const DELETE_ARRIVALS: &str = "DELETE FROM celeriac.arrivals AS gone USING (
    SELECT join_id, idx FROM (
        SELECT id FROM celeriac.joins WHERE swept_at < clock_timestamp() - make_interval(secs => $1)
        ORDER BY swept_at LIMIT $2
    ) AS old CROSS JOIN LATERAL (SELECT join_id, idx FROM celeriac.arrivals WHERE join_id = old.id LIMIT $2) AS own
    LIMIT $2
) AS old WHERE gone.join_id = old.join_id AND gone.idx = old.idx";

const DELETE_JOINS: &str = "WITH old AS (
    SELECT id FROM celeriac.joins
    WHERE swept_at < clock_timestamp() - make_interval(secs => $1)
        AND NOT EXISTS (SELECT FROM celeriac.arrivals WHERE join_id = joins.id)
    ORDER BY swept_at LIMIT $2 FOR UPDATE SKIP LOCKED
), tallies AS (
    DELETE FROM celeriac.tallies WHERE join_id IN (SELECT id FROM old)
)
DELETE FROM celeriac.joins WHERE id IN (SELECT id FROM old)";

/// Adds a join, by a function that may do nothing else.
pub(super) async fn add(connections: &PostgresPool, join: &NewJoin) -> Result<()> {
    let mut lease = connections.lease().await?;
    let answer = connections.within(add_one(&mut lease.connection, join)).await;
    lease.conclude(answer).map_err(|cause| connections.error("adding a join", cause))
}

/// Adds joins inside a transaction.
pub(super) async fn add_in(connection: &mut PgConnection, joins: &[NewJoin]) -> sqlx::Result<()> {
    for join in joins {
        add_one(connection, join).await?;
    }
    Ok(())
}

async fn add_one(connection: &mut PgConnection, join: &NewJoin) -> sqlx::Result<()> {
    let Decisive { enough, tolerated } = join.decisive();
    let query = sqlx::query(ADD)
        .bind(&join.id)
        .bind(join.size())
        .bind(&join.body)
        .bind(join.patience.map(|patience| patience.as_secs_f64()))
        .bind(join.rules.deadline.map(|deadline| deadline.as_secs_f64()))
        .bind(enough)
        .bind(tolerated)
        .bind(join.is_settled());
    query.execute(connection).await.map(drop)
}

/// Tells that the sender of a join is at work. Returns `false` if it has ended without its members.
pub(super) async fn touch(connections: &PostgresPool, id: &str, sent: u64, patience: Option<Duration>) -> Result<bool> {
    let sent = i64::try_from(sent).unwrap_or(i64::MAX);
    let query = sqlx::query_scalar(TOUCH).bind(id).bind(sent).bind(patience.map(|patience| patience.as_secs_f64()));
    let mut lease = connections.lease().await?;
    let answer = connections.within(query.fetch_one(&mut lease.connection)).await;
    lease.conclude(answer).map_err(|cause| connections.error("keeping a join open", cause))
}

/// Returns joins that should end although members have not ended.
pub(super) async fn overdue(connections: &PostgresPool, at_most: u32) -> Result<Vec<String>> {
    let query = sqlx::query_scalar(OVERDUE).bind(i64::from(at_most));
    let mut lease = connections.lease().await?;
    let answer = connections.within(query.fetch_all(&mut lease.connection)).await;
    lease.conclude(answer).map_err(|cause| connections.error("finding overdue joins", cause))
}

/// Ends a join that is overdue.
pub(super) async fn end_overdue(connections: &PostgresPool, id: &str) -> Result<()> {
    let query = sqlx::query(END_OVERDUE).bind(id);
    let mut lease = connections.lease().await?;
    let answer = connections.within(query.execute(&mut lease.connection)).await;
    lease.conclude(answer).map(drop).map_err(|cause| connections.error("ending a join", cause))
}

/// Ends a join whose members could not all be sent.
pub(super) async fn give_up(connections: &PostgresPool, id: &str, error: &str) -> Result<()> {
    let query = sqlx::query(GIVE_UP).bind(id).bind(exact::text(error));
    let mut lease = connections.lease().await?;
    let answer = connections.within(query.execute(&mut lease.connection)).await;
    lease.conclude(answer).map(drop).map_err(|cause| connections.error("giving up a join", cause))
}

/// Records members that have ended.
pub(super) async fn record_arrivals(connections: &PostgresPool, arrivals: &[Arrival]) -> Result<()> {
    let error = |arrival: &Arrival| arrival.failure().map(|failure| exact::text(&failure.kind).into_owned());
    let message = |arrival: &Arrival| arrival.failure().map(|failure| exact::text(&failure.message).into_owned());
    let query = sqlx::query(ARRIVE)
        .bind(arrivals.iter().map(|arrival| exact::text(&arrival.member.join)).bind_iter())
        .bind(arrivals.iter().map(|arrival| arrival.member.index).bind_iter())
        .bind(arrivals.iter().map(|arrival| exact::text(&arrival.task)).bind_iter())
        .bind(arrivals.iter().map(Arrival::result).bind_iter())
        .bind(arrivals.iter().map(error).bind_iter())
        .bind(arrivals.iter().map(message).bind_iter());
    let mut lease = connections.lease().await?;
    let answer = connections.within(query.execute(&mut lease.connection)).await;
    lease.conclude(answer).map(drop).map_err(|cause| connections.error("recording arrivals", cause))
}

/// Fires the joins that are complete, and returns what each member has to do.
pub(super) async fn fire(connections: &PostgresPool, members: &[JoinMember]) -> Result<Vec<Turn>> {
    let failed = |cause| connections.error("firing joins", cause);
    let query = sqlx::query(FIRE)
        .bind(members.iter().map(|member| exact::text(&member.join)).bind_iter())
        .bind(members.iter().map(|member| member.index).bind_iter());
    let mut lease = connections.lease().await?;
    let answer = connections.within(query.fetch_all(&mut lease.connection)).await;
    let rows = lease.conclude(answer).map_err(failed)?;
    let known = rows.iter().map(|row| Ok((row.try_get::<&str, _>(0)?, row.try_get(1)?, row.try_get(2)?)));
    let known = known.collect::<sqlx::Result<Vec<_>>>().map_err(failed)?;
    Ok(turns(members, known))
}

/// Returns a join that has fired.
pub(super) async fn find_fired(connections: &PostgresPool, id: &str, largest: usize) -> Result<Option<FiredJoin>> {
    let failed = |cause| connections.error("reading a join", cause);
    let mut lease = connections.lease().await?;
    let answer = connections.within(read_fired(&mut lease.connection, id, largest)).await;
    lease.conclude(answer).map_err(failed)
}

async fn read_fired(connection: &mut PgConnection, id: &str, largest: usize) -> sqlx::Result<Option<FiredJoin>> {
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
        NextRead::Results => JoinResults::All(sqlx::query_scalar(RESULTS).bind(id).fetch_all(connection).await?),
        NextRead::Ends => {
            let rows = sqlx::query(ENDS).bind(id).fetch_all(connection).await?;
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

/// Closes joins that fired longer ago than `keep`, and deletes the rows of those that were closed
/// some time ago, at most `at_most` of each table. Returns the number of rows that it has changed.
pub(super) async fn sweep(connections: &PostgresPool, keep: Duration, at_most: u32) -> Result<u64> {
    let failed = |cause| connections.error("deleting old joins", cause);
    let settled = SETTLED.min(keep);
    let mut changed = 0;
    for (statement, age) in [(CLOSE, keep), (DELETE_ARRIVALS, settled), (DELETE_JOINS, settled)] {
        let mut lease = connections.lease().await?;
        let query = sqlx::query(statement).bind(age.as_secs_f64()).bind(i64::from(at_most));
        let answer = connections.within(query.execute(&mut lease.connection)).await;
        changed += lease.conclude(answer).map_err(failed)?.rows_affected();
    }
    Ok(changed)
}
