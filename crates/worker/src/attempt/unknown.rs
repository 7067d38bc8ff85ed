//! Leaves a task that this worker does not know to a worker that does, for a time.
//!
//! During a rollout, the programs of a fleet know different tasks. An old worker would dead-letter
//! those of the new program.

use std::time::Duration;

use celeriac_protocol::TaskHeaders;
use celeriac_telemetry::events::worker::task::{TaskDelayed, UnknownTaskHeld};

use crate::attempt::resend::hold_unknown;
use crate::attempt::{Attempt, AttemptStep};

/// The shortest and the longest wait between two looks at a message.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// Returns an unknown task to its queue, unless its grace is over. Does nothing for a broadcast,
/// whose copy is for this worker alone.
pub(crate) async fn hold_within_grace(attempt: &mut Attempt<'_>) -> AttemptStep<()> {
    let runtime = attempt.runtime;
    if runtime.broadcasts.contains(&*attempt.received.origin.queue) {
        return Ok(());
    }
    let now = runtime.clock.now();
    // A time that has not come is not one of ours.
    let before = attempt.message_headers().unknown_since().filter(|since| *since <= now);
    let since = before.unwrap_or(now);
    let held = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    let Some(left) = runtime.unknown_task_grace.checked_sub(held).filter(|left| !left.is_zero()) else {
        return Ok(());
    };
    attempt.release_slot();
    let TaskHeaders { task, id, .. } = attempt.headers();
    let wait = next_wait(held, left);
    match before {
        None => {
            attempt.span.emit(&UnknownTaskHeld { task, id, queue: &attempt.received.origin.queue, grace_left: left })
        }
        Some(_) => attempt.span.emit(&TaskDelayed { task, id, retry_in: wait }),
    }
    Err(hold_unknown(attempt, wait, since).await)
}

/// Half as long as the message has been held: soon at first, and seldom during a long grace.
fn next_wait(held: Duration, left: Duration) -> Duration {
    (held / 2).clamp(SHORTEST, LONGEST).min(left.max(SHORTEST))
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::Message;
    use celeriac_protocol::headers::names;
    use celeriac_telemetry::clock;
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::attempt::decode::find_task;
    use crate::attempt::testing::TestWorker;
    use crate::attempt::{Disposition, Processed};

    async fn arrives(worker: &TestWorker, change: impl FnOnce(&mut Message)) -> Processed {
        let renamed = |message: &mut Message| {
            message.headers.insert(names::TASK, "newer");
            change(message);
        };
        let mut attempt = worker.deliver_changed("succeed", |_, message| renamed(message)).await;
        find_task(&mut attempt).await.unwrap_err()
    }

    #[tokio::test]
    async fn an_unknown_task_returns_to_its_queue_with_the_time_of_its_first_return() {
        let worker = TestWorker::holding_unknown(Duration::from_secs(60)).await;
        let begun = clock::now() - SignedDuration::from_millis(1);

        let ended = arrives(&worker, |_| {}).await;

        assert_eq!((ended.disposition, worker.row().await), (Disposition::Done, None));
        let published = worker.published();
        assert_eq!(published.len(), 1);
        let headers = &published[0].message.headers;
        assert_eq!((headers.text(names::DEAD_REASON), headers.get(names::REPEATED).is_some()), (None, true));
        assert!(headers.unknown_since().unwrap() >= begun);
    }

    #[tokio::test]
    async fn the_time_of_the_first_return_stays_and_the_grace_ends() {
        let worker = TestWorker::holding_unknown(Duration::from_secs(60)).await;
        let now = clock::now().as_second();
        let ago = |seconds| Timestamp::from_second(now - seconds).unwrap();
        for (since, reason) in [(ago(30), None), (ago(61), Some("unknown-task")), (ago(-3_600), None)] {
            arrives(&worker, |message| message.headers.set_unknown_since(since)).await;
            let sent = worker.published().pop().unwrap();
            assert_eq!(sent.header(names::DEAD_REASON), reason, "{since}");
            let kept = sent.message.headers.unknown_since().unwrap();
            assert_eq!(kept == since, since < clock::now(), "a time in the future is not believed");
        }
    }

    #[test]
    fn the_waits_grow_with_the_time_and_end_with_the_grace() {
        let seconds = Duration::from_secs;
        for (held, left, wait) in [(0, 600, 1), (10, 590, 5), (300, 300, 30), (590, 10, 10), (600, 0, 1)] {
            assert_eq!(next_wait(seconds(held), seconds(left)), seconds(wait), "{held}");
        }
    }
}
