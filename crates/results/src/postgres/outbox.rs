//! The table `outbox`: tasks that were sent in a caller's transaction, until a relay has sent them
//! to the broker.

use std::time::Duration;

use celeriac_protocol::Message;
use jiff::Timestamp;
use sqlx::Row;
use sqlx::postgres::{PgBindIterExt, PgConnection, PgRow};

use super::time::Time;
use super::{fault, joins};
use crate::error::{Error, Result};
use crate::joins::NewJoin;
use crate::message_text::{self, MessageText};

/// A message for the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxMessage {
    /// The task id.
    pub id: String,
    /// The task name.
    pub task: String,
    /// The exchange of the final destination.
    pub exchange: String,
    /// The routing key.
    pub routing_key: String,
    /// The queue that delays the message, if the task is to run later.
    pub queue: Option<String>,
    /// Ordering key. Messages with the same key are sent in order.
    pub order_key: Option<String>,
    /// Earliest time to run.
    pub eta: Option<Timestamp>,
    /// Time after which the task must not start.
    pub expires: Option<Timestamp>,
    /// The message.
    pub message: Message,
}

/// A message in the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxRow {
    /// Its position.
    pub seq: i64,
    /// Time at which it was added.
    pub created_at: Timestamp,
    /// Number of failed attempts to send it.
    pub attempts: u32,
    /// The message. Of a call, it has the id, the task, the order key and the times alone.
    pub message: OutboxMessage,
    /// A call that SQL wrote, as the JSON of Celery's signature. The relay makes its message.
    pub call: Option<String>,
}

/// A message that could not be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct RelayFailure {
    /// Its position.
    pub seq: i64,
    /// The reason.
    pub error: String,
    /// Time until the next attempt.
    pub wait: Duration,
}

/// The length of the outbox, and its age.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lag {
    /// Number of messages.
    pub waiting: u64,
    /// Number of messages with failed attempts.
    pub failing: u64,
    /// Time at which the oldest message was added.
    pub oldest_at: Option<Timestamp>,
    /// True if a process relays the outbox at present.
    pub led: bool,
}

/// Shown in errors in place of a URL, because the connection belongs to the caller.
const CALLERS: &str = "the database of the transaction";

const ADD: &str = "WITH added AS (
    INSERT INTO celeriac.outbox
        (id, task, exchange, routing_key, queue, order_key, eta, expires, headers, properties, body)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
                         $8::timestamptz[], $9::text[], $10::text[], $11::bytea[])
    RETURNING seq
)
SELECT count(pg_notify('celeriac_outbox', '')) FROM (SELECT FROM added LIMIT 1) AS once
WHERE CASE WHEN pg_try_advisory_lock_shared($12) THEN pg_advisory_unlock_shared($12) END";

/// Lock held by the relay while it polls every few milliseconds. A sender does not notify it then.
///
/// Postgres serialises the commits of transactions that notify, and so would serialise all senders.
pub(super) const AWAKE: i64 = 0x6365_6c65_6177_616b;

/// The columns in the order of [`read`].
pub(super) const COLUMNS: &str = "seq, created_at, attempts, id, task, exchange, routing_key, queue, order_key, eta, \
                                  expires, headers, properties, body, call::text";

/// Adds messages to the outbox in order, in the open transaction of the connection.
///
/// # Errors
/// Returns an error if the database refuses. The transaction is then lost, as after any failed
/// statement.
pub async fn add(connection: &mut PgConnection, messages: &[OutboxMessage]) -> Result<()> {
    let failed = |cause| fault::error(CALLERS, "writing to the outbox", cause);
    let unwritable = |source| Error::Sql { doing: "writing a message for the outbox", source };
    let written = messages.iter().map(|message| MessageText::of(&message.message).map_err(unwritable));
    let written = written.collect::<Result<Vec<_>>>()?;
    let rows = || messages.iter();
    sqlx::query(ADD)
        .bind(rows().map(|message| message.id.as_str()).bind_iter())
        .bind(rows().map(|message| message.task.as_str()).bind_iter())
        .bind(rows().map(|message| message.exchange.as_str()).bind_iter())
        .bind(rows().map(|message| message.routing_key.as_str()).bind_iter())
        .bind(rows().map(|message| message.queue.as_deref()).bind_iter())
        .bind(rows().map(|message| message.order_key.as_deref()).bind_iter())
        .bind(rows().map(|message| message.eta.map(Time)).bind_iter())
        .bind(rows().map(|message| message.expires.map(Time)).bind_iter())
        .bind(written.iter().map(|text| text.headers.as_str()).bind_iter())
        .bind(written.iter().map(|text| text.properties.as_str()).bind_iter())
        .bind(written.iter().map(|text| text.body).bind_iter())
        .bind(AWAKE)
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(())
}

/// Adds a join in the open transaction of the connection, in which its members are added too.
///
/// # Errors
/// Returns an error if the database refuses. The transaction is then lost, as after any failed
/// statement.
pub async fn add_join(connection: &mut PgConnection, join: &NewJoin) -> Result<()> {
    let failed = |cause| fault::error(CALLERS, "adding a join", cause);
    joins::add_in(connection, std::slice::from_ref(join)).await.map_err(failed)
}

/// Reads a row.
pub(super) fn read(row: &PgRow) -> sqlx::Result<OutboxRow> {
    let time = |column| row.try_get::<Option<Time>, _>(column).map(|time| time.map(|Time(time)| time));
    let (headers, properties, body) = (row.try_get(11)?, row.try_get(12)?, row.try_get(13)?);
    let message = message_text::read(headers, properties, body).map_err(sqlx::Error::Decode)?;
    Ok(OutboxRow {
        seq: row.try_get(0)?,
        created_at: row.try_get::<Time, _>(1)?.0,
        attempts: u32::try_from(row.try_get::<i32, _>(2)?).unwrap_or_default(),
        call: row.try_get(14)?,
        message: OutboxMessage {
            id: row.try_get(3)?,
            task: row.try_get(4)?,
            exchange: row.try_get(5)?,
            routing_key: row.try_get(6)?,
            queue: row.try_get(7)?,
            order_key: row.try_get(8)?,
            eta: time(9)?,
            expires: time(10)?,
            message,
        },
    })
}
