//! Decides whether a task may start now. Headers and store decide; the body is not looked at.

use std::time::Duration;

use celeriac_protocol::{Failure, State, TaskHeaders};
use celeriac_telemetry::clock;
use celeriac_telemetry::events::worker::TaskExpired;

use crate::attempt::decode::read_possible_embed;
use crate::attempt::duplicate::{find_recorded_outcome, may_be_duplicate};
use crate::attempt::follow_up::after_revoked;
use crate::attempt::record::record_failure;
use crate::attempt::resend::hold_until_due;
use crate::attempt::revocation::{KIND, is_revoked, revoke};
use crate::attempt::row::RowDetails;
use crate::attempt::{Attempt, Processed, Step};
use crate::hold::{SHORTEST_HOLD, time_until};

/// Lets a task go on that has not expired, is not known to be revoked, has no outcome yet, and is due.
pub(crate) async fn check(attempt: &mut Attempt<'_>) -> Step<()> {
    if has_expired(attempt) {
        return Err(Box::pin(expire(attempt)).await);
    }
    if is_revoked(attempt) {
        return Err(Box::pin(revoke(attempt)).await);
    }
    if may_be_duplicate(attempt)
        && let Some(disposition) = Box::pin(find_recorded_outcome(attempt)).await
    {
        return Err(disposition.into());
    }
    match time_until_due(attempt) {
        None => Ok(()),
        Some(wait) => Box::pin(wait_until_due(attempt, wait)).await,
    }
}

fn has_expired(attempt: &Attempt<'_>) -> bool {
    attempt.headers().expires.is_some_and(|expires| expires <= clock::now())
}

async fn expire(attempt: &mut Attempt<'_>) -> Processed {
    let TaskHeaders { task, id, .. } = attempt.headers();
    attempt.span.emit(&TaskExpired { task, id });
    let failure = Failure::new(KIND, "expired");
    let processed = record_failure(attempt, State::Revoked, failure.clone(), RowDetails::default()).await;
    attempt.embed = read_possible_embed(attempt).unwrap_or_default();
    processed.and_then(after_revoked(attempt, &failure)).await
}

fn time_until_due(attempt: &Attempt<'_>) -> Option<Duration> {
    attempt.headers().eta.map(time_until).filter(|wait| !wait.is_zero())
}

async fn wait_until_due(attempt: &mut Attempt<'_>, wait: Duration) -> Step<()> {
    attempt.release_slot();
    if wait >= SHORTEST_HOLD {
        // A sender without the delay ladder, such as Celery on a classic queue, left the waiting to the worker.
        return Err(hold_until_due(attempt, wait).await.into());
    }
    attempt.sleep_unless_stopping(wait).await?;
    Ok(attempt.take_slot().await?)
}
