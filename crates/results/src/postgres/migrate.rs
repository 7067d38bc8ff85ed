//! Migrates the tables to the version that this program needs.

use celeriac_telemetry::Event;
use celeriac_telemetry::events::results::SchemaNewer;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};

use super::pool::PostgresPool;
use crate::error::{Error, Result};
use crate::migration::{Migration, SchemaMigration, migrations_of};

const MIGRATIONS: &[SchemaMigration] = &[
    SchemaMigration { version: 1, name: "tasks", sql: include_str!("../../migrations/postgres/0001_tasks.sql") },
    SchemaMigration { version: 2, name: "replays", sql: include_str!("../../migrations/postgres/0002_replays.sql") },
    SchemaMigration { version: 3, name: "attempts", sql: include_str!("../../migrations/postgres/0003_attempts.sql") },
    SchemaMigration { version: 4, name: "outbox", sql: include_str!("../../migrations/postgres/0004_outbox.sql") },
    SchemaMigration {
        version: 5,
        name: "revocations",
        sql: include_str!("../../migrations/postgres/0005_revocations.sql"),
    },
    SchemaMigration { version: 6, name: "suspects", sql: include_str!("../../migrations/postgres/0006_suspects.sql") },
    SchemaMigration { version: 7, name: "runs", sql: include_str!("../../migrations/postgres/0007_runs.sql") },
    SchemaMigration { version: 8, name: "audit", sql: include_str!("../../migrations/postgres/0008_audit.sql") },
    SchemaMigration { version: 9, name: "retries", sql: include_str!("../../migrations/postgres/0009_retries.sql") },
    SchemaMigration { version: 10, name: "views", sql: include_str!("../../migrations/postgres/0010_views.sql") },
    SchemaMigration {
        version: 11,
        name: "functions",
        sql: include_str!("../../migrations/postgres/0011_functions.sql"),
    },
    SchemaMigration { version: 12, name: "running", sql: include_str!("../../migrations/postgres/0012_running.sql") },
    SchemaMigration { version: 13, name: "rollups", sql: include_str!("../../migrations/postgres/0013_rollups.sql") },
    SchemaMigration { version: 14, name: "sent", sql: include_str!("../../migrations/postgres/0014_sent.sql") },
    SchemaMigration { version: 15, name: "redacted", sql: include_str!("../../migrations/postgres/0015_redacted.sql") },
    SchemaMigration {
        version: 16,
        name: "notification_key",
        sql: include_str!("../../migrations/postgres/0016_notification_key.sql"),
    },
    SchemaMigration {
        version: 17,
        name: "attempt_logs",
        sql: include_str!("../../migrations/postgres/0017_attempt_logs.sql"),
    },
    SchemaMigration {
        version: 18,
        name: "fingerprints",
        sql: include_str!("../../migrations/postgres/0018_fingerprints.sql"),
    },
    SchemaMigration {
        version: 19,
        name: "expected_wait",
        sql: include_str!("../../migrations/postgres/0019_expected_wait.sql"),
    },
    SchemaMigration { version: 20, name: "joins", sql: include_str!("../../migrations/postgres/0020_joins.sql") },
    SchemaMigration {
        version: 21,
        name: "error_args",
        sql: include_str!("../../migrations/postgres/0021_error_args.sql"),
    },
    SchemaMigration {
        version: 22,
        name: "custom_states",
        sql: include_str!("../../migrations/postgres/0022_custom_states.sql"),
    },
    SchemaMigration {
        version: 23,
        name: "join_ends",
        sql: include_str!("../../migrations/postgres/0023_join_ends.sql"),
    },
    SchemaMigration { version: 24, name: "groups", sql: include_str!("../../migrations/postgres/0024_groups.sql") },
];

/// Lock for migrations, so that only one of several starting workers migrates: the bytes of
/// `celeriac`.
const LOCK: i64 = 0x6365_6c65_7269_6163;

/// Migrates the tables to the version that this program needs.
///
/// Tables of that version cost two queries, which need only the right to read. Tables of a newer
/// version are left unchanged, because a migration only adds.
pub(super) async fn migrate(connections: &PostgresPool) -> Result<()> {
    let mut lease = connections.lease().await?;
    let found = found(connections, &mut lease.connection).await?;
    let next = MIGRATIONS.iter().find(|migration| migration.version > found);
    if let Some(next) = next {
        advance(connections, &mut lease.connection, next).await?;
    }
    let newest = MIGRATIONS.last().map_or(0, |migration| migration.version);
    if found > newest {
        SchemaNewer { store: connections.url(), version: found, known: newest }.emit();
    }
    lease.conclude(Ok(())).map_err(|cause| connections.error("migrating", cause))
}

/// Returns every migration, and whether the tables have it. Changes nothing.
pub(super) async fn migrations(connections: &PostgresPool) -> Result<Vec<Migration>> {
    let mut lease = connections.lease().await?;
    let found = found(connections, &mut lease.connection).await?;
    lease.conclude(Ok(())).map_err(|cause| connections.error("reading the version of the tables", cause))?;
    Ok(migrations_of(MIGRATIONS, found))
}

