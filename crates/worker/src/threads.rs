//! The threads of blocking tasks, including those that the worker no longer waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the threads of a worker. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Threads(Arc<AtomicUsize>);

impl Threads {
    /// Returns the number of threads in use.
    pub(crate) fn running(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns the same work. Its thread counts from now until the work has run or is dropped.
    pub(crate) fn counted<R>(&self, run: impl FnOnce() -> R + Send + 'static) -> impl FnOnce() -> R + Send + 'static {
        self.0.fetch_add(1, Ordering::Relaxed);
        let counted = CountedThread(Arc::clone(&self.0));
        move || {
            let finished = run();
            drop(counted);
            finished
        }
    }
}

/// One thread in use. Dropping it uncounts it.
#[derive(Debug)]
struct CountedThread(Arc<AtomicUsize>);

impl Drop for CountedThread {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_counts_until_it_has_run_or_is_given_up_and_clones_do_not_count() {
        let threads = Threads::default();
        let other = threads.clone();
        assert_eq!(threads.running(), 0);
        let (run, given_up) = (threads.counted(|| 7), other.counted(|| 8));
        assert_eq!(threads.running(), 2);
        assert_eq!(run(), 7);
        assert_eq!(other.running(), 1);
        drop(given_up);
        assert_eq!(threads.running(), 0);
    }
}
