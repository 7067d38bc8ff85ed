//! Looks for chords that are overdue: their deadline has passed, or their sender is gone. A message
//! ends each of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use celeriac_results::{Backend, JoinMember, NOBODY, Result};
use celeriac_telemetry::events::results::{ChordOverdue, JoinsUnavailable, StoreAwaited};
use celeriac_telemetry::{ErrorChain, Event};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::attempt::end_chord::message;
use crate::attempt::publish::{Recipient, publish_until_confirmed};
use crate::runtime::WorkerRuntime;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(5);

/// Time after which a chord that is still overdue has another message. The first one may wait
/// behind others, or may have reached a worker of Celery, which drops it.
const AGAIN: Duration = Duration::from_secs(60);

/// Looks for which a process holds the lease. Another one takes over after a process has died.
const HELD: u32 = 3;

/// Most chords of a look. Others have their turn later.
const MOST: u32 = 1_000;

/// Looks at intervals until `stop`. The messages go to this queue, which the worker consumes. Of
/// all workers on Postgres, the one that holds the lease looks.
pub(crate) async fn end_overdue_chords(runtime: Arc<WorkerRuntime>, queue: String, stop: CancellationToken) {
    let Some(results) = &runtime.results else { return };
    let mut told = HashMap::new();
    while stop.run_until_cancelled(sleep(EVERY)).await.is_some() {
        match find(&*results.backend).await {
            Ok(overdue) => {
                told.retain(|join, at: &mut Instant| overdue.contains(join) && at.elapsed() < AGAIN);
                for join in overdue {
                    if !told.contains_key(&join)
                        && stop.run_until_cancelled(tell(&runtime, &join, &queue)).await.is_some()
                    {
                        told.insert(join, Instant::now());
                    }
                }
            }
            Err(error) => {
                let text = ErrorChain(&error).to_string();
                match error.is_retryable() {
                    true => StoreAwaited { work: "overdue chords", retry_in: EVERY, error: &text }.emit(),
                    false => JoinsUnavailable { retry_in: EVERY, error: &text }.emit(),
                }
            }
        }
    }
}

async fn find(backend: &dyn Backend) -> Result<Vec<String>> {
    match backend.postgres() {
        Some(postgres) if !postgres.claim_joins(EVERY * HELD).await? => Ok(Vec::new()),
        _ => backend.overdue_joins(MOST).await,
    }
}

/// Sends the message that ends a chord. One that cannot be sent now is sent after a later look.
async fn tell(runtime: &WorkerRuntime, join: &str, queue: &str) {
    ChordOverdue { chord: join, queue }.emit();
    let member = JoinMember { join: join.to_owned(), index: NOBODY };
    if let Ok(outgoing) = message(&runtime.environment.client, &member, queue) {
        let _ = publish_until_confirmed(runtime, outgoing, Recipient::Own).await;
    }
}
