//! The life of a task that works in a transaction of the worker's: its effects and its outcome stand together, or neither.
//!
//! No lock and no look at the start: two runs of a task may go on at once, as when a worker that was thought dead wakes. The
//! outcome is written last, inside the task's own transaction, and one of them alone can do that.

use celeriac_protocol::State;
use celeriac_protocol::{Embed, TaskHeaders};
use celeriac_results::outbox::Entry;
use celeriac_results::{Committed, Session, Transaction, Transactions};
use celeriac_telemetry::events::worker::{TaskSkipped, TaskStarted, TaskSucceeded};

use crate::after::Again;
use crate::decide::Verdict;
use crate::execute::{Attempt, Bounds, execute_in};
use crate::follow_up::{self, Backoff, FollowUps, SHORTEST_HOLD};
use crate::handler::{self, InTransaction, TaskDefinition};
use crate::hooks::Hooked;
use crate::lifecycle::{Ended, Ending, Interrupted, Life, Outcome};
use crate::outcome::TaskError;
use crate::record::{self, Arguments, Timing};
use crate::registry::Registry;
use crate::slots::Slot;

/// An attempt of a transactional task that has everything but its transaction.
pub(crate) struct Prepared<'a> {
    pub(crate) task: &'a TaskDefinition,
    pub(crate) run: InTransaction,
    pub(crate) bounds: Bounds,
    pub(crate) hooked: Option<Hooked<'a>>,
    pub(crate) arguments: Option<Arguments>,
    pub(crate) embed: &'a Embed,
}

/// The first task that needs a transaction, where the store has none.
pub(crate) fn in_want_of_transactions(
    registry: &Registry,
    transactions: Option<&Transactions>,
) -> Option<&'static str> {
    if transactions.is_some() {
        return None;
    }
    registry.first_transactional()
}

