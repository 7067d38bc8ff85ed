//! Keeps a task to its rate: it waits for its start here when that is less than a second away, and else on the broker.

use std::sync::Arc;
use std::time::Instant;

use crate::attempt::resend::hold_for_rate;
use crate::attempt::{Attempt, Interrupted, Step};
use crate::rate_limits::{RateDecision, RateLimiter};
use crate::slots::SlotMeter;

/// A place in the line of those that wait for their start. Free again on drop.
struct PlaceInLine<'a> {
    limiter: &'a RateLimiter,
    meter: Arc<SlotMeter>,
}

impl Drop for PlaceInLine<'_> {
    fn drop(&mut self) {
        self.limiter.schedule().line -= 1;
        self.meter.leave_line();
    }
}

/// Waits until the task may start by its rate: less than a second here, or outside.
pub(crate) async fn wait_for_start(attempt: &mut Attempt<'_>) -> Step<()> {
    match attempt.runtime.rates.find(&attempt.headers().task) {
        Some(limiter) => Box::pin(reserve(attempt, &limiter)).await,
        None => Ok(()),
    }
}

async fn reserve(attempt: &mut Attempt<'_>, limiter: &RateLimiter) -> Step<()> {
    let rounds = attempt.message_headers().rounds();
    let meter = Arc::clone(&attempt.meter);
    let room = meter.join_line();
    let decision = limiter.schedule().reserve(rounds > 0, room, Instant::now());
    match decision {
        RateDecision::Wait => Ok(wait_in_line(attempt, PlaceInLine { limiter, meter }).await?),
        RateDecision::Requeue(wait) => {
            if room {
                meter.leave_line();
            }
            attempt.release_slot();
            Err(hold_for_rate(attempt, wait, rounds.saturating_add(1)).await.into())
        }
    }
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
    attempt.release_slot();
    let _first = attempt.unless_stopping(limiter.turn.lock()).await?;
    let next = limiter.schedule().next;
    attempt.sleep_unless_stopping(next.saturating_duration_since(Instant::now())).await?;
    attempt.take_slot().await?;
    limiter.schedule().start(Instant::now());
    Ok(())
}
