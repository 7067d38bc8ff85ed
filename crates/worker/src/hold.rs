//! Waits of messages: on the broker, or in the worker if they are shorter than a second.

use std::time::Duration;

/// The broker counts whole seconds, so the worker waits for anything shorter.
pub(crate) const SHORTEST_HOLD: Duration = Duration::from_secs(1);

/// Rounds a wait up if less than a tenth of a second is missing to a whole one.
///
/// Some time has passed since the wait was computed. The broker would drop the fraction, and the
/// worker would wait for it.
pub(crate) fn nearly_whole(wait: Duration) -> Duration {
    if wait.subsec_millis() >= 900 { Duration::from_secs(wait.as_secs().saturating_add(1)) } else { wait }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_was_whole_when_it_was_decided_stays_so() {
        let millis = Duration::from_millis;
        for (wait, held) in [(999, 1_000), (4_950, 5_000), (4_899, 4_899), (1_000, 1_000), (0, 0)] {
            assert_eq!(nearly_whole(millis(wait)), millis(held), "{wait}");
        }
    }
}