impl Life<'_> {
    /// From the first statement to what follows from the commit.
    pub(crate) async fn lead_in_transaction(&self, prepared: Prepared<'_>, slot: Slot) -> Ended {
        let transactions = self.core.results.as_ref().and_then(|results| results.backend.transactions());
        // Refused when the worker was put together.
        let Some(transactions) = transactions else { return Ending::Again.into() };
        let mut backoff = Backoff::default();
        loop {
            let Ok(mut session) = self.session(transactions).await else { return Ending::Again.into() };
            let transaction = match session.begin().await {
                Ok(transaction) => transaction,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "cannot begin the transaction of a task yet"
                    );
                    match self.doze(backoff.next()).await {
                        Ok(()) => continue,
                        Err(Interrupted) => return Ending::Again.into(),
                    }
                }
            };
            let ended = self.run_in(transaction, prepared, slot).await;
            session.end();
            return ended;
        }
    }

    /// A connection for the task's transaction, however long it takes until there is one.
    async fn session(&self, transactions: &Transactions) -> Result<Session, Interrupted> {
        let mut backoff = Backoff::default();
        loop {
            let session = tokio::select! {
                session = transactions.session() => session,
                () = self.core.world.interrupt.cancelled() => return Err(Interrupted),
            };
            match session {
                Ok(session) => return Ok(session),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "no connection for the transaction of a task yet"
                    );
                    self.doze(backoff.next()).await?;
                }
            }
        }
    }

    async fn run_in(&self, mut transaction: Transaction<'_>, prepared: Prepared<'_>, slot: Slot) -> Ended {
        let Prepared { task, run, bounds, hooked, arguments, embed } = prepared;
        let TaskHeaders { id, retries, .. } = &self.received.headers;
        self.span.emit(&TaskStarted { task: task.name, id, attempt: retries.saturating_add(1) });
        let timing = Timing::begin();
        let attempt = execute_in(&mut transaction, run, bounds, self.span, hooked.as_ref()).await;
        let timing = timing.end();
        let slot = hooked.is_some().then_some(slot);
        let finished = match attempt {
            Attempt::Finished(finished) => finished,
            Attempt::Interrupted => return self.interrupted(task),
            Attempt::Terminated => {
                transaction.rollback().await;
                return self.terminate(arguments, timing, embed).await;
            }
        };
        // What a failed attempt did is undone, also where a hook makes a success of it.
        let transaction = match &finished {
            Ok(_) => Some(transaction),
            Err(_) => {
                transaction.rollback().await;
                None
            }
        };
        let Ok(verdict) = self.judge(task, hooked, finished, &timing).await else { return self.interrupted(task) };
        drop(slot);
        match (verdict, transaction) {
            (Verdict::Succeed(result), Some(transaction)) => {
                self.commit(task, transaction, result, arguments, timing, embed).await
            }
            (verdict, _) => self.conclude(task, verdict, arguments, timing, embed).await,
        }
    }

    /// Ends a success: what it did and that it did it are committed as one.
    async fn commit(
        &self,
        task: &TaskDefinition,
        transaction: Transaction<'_>,
        result: String,
        arguments: Option<Arguments>,
        timing: Timing,
        embed: &Embed,
    ) -> Ended {
        let id = &self.received.headers.id;
        // The row is what makes it exact: it is written even where nobody wants the result.
        let kept = (!self.ignores_result()).then(|| result.clone());
        let outcome = Outcome { arguments, result: kept, timing: Some(timing.clone()), ..Outcome::default() };
        let row = record::row(self, State::Success, outcome);
        let committed = match self.follow_ups(embed, &result).await {
            Ok(follow_ups) => transaction.commit(&row, &follow_ups).await,
            Err(error) => {
                transaction.rollback().await;
                Committed::Spoilt { reason: error.to_string() }
            }
        };
        match committed {
            Committed::Stored => {
                self.span.emit(&TaskSucceeded { task: task.name, id, runtime: timing.runtime });
                self.announce();
                let ended = Ended::of(Ending::Done, State::Success);
                ended.and(self.after_success(embed, &result, Again::Committed)).await
            }
            Committed::Superseded => self.give_way().await,
            Committed::Unknown(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the database was lost while it committed a task; looking whether it did"
                );
                self.give_way().await
            }
            Committed::Failed(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a task could not be committed, and goes back to its queue"
                );
                // Not at once: what was in the way is there for a moment longer.
                let _ = self.doze(SHORTEST_HOLD).await;
                Ending::Again.into()
            }
            Committed::Refused { reason } => {
                Ended::of(follow_up::dead_letter(self, "unrecordable", &reason).await, State::Success)
            }
            Committed::Spoilt { reason } => {
                let error = TaskError::of_kind("TransactionError", reason);
                let Ok(verdict) = self.judge(task, None, Err(error), &timing).await else {
                    return self.interrupted(task);
                };
                self.conclude(task, verdict, Some(Arguments::of_row(row)), timing, embed).await
            }
        }
    }

    /// What follows from a success, for the outbox.
    async fn follow_ups(&self, embed: &Embed, result: &str) -> Result<Vec<Entry>, TaskError> {
        if embed.is_empty() {
            return Ok(Vec::new());
        }
        let follow_ups = FollowUps::after_success(self, embed, &handler::read(result)?)?;
        Ok(follow_ups.into_entries(self).await)
    }

    /// Goes by what stands: the end that another run came to, or the own one of which nobody heard.
    async fn give_way(&self) -> Ended {
        let row = match self.find_row().await {
            Ok(Some(row)) if row.state.is_final() => row,
            Ok(_) | Err(Interrupted) => return Ending::Again.into(),
        };
        let TaskHeaders { task, id, .. } = &self.received.headers;
        self.span.emit(&TaskSkipped { task, id, state: row.state });
        self.announce();
        self.finish(row).await.into()
    }

    /// Tells those who wait for this task that it has ended. The commit itself does not: the server makes commits that
    /// notify wait for each other.
    fn announce(&self) {
        if let Some(results) = &self.core.results {
            results.recorder.announce(&self.received.headers.id);
        }
    }
}
