//! Checks, before a task runs, that everything it carries could be sent after it.

use celeriac_protocol::Embed;

use crate::attempt::follow_up::messages::FollowUps;
use crate::attempt::reject::reject;
use crate::attempt::{Attempt, Step};

/// Lets a task go on whose follow-ups are possible; another one is rejected, and nothing follows from it.
pub(crate) async fn check(attempt: &mut Attempt<'_>) -> Step<()> {
    match FollowUps::check(attempt, &attempt.embed) {
        Ok(()) => Ok(()),
        Err(error) => {
            attempt.embed = Embed::default();
            Err(Box::pin(reject(attempt, &error.into())).await)
        }
    }
}
