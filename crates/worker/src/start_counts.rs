//! The number of started attempts of each task.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

/// The number of started attempts of each task, since the start of the worker.
#[derive(Debug, Default)]
pub(crate) struct StartCounts(RwLock<HashMap<&'static str, AtomicU64>>);

impl StartCounts {
    /// Counts a start.
    pub(crate) fn add(&self, task: &'static str) {
        if let Some(count) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(task) {
            count.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut counts = self.0.write().unwrap_or_else(PoisonError::into_inner);
        counts.entry(task).or_default().fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the counts by task.
    pub(crate) fn list(&self) -> Vec<(&'static str, u64)> {
        let counts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<_> = counts.iter().map(|(task, count)| (*task, count.load(Ordering::Relaxed))).collect();
        list.sort_unstable();
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_counted_for_each_task() {
        let counts = StartCounts::default();
        for task in ["b", "a", "b"] {
            counts.add(task);
        }
        assert_eq!(counts.list(), [("a", 1), ("b", 2)]);
    }
}
