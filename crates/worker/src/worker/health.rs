//! The health of a worker: its queues and its stop, and the gauges of its slots.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use celeriac_broker::Consumer;
use celeriac_telemetry::health::{HealthSource, UnreadyPart};
use celeriac_telemetry::{Gauge, GaugeReading};
use tokio::sync::watch;

use crate::shutdown::Shutdown;
use crate::slots::{SlotMeter, Slots};

/// The health of a worker. It is not ready until every queue is consumed.
pub(crate) struct WorkerHealth {
    slots: Arc<Slots>,
    /// The queues that it has to consume.
    wanted: Mutex<Vec<Arc<str>>>,
    consumed: Mutex<Vec<Arc<ObservedQueue>>>,
    /// Reason why the consumers could not be started.
    trouble: Mutex<Option<String>>,
    shutdown: OnceLock<Shutdown>,
}

/// A queue that is consumed.
#[derive(Debug)]
pub(crate) struct ObservedQueue {
    queue: Arc<str>,
    /// True while the broker delivers.
    consuming: watch::Receiver<bool>,
    meter: Arc<SlotMeter>,
    /// True once the loop that takes its deliveries has ended.
    ended: AtomicBool,
}

impl WorkerHealth {
    pub(super) fn new(slots: Arc<Slots>, queues: &[String]) -> Self {
        Self {
            slots,
            wanted: Mutex::new(queues.iter().map(|queue| queue.as_str().into()).collect()),
            consumed: Mutex::default(),
            trouble: Mutex::default(),
            shutdown: OnceLock::new(),
        }
    }

    /// Records the shutdown. A worker that stops is not ready.
    pub(super) fn stops_with(&self, shutdown: &Shutdown) {
        let _ = self.shutdown.set(shutdown.clone());
    }

    /// Records that the consumers could not be started.
    pub(super) fn not_consumed(&self, reason: &str) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }

    /// Adds a queue that is consumed.
    pub(super) fn consumed(&self, consumer: &Consumer, meter: &Arc<SlotMeter>) -> Arc<ObservedQueue> {
        let queue = Arc::new(ObservedQueue {
            queue: Arc::clone(consumer.queue()),
            consuming: consumer.consuming(),
            meter: Arc::clone(meter),
            ended: AtomicBool::new(false),
        });
        let mut consumed = self.lock();
        // An earlier consumer of the queue has ended.
        consumed.retain(|earlier| earlier.queue != queue.queue);
        consumed.push(Arc::clone(&queue));
        drop(consumed);
        let mut wanted = self.wanted();
        if !wanted.contains(&queue.queue) {
            wanted.push(Arc::clone(&queue.queue));
        }
        drop(wanted);
        queue
    }

    /// Removes a queue that was cancelled while the worker runs.
    pub(super) fn unwanted(&self, queue: &Arc<ObservedQueue>) {
        let mut consumed = self.lock();
        let is_current = consumed.iter().any(|known| Arc::ptr_eq(known, queue));
        consumed.retain(|known| !Arc::ptr_eq(known, queue));
        drop(consumed);
        if is_current {
            self.wanted().retain(|name| *name != queue.queue);
        }
    }

    fn wanted(&self) -> MutexGuard<'_, Vec<Arc<str>>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<ObservedQueue>>> {
        self.consumed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unready_queue(&self, queue: &str, consumed: &[Arc<ObservedQueue>]) -> Option<UnreadyPart> {
        let reason = match consumed.iter().find(|consumed| &*consumed.queue == queue) {
            None => {
                let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
                trouble.unwrap_or_else(|| "it is not consumed yet".to_owned())
            }
            Some(consumed) if consumed.has_ended() => "its consumer has ended".to_owned(),
            Some(consumed) if !consumed.is_consuming() => "the broker does not deliver".to_owned(),
            Some(_) => return None,
        };
        Some(UnreadyPart::new(format!("queue `{queue}`"), reason))
    }
}

impl ObservedQueue {
    /// Records that the loop that takes its deliveries has ended.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn is_consuming(&self) -> bool {
        *self.consuming.borrow()
    }
}

impl HealthSource for WorkerHealth {
    fn unready(&self) -> Vec<UnreadyPart> {
        if self.shutdown.get().is_some_and(Shutdown::is_requested) {
            return vec![UnreadyPart::new("worker", "it stops, and takes no more tasks")];
        }
        let consumed = self.lock().clone();
        let wanted = self.wanted().clone();
        wanted.iter().filter_map(|queue| self.unready_queue(queue, &consumed)).collect()
    }

    fn gauges(&self, readings: &mut Vec<GaugeReading>) {
        let consumed = self.lock().clone();
        let mut used = 0;
        for ObservedQueue { queue, meter, .. } in consumed.iter().map(|consumed| &**consumed) {
            used += meter.running();
            readings.push(Gauge::InFlight.read_queue(queue, f64::from(meter.running())));
            readings.push(Gauge::Prefetch.read_queue(queue, meter.held() as f64));
        }
        for queue in self.wanted().iter() {
            let queue_consumed = consumed.iter().find(|consumed| consumed.queue == *queue);
            let is_consuming = queue_consumed.is_some_and(|queue| queue.is_consuming() && !queue.has_ended());
            readings.push(Gauge::Consuming.read_queue(queue, f64::from(u8::from(is_consuming))));
        }
        readings.push(Gauge::Slots.read(self.slots.all() as f64));
        readings.push(Gauge::SlotsUsed.read(f64::from(used)));
    }
}

impl fmt::Debug for WorkerHealth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("WorkerHealth").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}
