//! The slots in which tasks run, and their use by each queue.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The slots of a worker, shared by all queues.
#[derive(Debug)]
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    size: Arc<Mutex<SlotCount>>,
}

/// The number of slots.
#[derive(Debug)]
struct SlotCount {
    all: usize,
    /// Number of slots in use that end with their task, because there are fewer slots since.
    surplus: usize,
}

impl Slots {
    pub(crate) fn new(all: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(all)), size: Arc::new(Mutex::new(SlotCount { all, surplus: 0 })) }
    }

    /// Returns the number of slots, free or not.
    pub(crate) fn all(&self) -> usize {
        lock(&self.size).all
    }

    /// Adds slots, at most so many that there are `most`. Returns the number of all.
    pub(crate) fn grow(&self, slots: usize, most: usize) -> usize {
        let mut size = lock(&self.size);
        let added = slots.min(most.saturating_sub(size.all));
        let revived = added.min(size.surplus);
        size.surplus -= revived;
        self.free.add_permits(added - revived);
        size.all += added;
        size.all
    }

    /// Removes slots, but the last one. A slot in use ends with its task. Returns the number of
    /// all.
    pub(crate) fn shrink(&self, slots: usize) -> usize {
        let mut size = lock(&self.size);
        let removed = slots.min(size.all.saturating_sub(1));
        size.surplus += removed - self.free.forget_permits(removed);
        size.all -= removed;
        size.all
    }

    /// Returns the number of slots in use.
    pub(crate) fn used(&self) -> usize {
        let size = lock(&self.size);
        (size.all + size.surplus).saturating_sub(self.free.available_permits())
    }

    /// Waits for a slot for a task of the meter's queue. Returns `None` if the slots are closed.
    pub(crate) async fn take(&self, meter: &Arc<SlotMeter>) -> Option<TaskSlot> {
        let permit = Arc::clone(&self.free).acquire_owned().await.ok()?;
        meter.change(|usage| usage.running += 1);
        Some(TaskSlot { permit: Some(permit), size: Arc::clone(&self.size), meter: Arc::clone(meter) })
    }
}

/// A slot in use. Dropping it frees it.
#[derive(Debug)]
pub(crate) struct TaskSlot {
    /// Taken at the end.
    permit: Option<OwnedSemaphorePermit>,
    size: Arc<Mutex<SlotCount>>,
    meter: Arc<SlotMeter>,
}

fn lock(size: &Mutex<SlotCount>) -> MutexGuard<'_, SlotCount> {
    size.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TaskSlot {
    /// Returns the meter of the slot.
    pub(crate) fn meter(&self) -> Arc<SlotMeter> {
        Arc::clone(&self.meter)
    }
}

impl Drop for TaskSlot {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            let mut size = lock(&self.size);
            if size.surplus > 0 {
                size.surplus -= 1;
                permit.forget();
            }
        }
        self.meter.change(|usage| {
            usage.running -= 1;
            usage.ended += 1;
        });
        self.meter.freed.notify_one();
    }
}

/// Measures the time that the tasks of one queue occupy slots, including those that still run.
#[derive(Debug)]
pub(crate) struct SlotMeter {
    usage: Mutex<SlotUsage>,
    /// Number of messages held of the queue.
    held: AtomicUsize,
    /// Number of those that wait in the worker for a start under a rate limit.
    line: AtomicUsize,
    /// Number of running tasks whose message has returned to the queue.
    returned: AtomicUsize,
    /// Notified when a task leaves its slot.
    freed: Notify,
}

#[derive(Debug)]
struct SlotUsage {
    running: u32,
    /// Time in slots until `since`, summed over all tasks.
    used: Duration,
    since: Instant,
    ended: u64,
}

/// A reading of a meter. Both numbers only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SlotReading {
    /// Time in slots, summed over all tasks.
    pub(crate) used: Duration,
    /// Number of tasks that have left their slot.
    pub(crate) ended: u64,
}

impl SlotMeter {
    pub(crate) fn new() -> Self {
        let usage = SlotUsage { running: 0, used: Duration::ZERO, since: Instant::now(), ended: 0 };
        Self {
            usage: Mutex::new(usage),
            held: AtomicUsize::new(0),
            line: AtomicUsize::new(0),
            returned: AtomicUsize::new(0),
            freed: Notify::new(),
        }
    }

