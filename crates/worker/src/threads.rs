//! The threads on which blocking tasks run, also those for which nobody waits any more.

use std::sync::Arc;

/// Counts the threads of a worker. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Threads(Arc<()>);

impl Threads {
    /// The number of threads that are in use.
    pub(crate) fn running(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }

    /// The same work, counted from now until it has run.
    pub(crate) fn counted<R>(self, run: impl FnOnce() -> R + Send + 'static) -> impl FnOnce() -> R + Send + 'static {
        move || {
            let finished = run();
            drop(self);
            finished
        }
    }
}
