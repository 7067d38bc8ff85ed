//! The chords in the store.

use celeriac_protocol::TaskHeaders;
use celeriac_protocol::retry::Backoff;
use celeriac_results::{Backend, Error as StoreError, FiredJoin, JoinMember, NOBODY, NewJoin, Turn};
use celeriac_telemetry::events::results::JoinsUnavailable;
use celeriac_telemetry::events::worker::completion::TaskAwaitsStore;
use celeriac_telemetry::{ErrorChain, Event};
use futures::future::BoxFuture;

use crate::attempt::publish::BACKOFF;
use crate::attempt::{Attempt, Interrupted};

/// Adds the join of a chord whose members this attempt sends. Waits for the store without a limit.
pub(crate) async fn add_join(attempt: &Attempt<'_>, join: &NewJoin) -> Result<(), Interrupted> {
    insist(attempt, |joins| joins.add_join(join)).await.map(drop)
}

/// Reads a chord that has fired. Waits for the store without a limit.
pub(crate) async fn find_fired(attempt: &Attempt<'_>, join: &str) -> Result<Option<FiredJoin>, Interrupted> {
    let largest = attempt.runtime.environment.follow_up_limits.message_size;
    Ok(insist(attempt, |joins| joins.find_fired(join, largest)).await?.flatten())
}

/// Looks at a chord for a member whose end is recorded, or for nobody. Ends a chord that is overdue
/// and not decided. Waits for the store without a limit.
pub(crate) async fn look(attempt: &Attempt<'_>, member: &JoinMember) -> Result<Turn, Interrupted> {
    let turn = look_once(attempt, member).await?;
    if turn != Turn::Done || member.index != NOBODY {
        return Ok(turn);
    }
    insist(attempt, |joins| joins.end_overdue_join(&member.join)).await?;
    look_once(attempt, member).await
}

async fn look_once(attempt: &Attempt<'_>, member: &JoinMember) -> Result<Turn, Interrupted> {
    let turns = insist(attempt, |joins| joins.fire(std::slice::from_ref(member))).await?;
    Ok(turns.unwrap_or_default().pop().unwrap_or(Turn::Unknown))
}

/// Repeats an operation of the store until it succeeds. Returns `None` without a store.
async fn insist<'a, T>(
    attempt: &'a Attempt<'_>,
    operation: impl Fn(&'a dyn Backend) -> BoxFuture<'a, Result<T, StoreError>>,
) -> Result<Option<T>, Interrupted> {
    let Some(results) = &attempt.runtime.results else { return Ok(None) };
    let mut backoff = Backoff::new(BACKOFF);
    loop {
        match operation(&*results.backend).await {
            Ok(done) => return Ok(Some(done)),
            Err(error) => wait_for_store(attempt, &mut backoff, &error).await?,
        }
    }
}

async fn wait_for_store(attempt: &Attempt<'_>, backoff: &mut Backoff, error: &StoreError) -> Result<(), Interrupted> {
    let TaskHeaders { task, id, .. } = attempt.headers();
    let retry_in = backoff.next_wait(fastrand::f64());
    let told = ErrorChain(error).to_string();
    match error.is_retryable() {
        true => attempt.span.emit(&TaskAwaitsStore { task, id, work: "chord", retry_in, error: &told }),
        false => JoinsUnavailable { retry_in, error: &told }.emit(),
    }
    attempt.sleep_unless_stopping(retry_in).await
}
