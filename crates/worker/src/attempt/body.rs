//! Decodes bodies within the memory that is there for them.

use std::sync::Arc;

use celeriac_protocol::{Body, Embed, Unreadable};

use crate::attempt::celerys_chords::add_follow_ups;
use crate::attempt::{Attempt, Interrupted};

/// Decodes the body, once there is memory for it. The memory is reserved until the attempt ends.
pub(crate) async fn decode_body(attempt: &mut Attempt<'_>) -> Result<Result<(Body, Embed), Unreadable>, Interrupted> {
    let (limits, received) = (attempt.runtime.limits, Arc::clone(&attempt.received));
    let size = match received.message.plain_body(&limits) {
        Ok(plain) => {
            let size = plain.decoded_size(&limits);
            if attempt.try_reserve_memory(size) {
                return Ok(plain.read(&limits).map(|read| with_follow_ups(attempt, read)));
            }
            size
        }
        Err(unreadable) => return Ok(Err(unreadable)),
    };
    // Hundreds of bodies may wait, so none of them waits decompressed.
    Box::pin(attempt.reserve_memory(size)).await?;
    Ok(received.message.read_body(&limits).map(|read| with_follow_ups(attempt, read)))
}

/// Adds what follows from one of Celery's own tasks by its arguments.
pub(crate) fn with_follow_ups(attempt: &Attempt<'_>, (body, mut embed): (Body, Embed)) -> (Body, Embed) {
    add_follow_ups(&attempt.headers().task, &body, &mut embed);
    (body, embed)
}
