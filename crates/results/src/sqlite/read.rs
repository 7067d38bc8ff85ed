//! Reads rows of the table `tasks`.

use celeriac_protocol::{Failure, Message, TaskState};
use futures::TryStreamExt;
use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

use crate::error_args;
use crate::exact;
use crate::message_text;
use crate::record::{AttemptRecord, TaskRecord};

/// The columns in the order of [`task`]. The exact text has priority over the JSON column.
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT id, name, state, coalesce(args_text, args), coalesce(kwargs_text, kwargs), \
             coalesce(result_text, result), error_kind, error_message, error_trace, queue, exchange, routing_key, \
             worker, attempts, root_id, parent_id, group_id, eta, expires, sent_at, received_at, started_at, \
             finished_at, runtime, trace_id, replays, error_module, error_args, custom_state FROM tasks WHERE ",
            $condition
        )
    };
}

const FIND: &str = select!("id = ?1");
const ENDED: &str = select!(
    "id IN (SELECT value FROM json_each(?1)) AND state IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')"
);
const ATTEMPTS: &str = "SELECT replays, attempt, state, worker, started_at, finished_at, error_kind, error_message,
           error_trace, runtime, next_at
    FROM attempt_history WHERE id = ?1 ORDER BY replays, attempt";

const NEXT: &str = "SELECT next_headers, next_properties, next_body
    FROM tasks WHERE id = ?1 AND next_headers IS NOT NULL";

/// Returns the message of the next attempt of a task.
pub(super) async fn next_attempt(pool: &SqlitePool, id: &str) -> sqlx::Result<Option<Message>> {
    let Some(row) = sqlx::query(NEXT).bind(id).fetch_optional(pool).await? else { return Ok(None) };
    let (headers, properties, body) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    message_text::read(headers, properties, body).map(Some).map_err(sqlx::Error::Decode)
}

/// Returns the row of a task.
pub(super) async fn find(pool: &SqlitePool, id: &str) -> sqlx::Result<Option<TaskRecord>> {
    let row = sqlx::query(FIND).bind(id).fetch_optional(pool).await?;
    row.as_ref().map(task).transpose()
}

/// Returns all attempts of a task, in order.
pub(super) async fn attempts(pool: &SqlitePool, id: &str) -> sqlx::Result<Vec<AttemptRecord>> {
    let rows = sqlx::query(ATTEMPTS).bind(id).fetch_all(pool).await?;
    rows.iter().map(attempt).collect()
}

/// Delivers those tasks that have ended.
pub(super) async fn ended(
    connection: &mut SqliteConnection,
    ids: &[String],
    deliver: impl Fn(TaskRecord),
) -> sqlx::Result<()> {
    let ids = serde_json::to_string(ids).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    let mut rows = sqlx::query(ENDED).bind(ids).fetch(connection);
    while let Some(row) = rows.try_next().await? {
        deliver(task(&row)?);
    }
    Ok(())
}

/// Returns the state of a task.
pub(super) async fn state_of(connection: &mut SqliteConnection, id: &str) -> sqlx::Result<TaskState> {
    let row = sqlx::query("SELECT state FROM tasks WHERE id = ?1").bind(id).fetch_one(connection).await?;
    state(&row, 0)
}

fn task(row: &SqliteRow) -> sqlx::Result<TaskRecord> {
    let time = |column| time(row, column);
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

fn attempt(row: &SqliteRow) -> sqlx::Result<AttemptRecord> {
    Ok(AttemptRecord {
        replays: u32::try_from(row.try_get::<i64, _>(0)?).unwrap_or(u32::MAX),
        attempt: u32::try_from(row.try_get::<i64, _>(1)?).unwrap_or(u32::MAX),
        state: state(row, 2)?,
        worker: row.try_get::<&str, _>(3)?.into(),
        started_at: time(row, 4)?.ok_or(sqlx::Error::ColumnNotFound("started_at".to_owned()))?,
        finished_at: time(row, 5)?,
        failure: failure(row)?,
        runtime: row.try_get::<Option<f64>, _>(9)?.and_then(exact::duration),
        next_at: time(row, 10)?,
    })
}

pub(super) fn state(row: &SqliteRow, column: usize) -> sqlx::Result<TaskState> {
    row.try_get::<&str, _>(column)?.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

fn failure(row: &SqliteRow) -> sqlx::Result<Option<Failure>> {
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
fn with_exception(row: &SqliteRow, failure: Failure) -> sqlx::Result<Failure> {
    let args = row.try_get::<Option<&str>, _>(27)?.and_then(error_args::read);
    Ok(Failure { module: row.try_get(26)?, args, ..failure })
}

pub(super) fn time(row: &SqliteRow, column: usize) -> sqlx::Result<Option<Timestamp>> {
    let text: Option<&str> = row.try_get(column)?;
    text.map(str::parse).transpose().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
