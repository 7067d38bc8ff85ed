//! Compares issued ids with effects, in the test's database.
//!
//! The sender writes to `ledger.issued` after its commit, or after the broker's confirm. Tasks
//! write `ledger.effects`, or it is a view of their rows.

use std::fmt;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::wait::{PATIENCE, eventually, eventually_within};

/// The record of a task's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effects {
    /// Tasks write it in their own transaction, as (id, run, worker).
    Written,
    /// The row of a success is the effect.
    Recorded,
}

/// The issued ids and effects of one test.
#[derive(Debug, Clone)]
pub struct Book {
    url: String,
}

/// The result of the comparison. Its text is the line that a test prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Number of ids that were confirmed to the sender.
    pub issued: i64,
    /// Number of ids that took effect, confirmed or not.
    pub effected: i64,
    /// Number of ids that were confirmed and took no effect.
    pub missing: i64,
    /// Number of ids that took effect more than once.
    pub doubled: i64,
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issued, effected, missing, doubled } = self;
        write!(formatter, "issued {issued}, effected {effected}, missing {missing}, doubled {doubled}")
    }
}

impl Book {
    /// Creates the tables in this database, or uses existing ones.
    ///
    /// # Panics
    /// Panics if the database cannot be reached.
    pub async fn open(url: &str, effects: Effects) -> Self {
        let effects = match effects {
            Effects::Written => {
                "CREATE TABLE IF NOT EXISTS ledger.effects
                     (id text NOT NULL, run text NOT NULL, worker text NOT NULL, at timestamptz NOT NULL DEFAULT now())"
            }
            Effects::Recorded => {
                "CREATE OR REPLACE VIEW ledger.effects AS SELECT id FROM celeriac.tasks WHERE state = 'SUCCESS'"
            }
        };
        let statements = format!(
            "CREATE SCHEMA IF NOT EXISTS ledger;
             CREATE TABLE IF NOT EXISTS ledger.issued (id text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());
             {effects};"
        );
        let mut database = PgConnection::connect(url).await.expect("the test's database");
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut database).await.expect("tables of the ledger");
        Self::at(url)
    }

    /// Returns the ledger of a database that has its tables already, such as a replica.
    pub fn at(url: &str) -> Self {
        Self { url: url.to_owned() }
    }

    /// Records ids that were confirmed to the sender, once the database accepts them.
    pub async fn issue(&self, ids: &[String]) {
        let write = async || {
            let mut database = PgConnection::connect(&self.url).await.map_err(|error| error.to_string())?;
            Self::issue_in(&mut database, ids).await.map_err(|error| error.to_string())
        };
        eventually("the ledger is written", write, Result::is_ok).await.expect("it pleased");
    }

    /// Records ids in the sender's own transaction.
    pub async fn issue_in(database: &mut PgConnection, ids: &[String]) -> sqlx::Result<()> {
        let issue = "INSERT INTO ledger.issued (id) SELECT * FROM UNNEST($1::text[]) ON CONFLICT DO NOTHING";
        sqlx::query(issue).bind(ids).execute(database).await.map(drop)
    }

    /// Waits until nothing is missing.
    ///
    /// # Panics
    /// Panics if nothing more has taken effect for `patience`.
    pub async fn settle(&self, patience: Duration) {
        let mut missing = i64::MAX;
        while missing > 0 {
            let before = missing;
            let fewer = async || {
                // The query is expensive for a busy database.
                tokio::time::sleep(Duration::from_millis(200)).await;
                self.ask().await.map(|tally| tally.missing).unwrap_or(i64::MAX)
            };
            let less = |missing: &i64| *missing < before;
            missing = eventually_within(patience, "more of what was issued takes effect", fewer, less).await;
        }
    }

    /// Returns the present tally.
    ///
    /// # Panics
    /// Panics if the database does not answer for a while.
    pub async fn tally(&self) -> Tally {
        let ask = async || self.ask().await.map_err(|error| error.to_string());
        eventually_within(PATIENCE, "the ledger is read", ask, Result::is_ok).await.expect("it pleased")
    }

    async fn ask(&self) -> sqlx::Result<Tally> {
        let mut database = PgConnection::connect(&self.url).await?;
        let counts: (i64, i64, i64, i64) = sqlx::query_as(
            "WITH effects AS (SELECT id, count(*) AS times FROM ledger.effects GROUP BY id)
             SELECT (SELECT count(*) FROM ledger.issued), (SELECT count(*) FROM effects),
                    (SELECT count(*) FROM ledger.issued WHERE NOT EXISTS (SELECT FROM effects WHERE effects.id = issued.id)),
                    (SELECT count(*) FROM effects WHERE times > 1)",
        )
        .fetch_one(&mut database)
        .await?;
        let (issued, effected, missing, doubled) = counts;
        Ok(Tally { issued, effected, missing, doubled })
    }
}
