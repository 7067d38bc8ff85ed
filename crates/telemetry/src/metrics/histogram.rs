//! How durations are distributed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds in milliseconds, as OpenTelemetry's messaging conventions advise.
const BOUNDS: [u64; 14] = [5, 10, 25, 50, 75, 100, 250, 500, 750, 1_000, 2_500, 5_000, 7_500, 10_000];

/// A histogram that is written without a lock.
#[derive(Debug)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Histogram {
    pub(super) const fn new() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BOUNDS.len() + 1], nanoseconds: AtomicU64::new(0) }
    }

    pub(super) fn record(&self, duration: Duration) {
        let bucket = BOUNDS.iter().position(|bound| duration <= Duration::from_millis(*bound));
        self.buckets[bucket.unwrap_or(BOUNDS.len())].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Spread {
        let buckets: Vec<_> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        Spread {
            count: buckets.iter().sum(),
            sum: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)),
            bounds: BOUNDS.map(Duration::from_millis).to_vec(),
            buckets,
        }
    }
}

/// A distribution of durations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread {
    /// How many.
    pub count: u64,
    /// All of them together.
    pub sum: Duration,
    /// Upper bounds of the buckets, each included; the last bucket has none.
    pub bounds: Vec<Duration>,
    /// How many fell into each bucket: one more than there are bounds.
    pub buckets: Vec<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::new();
        for milliseconds in [0, 5, 6, 10_000, 10_001] {
            histogram.record(Duration::from_millis(milliseconds));
        }
        let read = histogram.read();
        assert_eq!(read.count, 5);
        assert_eq!((read.buckets[0], read.buckets[1], read.buckets[13], read.buckets[14]), (2, 1, 1, 1));
        assert_eq!(read.sum, Duration::from_millis(20_012));
    }
}
