//! Reads what earlier deliveries of a task have left in the store. Waits for the store without a
//! limit.

use celeriac_protocol::retry::Backoff;
use celeriac_protocol::{Message, TaskHeaders};
use celeriac_results::{Backend, Result as StoreResult, TaskRecord};
use celeriac_telemetry::ErrorChain;
use celeriac_telemetry::events::worker::completion::{OutcomeNotRead, TaskAwaitsStore};
use futures::future::BoxFuture;

use crate::attempt::publish::BACKOFF;
use crate::attempt::{Attempt, Interrupted};

/// Returns the row of the task.
pub(crate) async fn find_row(attempt: &Attempt<'_>) -> Result<Option<TaskRecord>, Interrupted> {
    find_row_of(attempt, &attempt.headers().id).await
}

/// Returns the row with this id.
pub(crate) async fn find_row_of(attempt: &Attempt<'_>, id: &str) -> Result<Option<TaskRecord>, Interrupted> {
    read(attempt, id, |backend, id| backend.find(id)).await
}

/// Returns the message of the next attempt, if the row has it.
pub(crate) async fn find_next_attempt(attempt: &Attempt<'_>) -> Result<Option<Message>, Interrupted> {
    read(attempt, &attempt.headers().id, |backend, id| backend.next_attempt(id)).await
}

async fn read<T>(
    attempt: &Attempt<'_>,
    of_id: &str,
    read: impl for<'s> Fn(&'s dyn Backend, &'s str) -> BoxFuture<'s, StoreResult<Option<T>>>,
) -> Result<Option<T>, Interrupted> {
    let Some(results) = &attempt.runtime.results else { return Ok(None) };
    let mut backoff = Backoff::new(BACKOFF);
    loop {
        let error = match read(&*results.backend, of_id).await {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        let TaskHeaders { task, id, .. } = attempt.headers();
        let retry_in = backoff.next_wait(fastrand::f64());
        let told = ErrorChain(&error).to_string();
        match error.is_retryable() {
            true => attempt.span.emit(&TaskAwaitsStore { task, id, work: "outcome", retry_in, error: &told }),
            false => attempt.span.emit(&OutcomeNotRead { task, id, retry_in, error: &told }),
        }
        attempt.sleep_unless_stopping(retry_in).await?;
    }
}
