//! Writes many records in one transaction.

use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::{fault, read};
use crate::error_args;
use crate::exact::{self, Document};
use crate::joins::{Arrival, JoinMember};
use crate::message_text::MessageText;
use crate::outcomes::Recorded;
use crate::record::{AttemptRecord, SentRecord, TaskRecord};

const RECORD: &str = include_str!("record.sql");
const ATTEMPT: &str = include_str!("attempts.sql");

const ARRIVE: &str = "INSERT INTO arrivals (join_id, idx, task_id, ok, result, error_kind, error_message)
SELECT id, ?2, ?3, ?4, ?5, ?6, ?7 FROM joins WHERE id = ?1 AND ?2 >= 0 AND ?2 < size
ON CONFLICT DO NOTHING";

const COUNT: &str = "INSERT INTO tallies (join_id, ok, failed) VALUES (?1, ?2, NOT ?2)
ON CONFLICT (join_id) DO UPDATE SET ok = ok + excluded.ok, failed = failed + excluded.failed";

/// Writes records, and returns the result of each, in order.
pub(super) async fn record(pool: &SqlitePool, records: &[TaskRecord]) -> sqlx::Result<Vec<Recorded>> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let mut answers = Vec::with_capacity(records.len());
    for record in records {
        answers.push(write(&mut transaction, record).await?);
    }
    transaction.commit().await?;
    Ok(answers)
}

/// Writes a row for each task that has none.
pub(super) async fn record_sent(pool: &SqlitePool, tasks: &[SentRecord]) -> sqlx::Result<()> {
    const ADD: &str =
        "INSERT INTO tasks (id, name, state, queue, exchange, routing_key, worker, attempts, sent_at, eta,
            expires, root_id, parent_id, group_id)
        VALUES (?1, ?2, 'SENT', ?3, ?4, ?5, '', 0, ?6, ?7, ?8, ?9, ?10, ?11)
        ON CONFLICT (id) DO NOTHING";
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    for task in tasks {
        let relations = [&task.root_id, &task.parent_id, &task.group_id];
        let [root, parent, group] = relations.map(|id| id.as_deref().map(text));
        let query = sqlx::query(ADD)
            .bind(task.id.clone())
            .bind(text(&task.name))
            .bind(text(&task.queue))
            .bind(text(&task.exchange))
            .bind(text(&task.routing_key))
            .bind(iso(task.sent_at))
            .bind(task.eta.map(iso))
            .bind(task.expires.map(iso));
        query.bind(root).bind(parent).bind(group).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

/// Records a member that has ended. It counts once.
pub(super) async fn record_arrival(connection: &mut SqliteConnection, arrival: &Arrival) -> sqlx::Result<()> {
    let Arrival { member: JoinMember { join, index }, task, outcome } = arrival;
    let failure = arrival.failure();
    let query = sqlx::query(ARRIVE)
        .bind(join)
        .bind(index)
        .bind(task)
        .bind(outcome.is_ok())
        .bind(arrival.result())
        .bind(failure.map(|failure| failure.kind.as_str()))
        .bind(failure.map(|failure| failure.message.as_str()));
    if query.execute(&mut *connection).await?.rows_affected() > 0 {
        sqlx::query(COUNT).bind(join).bind(outcome.is_ok()).execute(connection).await?;
    }
    Ok(())
}

async fn write(connection: &mut SqliteConnection, record: &TaskRecord) -> sqlx::Result<Recorded> {
    if let Some(reason) = exact::refusal(record) {
        return Ok(Recorded::Refused { reason: reason.to_owned() });
    }
    match statement(record).fetch_optional(&mut *connection).await {
        Ok(Some(_)) => {
            if let Some(attempt) = AttemptRecord::failed(record) {
                attempt_statement(&record.id, &attempt).execute(&mut *connection).await?;
            }
            if let Some(arrival) = record.arrival() {
                record_arrival(connection, &arrival).await?;
            }
            Ok(Recorded::Stored)
        }
        Ok(None) => read::state_of(connection, &record.id).await.map(Recorded::Kept),
        Err(cause) => match fault::refusal(&cause) {
            // Only this statement is undone, not the transaction.
            Some(reason) => Ok(Recorded::Refused { reason }),
            None => Err(cause),
        },
    }
}

type Statement<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// Returns the statement. It owns its values, because the driver runs it on another thread.
fn statement(record: &TaskRecord) -> Statement<'static> {
    let [args, kwargs, result] =
        [&record.args, &record.kwargs, &record.result].map(|document| Document::new(document.as_deref()));
    let failure = record.failure.as_ref();
    let next = record.next_attempt.as_deref().and_then(MessageText::of_next_attempt);
    sqlx::query(RECORD)
        .bind(record.id.clone())
        .bind(text(&record.name))
        .bind(record.state.as_str())
        .bind(args.json.map(str::to_owned))
        .bind(kwargs.json.map(str::to_owned))
        .bind(result.json.map(str::to_owned))
        .bind(args.text.map(str::to_owned))
        .bind(kwargs.text.map(str::to_owned))
        .bind(result.text.map(str::to_owned))
        .bind(failure.map(|failure| text(&failure.kind)))
        .bind(failure.map(|failure| text(&failure.message)))
        .bind(failure.and_then(|failure| failure.trace.as_deref().map(text)))
        .bind(text(&record.queue))
        .bind(text(&record.exchange))
        .bind(text(&record.routing_key))
        .bind(text(&record.worker))
        .bind(record.attempts)
        .bind(record.root_id.as_deref().map(text))
        .bind(record.parent_id.as_deref().map(text))
        .bind(record.group_id.as_deref().map(text))
        .bind(record.eta.map(iso))
        .bind(record.expires.map(iso))
        .bind(record.sent_at.map(iso))
        .bind(record.received_at.map(iso))
        .bind(record.started_at.map(iso))
        .bind(record.finished_at.map(iso))
        .bind(record.runtime.map(exact::seconds))
        .bind(record.trace_id.as_deref().map(text))
        .bind(record.replays)
        .bind(failure.and_then(|failure| failure.module.as_deref().map(text)))
        .bind(failure.and_then(error_args::to_text))
        .bind(next.as_ref().map(|next| next.headers.clone()))
        .bind(next.as_ref().map(|next| next.properties.clone()))
        .bind(next.as_ref().map(|next| next.body.to_vec()))
        .bind(record.custom_state.as_deref().map(text))
}

fn attempt_statement(id: &str, attempt: &AttemptRecord) -> Statement<'static> {
    let failure = attempt.failure.as_ref();
    sqlx::query(ATTEMPT)
        .bind(id.to_owned())
        .bind(attempt.replays)
        .bind(attempt.attempt)
        .bind(attempt.state.as_str())
        .bind(text(&attempt.worker))
        .bind(iso(attempt.started_at))
        .bind(attempt.finished_at.map(iso))
        .bind(attempt.runtime.map(exact::seconds))
        .bind(failure.map(|failure| text(&failure.kind)))
        .bind(failure.map(|failure| text(&failure.message)))
        .bind(failure.and_then(|failure| failure.trace.as_deref().map(text)))
        .bind(attempt.next_at.map(iso))
}

fn text(text: &str) -> String {
    exact::text(text).into_owned()
}

/// Formats a time as ISO 8601 in UTC, always with microseconds, so that text sorts like time.
pub(super) fn iso(time: Timestamp) -> String {
    format!("{time:.6}")
}
