//! The clock of a store, by which programs decide.
//!
//! Postgres has one clock for all programs, and the machines of the programs have one each. A
//! program asks Postgres for the time now and then, and counts on from the answer with its
//! monotonic clock. So neither a wrong clock of a machine nor a step of it changes a decision.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use celeriac_telemetry::events::results::{ClockAgrees, ClockDiffers};
use celeriac_telemetry::{Event, clock};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

/// Smallest difference between both clocks that is logged.
const TOLERANCE: Duration = Duration::from_secs(2);

/// Smallest step of the machine's clock that asks for a new measurement.
const STEP: SignedDuration = SignedDuration::from_millis(500);

/// Time after which a measurement is requested again.
const PATIENCE: Duration = Duration::from_secs(1);

/// Time between two log lines about the same difference.
const REMINDER: Duration = Duration::from_secs(3600);

/// The clock by which programs on one store decide. Clones share it.
///
/// It is the clock of Postgres. For a store without a server, and for no store, it is the clock of
/// this machine.
#[derive(Clone, Default)]
pub struct StoreClock(Arc<ClockState>);

#[derive(Default)]
struct ClockState {
    reading: Mutex<Option<ClockReading>>,
    warning: Mutex<Option<ClockWarning>>,
    requested: Notify,
    measured: Notify,
}

/// The time of the store at an instant, and that of the machine.
#[derive(Debug, Clone, Copy)]
struct ClockReading {
    at: Instant,
    store: Timestamp,
    machine: Timestamp,
}

/// The latest log line about a difference.
#[derive(Debug, Clone, Copy)]
struct ClockWarning {
    at: Instant,
    ahead: SignedDuration,
}

impl StoreClock {
    /// Returns the present time.
    pub fn now(&self) -> Timestamp {
        let Some(reading) = *self.reading() else { return clock::now() };
        if reading.is_doubtful() {
            self.0.requested.notify_one();
        }
        reading.store_at(Instant::now())
    }

    /// Returns the time until `time`, or zero if it has passed.
    pub fn time_until(&self, time: Timestamp) -> Duration {
        Duration::try_from(time.duration_since(self.now())).unwrap_or_default()
    }

    /// Waits for a new measurement if the machine's clock was set, or if the machine slept: its
    /// monotonic clock stands still meanwhile.
    pub async fn settled(&self) {
        loop {
            let mut measured = std::pin::pin!(self.0.measured.notified());
            measured.as_mut().enable();
            if !self.reading().is_some_and(|reading| reading.is_doubtful()) {
                return;
            }
            self.0.requested.notify_one();
            let _ = tokio::time::timeout(PATIENCE, measured).await;
        }
    }

    /// Completes when a measurement is due at once.
    pub(crate) async fn measurement_requested(&self) {
        self.0.requested.notified().await;
    }

    /// Takes the time of the store, which was asked for at `asked` and has just been answered.
    /// `name` is the store's, without password.
    pub(crate) fn measure(&self, name: &str, asked: Instant, store: Timestamp) {
        let (answered, machine) = (Instant::now(), clock::now());
        let reading = {
            let mut present = self.reading();
            let next = ClockReading::between(*present, (asked, answered), store, machine);
            *present = Some(next);
            next
        };
        self.0.measured.notify_waiters();
        self.compare(name, reading.machine.duration_since(reading.store), answered);
    }

    /// Logs a difference between both clocks, and its end.
    fn compare(&self, store: &str, ahead: SignedDuration, now: Instant) {
        let mut warning = self.0.warning.lock().unwrap_or_else(PoisonError::into_inner);
        if ahead.unsigned_abs() < TOLERANCE {
            if warning.take().is_some() {
                ClockAgrees { store }.emit();
            }
            return;
        }
        let is_new = |warning: ClockWarning| {
            let change = ahead.saturating_sub(warning.ahead).unsigned_abs();
            change >= TOLERANCE || now.duration_since(warning.at) >= REMINDER
        };
        if warning.is_none_or(is_new) {
            *warning = Some(ClockWarning { at: now, ahead });
            let direction = if ahead.is_positive() { "ahead" } else { "behind" };
            ClockDiffers { store, direction, difference: ahead.unsigned_abs() }.emit();
        }
    }

    fn reading(&self) -> MutexGuard<'_, Option<ClockReading>> {
        self.0.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClockReading {
    /// Returns the next reading. A measurement that the present one can explain does not change
    /// the time, so a slow answer does not make it jump.
    fn between(
        present: Option<Self>,
        (asked, answered): (Instant, Instant),
        store: Timestamp,
        machine: Timestamp,
    ) -> Self {
        let explains = |present: &Self| present.store_at(asked) <= store && store <= present.store_at(answered);
        let store = match present.filter(explains) {
            Some(present) => present.store_at(answered),
            None => later(store, answered.duration_since(asked) / 2),
        };
        Self { at: answered, store, machine }
    }

    fn store_at(&self, instant: Instant) -> Timestamp {
        match instant.checked_duration_since(self.at) {
            Some(after) => later(self.store, after),
            None => self.store.checked_sub(self.at.duration_since(instant)).unwrap_or(Timestamp::MIN),
        }
    }

    fn is_doubtful(&self) -> bool {
        clock::now().duration_since(later(self.machine, self.at.elapsed())).abs() >= STEP
    }
}

impl fmt::Debug for StoreClock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("StoreClock").field(&*self.reading()).finish()
    }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);
    const STORE: &str = "postgres://db/app";

    fn seconds(time: Timestamp) -> f64 {
        time.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64()
    }

    #[test]
    fn without_a_measurement_the_machine_decides() {
        let clock = StoreClock::default();
        assert!(clock.now().duration_since(clock::now()).unsigned_abs() < SECOND);
        assert!(clock.settled().now_or_never().is_some());
    }

    #[test]
    fn the_store_decides_although_the_machine_is_an_hour_ahead() {
        let clock = StoreClock::default();
        let store = clock::now() - HOUR;
        clock.measure(STORE, Instant::now(), store);
        assert!(clock.now().duration_since(store).unsigned_abs() < SECOND);
        assert!(clock.time_until(store + 2 * HOUR) > HOUR);
        assert_eq!(clock.time_until(store), Duration::ZERO);
        assert!(clock.0.warning.lock().unwrap().is_some(), "it is logged");
        clock.measure(STORE, Instant::now(), clock::now());
        assert!(clock.0.warning.lock().unwrap().is_none());
    }

    #[test]
    fn a_slow_answer_that_the_reading_explains_does_not_change_the_time() {
        let epoch = Timestamp::UNIX_EPOCH;
        let at = Instant::now();
        let first = ClockReading::between(None, (at, at), epoch, epoch);
        let answered = at + 4 * SECOND;
        for (store, expected) in [(1, 4.0), (3, 4.0), (3600, 3602.0), (-3600, -3598.0)] {
            let store = epoch + SignedDuration::from_secs(store);
            let next = ClockReading::between(Some(first), (at, answered), store, epoch);
            assert_eq!(seconds(next.store_at(answered)), expected);
        }
    }

    #[tokio::test]
    async fn after_a_step_of_the_machine_the_store_is_asked_first() {
        let clock = StoreClock::default();
        clock.measure(STORE, Instant::now(), clock::now());
        assert!(clock.settled().now_or_never().is_some());
        if let Some(reading) = &mut *clock.reading() {
            reading.machine += HOUR;
        }
        let mut settled = std::pin::pin!(clock.settled());
        assert!(settled.as_mut().now_or_never().is_none());
        clock.measurement_requested().await;
        clock.measure(STORE, Instant::now(), clock::now());
        settled.await;
    }
}
