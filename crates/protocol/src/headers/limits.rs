//! The limits of an attempt of a task.

use std::time::Duration;

/// The limits of an attempt of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeLimits {
    /// After this it is ended.
    pub hard: Option<Duration>,
    /// After this it is told to end.
    pub soft: Option<Duration>,
}
