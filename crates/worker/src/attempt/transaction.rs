//! Runs a task within a transaction of the worker: its effects and its outcome commit together, or
//! not at all.
//!
//! There is no lock and no check at the start. Two runs of a task may overlap, for example if a
//! worker was cut off and its message was redelivered. The outcome is written last, inside the
//! task's own transaction, and only one of the runs can commit it.

use celeriac_protocol::retry::Backoff;
use celeriac_protocol::{TaskHeaders, TaskState};
use celeriac_results::outbox::OutboxMessage;
use celeriac_results::{Committed, PostgresBackend, Session, Transaction, Transactions};
use celeriac_telemetry::ErrorChain;
use celeriac_telemetry::events::worker::{
    CommitFailed, CommitUnknown, TaskSkipped, TaskSucceeded, TransactionNotStarted,
};

use crate::attempt::complete;
use crate::attempt::decide::{Decision, decide};
use crate::attempt::duplicate::{find_row, finish_recorded};
use crate::attempt::execute::{PreparedRun, RunBounds, RunEnd, run_in_transaction, tell_started};
use crate::attempt::follow_up::messages::FollowUps;
use crate::attempt::follow_up::{FollowUpMode, after_success};
use crate::attempt::hooks::{AttemptHooks, review};
use crate::attempt::outcome::end_unrecordable;
use crate::attempt::publish::BACKOFF;
use crate::attempt::recorded::{RecordedArguments, RunTiming};
use crate::attempt::reject::reject;
use crate::attempt::revocation::terminate;
use crate::attempt::row::{RowDetails, row};
use crate::attempt::{Attempt, Disposition, Interrupted, Processed, Step};
use crate::hold::SHORTEST_HOLD;
use crate::task::definition::{InTransaction, Runner, TaskDefinition};
use crate::task::error::TaskError;
use crate::task::registry::Registry;
use crate::task::result;

/// An attempt of a transactional task, before its transaction is open.
struct TransactionalRun<'a> {
    task: &'a TaskDefinition,
    run: InTransaction,
    bounds: RunBounds,
    hooked: Option<AttemptHooks<'a>>,
}

/// Returns the first task that needs a transaction, if the store has none.
pub(crate) fn requires_transactions(registry: &Registry, transactions: Option<&Transactions>) -> Option<&'static str> {
    if transactions.is_some() {
        return None;
    }
    registry.first_transactional()
}

/// Runs an attempt, from its first statement to the follow-ups of its commit.
pub(crate) async fn run(attempt: &mut Attempt<'_>, prepared: PreparedRun<'_>) -> Processed {
    let (Ok(processed) | Err(processed)) = steps(attempt, prepared).await;
    processed
}

async fn steps(attempt: &mut Attempt<'_>, prepared: PreparedRun<'_>) -> Step<Processed> {
    let run = bind_arguments(attempt, prepared).await?;
    let transactions = attempt
        .runtime
        .results
        .as_ref()
        .and_then(|results| results.backend.postgres())
        .map(PostgresBackend::transactions);
    // `Worker::new` refuses this configuration.
    let Some(transactions) = transactions else { return Err(Disposition::Requeue.into()) };
    let mut backoff = Backoff::new(BACKOFF);
    loop {
        let mut session = open_session(attempt, transactions).await?;
        let transaction = match session.begin().await {
            Ok(transaction) => transaction,
            Err(error) => {
                wait_for_store(attempt, &mut backoff, &error).await?;
                continue;
            }
        };
        let (Ok(processed) | Err(processed)) = run_in(attempt, transaction, run).await;
        session.end();
        return Ok(processed);
    }
}

/// Binds the arguments of the task. Rejects a message with arguments that do not fit.
async fn bind_arguments<'a>(attempt: &mut Attempt<'_>, prepared: PreparedRun<'a>) -> Step<TransactionalRun<'a>> {
    let PreparedRun { task, ctx, body, hooked } = prepared;
    let Runner::Transactional(run) = task.runner else { return Err(Disposition::Requeue.into()) };
    let bounds = RunBounds::of(attempt.runtime, task, &ctx);
    match run(ctx, body) {
        Ok(run) => Ok(TransactionalRun { task, run, bounds, hooked }),
        Err(error) => Err(reject(attempt, &error.into()).await),
    }
}

