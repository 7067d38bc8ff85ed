//! Runs a task within a transaction of the worker: its effects and its outcome commit together, or
//! not at all.
//!
//! There is no lock and no check at the start. Two runs of a task may overlap, for example if a
//! worker was cut off and its message was redelivered. The outcome is written last, inside the
//! task's own transaction, and only one of the runs can commit it.

use std::time::Duration;

use celeriac_broker::Settlement;
use celeriac_protocol::retry::Backoff;
use celeriac_protocol::{TaskHeaders, TaskState};
use celeriac_results::outbox::OutboxMessage;
use celeriac_results::{
    Committed, DatabaseFault, Error as StoreError, NewJoin, PostgresBackend, RunningTask, Session, StoreFault,
    TaskRecord, Transaction, Transactions,
};
use celeriac_telemetry::ErrorChain;
use celeriac_telemetry::events::worker::completion::{
    CommitFailed, CommitUnknown, TaskAwaitsStore, TransactionNotStarted,
};
use celeriac_telemetry::events::worker::task::{OutcomeRecorded, TaskSkipped, TaskSucceeded};

use crate::attempt::complete;
use crate::attempt::decide::{Decision, decide};
use crate::attempt::decode::read_body;
use crate::attempt::duplicate::finish_recorded;
use crate::attempt::execute::{PreparedRun, RunBounds, RunEnd, prepare, run_in_transaction, tell_started};
use crate::attempt::follow_up::messages::FollowUps;
use crate::attempt::follow_up::{FollowUpMode, after_success};
use crate::attempt::hooks::{AttemptHooks, review};
use crate::attempt::publish::BACKOFF;
use crate::attempt::recorded::{RecordedArguments, RunTiming};
use crate::attempt::refused::end_unrecordable;
use crate::attempt::reject::reject;
use crate::attempt::revocation::{check_not_revoked, terminate};
use crate::attempt::row::{RowDetails, row};
use crate::attempt::stored::find_row;
use crate::attempt::{Attempt, AttemptStep, Disposition, Interrupted, Processed};
use crate::hold::SHORTEST_HOLD;
use crate::panics::catch;
use crate::task::definition::{InTransaction, Runner, TaskDefinition};
use crate::task::error::TaskError;
use crate::task::registry::Registry;
use crate::task::result;

/// Most runs of an attempt that end with a fault of the database and do not count although the task
/// can be the cause.
const MOST_PERHAPS_OWN: u32 = 3;

/// An attempt of a transactional task, before its transaction is open.
struct TransactionalRun<'a> {
    run: InTransaction,
    bounds: RunBounds,
    hooked: Option<AttemptHooks<'a>>,
    /// The task can be terminated until this is dropped. `None` for the first run, of which the
    /// caller has it.
    _running: Option<RunningTask>,
}

/// The end of a transaction. Its connection is free for the next task.
enum TransactionEnd<'a> {
    /// The outcome was to be committed with the effects of the task.
    Committed { committed: Committed, result: String, row: Box<TaskRecord> },
    /// The task failed. Nothing is committed.
    Failed { error: TaskError, fault: Option<DatabaseFault>, hooked: Option<AttemptHooks<'a>> },
    /// A hook turned the success into something else. Nothing is committed.
    Decided(Decision),
    /// The task was revoked while it ran.
    Terminated,
    /// The worker stops.
    Interrupted,
}

/// Returns the first task that needs a transaction, if the store has none.
pub(crate) fn requires_transactions(registry: &Registry, transactions: Option<&Transactions>) -> Option<&'static str> {
    if transactions.is_some() {
        return None;
    }
    registry.first_transactional()
}

/// Runs an attempt, from its first statement to the follow-ups of its commit.
pub(crate) async fn run<'a>(attempt: &mut Attempt<'a>, prepared: PreparedRun<'a>) -> Processed {
    let (Ok(processed) | Err(processed)) = steps(attempt, prepared).await;
    processed
}

async fn steps<'a>(attempt: &mut Attempt<'a>, prepared: PreparedRun<'a>) -> AttemptStep<Processed> {
    let task = prepared.task;
    let mut run = bind_arguments(attempt, prepared, None).await?;
    let transactions = attempt
        .runtime
        .results
        .as_ref()
        .and_then(|results| results.backend.postgres())
        .map(PostgresBackend::transactions);
    // `Worker::new` refuses this configuration.
    let Some(transactions) = transactions else { return Err(Disposition::Requeue.into()) };
    let (mut backoff, mut perhaps_own) = (Backoff::new(BACKOFF), 0);
    loop {
        match run_once(attempt, transactions, task, run, perhaps_own < MOST_PERHAPS_OWN).await? {
            Ok(end) => return finish(attempt, task, end).await,
            Err(fault) => {
                perhaps_own += u32::from(fault.is_perhaps_own);
                run = await_next_run(attempt, task, &mut backoff, &fault.error).await?;
            }
        }
    }
}

