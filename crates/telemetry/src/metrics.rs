//! The metrics of a program, by OpenTelemetry's names.
//!
//! The declaration of each event, by [`event!`](crate::events), names its counter. A program
//! without a collector and without a server makes no instruments. Counting then only reads a
//! static.

use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter};
use opentelemetry::{KeyValue, Value};

use crate::error::{Error, Result};

static METER: OnceLock<Meter> = OnceLock::new();

/// Makes this process create its instruments with `meter`.
pub(crate) fn install(meter: Meter) -> Result<()> {
    METER.set(meter).map_err(|_| Error::AlreadyStarted)
}

/// A metric, and its instrument after the first use.
#[derive(Debug)]
pub(crate) struct Metric<I> {
    name: &'static str,
    unit: &'static str,
    description: &'static str,
    instrument: OnceLock<I>,
}

impl<I> Metric<I> {
    pub(crate) const fn new(name: &'static str, unit: &'static str, description: &'static str) -> Self {
        Self { name, unit, description, instrument: OnceLock::new() }
    }
}

impl Metric<Counter<u64>> {
    /// Adds `number` with the given attributes. Does not compute them if metrics are not exported.
    pub(crate) fn add<const N: usize>(&self, number: impl TryInto<u64>, attributes: impl FnOnce() -> [KeyValue; N]) {
        let Some(meter) = METER.get() else { return };
        let instrument = self.instrument.get_or_init(|| {
            meter.u64_counter(self.name).with_unit(self.unit).with_description(self.description).build()
        });
        instrument.add(number.try_into().unwrap_or(u64::MAX), &attributes());
    }
}

impl Metric<Gauge<u64>> {
    /// Sets the present number.
    pub(crate) fn set(&self, number: u64) {
        let Some(meter) = METER.get() else { return };
        let instrument = self
            .instrument
            .get_or_init(|| meter.u64_gauge(self.name).with_unit(self.unit).with_description(self.description).build());
        instrument.record(number, &[]);
    }
}

impl Metric<Histogram<f64>> {
    /// Upper bounds in seconds: those of OpenTelemetry's messaging conventions, and more for tasks
    /// that take hours.
    const BOUNDARIES: [f64; 21] = [
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 300.0, 900.0,
        3600.0, 14_400.0, 86_400.0,
    ];

    /// Records a duration with the given attributes, if it is known. Does not compute them if
    /// metrics are not exported.
    pub(crate) fn record<const N: usize>(
        &self,
        duration: impl Into<Option<Duration>>,
        attributes: impl FnOnce() -> [KeyValue; N],
    ) {
        let (Some(meter), Some(duration)) = (METER.get(), duration.into()) else { return };
        let instrument = self.instrument.get_or_init(|| {
            let histogram = meter.f64_histogram(self.name).with_unit(self.unit).with_description(self.description);
            histogram.with_boundaries(Self::BOUNDARIES.to_vec()).build()
        });
        instrument.record(duration.as_secs_f64(), &attributes());
    }
}

impl Metric<Histogram<u64>> {
    /// Upper bounds of numbers.
    const BOUNDARIES: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0];

    /// Records a number. Does nothing if metrics are not exported.
    pub(crate) fn record_number(&self, number: usize) {
        let Some(meter) = METER.get() else { return };
        let instrument = self.instrument.get_or_init(|| {
            let histogram = meter.u64_histogram(self.name).with_unit(self.unit).with_description(self.description);
            histogram.with_boundaries(Self::BOUNDARIES.to_vec()).build()
        });
        instrument.record(u64::try_from(number).unwrap_or(u64::MAX), &[]);
    }
}

/// Returns `true` if metrics are exported, so that a value has a reader.
pub fn are_counted() -> bool {
    METER.get().is_some()
}

/// Most kinds of errors in attributes.
const KINDS: usize = 100;

/// Returns a kind of error as an attribute, or `_OTHER` once there are too many. The kinds are
/// those of users' code, and of messages.
pub(crate) fn bounded_kind(kind: &str) -> &str {
    static KNOWN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known.contains(kind) {
        return kind;
    }
    if known.len() >= KINDS {
        return "_OTHER";
    }
    known.insert(kind.to_owned());
    kind
}

/// Returns an attribute of a measurement.
pub(crate) fn attribute(name: &'static str, value: &str) -> KeyValue {
    KeyValue::new(name, Value::from(value.to_owned()))
}

/// Declares metrics: their names, units and descriptions.
macro_rules! metrics {
    ($($kind:ident $ident:ident: $name:literal in $unit:literal, $description:literal;)+) => {
        $(
            #[doc = $description]
            pub(crate) static $ident: metrics!(@type $kind) = Metric::new($name, $unit, $description);
        )+

        #[cfg(test)]
        pub(crate) const NAMES: &[&str] = &[$($name),+];
    };
    (@type counter) => { Metric<Counter<u64>> };
    (@type histogram) => { Metric<Histogram<f64>> };
    (@type gauge) => { Metric<Gauge<u64>> };
    (@type sizes) => { Metric<Histogram<u64>> };
}

