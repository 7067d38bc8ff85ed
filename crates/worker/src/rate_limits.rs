//! Rate limits: the rate at which each task starts on each worker.
//!
//! A task that cannot start within a second waits in a delay queue of the broker, where it occupies
//! no slot and no memory of the worker. Two times apply the rate. `fresh` gives every new arrival a
//! time of its own, so that ten thousand of them are delayed once each. `next` spaces the starts,
//! and `again` the tasks that have returned.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use celeriac_protocol::RateLimit;

use crate::hold::SHORTEST_HOLD;
use crate::task::registry::Registry;

/// The limits of a worker's tasks.
#[derive(Debug, Default)]
pub(crate) struct RateLimits(RwLock<HashMap<String, Arc<RateLimiter>>>);

impl RateLimits {
    /// Returns the declared limits.
    pub(crate) fn of(registry: &Registry) -> Self {
        let limited = registry.iter().filter_map(|task| Some((task.name.to_owned(), task.options.rate_limit?)));
        Self(RwLock::new(limited.map(|(name, rate)| (name, Arc::new(RateLimiter::new(rate)))).collect()))
    }

    pub(crate) fn find(&self, task: &str) -> Option<Arc<RateLimiter>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(task).cloned()
    }

    /// Changes the rate of a task, or removes it. Waiting messages return at their old time.
    pub(crate) fn set(&self, task: &str, rate: Option<RateLimit>) {
        let mut limited = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match (rate, limited.get(task)) {
            (None, _) => drop(limited.remove(task)),
            (Some(rate), Some(limiter)) => limiter.schedule().change(rate, Instant::now()),
            (Some(rate), None) => drop(limited.insert(task.to_owned(), Arc::new(RateLimiter::new(rate)))),
        }
    }
}

/// The rate limit of one task.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    schedule: Mutex<RateSchedule>,
    /// Held by the first waiting task, so that tasks start one after the other.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

/// The answer to a task that requests a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RateDecision {
    /// The task waits here, and starts within a second if a slot is free.
    Wait,
    /// The task returns to the broker, and requests a start again after this wait.
    Requeue(Duration),
}

impl RateLimiter {
    fn new(rate: RateLimit) -> Self {
        Self { schedule: Mutex::new(RateSchedule::new(rate, Instant::now())), turn: tokio::sync::Mutex::new(()) }
    }

    pub(crate) fn rate(&self) -> RateLimit {
        self.schedule().rate
    }

    pub(crate) fn schedule(&self) -> MutexGuard<'_, RateSchedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The starts of one task under its rate. Pure: the time is an argument.
#[derive(Debug, Clone)]
pub(crate) struct RateSchedule {
    rate: RateLimit,
    /// Earliest time of the next start.
    pub(crate) next: Instant,
    /// Number of tasks that wait here for a start.
    pub(crate) line: u32,
    /// Time of the next new arrival.
    fresh: Instant,
    /// Time of the next task that has returned and cannot wait here.
    again: Instant,
}

impl RateSchedule {
    fn new(rate: RateLimit, now: Instant) -> Self {
        Self { rate, next: now, line: 0, fresh: now, again: now }
    }

    /// Requests a start. `room` is true if the queue lets one more of its messages wait here.
    pub(crate) fn reserve(&mut self, returned: bool, room: bool, now: Instant) -> RateDecision {
        let interval = self.rate.interval();
        let wait = self.next.saturating_duration_since(now) + interval.saturating_mul(self.line);
        let place = if returned { Duration::ZERO } else { self.fresh.saturating_duration_since(now) };
        if room && wait.max(place) < SHORTEST_HOLD {
            if !returned {
                self.fresh = self.fresh.max(now) + interval;
            }
            self.line += 1;
            return RateDecision::Wait;
        }
        if place >= SHORTEST_HOLD {
            self.fresh += interval;
            return RateDecision::Requeue(place);
        }
        let place = self.again.max(now + wait.max(SHORTEST_HOLD));
        self.again = place + interval;
        RateDecision::Requeue(place - now)
    }

    /// Records the start of a task that waited here.
    pub(crate) fn start(&mut self, now: Instant) {
        self.next = self.next.max(now) + self.rate.interval();
    }

    fn change(&mut self, rate: RateLimit, now: Instant) {
        let factor = rate.interval().as_secs_f64() / self.rate.interval().as_secs_f64();
        for clock in [&mut self.next, &mut self.fresh, &mut self.again] {
            let left = clock.saturating_duration_since(now).as_secs_f64() * factor;
            *clock = now + Duration::try_from_secs_f64(left).unwrap_or(Duration::ZERO);
        }
        self.rate = rate;
    }
}

#[cfg(test)]
mod tests;