/// Binds the arguments of the task. Rejects a message with arguments that do not fit.
async fn bind_arguments<'a>(
    attempt: &mut Attempt<'a>,
    prepared: PreparedRun<'a>,
    running: Option<RunningTask>,
) -> AttemptStep<TransactionalRun<'a>> {
    let PreparedRun { task, ctx, body, hooked } = prepared;
    let Runner::Transactional(run) = task.runner else { return Err(Disposition::Requeue.into()) };
    let bounds = RunBounds::of(attempt.runtime, task, &ctx);
    let timing = RunTiming::begin(&attempt.runtime.clock);
    match catch(|| run(ctx, body)) {
        Ok(Ok(run)) => Ok(TransactionalRun { run, bounds, hooked, _running: running }),
        Ok(Err(error)) => Err(reject(attempt, &error.into()).await),
        Err(error) => {
            attempt.timing = Some(timing.end());
            let (Ok(failed) | Err(failed)) =
                finish(attempt, task, TransactionEnd::Failed { error, fault: None, hooked }).await;
            Err(failed)
        }
    }
}

/// Runs the task in a transaction of its own, and ends it. Returns the error of the store if the
/// task has to run again: the store failed it, with `with_doubt` also if the task may be the cause.
async fn run_once<'a>(
    attempt: &mut Attempt<'a>,
    transactions: &Transactions,
    task: &TaskDefinition,
    run: TransactionalRun<'a>,
    with_doubt: bool,
) -> AttemptStep<Result<TransactionEnd<'a>, StoreFault>> {
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
        let end = run_in(attempt, transaction, task, run).await;
        // A failure of the store is none of the task, and could not be recorded either.
        let fault = match &end {
            Ok(TransactionEnd::Failed { fault, .. }) => session.store_fault(*fault).await,
            _ => None,
        };
        // Other tasks need the connection, and what follows may wait for the broker.
        session.end();
        if let Some(fault) = fault.filter(|fault| with_doubt || !fault.is_perhaps_own) {
            return Ok(Err(fault));
        }
        return match end? {
            TransactionEnd::Committed { committed: Committed::Failed(error), .. } if error.is_retryable() => {
                Ok(Err(StoreFault { error, is_perhaps_own: false }))
            }
            end => Ok(Ok(end)),
        };
    }
}

/// Prepares another run of the same attempt, after the store could not commit for now.
///
/// The delivery stays with this worker. Each return to its queue would count towards the delivery
/// limit, at whose end the broker dead-letters a task that has done nothing wrong.
async fn await_next_run<'a>(
    attempt: &mut Attempt<'a>,
    task: &'a TaskDefinition,
    backoff: &mut Backoff,
    error: &StoreError,
) -> AttemptStep<TransactionalRun<'a>> {
    let retry_in = backoff.next_wait(fastrand::f64());
    tell_commit_failed(attempt, error, retry_in);
    attempt.sleep_unless_stopping(retry_in).await?;
    if attempt.settlement.as_ref().is_some_and(Settlement::is_void) {
        // The broker delivers the message again.
        return Err(Disposition::Requeue.into());
    }
    attempt.take_slot().await?;
    let body = read_body(attempt).await?;
    let running = check_not_revoked(attempt).await?;
    let prepared = prepare(attempt, task, body, running.as_ref());
    bind_arguments(attempt, prepared, running).await
}

fn tell_commit_failed(attempt: &Attempt<'_>, error: &StoreError, retry_in: Duration) {
    let TaskHeaders { task, id, .. } = attempt.headers();
    let told = ErrorChain(error).to_string();
    match error.is_connection_lost() || attempt.runtime.is_store_lost() {
        true => attempt.span.emit(&TaskAwaitsStore { task, id, work: "commit", retry_in, error: &told }),
        false => attempt.span.emit(&CommitFailed { task, id, retry_in, error: &told }),
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
async fn wait_for_store(attempt: &Attempt<'_>, backoff: &mut Backoff, error: &StoreError) -> Result<(), Interrupted> {
    let TaskHeaders { task, id, .. } = attempt.headers();
    let retry_in = backoff.next_wait(fastrand::f64());
    let told = ErrorChain(error).to_string();
    match error.is_connection_lost() || attempt.runtime.is_store_lost() {
        true => attempt.span.emit(&TaskAwaitsStore { task, id, work: "transaction", retry_in, error: &told }),
        false => attempt.span.emit(&TransactionNotStarted { task, id, retry_in, error: &told }),
    }
    attempt.sleep_unless_stopping(retry_in).await
}

/// Runs the task, and commits its effects with its outcome, or rolls them back.
async fn run_in<'a>(
    attempt: &mut Attempt<'a>,
    mut transaction: Transaction<'_>,
    task: &TaskDefinition,
    prepared: TransactionalRun<'a>,
) -> AttemptStep<TransactionEnd<'a>> {
    let TransactionalRun { run, bounds, hooked, _running } = prepared;
    let timing = RunTiming::begin(&attempt.runtime.clock);
    tell_started(attempt, timing.started_at);
    let end = run_in_transaction(&mut transaction, run, bounds, &attempt.span, hooked.as_ref()).await;
    attempt.timing = Some(timing.end());
    if hooked.is_none() {
        attempt.release_slot();
    }
    let result = match end {
        RunEnd::Finished(Ok(result)) => result,
        // The effects of a failed attempt are undone, even if a hook turns it into a success.
        RunEnd::Finished(Err(error)) => {
            let fault = match error.action.database_fault() {
                // It was another database's.
                Some(DatabaseFault::Full | DatabaseFault::ReadOnly) if transaction.is_intact().await => None,
                fault => fault,
            };
            transaction.rollback().await;
            return Ok(TransactionEnd::Failed { error, fault, hooked });
        }
        RunEnd::Interrupted => return Ok(TransactionEnd::Interrupted),
        RunEnd::Terminated => {
            transaction.rollback().await;
            return Ok(TransactionEnd::Terminated);
        }
    };
    match review(attempt, hooked, decide(attempt, task, Ok(result))).await? {
        Decision::Succeed(result) => {
            attempt.release_slot();
            Ok(commit(attempt, transaction, result).await)
        }
        decision => {
            transaction.rollback().await;
            Ok(TransactionEnd::Decided(decision))
        }
    }
}

