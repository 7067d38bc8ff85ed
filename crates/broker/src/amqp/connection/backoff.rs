//! Waits between attempts to reach the broker.

use std::time::Duration;

use celeriac_protocol::RetryPolicy;
use celeriac_protocol::retry::Backoff;

/// Waits that double up to two seconds. Half of each wait is random, so that programs that lost the
/// same broker do not reconnect at the same moment. After a loss the waits start again.
#[derive(Debug)]
pub(crate) struct ReconnectBackoff(Backoff);

const POLICY: RetryPolicy = RetryPolicy::backoff(Duration::from_millis(100), Duration::from_secs(2));

impl Default for ReconnectBackoff {
    fn default() -> Self {
        Self(Backoff::new(POLICY))
    }
}

impl ReconnectBackoff {
    /// Waits longer than the last time.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.0.next_wait(fastrand::f64())).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_grow_to_two_seconds_and_no_further() {
        let mut backoff = ReconnectBackoff::default();
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
}
