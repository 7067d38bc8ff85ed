//! Reads the time of the server.

use std::time::Instant;

use jiff::Timestamp;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};

/// The time in microseconds. Simple queries return text, which holds every digit of a `bigint`.
const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// Runs the statements of a new session, and returns the time of the server after them, with the
/// instant at which they were sent.
pub(super) async fn open(connection: &mut PgConnection, session: &str) -> sqlx::Result<(Instant, Timestamp)> {
    let statements = if session.is_empty() { NOW.to_owned() } else { format!("{session}; {NOW}") };
    let asked = Instant::now();
    let rows = sqlx::raw_sql(AssertSqlSafe(statements)).fetch_all(connection).await?;
    Ok((asked, time(&rows)?))
}

/// Returns the time of the server.
pub(super) async fn read(connection: &mut PgConnection) -> sqlx::Result<Timestamp> {
    time(&sqlx::raw_sql(NOW).fetch_all(connection).await?)
}

fn time(rows: &[PgRow]) -> sqlx::Result<Timestamp> {
    let micros = rows.last().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?;
    Timestamp::from_microsecond(micros).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
