//! Lateness of starts.

use sqlx::{AssertSqlSafe, PgConnection};

/// Largest error of a worker's measurement of the database's clock, in seconds.
pub(crate) const TOLERANCE: f64 = 0.1;

/// In seconds. A negative value is too early.
#[derive(sqlx::FromRow)]
pub(crate) struct Lateness {
    pub(crate) earliest: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) latest: f64,
}

impl Lateness {
    /// Measures the rows of a query, each with its `late`.
    pub(crate) async fn measure(database: &mut PgConnection, rows: &'static str) -> Self {
        let query = format!(
            "SELECT min(late) AS earliest, percentile_cont(0.5) WITHIN GROUP (ORDER BY late) AS p50,
                    percentile_cont(0.99) WITHIN GROUP (ORDER BY late) AS p99, max(late) AS latest
             FROM ({rows}) AS lateness"
        );
        sqlx::query_as(AssertSqlSafe(query)).fetch_one(database).await.unwrap()
    }
}
