//! A step from one form of the tables to the next.

/// A step from one form of the tables to the next. Steps are only ever added: a database holds the older ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SchemaMigration {
    /// Steps are numbered from 1, without gaps.
    pub(crate) version: i64,
    /// Its subject.
    pub(crate) name: &'static str,
    /// Its statements.
    pub(crate) sql: &'static str,
}
