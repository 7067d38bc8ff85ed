//! The gauges of a program: values that its parts have.

use std::sync::Arc;

/// The present value of a gauge.
#[derive(Debug, Clone, PartialEq)]
pub struct GaugeReading {
    /// The gauge.
    pub gauge: Gauge,
    /// The queue, if it is the gauge of a queue.
    pub queue: Option<Arc<str>>,
    /// The value.
    pub value: f64,
}

/// Declares gauges: their names, units and descriptions.
macro_rules! gauges {
    ($($ident:ident: $name:literal in $unit:literal, $description:literal;)+) => {
        /// A gauge, which parts of the program have. See [`HealthSource`](super::HealthSource).
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Gauge {
            $(#[doc = $description] $ident,)+
        }

        impl Gauge {
            pub(super) const ALL: &[Self] = &[$(Self::$ident),+];

            /// Returns name, unit and description.
            pub(super) fn declared(self) -> (&'static str, &'static str, &'static str) {
                match self {
                    $(Self::$ident => ($name, $unit, $description),)+
                }
            }
        }
    };
}

gauges! {
    Unready: "celeriac.parts.unready" in "{part}", "Parts of the program that are not ready.";
    Slots: "celeriac.worker.slots.limit" in "{slot}", "Slots of the worker, free or not.";
    SlotsUsed: "celeriac.worker.slots.used" in "{slot}", "Slots in which a task runs.";
    InFlight: "celeriac.messages.in_flight" in "{message}", "Messages whose task occupies a slot.";
    Prefetch: "celeriac.consumers.prefetch" in "{message}", "Prefetch in force.";
    Consuming: "celeriac.consumers.consuming" in "{consumer}", "1 if the broker delivers, 0 if not.";
    OutboxMessages: "celeriac.outbox.messages" in "{message}", "Messages in the outbox, read by the process that relays.";
    OutboxAge: "celeriac.outbox.age" in "s", "Age of the oldest message in the outbox, read by the process that relays.";
    ExpectedWait: "celeriac.queue.expected_wait" in "s", "Time in which the queue drains at the rate of the last minute, read by the process that relays.";
    BlockedTime: "celeriac.publishers.blocking.time" in "s", "Time for which the broker took no messages.";
}

impl Gauge {
    /// Returns a reading without a queue.
    pub fn read(self, value: f64) -> GaugeReading {
        GaugeReading { gauge: self, queue: None, value }
    }

    /// Returns a reading of a queue.
    pub fn read_queue(self, queue: &Arc<str>, value: f64) -> GaugeReading {
        GaugeReading { gauge: self, queue: Some(Arc::clone(queue)), value }
    }

    /// Returns `true` if the value only grows.
    pub(super) fn is_sum(self) -> bool {
        self == Self::BlockedTime
    }

    /// Returns one value for two parts of the same process.
    pub(super) fn merge(self, one: f64, other: f64) -> f64 {
        match self {
            Self::Consuming => one.min(other),
            Self::OutboxMessages | Self::OutboxAge | Self::ExpectedWait => one.max(other),
            _ => one + other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::NAMES;

    /// Returns the names in the first column of the table in `docs/metrics.md`.
    fn documented() -> Vec<String> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
        let text = std::fs::read_to_string(path).unwrap();
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.filter_map(|row| Some(row.split_once('`')?.0.to_owned())).collect()
    }

    #[test]
    fn the_documentation_lists_every_metric_and_no_other() {
        let (mut documented, mut declared) = (documented(), NAMES.to_vec());
        declared.extend(Gauge::ALL.iter().map(|gauge| gauge.declared().0));
        documented.sort();
        declared.sort_unstable();
        assert_eq!(documented, declared);
    }
}
