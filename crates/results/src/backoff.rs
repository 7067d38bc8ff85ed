//! Waits between attempts while a store is unavailable.

use std::time::Duration;

use celeriac_protocol::RetryPolicy;
use celeriac_protocol::retry::Backoff;

const POLICY: RetryPolicy = RetryPolicy::backoff(Duration::from_millis(50), Duration::from_secs(2));

/// Waits from 50 ms to two seconds. Half of each is random, so that workers do not reconnect at the
/// same moment.
#[derive(Debug)]
pub(crate) struct StoreBackoff(Backoff);

impl StoreBackoff {
    pub(crate) const fn new() -> Self {
        Self(Backoff::new(POLICY))
    }

    /// Returns the next wait, longer than the last.
    pub(crate) fn next_wait(&mut self) -> Duration {
        self.0.next_wait(fastrand::f64())
    }

    /// Restarts with the first wait.
    pub(crate) const fn reset(&mut self) {
        self.0.reset();
    }
}
