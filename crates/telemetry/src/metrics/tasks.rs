//! Counters by task name.
//!
//! A table of fixed size that is filled and never emptied: finding a task's counters takes neither lock nor allocation,
//! and names out of strangers' messages cannot make it grow.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::histogram::Histogram;
use super::{Measured, Measurement};

const SLOTS: usize = 1024;
/// How far from its place a task is looked for before it is counted among the rest.
const REACH: usize = 16;
/// The name under which tasks are counted that found no place.
const REST: &str = "(others)";

static TASKS: Table = Table::new();

/// What is counted of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskCounter {
    Started,
    Retried,
    Skipped,
    Interrupted,
    Succeeded,
    Failed,
    Rejected,
    Revoked,
}

impl TaskCounter {
    const ALL: [Self; 8] = [
        Self::Started,
        Self::Retried,
        Self::Skipped,
        Self::Interrupted,
        Self::Succeeded,
        Self::Failed,
        Self::Rejected,
        Self::Revoked,
    ];

    /// Its name, and the state that ended the task.
    fn name(self) -> (&'static str, Option<&'static str>) {
        const FINISHED: &str = "celeriac.tasks.finished";
        match self {
            Self::Started => ("celeriac.tasks.started", None),
            Self::Retried => ("celeriac.tasks.retried", None),
            Self::Skipped => ("celeriac.tasks.skipped", None),
            Self::Interrupted => ("celeriac.tasks.interrupted", None),
            Self::Succeeded => (FINISHED, Some("SUCCESS")),
            Self::Failed => (FINISHED, Some("FAILURE")),
            Self::Rejected => (FINISHED, Some("REJECTED")),
            Self::Revoked => (FINISHED, Some("REVOKED")),
        }
    }
}

struct TaskMetrics {
    name: Box<str>,
    counters: [AtomicU64; TaskCounter::ALL.len()],
    runtime: Histogram,
}

impl TaskMetrics {
    fn new(name: &str) -> Self {
        Self { name: name.into(), counters: [const { AtomicU64::new(0) }; 8], runtime: Histogram::new() }
    }

    fn count(&self, counter: TaskCounter) {
        self.counters[counter as usize].fetch_add(1, Ordering::Relaxed);
    }
}

struct Table {
    slots: [OnceLock<TaskMetrics>; SLOTS],
    others: OnceLock<TaskMetrics>,
}

impl Table {
    const fn new() -> Self {
        Self { slots: [const { OnceLock::new() }; SLOTS], others: OnceLock::new() }
    }

    /// The counters of a task.
    fn find(&self, task: &str) -> &TaskMetrics {
        let place = hash(task);
        for step in 0..REACH {
            let metrics = self.slots[(place + step) % SLOTS].get_or_init(|| TaskMetrics::new(task));
            if &*metrics.name == task {
                return metrics;
            }
        }
        self.others.get_or_init(|| TaskMetrics::new(REST))
    }

    fn iter(&self) -> impl Iterator<Item = &TaskMetrics> {
        self.slots.iter().chain([&self.others]).filter_map(OnceLock::get)
    }
}

/// Counts one of a task.
pub(crate) fn count_task(task: &str, counter: TaskCounter) {
    TASKS.find(task).count(counter);
}

/// Counts a task that ran to its end, and how long it took.
pub(crate) fn count_finished(task: &str, counter: TaskCounter, runtime: Duration) {
    let metrics = TASKS.find(task);
    metrics.count(counter);
    metrics.runtime.record(runtime);
}

/// FNV-1a: quick for names as short as these.
fn hash(text: &str) -> usize {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    usize::try_from(hash % SLOTS as u64).unwrap_or_default()
}

/// Adds what was counted of every task.
pub(super) fn read(measurements: &mut Vec<Measurement>) {
    for metrics in TASKS.iter() {
        for counter in TaskCounter::ALL {
            let (name, state) = counter.name();
            let mut labels = vec![("task", &*metrics.name)];
            labels.extend(state.map(|state| ("state", state)));
            let count = metrics.counters[counter as usize].load(Ordering::Relaxed);
            measurements.push(Measurement { name, labels, measured: Measured::Count(count) });
        }
        measurements.push(Measurement {
            name: "messaging.process.duration",
            labels: vec![("task", &*metrics.name)],
            measured: Measured::Spread(metrics.runtime.read()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_keeps_its_counters_and_a_flood_of_names_shares_one() {
        static TABLE: Table = Table::new();
        let known: *const TaskMetrics = TABLE.find("known");
        for number in 0..10 * SLOTS {
            TABLE.find(&format!("flood.{number}"));
        }
        assert!(std::ptr::eq(known, TABLE.find("known")));
        assert_eq!(&*TABLE.find("one.too.many").name, REST);
        assert_eq!(TABLE.iter().count(), SLOTS + 1);
    }

    #[test]
    fn every_counter_has_its_own_place() {
        for (place, counter) in TaskCounter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, place, "{counter:?}");
        }
    }
}