/// Returns a connection for the task's transaction. Waits for a free one without a limit.
async fn open_session(attempt: &Attempt<'_>, transactions: &Transactions) -> Result<Session, Interrupted> {
    let mut backoff = Backoff::new(BACKOFF);
    loop {
        let session = tokio::select! {
            session = transactions.session() => session,
            () = attempt.runtime.interrupt().cancelled() => return Err(Interrupted),
        };
        match session {
            Ok(session) => return Ok(session),
            Err(error) => {
                wait_for_store(attempt, &mut backoff, &error).await?;
            }
        }
    }
}

/// Waits before the next attempt to begin a transaction.
async fn wait_for_store(
    attempt: &Attempt<'_>,
    backoff: &mut Backoff,
    error: &celeriac_results::Error,
) -> Result<(), Interrupted> {
    let TaskHeaders { task, id, .. } = attempt.headers();
    let retry_in = backoff.next_wait(fastrand::f64());
    attempt.span.emit(&TransactionNotStarted { task, id, retry_in, error: &ErrorChain(error).to_string() });
    attempt.sleep_unless_stopping(retry_in).await
}

async fn run_in(
    attempt: &mut Attempt<'_>,
    mut transaction: Transaction<'_>,
    prepared: TransactionalRun<'_>,
) -> Step<Processed> {
    let TransactionalRun { task, run, bounds, hooked } = prepared;
    tell_started(attempt);
    let timing = RunTiming::begin();
    let end = run_in_transaction(&mut transaction, run, bounds, &attempt.span, hooked.as_ref()).await;
    attempt.timing = Some(timing.end());
    if hooked.is_none() {
        attempt.release_slot();
    }
    let result = match end {
        RunEnd::Finished(result) => result,
        RunEnd::Interrupted => return Err(attempt.interrupted()),
        RunEnd::Terminated => {
            transaction.rollback().await;
            return Err(terminate(attempt).await);
        }
    };
    // The effects of a failed attempt are undone, even if a hook turns it into a success.
    let transaction = match &result {
        Ok(_) => Some(transaction),
        Err(_) => {
            transaction.rollback().await;
            None
        }
    };
    let decision = review(attempt, hooked, decide(attempt, task, result)).await?;
    attempt.release_slot();
    match (decision, transaction) {
        (Decision::Succeed(result), Some(transaction)) => Ok(commit(attempt, task, transaction, result).await),
        (decision, _) => Ok(complete::apply(attempt, task, decision).await),
    }
}

/// Ends a success: commits its effects and its row together.
async fn commit(
    attempt: &mut Attempt<'_>,
    task: &TaskDefinition,
    transaction: Transaction<'_>,
    result: String,
) -> Processed {
    // The row prevents a second commit, so it is written even if the result is ignored.
    let kept = (!attempt.ignores_result()).then(|| result.clone());
    let row = row(attempt, TaskState::Success, RowDetails { result: kept, ..RowDetails::default() });
    let committed = match follow_up_entries(attempt, &result).await {
        Ok(follow_ups) => transaction.commit(&row, &follow_ups).await,
        Err(error) => {
            transaction.rollback().await;
            Committed::Invalid { reason: error.to_string() }
        }
    };
    match committed {
        Committed::Stored => {
            let runtime = attempt.timing.map(|timing| timing.runtime).unwrap_or_default();
            attempt.span.emit(&TaskSucceeded { task: task.name, id: &attempt.headers().id, runtime });
            announce(attempt);
            let followed = after_success(attempt, &result, FollowUpMode::InOutbox).await;
            Processed::new(followed, TaskState::Success)
        }
        Committed::Superseded => defer_to_recorded(attempt).await,
        Committed::Unknown(error) => {
            let (id, error) = (&attempt.headers().id, ErrorChain(&error).to_string());
            attempt.span.emit(&CommitUnknown { task: task.name, id, error: &error });
            defer_to_recorded(attempt).await
        }
        Committed::Failed(error) => {
            let (id, error) = (&attempt.headers().id, ErrorChain(&error).to_string());
            attempt.span.emit(&CommitFailed { task: task.name, id, error: &error });
            // Requeued after a wait, because the cause of the conflict may last a moment longer.
            let _ = attempt.sleep_unless_stopping(SHORTEST_HOLD).await;
            Disposition::Requeue.into()
        }
        // The effects are rolled back too.
        Committed::Refused { reason } => end_unrecordable(attempt, &reason).await,
        Committed::Invalid { reason } => {
            attempt.arguments = Some(RecordedArguments::of_row(row));
            let error = TaskError::of_kind("TransactionError", reason);
            let decision = decide(attempt, task, Err(error));
            complete::apply(attempt, task, decision).await
        }
    }
}

