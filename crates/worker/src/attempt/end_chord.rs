//! Ends a chord for a member whose own delivery cannot do so, or for nobody: a chord that is
//! overdue.
//!
//! The message has the chord and the position of the member, or [`NOBODY`]'s, in its headers. As
//! with a member, its delivery sends the body or the errbacks, and comes again if its worker dies.

use celeriac_broker::Outgoing;
use celeriac_client::call::{CallOptions, Relations};
use celeriac_client::{Client, DynamicCall, Result as ClientResult};
use celeriac_protocol::headers::names;
use celeriac_protocol::{Body, TaskOptions, TaskState};
use celeriac_results::{JoinMember, NOBODY, Turn};
use celeriac_topology::CallRoute;

use crate::attempt::follow_up::take_turn;
use crate::attempt::joins::look;
use crate::attempt::{Attempt, AttemptStep, Disposition, Processed};
use crate::task::derived_id::derived_id;

/// The task of such a message. Every worker with a result store runs it.
const END_CHORD: &str = "celeriac.end_chord";

/// Makes the message. It has the same id each time, so it can be sent again.
pub(crate) fn message(client: &Client, member: &JoinMember, queue: &str) -> ClientResult<Outgoing> {
    let what = if member.index == NOBODY { "end".to_owned() } else { format!("end/{}", member.index) };
    let relations =
        Relations { group: Some(member.join.clone()), group_index: Some(member.index), ..Relations::default() };
    let route =
        CallRoute { exchange: Some(String::new()), routing_key: Some(queue.to_owned()), ..CallRoute::default() };
    let id = Some(derived_id(&member.join, &what));
    let options = CallOptions { id, route, relations, ..CallOptions::default() };
    let call = DynamicCall { task: END_CHORD.to_owned(), body: Body::default(), options };
    let mut outgoing = client.prepare(call, TaskOptions::default())?.outgoing;
    outgoing.message.headers.insert(names::JOIN, member.join.as_str());
    Ok(outgoing)
}

/// Ends the chord of such a message. Does nothing for any other.
pub(crate) async fn end_chord(attempt: &mut Attempt<'_>) -> AttemptStep<()> {
    if attempt.headers().task != END_CHORD {
        return Ok(());
    }
    match attempt.member() {
        Some(member) => Err(Box::pin(end(attempt, member)).await),
        None => Ok(()),
    }
}

async fn end(attempt: &mut Attempt<'_>, member: JoinMember) -> Processed {
    attempt.release_slot();
    let disposition = match look(attempt, &member).await {
        // Its rows were deleted since.
        Ok(Turn::Unknown) => Disposition::Done,
        turn => take_turn(attempt, member.join, turn).await,
    };
    Processed::new(disposition, TaskState::Ignored)
}
