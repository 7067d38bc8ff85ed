//! Waits of messages: those that the broker keeps, and those that are too short for it.

use std::time::Duration;

use celeriac_telemetry::clock;
use jiff::Timestamp;

/// The broker counts whole seconds; what is shorter is waited out by the worker.
pub(crate) const SHORTEST_HOLD: Duration = Duration::from_secs(1);

/// The time from now until `time`; none when it is past.
pub(crate) fn time_until(time: Timestamp) -> Duration {
    Duration::try_from(time.duration_since(clock::now())).unwrap_or_default()
}

/// A wait that lacks less than a tenth to a whole second is that second: some time has passed since it was decided, and the
/// broker would cut off the rest, which would then be waited out here.
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
