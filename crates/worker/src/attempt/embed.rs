//! Reads the embed of a message that does not run here.

use celeriac_protocol::Embed;

use crate::attempt::Attempt;
use crate::attempt::follow_up::messages::FollowUps;
use crate::attempt::reject_reason::RejectReason;

/// Reads the embed, and checks it.
///
/// # Errors
/// Returns an error if it cannot be read, or cannot be started after the task.
pub(crate) fn read_possible_embed(attempt: &Attempt<'_>) -> Result<Embed, RejectReason> {
    let (_, embed) = attempt.received.message.read_body(&attempt.runtime.limits)?;
    FollowUps::check(attempt, &embed)?;
    Ok(embed)
}
