//! Reads rows of the table `tasks`.

use std::collections::{HashMap, HashSet};

use celeriac_protocol::{Failure, Message, TaskState};
use futures::TryStreamExt;
use sqlx::postgres::{PgBindIterExt, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};

use super::pool::PostgresPool;
use super::time::Time;
use crate::cookbook::{CookbookQuery, QueryParameter};
use crate::error::Result;
use crate::error_args;
use crate::exact;
use crate::message_text;
use crate::record::{AttemptRecord, TaskRecord};

/// The columns in the order of [`task`]. The exact text has priority over the JSON column.
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT id, name, state, coalesce(args_text, args::text), coalesce(kwargs_text, kwargs::text), \
             coalesce(result_text, result::text), error_kind, error_message, error_trace, queue, exchange, routing_key, \
             worker, attempts, root_id, parent_id, group_id, eta, expires, sent_at, received_at, started_at, \
             finished_at, runtime, trace_id, replays, error_module, error_args, custom_state FROM celeriac.tasks WHERE ",
            $condition
        )
    };
}

const FIND: &str = select!("id = $1");
const ENDED: &str = select!("id = ANY($1) AND state IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')");
const ATTEMPTS: &str = "SELECT replays, attempt, state, worker, started_at, finished_at, error_kind, error_message,
           error_trace, runtime, next_at
    FROM celeriac.attempt_history WHERE id = $1 ORDER BY replays, attempt";

const NEXT: &str = "SELECT next_headers, next_properties, next_body
    FROM celeriac.tasks WHERE id = $1 AND next_headers IS NOT NULL";

/// Returns the message of the next attempt of a task.
pub(super) async fn next_attempt(connections: &PostgresPool, id: &str) -> Result<Option<Message>> {
    let failed = |cause| connections.error("reading a next attempt", cause);
    let mut lease = connections.lease().await?;
    let query = sqlx::query(NEXT).bind(id);
    let answer = connections.within(query.fetch_optional(&mut lease.connection)).await;
    let Some(row) = lease.conclude(answer).map_err(failed)? else { return Ok(None) };
    let columns = || Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
    let (headers, properties, body) = columns().map_err(failed)?;
    message_text::read(headers, properties, body).map(Some).map_err(|error| failed(sqlx::Error::Decode(error)))
}

/// Returns the row of a task.
pub(super) async fn find(connections: &PostgresPool, id: &str) -> Result<Option<TaskRecord>> {
    let failed = |cause| connections.error("reading a task", cause);
    let mut lease = connections.lease().await?;
    let query = sqlx::query(FIND).bind(id);
    let answer = connections.within(query.fetch_optional(&mut lease.connection)).await;
    let row = lease.conclude(answer).map_err(failed)?;
    row.as_ref().map(task).transpose().map_err(failed)
}

/// Returns all attempts of a task, in order.
pub(super) async fn attempts(connections: &PostgresPool, id: &str) -> Result<Vec<AttemptRecord>> {
    let failed = |cause| connections.error("reading the attempts of a task", cause);
    let mut lease = connections.lease().await?;
    let query = sqlx::query(ATTEMPTS).bind(id);
    let answer = connections.within(query.fetch_all(&mut lease.connection)).await;
    let rows = lease.conclude(answer).map_err(failed)?;
    rows.iter().map(attempt).collect::<sqlx::Result<_>>().map_err(failed)
}

/// Runs a query of the cookbook. Returns each row as a JSON object, its columns in order.
pub(super) async fn query(
    connections: &PostgresPool,
    query: &CookbookQuery,
    given: &[(QueryParameter, String)],
) -> Result<Vec<String>> {
    let (sql, values) = query.statement(given)?;
    let sql = AssertSqlSafe(format!("SELECT row_to_json(answer)::text FROM ({sql}) AS answer"));
    let mut lease = connections.lease().await?;
    let query = values.into_iter().fold(sqlx::query_scalar(sql), |query, value| query.bind(value));
    let answer = connections.within(query.fetch_all(&mut lease.connection)).await;
    lease.conclude(answer).map_err(|cause| connections.error("running a query", cause))
}

/// Delivers those tasks that have ended, one after the other, because results may be large.
pub(super) async fn ended(
    connection: &mut PgConnection,
    ids: &[String],
    deliver: impl Fn(TaskRecord),
) -> sqlx::Result<()> {
    let mut rows = sqlx::query(ENDED).bind(ids).fetch(connection);
    while let Some(row) = rows.try_next().await? {
        deliver(task(&row)?);
    }
    Ok(())
}

