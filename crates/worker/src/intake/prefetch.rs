//! The number of messages that a worker holds of a queue, where that is left to it (`prefetch: auto`). Pure.
//!
//! A worker that holds more than it needs keeps tasks from others that have time; one that holds less waits for its
//! broker between two short tasks. So it holds what its slots run, and as much again as they run in a moment.

use std::time::Duration;

/// The work that is held beside what runs, in time: much more than a broker takes to deliver more.
const AHEAD: Duration = Duration::from_millis(200);

/// Of tasks that take this long none is held that does not run: what others could run now waits for nobody.
const LONG: Duration = Duration::from_secs(1);

/// The most that is held for the sake of short tasks; a quorum queue is no faster with more.
pub(crate) const MOST: u16 = 1024;

/// Changes up to this factor are not worth a new consumer.
const FACTOR: f64 = 2.0;

/// The same for tasks that are long: what is held of them waits long.
const FACTOR_OF_LONG: f64 = 1.25;

/// A measurement may be off by this factor. What is held ahead of tasks of about [`LONG`] goes back only when they are long by
/// so much, or when it is more than tasks shorter by so much would need: a quorum queue counts what goes back as a delivery.
const MARGIN: f64 = 1.5;

/// So many tasks have to have ended of late before more are held: a few quick ones say nothing of those to come.
const EVIDENCE: f64 = 8.0;

/// The use of the slots of late. Numbers of slots are means, and so have fractions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SlotsObserved {
    /// The time that a task of the queue has a slot: that of all, those that still run included, by those that ended.
    /// `None` when none ran.
    pub(crate) run_time: Option<Duration>,
    /// Tasks of it that have ended, the older ones counting for less.
    pub(crate) ended: f64,
    /// Slots that its tasks had.
    pub(crate) busy: f64,
    /// Slots that no queue's tasks had.
    pub(crate) free: f64,
    /// Of how many queues tasks were running, this one included.
    pub(crate) queues: usize,
}

/// Why a prefetch is as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PrefetchReason {
    /// The tasks are short: slots would wait for the broker.
    Short,
    /// The tasks take longer than they did: others could run what is held.
    Longer,
    /// The queue may use slots that nobody uses.
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

/// Another prefetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PrefetchChange {
    pub(crate) prefetch: u16,
    /// The number kept of those that have arrived and not begun. The others go back to the queue: others may have time
    /// for them, and RabbitMQ ends a consumer that holds one for half an hour. `None`: all are kept.
    pub(crate) keep: Option<usize>,
    pub(crate) reason: PrefetchReason,
}

/// The prefetch to begin with: no more than can run at once, so that a second worker finds something to do.
pub(crate) fn first(concurrency: usize) -> u16 {
    bounded(concurrency as f64)
}

/// The prefetch of a queue whose consumer is the only one that gets anything: deep, since nobody else waits for it.
pub(crate) fn alone(concurrency: usize) -> u16 {
    const DEEP: u16 = 64;
    first(concurrency).max(DEEP)
}

/// A better prefetch for a queue that has `current`, if it is worth a change.
pub(crate) fn choose(observed: &SlotsObserved, concurrency: usize, current: u16) -> Option<PrefetchChange> {
    let run_time = observed.run_time?;
    // What runs at once: its share of the slots, and those that nobody else wants.
    let share = concurrency as f64 / observed.queues.max(1) as f64;
    let running = share.max(observed.busy + observed.free).min(concurrency as f64);
    let (wanted, needed) = (held_for(run_time, running), bounded(running));
    let (to, from) = (f64::from(wanted), f64::from(current));
    if to > from * FACTOR && wanted > needed && observed.ended >= EVIDENCE {
        return Some(PrefetchChange { prefetch: wanted, keep: None, reason: PrefetchReason::Short });
    }
    // Less than can run at once costs more than a new consumer, however small the difference.
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

/// The number of messages that tasks of this length need, of which so many run at once.
fn held_for(run_time: Duration, running: f64) -> u16 {
    if run_time >= LONG {
        return bounded(running);
    }
    let ahead = AHEAD.as_secs_f64() / run_time.as_secs_f64().max(f64::EPSILON);
    bounded((running * (1.0 + ahead)).min(f64::from(MOST).max(running)))
}

/// At least one message; the broker takes 0 for no bound.
fn bounded(prefetch: f64) -> u16 {
    prefetch.ceil().clamp(1.0, f64::from(u16::MAX)) as u16
}

#[cfg(test)]
mod tests;
