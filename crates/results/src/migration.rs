//! A migration of the tables from one version to the next.

/// A migration of the tables from one version to the next. An existing migration never changes,
/// because databases have already run it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SchemaMigration {
    /// Its number, from 1, without gaps.
    pub(crate) version: i64,
    /// Its name.
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

/// Returns all migrations. Those up to version `found` are applied.
pub(crate) fn migrations_of(all: &[SchemaMigration], found: i64) -> Vec<Migration> {
    let applied = |migration: &SchemaMigration| migration.version <= found;
    all.iter()
        .map(|migration| Migration { version: migration.version, name: migration.name, applied: applied(migration) })
        .collect()
}
