//! The logical clock by which Celery orders the events of a fleet.

use std::sync::atomic::{AtomicU64, Ordering};

/// Largest time that is accepted from another process. A larger one would leave no room to count.
const LARGEST: u64 = 1 << 62;

/// A Lamport clock: each event has a later time than all that its process knew of before.
#[derive(Debug, Default)]
pub struct LamportClock(AtomicU64);

impl LamportClock {
    /// Advances the clock for an event of this process, and returns the time of the event.
    pub fn tick(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Advances the clock beyond the time of another process, which a message has brought. Returns
    /// the new time. Ignores a time that no process can have reached.
    pub fn adjust(&self, other: u64) -> u64 {
        let other = if other > LARGEST { 0 } else { other };
        let later = |own: u64| Some(own.max(other) + 1);
        // The closure always returns a time.
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later).map_or(0, |own| own.max(other) + 1)
    }

    /// Returns the time of the last event.
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_passes_what_it_hears_of_and_never_goes_back() {
        let clock = LamportClock::default();
        assert_eq!((clock.now(), clock.tick(), clock.tick()), (0, 1, 2));
        assert_eq!((clock.adjust(10), clock.adjust(4), clock.tick()), (11, 12, 13));
        assert_eq!((clock.adjust(u64::MAX), clock.now()), (14, 14));
    }
}
