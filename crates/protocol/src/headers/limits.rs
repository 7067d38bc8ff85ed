//! How long an attempt of a task may take.

use std::time::Duration;

/// How long an attempt of a task may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeLimits {
    /// After this it is ended.
    pub hard: Option<Duration>,
    /// After this it is told to end.
    pub soft: Option<Duration>,
}
