//! A step from one version of the tables to the next.

/// A step from one version of the tables to the next. Existing steps never change, because
/// databases have already run them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SchemaMigration {
    /// Number of the step, from 1, without gaps.
    pub(crate) version: i64,
    /// The name of the step.
    pub(crate) name: &'static str,
    /// The statements.
    pub(crate) sql: &'static str,
}

/// A migration of a store's tables, and whether it is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Migration {
    /// Its number, from 1.
    pub version: i64,
    /// Its subject, such as `outbox`.
    pub name: &'static str,
    /// True if the tables have it.
    pub applied: bool,
}

/// Returns all migrations of tables that have those up to version `found`.
pub(crate) fn migrations_of(all: &[SchemaMigration], found: i64) -> Vec<Migration> {
    let applied = |migration: &SchemaMigration| migration.version <= found;
    all.iter()
        .map(|migration| Migration { version: migration.version, name: migration.name, applied: applied(migration) })
        .collect()
}
