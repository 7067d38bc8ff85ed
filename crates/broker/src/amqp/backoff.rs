//! How long to wait before the next attempt.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use celeriac_protocol::RetryPolicy;

/// Waits that double up to a bound, with half of each left to chance: programs that lost the same broker do not all come
/// back at the same moment.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
}

const POLICY: RetryPolicy = RetryPolicy::backoff(Duration::from_millis(100), Duration::from_secs(2));

impl Backoff {
    /// Waits longer than the last time.
    pub(super) async fn wait(&mut self) {
        let wait = POLICY.wait(self.attempts, chance());
        self.attempts = self.attempts.saturating_add(1);
        tokio::time::sleep(wait).await;
    }
}

/// A number from 0 to 1. The keys of hash maps are random enough to spread attempts.
fn chance() -> f64 {
    const STEPS: u64 = 1 << 32;
    let step = RandomState::new().hash_one(()) % STEPS;
    #[expect(clippy::cast_precision_loss, reason = "a double holds every 32-bit number")]
    let chance = step as f64 / STEPS as f64;
    chance
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_grow_to_two_seconds_and_no_further() {
        let mut backoff = Backoff::default();
        let mut waits = Vec::new();
        for _ in 0..64 {
            let began = Instant::now();
            backoff.wait().await;
            waits.push(began.elapsed());
        }
        let (least, most) = (Duration::from_millis(50), Duration::from_millis(101));
        assert!((least..=most).contains(&waits[0]), "{:?}", waits[0]);
        let (least, most) = (Duration::from_secs(1), Duration::from_millis(2_001));
        assert!(waits[8..].iter().all(|wait| (least..=most).contains(wait)), "{waits:?}");
    }

    #[test]
    fn chance_is_spread_over_its_range() {
        let chances: Vec<f64> = (0..64).map(|_| chance()).collect();
        assert!(chances.iter().all(|chance| (0.0..1.0).contains(chance)));
        assert!(chances.iter().any(|chance| *chance < 0.5) && chances.iter().any(|chance| *chance > 0.5));
    }
}
