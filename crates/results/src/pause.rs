//! Waits between attempts while a store is away.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use celeriac_protocol::RetryPolicy;

const POLICY: RetryPolicy = RetryPolicy::backoff(Duration::from_millis(50), Duration::from_secs(2));

/// Waits that grow, each with half of it left to chance, so that workers do not come back all at once.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    attempts: u32,
}

impl Pause {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The next wait.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = POLICY.wait(self.attempts, chance());
        self.attempts = self.attempts.saturating_add(1);
        wait
    }
}

/// A random number from 0 to 1.
fn chance() -> f64 {
    // The standard library keys its hash maps at random, which is chance enough.
    f64::from(RandomState::new().hash_one(()) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap() {
        let mut pause = Pause::new();
        let first = pause.next();
        assert!(first >= POLICY.first / 2 && first <= POLICY.first);
        let last = std::iter::repeat_with(|| pause.next()).nth(20).unwrap();
        assert!(last >= POLICY.cap / 2 && last <= POLICY.cap);
    }
}