/// Commits the effects of a success and its row together.
async fn commit<'a>(attempt: &mut Attempt<'_>, transaction: Transaction<'_>, result: String) -> TransactionEnd<'a> {
    // The row makes the task exact, so it is written even if the result is not wanted.
    let kept = attempt.keeps_outcome().then(|| result.clone());
    let row = row(attempt, TaskState::Success, RowDetails { result: kept, ..RowDetails::default() });
    let committed = match follow_up_entries(attempt, &result).await {
        Ok((follow_ups, joins)) => transaction.commit(&row, &follow_ups, &joins).await,
        Err(error) => {
            transaction.rollback().await;
            Committed::Invalid { reason: error.to_string() }
        }
    };
    TransactionEnd::Committed { committed, result, row: Box::new(row) }
}

/// Does what follows from the end of the transaction.
async fn finish(attempt: &mut Attempt<'_>, task: &TaskDefinition, end: TransactionEnd<'_>) -> AttemptStep<Processed> {
    let decision = match end {
        TransactionEnd::Interrupted => return Err(attempt.interrupted()),
        TransactionEnd::Terminated => return Err(terminate(attempt).await),
        TransactionEnd::Failed { error, hooked, .. } => {
            review(attempt, hooked, decide(attempt, task, Err(error))).await?
        }
        TransactionEnd::Decided(decision) => decision,
        TransactionEnd::Committed { committed, result, row } => {
            return Ok(finish_commit(attempt, task, committed, &result, *row).await);
        }
    };
    attempt.release_slot();
    Ok(complete::apply(attempt, task, decision).await)
}

/// Does what follows from a commit, or from its failure.
async fn finish_commit(
    attempt: &mut Attempt<'_>,
    task: &TaskDefinition,
    committed: Committed,
    result: &str,
    row: TaskRecord,
) -> Processed {
    match committed {
        Committed::Stored => {
            let runtime = attempt.timing.map(|timing| timing.runtime).unwrap_or_default();
            let (task, id) = (task.name, &attempt.headers().id);
            attempt.span.emit(&TaskSucceeded { task, id, result, runtime });
            attempt.span.emit(&OutcomeRecorded { task, id, state: TaskState::Success });
            announce(attempt, &row);
            let followed = after_success(attempt, result, FollowUpMode::InOutbox).await;
            Processed::new(followed, TaskState::Success)
        }
        Committed::Superseded => defer_to_recorded(attempt).await,
        Committed::Unknown(error) => {
            let (id, error) = (&attempt.headers().id, ErrorChain(&error).to_string());
            attempt.span.emit(&CommitUnknown { task: task.name, id, error: &error });
            defer_to_recorded(attempt).await
        }
        Committed::Failed(error) => {
            // Nothing here passes by itself, so the delivery limit ends the attempts.
            tell_commit_failed(attempt, &error, SHORTEST_HOLD);
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

/// Returns the follow-ups of a success, for the outbox, and the joins of the chords among them.
async fn follow_up_entries(
    attempt: &Attempt<'_>,
    result: &str,
) -> Result<(Vec<OutboxMessage>, Vec<NewJoin>), TaskError> {
    if attempt.embed.is_empty() {
        return Ok(Default::default());
    }
    let result = result::read(result)?;
    Ok(FollowUps::after_success(attempt, &attempt.embed, &result)?.into_entries().await?)
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
    announce(attempt, &row);
    finish_recorded(attempt, row).await.into()
}

/// Notifies the callers of this task that it has ended.
///
/// The commit itself does not notify, because Postgres serialises commits that do.
fn announce(attempt: &Attempt<'_>, row: &TaskRecord) {
    if let Some(results) = &attempt.runtime.results {
        results.recorder.announce(row);
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
