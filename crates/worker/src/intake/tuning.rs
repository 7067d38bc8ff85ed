//! Sets the prefetch of each queue, by the use of the worker's slots.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use celeriac_telemetry::Event;
use celeriac_telemetry::events::worker::PrefetchChanged;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::intake::prefetch::{PrefetchChange, SlotsObserved, choose};
use crate::slots::{SlotMeter, SlotReading, Slots};

/// Interval between two measurements of the slots.
const LOOK: Duration = Duration::from_millis(500);

/// Weight of a measurement, for each later one. After a second it counts for a third.
const KEPT: f64 = 0.6;

/// Shortest time between two changes, because each needs a new consumer.
const MIN_INTERVAL: Duration = Duration::from_secs(2);

/// Mean number of slots below which a queue counts as idle.
const IDLE: f64 = 0.01;

/// The number of messages that a consumer may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PrefetchBound {
    pub(crate) prefetch: u16,
    /// Number of messages to keep of those that have arrived but not started. `None` keeps all.
    pub(crate) keep: Option<usize>,
}

/// The queues of a worker, with their measurements.
#[derive(Debug)]
pub(crate) struct PrefetchTuner {
    slots: Arc<Slots>,
    stats: Mutex<Vec<QueueStats>>,
}

/// One queue.
#[derive(Debug)]
struct QueueStats {
    queue: Arc<str>,
    meter: Arc<SlotMeter>,
    /// Sends the bound. `None` for a queue with a fixed prefetch.
    bound: Option<watch::Sender<PrefetchBound>>,
    last: SlotReading,
    average: MovingAverage,
    changed: Instant,
}

/// Sums of the measurements, in seconds and tasks. Older ones count for less.
#[derive(Debug, Default)]
struct MovingAverage {
    passed: f64,
    used: f64,
    ended: f64,
}

impl PrefetchTuner {
    pub(crate) fn new(slots: Arc<Slots>) -> Self {
        Self { slots, stats: Mutex::default() }
    }

    /// Measures a queue, and sets its bound if it may be `changed`. Returns the meter of its tasks
    /// and the receiver of its bound.
    pub(crate) fn watch(
        &self,
        queue: &Arc<str>,
        prefetch: u16,
        auto: bool,
    ) -> (Arc<SlotMeter>, watch::Receiver<PrefetchBound>) {
        let meter = Arc::new(SlotMeter::new());
        meter.set_held(prefetch);
        let (bound, told) = watch::channel(PrefetchBound { prefetch, keep: None });
        self.lock().push(QueueStats {
            queue: Arc::clone(queue),
            meter: Arc::clone(&meter),
            bound: auto.then_some(bound),
            last: SlotReading::default(),
            average: MovingAverage::default(),
            changed: Instant::now(),
        });
        (meter, told)
    }

    /// Forgets a queue that is no longer consumed.
    pub(crate) fn forget(&self, meter: &Arc<SlotMeter>) {
        self.lock().retain(|stats| !Arc::ptr_eq(&stats.meter, meter));
    }

    /// Measures the slots at every interval.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = looks.tick().await;
        while let Some(now) = stop.run_until_cancelled(looks.tick()).await {
            self.look(now.duration_since(last), now);
            last = now;
        }
    }

    fn look(&self, passed: Duration, now: Instant) {
        let mut all = self.lock();
        if all.iter().all(|stats| stats.bound.is_none()) {
            return;
        }
        for stats in all.iter_mut() {
            stats.look(passed);
        }
        let busy: f64 = all.iter().map(|stats| stats.average.busy()).sum();
        let queues = all.iter().filter(|stats| stats.average.busy() >= IDLE).count();
        let free = (self.slots.all() as f64 - busy).max(0.0);
        for stats in all.iter_mut() {
            stats.tune(free, queues, self.slots.all(), now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<QueueStats>> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueStats {
    fn look(&mut self, passed: Duration) {
        let reading = self.meter.read();
        let used = reading.used.saturating_sub(self.last.used);
        let ended = reading.ended - self.last.ended;
        self.last = reading;
        self.average.add(passed, used, ended);
    }

    fn tune(&mut self, free: f64, queues: usize, concurrency: usize, now: Instant) {
        let Some(bound) = &self.bound else { return };
        if now.duration_since(self.changed) < MIN_INTERVAL {
            return;
        }
        let current = bound.borrow().prefetch;
        let observed = self.average.observed(free, queues);
        let Some(PrefetchChange { prefetch, keep, reason }) = choose(&observed, concurrency, current) else { return };
        self.changed = now;
        self.meter.set_held(prefetch);
        bound.send_replace(PrefetchBound { prefetch, keep });
        let runtime = observed.run_time.unwrap_or_default();
        PrefetchChanged { queue: &self.queue, from: current, to: prefetch, runtime, reason: reason.as_str() }.emit();
    }
}

impl MovingAverage {
    fn add(&mut self, passed: Duration, used: Duration, ended: u64) {
        self.passed = self.passed * KEPT + passed.as_secs_f64();
        self.used = self.used * KEPT + used.as_secs_f64();
        self.ended = self.ended * KEPT + ended as f64;
    }

    /// Returns the mean number of slots in use.
    fn busy(&self) -> f64 {
        if self.passed > 0.0 { self.used / self.passed } else { 0.0 }
    }

    fn observed(&self, free: f64, queues: usize) -> SlotsObserved {
        // If no task has ended, the time so far is the lower bound.
        let run_time = Duration::try_from_secs_f64(self.used / self.ended.max(1.0)).unwrap_or(Duration::MAX);
        let run_time = (self.busy() >= IDLE).then_some(run_time);
        SlotsObserved { run_time, ended: self.ended, busy: self.busy(), free, queues }
    }
}
