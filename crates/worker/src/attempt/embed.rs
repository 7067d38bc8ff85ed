//! Reads the embed of a message that does not run here.

use celeriac_protocol::{DecodeLimits, Embed};

use crate::attempt::body::{decode_body, with_follow_ups};
use crate::attempt::follow_up::messages::FollowUps;
use crate::attempt::reject_reason::RejectReason;
use crate::attempt::{Attempt, AttemptStep};
use crate::follow_up_size::FollowUpLimits;

/// Reads the embed, and checks it. The inner error is the reason why it cannot be read,
/// or cannot be started after the task.
pub(crate) async fn read_possible_embed(attempt: &mut Attempt<'_>) -> AttemptStep<Result<Embed, RejectReason>> {
    let embed = match decode_body(attempt).await? {
        Ok((_, embed)) => embed,
        Err(unreadable) => return Ok(Err(unreadable.into())),
    };
    Ok(FollowUps::check(attempt, &embed).await.map(|()| embed).map_err(RejectReason::from))
}

/// Most bytes of the body of a quarantined task whose follow-ups are sent.
const SMALL_BODY: usize = 256 << 10;

/// Most values in it.
const SMALL_VALUES: usize = 50_000;

/// Most that it may send.
const SMALL_FOLLOW_UPS: FollowUpLimits = FollowUpLimits { messages: 1_000, bytes: 4 << 20, message_size: 1 << 20 };

/// Reads the embed of a task that is quarantined. Its body may be what brings workers down, so the
/// bounds are fixed and small. Returns `None` beyond them.
pub(crate) async fn read_small_embed(attempt: &Attempt<'_>) -> Option<Embed> {
    let limits = DecodeLimits { size: SMALL_BODY, values: SMALL_VALUES, ..attempt.runtime.limits };
    let read = attempt.received.message.read_body(&limits).ok()?;
    let (_, embed) = with_follow_ups(attempt, read);
    FollowUps::check_within(attempt, &embed, &SMALL_FOLLOW_UPS).await.ok().map(|()| embed)
}
