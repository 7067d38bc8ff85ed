//! Migrates the tables to the version that this program needs. The file's `user_version` counts the
//! steps.

use sqlx::sqlite::{SqliteConnection, SqlitePool};
use sqlx::{AssertSqlSafe, Row};

use super::fault;
use crate::error::{Error, Result};
use crate::migration::{Migration, SchemaMigration, migrations_of};

const MIGRATIONS: &[SchemaMigration] = &[
    SchemaMigration { version: 1, name: "tasks", sql: include_str!("../../migrations/sqlite/0001_tasks.sql") },
    SchemaMigration { version: 2, name: "replays", sql: include_str!("../../migrations/sqlite/0002_replays.sql") },
    SchemaMigration { version: 3, name: "attempts", sql: include_str!("../../migrations/sqlite/0003_attempts.sql") },
    SchemaMigration {
        version: 5,
        name: "revocations",
        sql: include_str!("../../migrations/sqlite/0005_revocations.sql"),
    },
    SchemaMigration { version: 6, name: "suspects", sql: include_str!("../../migrations/sqlite/0006_suspects.sql") },
    SchemaMigration { version: 7, name: "runs", sql: include_str!("../../migrations/sqlite/0007_runs.sql") },
    SchemaMigration { version: 8, name: "audit", sql: include_str!("../../migrations/sqlite/0008_audit.sql") },
    SchemaMigration { version: 13, name: "sent", sql: include_str!("../../migrations/sqlite/0013_sent.sql") },
    SchemaMigration { version: 20, name: "joins", sql: include_str!("../../migrations/sqlite/0020_joins.sql") },
    SchemaMigration {
        version: 21,
        name: "error_args",
        sql: include_str!("../../migrations/sqlite/0021_error_args.sql"),
    },
    SchemaMigration {
        version: 22,
        name: "next_attempts",
        sql: include_str!("../../migrations/sqlite/0022_next_attempts.sql"),
    },
    SchemaMigration {
        version: 23,
        name: "custom_states",
        sql: include_str!("../../migrations/sqlite/0023_custom_states.sql"),
    },
    SchemaMigration { version: 24, name: "join_ends", sql: include_str!("../../migrations/sqlite/0024_join_ends.sql") },
    SchemaMigration { version: 25, name: "groups", sql: include_str!("../../migrations/sqlite/0025_groups.sql") },
];

/// Migrates the tables to the version that this program needs. Leaves a newer version unchanged.
pub(super) async fn migrate(url: &str, pool: &SqlitePool) -> Result<()> {
    let failed = |cause| fault::error(url, "migrating", cause);
    // `IMMEDIATE` locks the file: one of several starting processes migrates, and the others wait.
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let found = version(&mut transaction).await.map_err(failed)?;
    for migration in MIGRATIONS.iter().filter(|migration| migration.version > found) {
        apply(&mut transaction, migration).await.map_err(|cause| explain(url, migration, cause))?;
    }
    transaction.commit().await.map_err(failed)
}

/// Returns every migration, and whether the tables of the file have it. Changes nothing.
pub(super) async fn migrations(url: &str, pool: &SqlitePool) -> Result<Vec<Migration>> {
    let failed = |cause| fault::error(url, "reading the version of the tables", cause);
    let mut connection = pool.acquire().await.map_err(failed)?;
    let found = version(&mut connection).await.map_err(failed)?;
    Ok(migrations_of(MIGRATIONS, found))
}

/// Returns every migration, none of them applied.
pub(super) fn pending() -> Vec<Migration> {
    migrations_of(MIGRATIONS, 0)
}

async fn version(connection: &mut SqliteConnection) -> sqlx::Result<i64> {
    sqlx::query("PRAGMA user_version").fetch_one(connection).await?.try_get(0)
}

async fn apply(connection: &mut SqliteConnection, migration: &SchemaMigration) -> sqlx::Result<()> {
    sqlx::raw_sql(migration.sql).execute(&mut *connection).await?;
    let version = format!("PRAGMA user_version = {}", migration.version);
    sqlx::raw_sql(AssertSqlSafe(version)).execute(connection).await?;
    Ok(())
}

fn explain(url: &str, migration: &SchemaMigration, cause: sqlx::Error) -> Error {
    match fault::error(url, "migrating", cause) {
        Error::Sql { source, .. } => {
            Error::Migration { url: url.to_owned(), version: migration.version, name: migration.name, source }
        }
        other => other,
    }
}
