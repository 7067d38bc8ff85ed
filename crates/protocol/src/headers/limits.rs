//! The time limits of an attempt.

use std::time::Duration;

/// The time limits of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeLimits {
    /// Time after which the attempt is ended.
    pub hard: Option<Duration>,
    /// Time after which the attempt is signalled to end.
    pub soft: Option<Duration>,
}