/// Returns those of these tasks that have a row.
pub(super) async fn present(connection: &mut PgConnection, ids: &[&String]) -> sqlx::Result<HashSet<String>> {
    let query = sqlx::query_scalar("SELECT id FROM celeriac.tasks WHERE id = ANY($1)").bind(ids);
    Ok(query.fetch_all(connection).await?.into_iter().collect())
}

/// Returns the states of these tasks.
pub(super) async fn states<'a>(
    connections: &PostgresPool,
    ids: impl Iterator<Item = &'a str>,
) -> Result<HashMap<String, TaskState>> {
    let failed = |cause| connections.error("reading the states of tasks", cause);
    let mut lease = connections.lease().await?;
    let query = sqlx::query("SELECT id, state FROM celeriac.tasks WHERE id = ANY($1)").bind(ids.bind_iter());
    let answer = connections.within(query.fetch_all(&mut lease.connection)).await;
    let rows = lease.conclude(answer).map_err(failed)?;
    rows.iter().map(|row| Ok((row.try_get(0)?, state(row, 1)?))).collect::<sqlx::Result<_>>().map_err(failed)
}

fn task(row: &PgRow) -> sqlx::Result<TaskRecord> {
    let time = |column| row.try_get::<Option<Time>, _>(column).map(|time| time.map(|Time(time)| time));
    Ok(TaskRecord {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        state: state(row, 2)?,
        custom_state: row.try_get(28)?,
        args: row.try_get(3)?,
        kwargs: row.try_get(4)?,
        result: row.try_get(5)?,
        failure: failure(row)?.map(|failure| with_exception(row, failure)).transpose()?,
        queue: row.try_get::<&str, _>(9)?.into(),
        exchange: row.try_get(10)?,
        routing_key: row.try_get(11)?,
        worker: row.try_get::<&str, _>(12)?.into(),
        attempts: u32::try_from(row.try_get::<i64, _>(13)?).unwrap_or(u32::MAX),
        root_id: row.try_get(14)?,
        parent_id: row.try_get(15)?,
        group_id: row.try_get(16)?,
        eta: time(17)?,
        next_attempt: None,
        log: None,
        member: None,
        expires: time(18)?,
        sent_at: time(19)?,
        received_at: time(20)?,
        started_at: time(21)?,
        finished_at: time(22)?,
        runtime: row.try_get::<Option<f64>, _>(23)?.and_then(exact::duration),
        trace_id: row.try_get(24)?,
        replays: u32::try_from(row.try_get::<i64, _>(25)?).unwrap_or(u32::MAX),
    })
}

fn attempt(row: &PgRow) -> sqlx::Result<AttemptRecord> {
    let time = |column| row.try_get::<Option<Time>, _>(column).map(|time| time.map(|Time(time)| time));
    let Time(started_at) = row.try_get(4)?;
    Ok(AttemptRecord {
        replays: u32::try_from(row.try_get::<i64, _>(0)?).unwrap_or(u32::MAX),
        attempt: u32::try_from(row.try_get::<i64, _>(1)?).unwrap_or(u32::MAX),
        state: state(row, 2)?,
        worker: row.try_get::<&str, _>(3)?.into(),
        started_at,
        finished_at: time(5)?,
        failure: failure(row)?,
        runtime: row.try_get::<Option<f64>, _>(9)?.and_then(exact::duration),
        next_at: time(10)?,
    })
}

pub(super) fn state(row: &PgRow, column: usize) -> sqlx::Result<TaskState> {
    row.try_get::<&str, _>(column)?.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

fn failure(row: &PgRow) -> sqlx::Result<Option<Failure>> {
    let kind: Option<String> = row.try_get(6)?;
    Ok(match kind {
        Some(kind) => Some(Failure {
            kind,
            module: None,
            message: row.try_get::<Option<String>, _>(7)?.unwrap_or_default(),
            args: None,
            trace: row.try_get(8)?,
        }),
        None => None,
    })
}

/// Adds the module and the arguments of the exception, which only rows of tasks have.
fn with_exception(row: &PgRow, failure: Failure) -> sqlx::Result<Failure> {
    let args = row.try_get::<Option<&str>, _>(27)?.and_then(error_args::read);
    Ok(Failure { module: row.try_get(26)?, args, ..failure })
}
