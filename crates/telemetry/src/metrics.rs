//! What is counted, and under which names.
//!
//! Counting is an atomic addition: no lock, no allocation, no exporter in sight. [`snapshot`] reads everything at once.

mod histogram;
mod tasks;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use histogram::Histogram;
pub use histogram::Spread;
pub(crate) use tasks::{TaskCounter, count_finished, count_task};

/// A number that only grows and belongs to the process as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counter {
    MessagesSent,
    SendsFailed,
    RepliesUnreadable,
    MessagesConsumed,
    MessagesDeadLettered,
    MessagesReplayed,
    MessagesReturned,
    ConnectionsLost,
    ConnectionsRestored,
    ConsumersLost,
    ConsumersRestored,
    PublishersBlocked,
    PrefetchChanges,
    StoreLost,
    StoreRestored,
    RowsRecorded,
    MessagesRelayed,
    RelaysFailed,
    SpansEnded,
    SpansSent,
}

impl Counter {
    const ALL: [Self; 20] = [
        Self::MessagesSent,
        Self::SendsFailed,
        Self::RepliesUnreadable,
        Self::MessagesConsumed,
        Self::MessagesDeadLettered,
        Self::MessagesReplayed,
        Self::MessagesReturned,
        Self::ConnectionsLost,
        Self::ConnectionsRestored,
        Self::ConsumersLost,
        Self::ConsumersRestored,
        Self::PublishersBlocked,
        Self::PrefetchChanges,
        Self::StoreLost,
        Self::StoreRestored,
        Self::RowsRecorded,
        Self::MessagesRelayed,
        Self::RelaysFailed,
        Self::SpansEnded,
        Self::SpansSent,
    ];

    /// Its name: that of OpenTelemetry's messaging conventions where they have one.
    fn name(self) -> &'static str {
        match self {
            Self::MessagesSent => "messaging.client.sent.messages",
            Self::SendsFailed => "celeriac.client.failed.messages",
            Self::RepliesUnreadable => "celeriac.client.unreadable.replies",
            Self::MessagesConsumed => "messaging.client.consumed.messages",
            Self::MessagesDeadLettered => "celeriac.messages.dead_lettered",
            Self::MessagesReplayed => "celeriac.messages.replayed",
            Self::MessagesReturned => "celeriac.messages.returned",
            Self::ConnectionsLost => "celeriac.connections.lost",
            Self::ConnectionsRestored => "celeriac.connections.restored",
            Self::ConsumersLost => "celeriac.consumers.lost",
            Self::ConsumersRestored => "celeriac.consumers.restored",
            Self::PublishersBlocked => "celeriac.publishers.blocked",
            Self::PrefetchChanges => "celeriac.prefetch.changes",
            Self::StoreLost => "celeriac.results.lost",
            Self::StoreRestored => "celeriac.results.restored",
            Self::RowsRecorded => "celeriac.results.recorded",
            Self::MessagesRelayed => "celeriac.relay.sent",
            Self::RelaysFailed => "celeriac.relay.failed",
            Self::SpansEnded => "celeriac.spans.ended",
            Self::SpansSent => "celeriac.spans.sent",
        }
    }
}

static COUNTERS: [AtomicU64; Counter::ALL.len()] = [const { AtomicU64::new(0) }; Counter::ALL.len()];
static BATCHES: Histogram = Histogram::new();
static RELAY_LAG: Histogram = Histogram::new();

/// Counts one.
pub(crate) fn count(counter: Counter) {
    add(counter, 1);
}

/// Counts several.
pub(crate) fn add(counter: Counter, number: u64) {
    COUNTERS[counter as usize].fetch_add(number, Ordering::Relaxed);
}

/// Reads a counter.
pub(crate) fn read(counter: Counter) -> u64 {
    COUNTERS[counter as usize].load(Ordering::Relaxed)
}

/// Notes how long a write of outcomes took.
pub(crate) fn record_batch(took: Duration) {
    BATCHES.record(took);
}

/// Notes how long a message stood in the outbox.
pub(crate) fn record_relay_lag(lag: Duration) {
    RELAY_LAG.record(lag);
}

/// Everything that was counted since the process began.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot(pub Vec<Measurement>);

/// One number, or one distribution, with its name and its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// Its name.
    pub name: &'static str,
    /// What it is about: `task`, `state`.
    pub labels: Vec<(&'static str, &'static str)>,
    /// How much.
    pub measured: Measured,
}

/// How much was measured.
#[derive(Debug, Clone, PartialEq)]
pub enum Measured {
    /// How often.
    Count(u64),
    /// How long.
    Spread(Spread),
}

impl Snapshot {
    /// The sum of the counters of this name that carry these labels.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let measured = self.0.iter().filter(|measurement| measurement.is(name, labels));
        measured.map(|measurement| if let Measured::Count(count) = measurement.measured { count } else { 0 }).sum()
    }

    /// The first distribution of this name that carries these labels.
    pub fn spread(&self, name: &str, labels: &[(&str, &str)]) -> Option<&Spread> {
        let mut measured = self.0.iter().filter(|measurement| measurement.is(name, labels));
        measured.find_map(|measurement| match &measurement.measured {
            Measured::Spread(spread) => Some(spread),
            Measured::Count(_) => None,
        })
    }
}

impl Measurement {
    fn is(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.name == name && labels.iter().all(|label| self.labels.contains(label))
    }
}

/// Reads all counters. Each is exact; together they are of about the same moment.
pub fn snapshot() -> Snapshot {
    let mut measurements: Vec<_> = Counter::ALL
        .into_iter()
        .map(|counter| Measurement {
            name: counter.name(),
            labels: Vec::new(),
            measured: Measured::Count(read(counter)),
        })
        .collect();
    measurements.push(Measurement {
        name: "celeriac.results.batch.duration",
        labels: Vec::new(),
        measured: Measured::Spread(BATCHES.read()),
    });
    measurements.push(Measurement {
        name: "celeriac.relay.lag",
        labels: Vec::new(),
        measured: Measured::Spread(RELAY_LAG.read()),
    });
    tasks::read(&mut measurements);
    Snapshot(measurements)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;
    use crate::events::worker::{TaskFailed, TaskRetried, TaskSucceeded};

    #[test]
    fn a_task_is_counted_by_how_it_ended() {
        let (task, id, runtime) = ("metrics.ended", "1", Duration::from_millis(20));
        TaskSucceeded { task, id, runtime }.emit();
        TaskSucceeded { task, id, runtime }.emit();
        TaskFailed { task, id, attempts: 1, error: "no", runtime }.emit();
        TaskRetried { task, id, attempt: 1, error: "no", wait: runtime }.emit();

        let snapshot = snapshot();
        let finished = |state| snapshot.count("celeriac.tasks.finished", &[("task", task), ("state", state)]);
        assert_eq!((finished("SUCCESS"), finished("FAILURE"), finished("REJECTED")), (2, 1, 0));
        assert_eq!(snapshot.count("celeriac.tasks.retried", &[("task", task)]), 1);
        let spread = snapshot.spread("messaging.process.duration", &[("task", task)]).unwrap();
        assert_eq!((spread.count, spread.sum), (3, runtime * 3));
    }

    #[test]
    fn every_counter_has_its_own_place() {
        for (place, counter) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, place, "{counter:?}");
        }
    }
}
