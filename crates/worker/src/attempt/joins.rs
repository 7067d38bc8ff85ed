//! The chords in the store.

use celeriac_protocol::TaskHeaders;
use celeriac_protocol::retry::Backoff;
use celeriac_results::{Error as StoreError, FiredJoin, NewJoin};
use celeriac_telemetry::events::results::JoinsUnavailable;
use celeriac_telemetry::events::worker::completion::TaskAwaitsStore;
use celeriac_telemetry::{ErrorChain, Event};

use crate::attempt::publish::BACKOFF;
use crate::attempt::{Attempt, Interrupted};

/// Adds the join of a chord whose members this attempt sends. Waits for the store without a limit.
pub(crate) async fn add_join(attempt: &Attempt<'_>, join: &NewJoin) -> Result<(), Interrupted> {
    let Some(results) = &attempt.runtime.results else { return Ok(()) };
    let mut backoff = Backoff::new(BACKOFF);
    loop {
        match results.backend.add_join(join).await {
            Ok(()) => return Ok(()),
            Err(error) => wait_for_store(attempt, &mut backoff, &error).await?,
        }
    }
}

/// Reads a chord that has fired. Waits for the store without a limit.
pub(crate) async fn find_fired(attempt: &Attempt<'_>, join: &str) -> Result<Option<FiredJoin>, Interrupted> {
    let Some(results) = &attempt.runtime.results else { return Ok(None) };
    let largest = attempt.runtime.environment.follow_up_limits.message_size;
    let mut backoff = Backoff::new(BACKOFF);
    loop {
        match results.backend.find_fired(join, largest).await {
            Ok(fired) => return Ok(fired),
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
