//! Writes many records in one transaction.

use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::{fault, read};
use crate::backend::Recorded;
use crate::backends::exact;
use crate::record::TaskRecord;

const RECORD: &str = include_str!("record.sql");

/// Writes records, and tells what became of each, in their order.
pub(super) async fn record(pool: &SqlitePool, records: &[TaskRecord]) -> sqlx::Result<Vec<Recorded>> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let mut answers = Vec::with_capacity(records.len());
    for record in records {
        answers.push(write(&mut transaction, record).await?);
    }
    transaction.commit().await?;
    Ok(answers)
}

async fn write(connection: &mut SqliteConnection, record: &TaskRecord) -> sqlx::Result<Recorded> {
    if let Some(reason) = exact::refusal(record) {
        return Ok(Recorded::Refused { reason: reason.to_owned() });
    }
    match statement(record).fetch_optional(&mut *connection).await {
        Ok(Some(_)) => Ok(Recorded::Stored),
        Ok(None) => read::state_of(connection, &record.id).await.map(Recorded::Kept),
        Err(cause) => match fault::refusal(&cause) {
            // Of a transaction only the statement is undone.
            Some(reason) => Ok(Recorded::Refused { reason }),
            None => Err(cause),
        },
    }
}

type Statement<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

fn statement(record: &TaskRecord) -> Statement<'_> {
    let failure = record.failure.as_ref();
    let own = |text: Option<std::borrow::Cow<'_, str>>| text.map(std::borrow::Cow::into_owned);
    sqlx::query(RECORD)
        .bind(record.id.clone())
        .bind(exact::text(&record.name).into_owned())
        .bind(record.state.as_str())
        .bind(exact::as_json(record.args.as_deref()).map(str::to_owned))
        .bind(exact::as_json(record.kwargs.as_deref()).map(str::to_owned))
        .bind(exact::as_json(record.result.as_deref()).map(str::to_owned))
        .bind(exact::as_text(record.args.as_deref()).map(str::to_owned))
        .bind(exact::as_text(record.kwargs.as_deref()).map(str::to_owned))
        .bind(exact::as_text(record.result.as_deref()).map(str::to_owned))
        .bind(own(failure.map(|failure| exact::text(&failure.kind))))
        .bind(own(failure.map(|failure| exact::text(&failure.message))))
        .bind(own(failure.and_then(|failure| exact::optional_text(failure.trace.as_deref()))))
        .bind(exact::text(&record.queue).into_owned())
        .bind(exact::text(&record.exchange).into_owned())
        .bind(exact::text(&record.routing_key).into_owned())
        .bind(exact::text(&record.worker).into_owned())
        .bind(record.attempts)
        .bind(own(exact::optional_text(record.root_id.as_deref())))
        .bind(own(exact::optional_text(record.parent_id.as_deref())))
        .bind(own(exact::optional_text(record.group_id.as_deref())))
        .bind(record.eta.map(iso))
        .bind(record.expires.map(iso))
        .bind(record.sent_at.map(iso))
        .bind(record.received_at.map(iso))
        .bind(record.started_at.map(iso))
        .bind(record.finished_at.map(iso))
        .bind(record.runtime.map(exact::seconds))
        .bind(own(exact::optional_text(record.trace_id.as_deref())))
}

/// ISO 8601 in UTC, always with microseconds, so that text sorts as time does.
pub(super) fn iso(time: Timestamp) -> String {
    format!("{time:.6}")
}