/// Returns the follow-ups of a success, for the outbox.
async fn follow_up_entries(attempt: &Attempt<'_>, result: &str) -> Result<Vec<OutboxMessage>, TaskError> {
    if attempt.embed.is_empty() {
        return Ok(Vec::new());
    }
    let follow_ups = FollowUps::after_success(attempt, &attempt.embed, &result::read(result)?)?;
    Ok(follow_ups.into_entries(attempt).await)
}

/// Applies the recorded outcome: that of another run, or that of this one if its commit was not
/// confirmed.
async fn defer_to_recorded(attempt: &mut Attempt<'_>) -> Processed {
    let row = match find_row(attempt).await {
        Ok(Some(row)) if row.state.is_final() => row,
        Ok(_) | Err(Interrupted) => return Disposition::Requeue.into(),
    };
    let TaskHeaders { task, id, .. } = attempt.headers();
    attempt.span.emit(&TaskSkipped { task, id, state: row.state });
    announce(attempt);
    finish_recorded(attempt, row).await.into()
}

/// Notifies the callers of this task that it has ended.
///
/// The commit itself does not notify, because Postgres serialises commits that do.
fn announce(attempt: &Attempt<'_>) {
    if let Some(results) = &attempt.runtime.results {
        results.recorder.announce(&attempt.headers().id);
    }
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::{Parameter, Task};
    use celeriac_results::PgConnection;

    use super::*;
    use crate::attempt::decode::{find_task, read_body};
    use crate::attempt::execute::prepare;
    use crate::attempt::testing::TestWorker;
    use crate::task::context::TaskContext;
    use crate::task::definition::TransactionalTask;
    use crate::task::error::TaskResult;

    struct Transfer;

    impl Task for Transfer {
        const NAME: &'static str = "transfer";
        type Args = (String,);
        type Output = ();

        fn parameters() -> &'static [Parameter] {
            const HOW: &[Parameter] = &[Parameter::required("how")];
            HOW
        }
    }

    impl TransactionalTask for Transfer {
        async fn run(_: TaskContext, _: &mut PgConnection, _: (String,)) -> TaskResult<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_store_without_transactions_is_refused_only_where_a_task_needs_them() {
        let worker = TestWorker::new().await;
        assert_eq!(requires_transactions(&worker.runtime.registry, None), None);
        let registry = Registry::new([TaskDefinition::transactional::<Transfer>()]).unwrap();
        assert_eq!(requires_transactions(&registry, None), Some("transfer"));
    }

    #[tokio::test]
    async fn a_task_that_finds_no_transactions_goes_back_and_has_no_row() {
        let worker = TestWorker::new().await;
        let task = TaskDefinition::transactional::<Transfer>();
        let mut attempt = worker.deliver("succeed").await;
        find_task(&mut attempt).await.unwrap();
        let body = read_body(&mut attempt).await.unwrap();
        let call = {
            let prepared = prepare(&mut attempt, worker.runtime.registry.get("act").unwrap(), body, None);
            PreparedRun { task: &task, ctx: prepared.ctx, body: prepared.body, hooked: None }
        };

        let processed = run(&mut attempt, call).await;

        assert_eq!((processed.disposition, processed.state), (Disposition::Requeue, TaskState::Pending));
        assert_eq!(worker.row().await, None);
    }

    #[tokio::test]
    async fn arguments_that_do_not_fit_are_rejected_before_a_transaction_is_opened() {
        let worker = TestWorker::new().await;
        let task = TaskDefinition::transactional::<Transfer>();
        let mut attempt = worker.deliver_changed("succeed", |_, message| message.body = "[[7], {}, {}]".into()).await;
        find_task(&mut attempt).await.unwrap();
        let body = read_body(&mut attempt).await.unwrap();
        let call = {
            let prepared = prepare(&mut attempt, worker.runtime.registry.get("act").unwrap(), body, None);
            PreparedRun { task: &task, ctx: prepared.ctx, body: prepared.body, hooked: None }
        };

        let processed = run(&mut attempt, call).await;

        assert_eq!((processed.disposition, processed.state), (Disposition::Done, TaskState::Failure));
        assert_eq!(worker.row().await.unwrap().failure.unwrap().kind, "ArgumentError");
    }
}