/// Returns the version of the tables.
async fn found(connections: &PostgresPool, connection: &mut PgConnection) -> Result<i64> {
    let applied = connections.within(applied(connection)).await;
    let applied = applied.map_err(|cause| connections.error("reading the version of the tables", cause))?;
    match contradiction(MIGRATIONS, &applied) {
        None => Ok(applied.last().map_or(0, |(version, _)| *version)),
        Some(reason) => Err(Error::Migrations { url: connections.url().to_owned(), reason }),
    }
}

/// Returns the versions and names of the applied migrations, in order.
async fn applied(connection: &mut PgConnection) -> sqlx::Result<Vec<(i64, String)>> {
    let exists =
        sqlx::query("SELECT to_regclass('celeriac.migrations') IS NOT NULL").fetch_one(&mut *connection).await?;
    if !exists.try_get::<bool, _>(0)? {
        return Ok(Vec::new());
    }
    let rows = sqlx::query("SELECT version, name FROM celeriac.migrations ORDER BY version");
    let rows = rows.fetch_all(connection).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Returns the reason why these tables are not those of this program, older or newer.
fn contradiction(all: &[SchemaMigration], applied: &[(i64, String)]) -> Option<String> {
    let (newest, _) = applied.last()?;
    all.iter().filter(|migration| migration.version <= *newest).find_map(|SchemaMigration { version, name, .. }| {
        match applied.iter().find(|(found, _)| found == version) {
            None => Some(format!("version {version} ({name}) is missing, and version {newest} is there")),
            Some((_, found)) if found != name => Some(format!("version {version} is `{found}`, expected `{name}`")),
            Some(_) => None,
        }
    })
}

async fn advance(connections: &PostgresPool, connection: &mut PgConnection, next: &SchemaMigration) -> Result<()> {
    let failed = |cause| explain(connections, next, cause);
    let mut transaction = connection.begin().await.map_err(failed)?;
    prepare(&mut transaction).await.map_err(failed)?;
    // Read again under the lock: another worker may have been faster.
    let found = found(connections, &mut transaction).await?;
    for migration in MIGRATIONS.iter().filter(|migration| migration.version > found) {
        apply(&mut transaction, migration).await.map_err(|cause| explain(connections, migration, cause))?;
    }
    transaction.commit().await.map_err(failed)
}

async fn prepare(connection: &mut PgConnection) -> sqlx::Result<()> {
    // A migration may take long. A short lock timeout limits its waits for locks, because other
    // statements queue behind such a wait.
    sqlx::raw_sql("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0").execute(&mut *connection).await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *connection).await?;
    sqlx::raw_sql(
        "SET LOCAL lock_timeout = '5s';
         SET LOCAL client_min_messages = warning;
         CREATE SCHEMA IF NOT EXISTS celeriac;
         CREATE TABLE IF NOT EXISTS celeriac.migrations (
             version    bigint PRIMARY KEY,
             name       text NOT NULL,
             applied_at timestamptz NOT NULL DEFAULT now()
         )",
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn apply(connection: &mut PgConnection, migration: &SchemaMigration) -> sqlx::Result<()> {
    sqlx::raw_sql(migration.sql).execute(&mut *connection).await?;
    sqlx::query("INSERT INTO celeriac.migrations (version, name) VALUES ($1, $2)")
        .bind(migration.version)
        .bind(migration.name)
        .execute(connection)
        .await?;
    Ok(())
}

fn explain(connections: &PostgresPool, migration: &SchemaMigration, cause: sqlx::Error) -> Error {
    match connections.error("migrating", cause) {
        Error::Sql { source, .. } => Error::Migration {
            url: connections.url().to_owned(),
            version: migration.version,
            name: migration.name,
            source,
        },
        Error::Denied { url, reason } => {
            Error::Migration { url, version: migration.version, name: migration.name, source: reason.into() }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(applied: &[(i64, &str)]) -> Option<String> {
        let applied: Vec<_> = applied.iter().map(|(version, name)| (*version, (*name).to_owned())).collect();
        contradiction(&MIGRATIONS[..3], &applied)
    }

    #[test]
    fn older_and_newer_tables_are_no_contradiction() {
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[(1, "tasks"), (2, "replays")]), None);
        assert_eq!(told(&[(1, "tasks"), (2, "replays"), (3, "attempts"), (9, "later")]), None);
    }

    #[test]
    fn a_missing_or_foreign_migration_is_one() {
        let missing = "version 2 (replays) is missing, and version 3 is there";
        assert_eq!(told(&[(1, "tasks"), (3, "attempts")]).as_deref(), Some(missing));
        let foreign = "version 2 is `users`, expected `replays`";
        assert_eq!(told(&[(1, "tasks"), (2, "users")]).as_deref(), Some(foreign));
    }
}
