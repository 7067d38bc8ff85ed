//! A step from one form of the tables to the next.

/// A step from one form of the tables to the next. Steps are only ever added: a database holds the older ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Migration {
    /// Steps are numbered from 1, without gaps.
    pub(super) version: i64,
    /// What it is about.
    pub(super) name: &'static str,
    /// Its statements.
    pub(super) sql: &'static str,
}
