//! Joins: tables `joins`, `arrivals` and `tallies`.

use std::time::Duration;

use celeriac_protocol::Failure;
use sqlx::Row as _;
use sqlx::postgres::{PgBindIterExt, PgConnection};

use super::pool::PostgresPool;
use crate::error::Result;
use crate::exact;
use crate::joins::{Arrival, FiredJoin, JoinMember, JoinResults, NewJoin, Turn, turns};

const ADD: &str = "SELECT celeriac.add_join($1, $2, $3)";

const GIVE_UP: &str = "SELECT celeriac.give_up_join($1, $2)";

const ARRIVE: &str = include_str!("arrive.sql");

const FIRE: &str = include_str!("fire.sql");

/// The body, and the size of the results.
const FIND: &str = "SELECT body,
    (SELECT coalesce(sum(octet_length(result)), 0)::bigint FROM celeriac.arrivals WHERE join_id = joins.id)
FROM celeriac.joins WHERE id = $1 AND fired_at IS NOT NULL AND error IS NULL";

const FIRST_FAILED: &str = "SELECT task_id, error_kind, error_message FROM celeriac.arrivals
WHERE join_id = $1 AND NOT ok ORDER BY idx LIMIT 1";

const RESULTS: &str = "SELECT result FROM celeriac.arrivals WHERE join_id = $1 ORDER BY idx";

const SWEEP: &str = "WITH old AS (
    SELECT id FROM celeriac.joins WHERE fired_at < clock_timestamp() - make_interval(secs => $1)
    ORDER BY fired_at LIMIT $2 FOR UPDATE SKIP LOCKED
), arrivals AS (
    DELETE FROM celeriac.arrivals WHERE join_id IN (SELECT id FROM old)
), tallies AS (
    DELETE FROM celeriac.tallies WHERE join_id IN (SELECT id FROM old)
)
DELETE FROM celeriac.joins WHERE id IN (SELECT id FROM old)";

/// Adds a join, by a function that may do nothing else.
pub(super) async fn add(connections: &PostgresPool, join: &NewJoin) -> Result<()> {
    let size = i64::try_from(join.size).unwrap_or(i64::MAX);
    let query = sqlx::query(ADD).bind(&join.id).bind(size).bind(&join.body);
    let mut lease = connections.lease().await?;
    let answer = connections.within(query.execute(&mut lease.connection)).await;
    lease.conclude(answer).map(drop).map_err(|cause| connections.error("adding a join", cause))
}

/// Adds joins inside a transaction.
pub(super) async fn add_in(connection: &mut PgConnection, joins: &[NewJoin]) -> sqlx::Result<()> {
    for join in joins {
        let size = i64::try_from(join.size).unwrap_or(i64::MAX);
        sqlx::query(ADD).bind(&join.id).bind(size).bind(&join.body).execute(&mut *connection).await?;
    }
    Ok(())
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
    let read = async {
        let Some(row) = sqlx::query(FIND).bind(id).fetch_optional(&mut lease.connection).await? else {
            return Ok(None);
        };
        let (body, size): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        let first = sqlx::query(FIRST_FAILED).bind(id).fetch_optional(&mut lease.connection).await?;
        let size = u64::try_from(size).unwrap_or_default();
        let results = match first {
            Some(row) => {
                let failure = Failure::new(row.try_get::<String, _>(1)?, row.try_get::<String, _>(2)?);
                JoinResults::Failed { task: row.try_get(0)?, failure }
            }
            None if size > largest as u64 => JoinResults::TooLarge { size },
            None => {
                let results = sqlx::query_scalar(RESULTS).bind(id);
                JoinResults::All(results.fetch_all(&mut lease.connection).await?)
            }
        };
        Ok(Some(FiredJoin { body, results }))
    };
    let answer = connections.within(read).await;
    lease.conclude(answer).map_err(failed)
}

/// Deletes joins that fired longer ago than `keep`, and returns their number.
pub(super) async fn sweep(connections: &PostgresPool, keep: Duration, at_most: u32) -> Result<u64> {
    let mut lease = connections.lease().await?;
    let query = sqlx::query(SWEEP).bind(keep.as_secs_f64()).bind(i64::from(at_most));
    let answer = connections.within(query.execute(&mut lease.connection)).await;
    let done = lease.conclude(answer).map_err(|cause| connections.error("deleting old joins", cause))?;
    Ok(done.rows_affected())
}
