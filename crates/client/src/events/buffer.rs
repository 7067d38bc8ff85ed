//! Events on their way to the broker, in batches and within a bound.

use std::collections::VecDeque;

use super::writer::end;

/// Most events of one message.
const BATCH: usize = 500;

/// Size from which a message takes no more events, in bytes.
const BATCH_SIZE: usize = 128 << 10;

/// Most events that wait.
const EVENTS: usize = 20_000;

/// Most bytes of events that wait.
const SIZE: usize = 16 << 20;

/// The routing key of messages with several events.
const MULTI: &str = "task.multi";

/// Events of one message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EventBatch {
    pub(super) routing_key: String,
    pub(super) body: Vec<u8>,
    pub(super) events: usize,
}

/// Events that wait to be published.
#[derive(Debug, Default)]
pub(super) struct EventBuffer {
    batches: VecDeque<EventBatch>,
    events: usize,
    size: usize,
    dropped: u64,
}

/// The place of an event in the life of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TaskPhase {
    /// Its arrival.
    Arrival,
    /// Anything later.
    Later,
}

impl EventBuffer {
    /// Takes an event of a task, written up to its clock, or drops it and returns `false`.
    ///
    /// Half of the room is for tasks whose arrival was taken, so that under pressure whole tasks
    /// are dropped, and not their ends.
    pub(super) fn push_task(&mut self, mut event: Vec<u8>, phase: TaskPhase, clock: impl FnOnce() -> u64) -> bool {
        let share = if phase == TaskPhase::Arrival { 2 } else { 1 };
        if self.events >= EVENTS / share || self.size >= SIZE / share {
            self.dropped += 1;
            return false;
        }
        end(&mut event, clock());
        self.events += 1;
        match self.batches.back_mut().filter(|batch| batch.has_room()) {
            Some(batch) => {
                batch.body.push(b',');
                batch.body.extend_from_slice(&event);
                batch.events += 1;
                self.size += event.len() + 1;
            }
            None => {
                event.insert(0, b'[');
                self.size += event.len();
                self.batches.push_back(EventBatch { routing_key: MULTI.to_owned(), body: event, events: 1 });
            }
        }
        true
    }

    /// Takes an event of a worker, which has a message of its own.
    pub(super) fn push_worker(&mut self, kind: &str, mut event: Vec<u8>, clock: impl FnOnce() -> u64) {
        end(&mut event, clock());
        self.events += 1;
        self.size += event.len();
        self.batches.push_back(EventBatch { routing_key: kind.replace('-', "."), body: event, events: 1 });
    }

    /// Returns the first batch.
    pub(super) fn take(&mut self) -> Option<EventBatch> {
        let mut batch = self.batches.pop_front()?;
        self.events -= batch.events;
        self.size -= batch.body.len();
        if batch.routing_key == MULTI {
            batch.body.push(b']');
        }
        Some(batch)
    }

    /// Counts events that were dropped.
    pub(super) fn count_dropped(&mut self, events: usize) {
        self.dropped += events as u64;
    }

    /// Returns the number of events that were dropped since the last call.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Returns `true` if no event waits.
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Returns `true` if a message waits that takes no more events.
    pub(super) fn has_full_batch(&self) -> bool {
        self.batches.front().is_some_and(|batch| !batch.has_room())
    }
}

impl EventBatch {
    fn has_room(&self) -> bool {
        self.routing_key == MULTI && self.events < BATCH && self.body.len() < BATCH_SIZE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(buffer: &mut EventBuffer, phase: TaskPhase) -> bool {
        buffer.push_task(b"{".to_vec(), phase, || 7)
    }

    #[test]
    fn events_of_tasks_share_messages_and_those_of_workers_do_not() {
        let mut buffer = EventBuffer::default();
        push(&mut buffer, TaskPhase::Arrival);
        push(&mut buffer, TaskPhase::Later);
        buffer.push_worker("worker-heartbeat", b"{".to_vec(), || 8);
        push(&mut buffer, TaskPhase::Later);

        let mut taken = Vec::new();
        while let Some(batch) = buffer.take() {
            taken.push((batch.routing_key, String::from_utf8(batch.body).unwrap(), batch.events));
        }

        let one = |key: &str, body: &str, events| (key.to_owned(), body.to_owned(), events);
        let expected = [
            one("task.multi", r#"[{"clock":7},{"clock":7}]"#, 2),
            one("worker.heartbeat", r#"{"clock":8}"#, 1),
            one("task.multi", r#"[{"clock":7}]"#, 1),
        ];
        assert_eq!(taken, expected);
        assert_eq!((buffer.events, buffer.size), (0, 0));
    }

    #[test]
    fn new_tasks_are_dropped_before_the_events_of_those_that_have_arrived() {
        let mut buffer = EventBuffer::default();
        let arrived = (0..EVENTS).filter(|_| push(&mut buffer, TaskPhase::Arrival)).count();
        assert_eq!(arrived, EVENTS / 2);
        let ended = (0..EVENTS).filter(|_| push(&mut buffer, TaskPhase::Later)).count();
        assert_eq!(ended, EVENTS / 2);
        assert_eq!((buffer.take_dropped(), buffer.take_dropped()), (EVENTS as u64, 0));
        let batches = std::iter::from_fn(|| buffer.take()).map(|batch| batch.events);
        assert_eq!(batches.max(), Some(BATCH));
    }

    #[test]
    fn large_events_are_bounded_by_their_size() {
        let mut buffer = EventBuffer::default();
        let large = vec![b' '; 1 << 20];
        let taken = (0..100).filter(|_| buffer.push_task(large.clone(), TaskPhase::Later, || 1)).count();
        assert_eq!(taken, SIZE >> 20);
    }
}
