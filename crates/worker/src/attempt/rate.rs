//! Applies the rate limit of a task. The task waits here if it can start within a second, and
//! otherwise at the broker.

use std::sync::Arc;
use std::time::Instant;

use celeriac_protocol::TaskHeaders;
use celeriac_telemetry::events::worker::task::TaskRateLimited;

use crate::attempt::resend::hold_for_rate;
use crate::attempt::{Attempt, AttemptStep, Interrupted};
use crate::rate_limits::{RateDecision, RateLimiter};
use crate::slots::SlotMeter;

/// A wait for a start, as the limits count it. Dropping it ends the wait.
struct PlaceInLine<'a> {
    limiter: &'a RateLimiter,
    meter: Arc<SlotMeter>,
}

impl Drop for PlaceInLine<'_> {
    fn drop(&mut self) {
        self.limiter.schedule().line -= 1;
        self.meter.release_place();
    }
}

/// Waits until the rate allows a start: here for less than a second, otherwise at the broker.
pub(crate) async fn wait_for_start(attempt: &mut Attempt<'_>) -> AttemptStep<()> {
    match attempt.runtime.rates.find(&attempt.headers().task) {
        Some(limiter) => Box::pin(reserve(attempt, &limiter)).await,
        None => Ok(()),
    }
}

async fn reserve(attempt: &mut Attempt<'_>, limiter: &RateLimiter) -> AttemptStep<()> {
    let rounds = attempt.message_headers().rounds();
    let meter = Arc::clone(&attempt.meter);
    let room = meter.reserve_place();
    let decision = limiter.schedule().reserve(rounds > 0, room, Instant::now());
    match decision {
        RateDecision::Wait => Ok(wait_in_line(attempt, PlaceInLine { limiter, meter }).await?),
        RateDecision::Requeue(wait) => {
            tell_limited(attempt);
            if room {
                meter.release_place();
            }
            attempt.release_slot();
            Err(hold_for_rate(attempt, wait, rounds.saturating_add(1)).await)
        }
    }
}

fn tell_limited(attempt: &Attempt<'_>) {
    let TaskHeaders { task, id, .. } = attempt.headers();
    attempt.span.emit(&TaskRateLimited { task, id });
}

async fn wait_in_line(attempt: &mut Attempt<'_>, place: PlaceInLine<'_>) -> Result<(), Interrupted> {
    let limiter = place.limiter;
    if let Ok(_first) = limiter.turn.try_lock() {
        let mut schedule = limiter.schedule();
        let now = Instant::now();
        if schedule.next <= now {
            schedule.start(now);
            return Ok(());
        }
    }
    tell_limited(attempt);
    attempt.release_slot();
    let _first = attempt.unless_stopping(limiter.turn.lock()).await?;
    let next = limiter.schedule().next;
    attempt.sleep_unless_stopping(next.saturating_duration_since(Instant::now())).await?;
    attempt.take_slot().await?;
    limiter.schedule().start(Instant::now());
    Ok(())
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::RateLimit;

    use super::*;
    use crate::attempt::Disposition;
    use crate::attempt::testing::TestWorker;
    use crate::task::hooks::HookList;

    async fn limited(rate: RateLimit) -> TestWorker {
        TestWorker::with(|options| options.rate_limit = Some(rate), HookList::default()).await
    }

    #[tokio::test]
    async fn the_first_starts_at_once_and_the_second_waits_its_time_without_a_slot() {
        let worker = limited(RateLimit::per_second(20)).await;
        let mut first = worker.deliver("succeed").await;
        let mut second = worker.deliver("succeed").await;
        let begun = Instant::now();

        wait_for_start(&mut first).await.unwrap();
        wait_for_start(&mut second).await.unwrap();

        assert!(begun.elapsed().as_millis() >= 49, "{:?}", begun.elapsed());
        assert_eq!((first.slot.is_some(), second.slot.is_some()), (true, true));
    }

    #[tokio::test]
    async fn a_task_whose_turn_is_far_goes_round_by_the_broker() {
        let worker = limited(RateLimit::per_hour(1)).await;
        let mut first = worker.deliver("succeed").await;
        let mut second = worker.deliver("succeed").await;
        wait_for_start(&mut first).await.unwrap();

        let ended = wait_for_start(&mut second).await.unwrap_err();

        assert_eq!(ended.disposition, Disposition::Done);
        assert!(second.slot.is_none());
        let published = worker.published();
        assert_eq!((published.len(), published[0].message.headers.rounds()), (1, 1));
    }

    #[tokio::test]
    async fn a_stop_sends_back_what_stands_in_line() {
        let worker = limited(RateLimit::per_second(2)).await;
        let mut first = worker.deliver("succeed").await;
        let mut second = worker.deliver("succeed").await;
        wait_for_start(&mut first).await.unwrap();
        worker.interrupt();

        let ended = wait_for_start(&mut second).await.unwrap_err();

        assert_eq!(ended.disposition, Disposition::Requeue);
        let limiter = worker.runtime.rates.find("act").unwrap();
        assert_eq!(limiter.schedule().line, 0, "its place is free again");
    }
}
