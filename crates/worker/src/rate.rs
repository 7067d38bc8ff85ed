//! How often tasks start, where that is limited: for each task and worker.
//!
//! What cannot start within a second goes round by the broker's delay: it takes no slot, no memory, and no other task's
//! time. Two clocks keep a task to its rate. One gives every fresh arrival a place of its own, so that ten thousand of them
//! make one round each; the other is asked by what comes back, and by it alone starts are paced.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use celeriac_protocol::RateLimit;
use tokio::sync::Mutex as Gate;

use crate::follow_up::{self, SHORTEST_HOLD};
use crate::lifecycle::{Ended, Ending, Interrupted, Life};
use crate::registry::Registry;
use crate::slots::{Meter, Slot};

/// The limits of a worker's tasks.
#[derive(Debug, Default)]
pub(crate) struct Rates(RwLock<HashMap<String, Arc<Limiter>>>);

impl Rates {
    /// Those that are declared.
    pub(crate) fn of(registry: &Registry) -> Self {
        let limited = registry.iter().filter_map(|task| Some((task.name.to_owned(), task.options.rate_limit?)));
        Self(RwLock::new(limited.map(|(name, rate)| (name, Arc::new(Limiter::new(rate)))).collect()))
    }

    pub(crate) fn find(&self, task: &str) -> Option<Arc<Limiter>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(task).cloned()
    }

    /// Changes the rate of a task, or lifts it. What is out comes back when it was to.
    pub(crate) fn set(&self, task: &str, rate: Option<RateLimit>) {
        let mut limited = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match (rate, limited.get(task)) {
            (None, _) => drop(limited.remove(task)),
            (Some(rate), Some(limiter)) => limiter.book().change(rate, Instant::now()),
            (Some(rate), None) => drop(limited.insert(task.to_owned(), Arc::new(Limiter::new(rate)))),
        }
    }
}

/// What keeps one task to its rate.
#[derive(Debug)]
pub(crate) struct Limiter {
    book: Mutex<Book>,
    /// Those in line start one after the other: whoever has this is next.
    gate: Gate<()>,
}

/// What becomes of a task that asks for its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It stands in line, and starts within a second if there is a slot.
    InLine,
    /// It goes round, and asks again after this wait.
    Round(Duration),
}

impl Limiter {
    fn new(rate: RateLimit) -> Self {
        Self { book: Mutex::new(Book::new(rate, Instant::now())), gate: Gate::new(()) }
    }

    pub(crate) fn rate(&self) -> RateLimit {
        self.book().rate
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who may start when. Pure: the time arrives as an argument.
#[derive(Debug, Clone)]
struct Book {
    rate: RateLimit,
    /// The earliest time of the next start.
    next: Instant,
    /// How many stand in line for it.
    line: u32,
    /// The place of the next that arrives for the first time.
    fresh: Instant,
    /// The place of the next that came back, and found no room in the line.
    again: Instant,
}

impl Book {
    fn new(rate: RateLimit, now: Instant) -> Self {
        Self { rate, next: now, line: 0, fresh: now, again: now }
    }

    /// Asks for a start. `room` is whether the queue's other tasks can spare what the line takes.
    fn ask(&mut self, returned: bool, room: bool, now: Instant) -> Answer {
        let interval = self.rate.interval();
        let wait = self.next.saturating_duration_since(now) + interval.saturating_mul(self.line);
        let place = if returned { Duration::ZERO } else { self.fresh.saturating_duration_since(now) };
        if room && wait.max(place) < SHORTEST_HOLD {
            if !returned {
                self.fresh = self.fresh.max(now) + interval;
            }
            self.line += 1;
            return Answer::InLine;
        }
        if place >= SHORTEST_HOLD {
            self.fresh += interval;
            return Answer::Round(place);
        }
        let place = self.again.max(now + wait.max(SHORTEST_HOLD));
        self.again = place + interval;
        Answer::Round(place - now)
    }

    /// One in line starts now.
    fn start(&mut self, now: Instant) {
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

/// A place in line. Free again on drop.
struct Place<'a> {
    limiter: &'a Limiter,
    meter: Arc<Meter>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.limiter.book().line -= 1;
        self.meter.leave_line();
    }
}

impl Life<'_> {
    /// Waits until the task may start by its rate: less than a second here, or outside.
    pub(crate) async fn keep_to_rate(&self, slot: Slot) -> Result<Slot, Ended> {
        match self.core.rates.find(&self.received.headers.task) {
            Some(limiter) => Box::pin(self.keep_to(&limiter, slot)).await,
            None => Ok(slot),
        }
    }

    async fn keep_to(&self, limiter: &Limiter, slot: Slot) -> Result<Slot, Ended> {
        let rounds = self.received.message.headers.rounds();
        let meter = slot.meter();
        let room = meter.join_line();
        let answer = limiter.book().ask(rounds > 0, room, Instant::now());
        let place = match answer {
            Answer::InLine => Place { limiter, meter },
            Answer::Round(wait) => {
                if room {
                    meter.leave_line();
                }
                drop(slot);
                return Err(follow_up::send_round(self, wait, rounds.saturating_add(1)).await.into());
            }
        };
        self.stand_in_line(place, slot).await.map_err(|Interrupted| Ending::Again.into())
    }

    async fn stand_in_line(&self, place: Place<'_>, slot: Slot) -> Result<Slot, Interrupted> {
        let limiter = place.limiter;
        if let Ok(_first) = limiter.gate.try_lock() {
            let mut book = limiter.book();
            let now = Instant::now();
            if book.next <= now {
                book.start(now);
                return Ok(slot);
            }
        }
        drop(slot);
        let _first = self.unless_interrupted(limiter.gate.lock()).await?;
        let next = limiter.book().next;
        self.doze(next.saturating_duration_since(Instant::now())).await?;
        let slot = self.unless_interrupted(self.core.slots.take(&place.meter)).await?.ok_or(Interrupted)?;
        limiter.book().start(Instant::now());
        Ok(slot)
    }
}

#[cfg(test)]
mod tests;
