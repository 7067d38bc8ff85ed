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