metrics! {
    counter MESSAGES_SENT: "messaging.client.sent.messages" in "{message}", "Messages published and confirmed.";
    histogram OPERATION_DURATION: "messaging.client.operation.duration" in "s", "Duration of a publish, with its confirm.";
    counter SENDS_FAILED: "celeriac.client.failed.messages" in "{message}", "Messages that could not be published.";
    counter REPLIES_UNREADABLE: "celeriac.client.unreadable.replies" in "{message}", "Replies that could not be read.";
    counter MESSAGES_CONSUMED: "messaging.client.consumed.messages" in "{message}", "Messages delivered to a worker.";
    counter MESSAGES_SETTLED: "celeriac.messages.settled" in "{message}", "Messages of tasks settled.";
    counter MESSAGES_DEAD_LETTERED: "celeriac.messages.dead_lettered" in "{message}", "Messages sent to a dead-letter queue.";
    counter MESSAGES_REPLAYED: "celeriac.messages.replayed" in "{message}", "Dead letters put back on a queue.";
    counter MESSAGES_RETURNED: "celeriac.messages.returned" in "{message}", "Messages that no queue took.";
    counter CONNECTIONS_LOST: "celeriac.connections.lost" in "{connection}", "Connections to the broker lost.";
    counter CONNECTIONS_RESTORED: "celeriac.connections.restored" in "{connection}", "Connections to the broker restored.";
    counter CONSUMERS_LOST: "celeriac.consumers.lost" in "{consumer}", "Consumers lost.";
    counter CONSUMERS_RESTORED: "celeriac.consumers.restored" in "{consumer}", "Consumers restored.";
    counter PUBLISHERS_BLOCKED: "celeriac.publishers.blocked" in "{event}", "Times that the broker took no messages.";
    counter PREFETCH_CHANGES: "celeriac.prefetch.changes" in "{change}", "Changes of a queue's prefetch.";
    counter STORE_LOST: "celeriac.results.store.lost" in "{event}", "Times that the result store was lost.";
    counter STORE_RESTORED: "celeriac.results.store.restored" in "{event}", "Times that the result store was restored.";
    counter STORE_FAILED_OVER: "celeriac.results.store.failed_over" in "{event}", "Failovers of the result store.";
    counter ROWS_RECORDED: "celeriac.results.recorded" in "{row}", "Outcomes stored.";
    counter SENT_TASKS_NOT_RECORDED: "celeriac.results.sent.not_recorded" in "{task}", "Sent tasks without a row in the state SENT.";
    sizes BATCH_SIZE: "celeriac.results.batch.size" in "{row}", "Outcomes in one write.";
    histogram BATCH_DURATION: "celeriac.results.batch.duration" in "s", "Duration of a write of outcomes.";
    counter MESSAGES_RELAYED: "celeriac.relay.sent" in "{message}", "Messages of the outbox published and confirmed.";
    counter RELAYS_FAILED: "celeriac.relay.failed" in "{message}", "Messages of the outbox that could not be published.";
    histogram RELAY_LAG: "celeriac.relay.lag" in "s", "Time that the oldest message of a batch stood in the outbox.";
    gauge RETRIES_OVERDUE: "celeriac.retries.overdue" in "{task}", "Tasks whose next attempt is overdue for an hour.";
    counter TASKS_STARTED: "celeriac.tasks.started" in "{attempt}", "Attempts started.";
    histogram QUEUE_WAIT: "celeriac.tasks.wait" in "s", "Time from the send, or the time at which it is due, to the start.";
    counter TASKS_RETRIED: "celeriac.tasks.retried" in "{attempt}", "Attempts that failed and are followed by another.";
    counter TASKS_DELAYED: "celeriac.tasks.delayed" in "{delivery}", "Deliveries that came before their task was due, or whose task was unknown again, and waited at the broker.";
    counter TASKS_HELD_UNKNOWN: "celeriac.tasks.held_unknown" in "{task}", "Tasks that returned to their queue because the worker does not know them.";
    counter TASKS_RATE_LIMITED: "celeriac.tasks.rate_limited" in "{delivery}", "Deliveries whose start waited for the rate limit.";
    counter TASKS_SKIPPED: "celeriac.tasks.skipped" in "{delivery}", "Deliveries not run, because their outcome was recorded.";
    counter TASKS_INTERRUPTED: "celeriac.tasks.interrupted" in "{attempt}", "Attempts interrupted by a shutdown.";
    counter TASKS_FINISHED: "celeriac.tasks.finished" in "{task}", "Tasks that reached a final state.";
    counter MONITOR_EVENTS_SENT: "celeriac.monitors.events.sent" in "{event}", "Events for Celery's monitors published and confirmed.";
    counter MONITOR_EVENTS_DROPPED: "celeriac.monitors.events.dropped" in "{event}", "Events for Celery's monitors lost, because the broker took them too slowly.";
    counter MONITOR_EVENTS_UNREADABLE: "celeriac.monitors.events.unreadable" in "{message}", "Messages on the exchange of events that are no events.";
    histogram PROCESS_DURATION: "messaging.process.duration" in "s", "Run time of the last attempt of a task.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_errors_are_bounded() {
        let kinds: Vec<_> = (0..200).map(|number| format!("Kind{number}")).collect();
        let kept = kinds.iter().filter(|kind| bounded_kind(kind) == kind.as_str()).count();
        assert_eq!((kept, bounded_kind("Kind0"), bounded_kind("Kind199")), (KINDS, "Kind0", "_OTHER"));
    }
}
