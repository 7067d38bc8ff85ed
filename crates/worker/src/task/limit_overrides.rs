//! Time limits of tasks that were changed while the worker runs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use celeriac_protocol::TimeLimits;

/// The changed limits, by task. A call that sets a limit still beats them.
#[derive(Debug, Default)]
pub(crate) struct LimitOverrides {
    limits: RwLock<HashMap<&'static str, TimeLimits>>,
    /// True once there is one.
    any: AtomicBool,
}

impl LimitOverrides {
    /// Changes the limits of a task.
    pub(crate) fn set(&self, task: &'static str, limits: TimeLimits) {
        self.limits.write().unwrap_or_else(PoisonError::into_inner).insert(task, limits);
        self.any.store(true, Ordering::Relaxed);
    }

    /// Returns the limits of a task, if they were changed.
    pub(crate) fn find(&self, task: &str) -> Option<TimeLimits> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        self.limits.read().unwrap_or_else(PoisonError::into_inner).get(task).copied()
    }
}
