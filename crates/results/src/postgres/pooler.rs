//! Finds a connection pooler that gives each transaction another session of the server.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};

/// Returns `true` if two open connections do not have a session of their own each.
///
/// A transaction on `other` occupies a session. A pooler in transaction mode gives it the session
/// of `one`, or gives `one` another session meanwhile. Without a pooler, and behind one in session
/// mode, neither can happen.
pub(super) async fn share_sessions(one: &mut PgConnection, other: &mut PgConnection) -> sqlx::Result<bool> {
    let first = process(one).await?;
    let mut transaction = other.begin().await?;
    let second = process(&mut transaction).await?;
    // With the same session, the pooler may have no further one for the question.
    let third = if first == second { first } else { process(one).await? };
    transaction.rollback().await?;
    Ok(first == second || first != third)
}

/// Returns the number of the server's process. Without a prepared statement, which belongs to a
/// session too.
async fn process(connection: &mut PgConnection) -> sqlx::Result<i32> {
    sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(connection).await?.try_get(0)
}