    /// Records the number of messages held of the queue.
    pub(crate) fn set_held(&self, held: u16) {
        self.held.store(usize::from(held), Ordering::Relaxed);
    }

    /// Returns the number of messages held of the queue: its prefetch.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Returns the number of its tasks that occupy a slot.
    pub(crate) fn running(&self) -> u32 {
        self.settled().running
    }

    /// Lets one more message wait for a start under a rate limit. At most half of the queue's held
    /// messages may wait, so that its other tasks can run.
    pub(crate) fn reserve_place(&self) -> bool {
        let most = (self.held.load(Ordering::Relaxed) / 2).max(1);
        self.line.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |line| (line < most).then_some(line + 1)).is_ok()
    }

    /// Ends the wait of a message.
    pub(crate) fn release_place(&self) {
        self.line.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a running task whose message has returned to the queue.
    pub(crate) fn add_returned(&self) {
        self.returned.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends the count of a task whose message has returned to the queue.
    pub(crate) fn remove_returned(&self) {
        self.returned.fetch_sub(1, Ordering::Relaxed);
        self.freed.notify_one();
    }

    /// Waits until fewer tasks of the queue run than it may hold messages.
    ///
    /// The broker ensures that by itself, unless the messages of running tasks have returned.
    pub(crate) async fn await_room(&self, prefetch: usize) {
        let is_full = || self.returned.load(Ordering::Relaxed) > 0 && self.settled().running as usize >= prefetch;
        while is_full() {
            // The permit of an earlier notification is kept, so none is missed.
            self.freed.notified().await;
        }
    }

    /// Returns the present reading.
    pub(crate) fn read(&self) -> SlotReading {
        let usage = self.settled();
        SlotReading { used: usage.used, ended: usage.ended }
    }

    fn change(&self, change: impl FnOnce(&mut SlotUsage)) {
        change(&mut self.settled());
    }

    /// Returns the usage up to now.
    fn settled(&self) -> MutexGuard<'_, SlotUsage> {
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let used = now.saturating_duration_since(usage.since) * usage.running;
        usage.used += used;
        usage.since = now;
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn slots_are_added_and_removed_while_some_are_in_use() {
        let (slots, meter) = (Slots::new(2), Arc::new(SlotMeter::new()));
        let first = slots.take(&meter).await.unwrap();
        let second = slots.take(&meter).await.unwrap();
        assert_eq!(slots.shrink(1), 1);
        drop(first);
        assert_eq!(slots.free.available_permits(), 0, "the slot has ended with its task");
        assert_eq!(slots.shrink(5), 1, "the last one stays");
        assert_eq!(slots.grow(2, 100), 3);
        assert_eq!(slots.free.available_permits(), 2);
        assert_eq!(slots.shrink(2), 1);
        assert_eq!(slots.grow(1, 100), 2);
        drop(second);
        assert_eq!((slots.free.available_permits(), slots.grow(7, 3)), (2, 3));
    }

    #[tokio::test]
    async fn a_task_that_still_runs_is_measured() {
        let (slots, meter, other) = (Slots::new(2), Arc::new(SlotMeter::new()), Arc::new(SlotMeter::new()));
        let first = slots.take(&meter).await.unwrap();
        let second = slots.take(&meter).await.unwrap();
        let begun = meter.read();
        let later = loop {
            let reading = meter.read();
            if reading.used > begun.used {
                break reading;
            }
        };
        assert_eq!(later.ended, 0);
        drop((first, second));
        let ended = meter.read();
        assert!(ended.used >= later.used);
        assert_eq!((ended.ended, meter.read()), (2, ended));
        assert_eq!(other.read(), SlotReading::default());
    }

    #[test]
    fn half_of_the_held_messages_and_at_least_one_may_wait_for_a_start() {
        let meter = SlotMeter::new();
        assert_eq!([meter.reserve_place(), meter.reserve_place()], [true, false]);
        meter.set_held(4);
        assert_eq!([meter.reserve_place(), meter.reserve_place()], [true, false]);
        meter.release_place();
        assert!(meter.reserve_place());
    }

    #[tokio::test]
    async fn a_slot_is_free_again_when_it_is_dropped() {
        let (slots, meter) = (Slots::new(1), Arc::new(SlotMeter::new()));
        let slot = slots.take(&meter).await.unwrap();
        assert_eq!(slots.free.available_permits(), 0);
        drop(slot);
        assert_eq!(slots.free.available_permits(), 1);
    }
}
