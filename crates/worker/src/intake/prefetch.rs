//! Chooses the number of messages that a worker holds of a queue with `prefetch: auto`. Pure.
//!
//! A worker that holds too many messages keeps them from idle workers. One that holds too few waits
//! for the broker between short tasks. So a worker holds the messages that its slots run, and those
//! that they will run within [`AHEAD`].

use std::time::Duration;

use celeriac_topology::{Prefetch, QueueOptions};

/// Messages held beyond the running tasks, as a time. The broker needs much less time to deliver
/// more.
const AHEAD: Duration = Duration::from_millis(200);

/// Run time from which only running tasks are held, so that no task waits while another worker
/// could run it.
const LONG: Duration = Duration::from_secs(1);

/// Largest prefetch for short tasks. A quorum queue is no faster with more.
const MOST: u16 = 1024;

/// Smallest factor of a change that is worth a new consumer.
const FACTOR: f64 = 2.0;

/// The same for long tasks, whose held messages wait for a long time.
const FACTOR_OF_LONG: f64 = 1.25;

/// Possible error of a measurement, as a factor.
///
/// A quorum queue counts a returned message as a delivery. So messages held ahead of tasks of about
/// [`LONG`] return only in two cases: if the tasks are longer by this factor, or if more are held
/// than tasks shorter by this factor would need.
const MARGIN: f64 = 1.5;

/// Number of recently ended tasks from which the prefetch may grow. Fewer short tasks say little
/// about the next ones.
const EVIDENCE: f64 = 8.0;

/// Recent use of the slots. Numbers of slots are means, and so have fractions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SlotsObserved {
    /// Time that a task of the queue occupies a slot: the time of all tasks, running ones included,
    /// divided by the number that ended. `None` if none ran.
    pub(crate) run_time: Option<Duration>,
    /// Number of its tasks that have ended. Older ones count for less.
    pub(crate) ended: f64,
    /// Slots that its tasks occupied.
    pub(crate) busy: f64,
    /// Slots that no task occupied.
    pub(crate) free: f64,
    /// Number of queues with running tasks, including this one.
    pub(crate) queues: usize,
}

/// Reason for a change of prefetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PrefetchReason {
    /// The tasks are short, so slots would wait for the broker.
    Short,
    /// The tasks take longer than before, so other workers could run the held messages.
    Longer,
    /// The queue may use idle slots.
    Free,
}

impl PrefetchReason {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Short => "tasks are short",
            Self::Longer => "tasks take longer",
            Self::Free => "slots are free",
        }
    }
}

/// A change of prefetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PrefetchChange {
    pub(crate) prefetch: u16,
    /// Number of messages to keep of those that have arrived but not started. `None` keeps all.
    ///
    /// The others return to the queue. Other workers may have time for them, and RabbitMQ closes a
    /// consumer that holds a message for half an hour.
    pub(crate) keep: Option<usize>,
    pub(crate) reason: PrefetchReason,
}

/// Returns the first prefetch. It is no more than can run at once, so that a second worker gets
/// tasks too.
pub(crate) fn first(concurrency: usize) -> u16 {
    bounded(concurrency as f64)
}

/// Returns the prefetch of a queue with a single active consumer. It is large, because no other
/// worker can run the messages.
pub(crate) fn alone(concurrency: usize) -> u16 {
    const DEEP: u16 = 64;
    first(concurrency).max(DEEP)
}

/// Returns the prefetch of a queue: its own, or else the worker's.
pub(crate) fn of_queue(queue: Option<&QueueOptions>, worker: Prefetch, concurrency: usize) -> Prefetch {
    match queue.and_then(|options| options.prefetch).unwrap_or(worker) {
        // A change of the prefetch needs a new consumer, and RabbitMQ could then choose another
        // worker.
        Prefetch::Auto if queue.is_some_and(|options| options.single_active_consumer) => {
            Prefetch::Fixed(alone(concurrency))
        }
        prefetch => prefetch,
    }
}

/// Returns the first prefetch of a consumer, and the largest that it may get.
pub(crate) fn bounds(prefetch: Prefetch, concurrency: usize) -> (u16, u16) {
    match prefetch {
        Prefetch::Fixed(prefetch) => (prefetch, prefetch),
        Prefetch::Auto => (first(concurrency), MOST),
    }
}

/// Returns a better prefetch than `current`, if the change is worth its cost.
pub(crate) fn choose(observed: &SlotsObserved, concurrency: usize, current: u16) -> Option<PrefetchChange> {
    let run_time = observed.run_time?;
    // The tasks that can run at once: the queue's share of the slots, and slots that others leave
    // free.
    let share = concurrency as f64 / observed.queues.max(1) as f64;
    let running = share.max(observed.busy + observed.free).min(concurrency as f64);
    let (wanted, needed) = (held_for(run_time, running), bounded(running));
    let (to, from) = (f64::from(wanted), f64::from(current));
    if to > from * FACTOR && wanted > needed && observed.ended >= EVIDENCE {
        return Some(PrefetchChange { prefetch: wanted, keep: None, reason: PrefetchReason::Short });
    }
    // Idle slots cost more than a new consumer, even if the difference is small.
    if needed > current {
        return Some(PrefetchChange { prefetch: needed, keep: None, reason: PrefetchReason::Free });
    }
    let (factor, keep) = if run_time >= LONG {
        if current <= held_for(run_time.div_f64(MARGIN), running) {
            return None;
        }
        (FACTOR_OF_LONG, 0)
    } else {
        (FACTOR, usize::from(wanted))
    };
    (to * factor < from).then_some(PrefetchChange {
        prefetch: wanted,
        keep: Some(keep),
        reason: PrefetchReason::Longer,
    })
}

/// Returns the number of messages that tasks of this length need when this many run at once.
fn held_for(run_time: Duration, running: f64) -> u16 {
    if run_time >= LONG {
        return bounded(running);
    }
    let ahead = AHEAD.as_secs_f64() / run_time.as_secs_f64().max(f64::EPSILON);
    bounded((running * (1.0 + ahead)).min(f64::from(MOST).max(running)))
}

/// Rounds up to at least one message, because a prefetch of 0 is unlimited.
fn bounded(prefetch: f64) -> u16 {
    prefetch.ceil().clamp(1.0, f64::from(u16::MAX)) as u16
}

#[cfg(test)]
mod tests;
