//! Attempts after a failure. Pure: random numbers are arguments.

mod rules;

use std::time::Duration;

pub use rules::{ErrorClass, RetryAnswer, RetryRule, RetryRules, kind_of_type};

/// The number of retries of a failed task, and the waits between them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Most attempts after the first. `None` for no limit.
    pub max_retries: Option<u32>,
    /// Wait before the first retry.
    pub first: Duration,
    /// Factor between two waits.
    pub factor: f64,
    /// Longest wait.
    pub cap: Duration,
    /// Random part of the wait, from 0 to 1, so that tasks that failed together do not return
    /// together.
    pub jitter: f64,
}

impl RetryPolicy {
    /// Returns a policy without retries.
    pub const fn never() -> Self {
        Self { max_retries: Some(0), ..Self::backoff(Duration::from_secs(1), Duration::from_secs(600)) }
    }

    /// Returns a policy of up to three retries. The waits double from `first` to `cap`, and half of
    /// each is random.
    pub const fn backoff(first: Duration, cap: Duration) -> Self {
        Self { max_retries: Some(3), first, factor: 2.0, cap, jitter: 0.5 }
    }

    /// Returns a policy of this many retries, without waits.
    pub const fn immediately(max_retries: u32) -> Self {
        Self { max_retries: Some(max_retries), first: Duration::ZERO, factor: 1.0, cap: Duration::ZERO, jitter: 0.0 }
    }

    /// Returns the same policy with another number of retries.
    #[must_use]
    pub const fn times(self, max_retries: u32) -> Self {
        Self { max_retries: Some(max_retries), ..self }
    }

    /// Returns `true` if another attempt is allowed after `retries` earlier retries.
    pub fn allows(&self, retries: u32) -> bool {
        self.max_retries.is_none_or(|most| retries < most)
    }

    /// Returns the wait after an attempt with `retries` before it. `chance` is a random number from
    /// 0 to 1.
    pub fn wait(&self, retries: u32, chance: f64) -> Duration {
        // A larger exponent changes nothing, because the wait reached the cap long before.
        let exponent = i32::try_from(retries.min(1_000)).unwrap_or(1_000);
        let full = (self.first.as_secs_f64() * self.factor.powi(exponent)).min(self.cap.as_secs_f64());
        let left_out = full * self.jitter.clamp(0.0, 1.0) * chance.clamp(0.0, 1.0);
        Duration::try_from_secs_f64(full - left_out).unwrap_or(self.cap)
    }
}

/// Waits between repeated attempts at an operation. Their number is not limited by the policy.
#[derive(Debug, Clone)]
pub struct Backoff {
    policy: RetryPolicy,
    tries: u32,
}

impl Backoff {
    /// Returns the waits of this policy, from the first.
    pub const fn new(policy: RetryPolicy) -> Self {
        Self { policy, tries: 0 }
    }

    /// Returns the next wait, longer than the last. `chance` is a random number from 0 to 1.
    pub fn next_wait(&mut self, chance: f64) -> Duration {
        let wait = self.policy.wait(self.tries, chance);
        self.tries = self.tries.saturating_add(1);
        wait
    }

    /// Restarts with the first wait.
    pub const fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_up_to_the_cap() {
        let policy = RetryPolicy::backoff(SECOND, Duration::from_secs(10));
        let waits: Vec<_> = (0..6).map(|retries| policy.wait(retries, 0.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
        assert_eq!(policy.wait(u32::MAX, 0.0), Duration::from_secs(10));
    }

    #[test]
    fn a_backoff_goes_from_wait_to_wait_and_begins_anew() {
        let mut backoff = Backoff::new(RetryPolicy::backoff(SECOND, Duration::from_secs(3)));
        let waits: Vec<_> = std::iter::repeat_with(|| backoff.next_wait(0.0).as_secs()).take(4).collect();
        assert_eq!(waits, [1, 2, 3, 3]);
        backoff.reset();
        assert_eq!(backoff.next_wait(1.0), SECOND / 2);
    }

    #[test]
    fn chance_shortens_a_wait_by_at_most_the_jitter() {
        let policy = RetryPolicy::backoff(SECOND, Duration::from_secs(10));
        assert_eq!(policy.wait(0, 1.0), Duration::from_millis(500));
        assert_eq!(policy.wait(0, 7.0), Duration::from_millis(500));
    }

    #[test]
    fn at_once_is_without_a_wait() {
        let policy = RetryPolicy::immediately(3);
        assert_eq!([0, 2, 999].map(|retries| policy.wait(retries, 0.3)), [Duration::ZERO; 3]);
        assert!(policy.allows(2) && !policy.allows(3));
    }

    #[test]
    fn retries_are_counted() {
        let policy = RetryPolicy::backoff(SECOND, SECOND).times(2);
        assert_eq!([0, 1, 2].map(|retries| policy.allows(retries)), [true, true, false]);
        assert!(!RetryPolicy::never().allows(0));
        assert!(RetryPolicy { max_retries: None, ..policy }.allows(u32::MAX));
    }
}
