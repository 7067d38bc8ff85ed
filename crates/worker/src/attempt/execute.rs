//! Runs one attempt of a task, and turns a panic into an error.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use celeriac_protocol::task::TrackedStates;
use celeriac_protocol::{ArgumentError, Body, Failure, TaskHeaders, TimeLimits, Value, sent_at};
use celeriac_results::{PgConnection, RunningTask};
use celeriac_telemetry::are_counted;
use celeriac_telemetry::events::worker::task::TaskStarted;
use celeriac_telemetry::trace::ProcessSpan;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::attempt::decode::shown_arguments;
use crate::attempt::hooks::{AttemptHooks, around};
use crate::attempt::recorded::{RecordedArguments, RunTiming};
use crate::attempt::reject::reject;
use crate::attempt::revocation::terminate;
use crate::attempt::row::start_row;
use crate::attempt::{Attempt, AttemptStep};
use crate::panics::{Contained, catch};
use crate::runtime::{ResultStore, WorkerRuntime};
use crate::task::context::{InlineTask, TaskContext};
use crate::task::definition::{InTransaction, Runner, TaskDefinition};
use crate::task::error::{ErrorAction, TaskError};
use crate::task::received::Received;
use crate::task::result::JsonResult;
use crate::task::time_limits::{self, Cancellation, CancellationNotice};
use crate::threads::Threads;

/// An attempt that is ready to run.
pub(crate) struct PreparedRun<'a> {
    pub(crate) task: &'a TaskDefinition,
    pub(crate) ctx: TaskContext,
    pub(crate) body: Body,
    pub(crate) hooked: Option<AttemptHooks<'a>>,
}

/// The end of a run.
#[derive(Debug)]
pub(crate) enum RunEnd {
    /// The task has ended by itself.
    Finished(JsonResult),
    /// The worker stops, and its drain time has passed.
    Interrupted,
    /// The task was terminated while it ran. It ended because of that, or was dropped.
    Terminated,
}

/// Returns an attempt with its context and its hooks.
pub(crate) fn prepare<'a>(
    attempt: &mut Attempt<'a>,
    task: &'a TaskDefinition,
    mut body: Body,
    running: Option<&RunningTask>,
) -> PreparedRun<'a> {
    attempt.arguments = if task.options.redact.is_some() {
        let (arguments, values) = RecordedArguments::redacted(&body, task);
        attempt.redacted = values;
        attempt.span.redact_kept_log(&attempt.redacted);
        attempt.keeps_outcome().then_some(arguments)
    } else {
        attempt.keeps_outcome().then(|| RecordedArguments::of(&mut body))
    };
    if attempt.runtime.monitors.are_told() && shown_arguments(attempt.runtime, &attempt.received).is_none() {
        attempt.shown_arguments = Some(Box::new(task.shown_arguments(&body)));
    }
    let changed = attempt.runtime.limits_at_run_time.find(task.name);
    let limits = time_limits::in_force(attempt.headers().limits, &task.options, changed);
    let hard = limits.hard.filter(|_| task.can_be_ended());
    let terminated = running.map(|running| running.terminated().clone());
    let (received, environment) = (Arc::clone(&attempt.received), Arc::clone(&attempt.runtime.environment));
    let ctx = TaskContext::new(received, environment, limits, hard, terminated);
    let hooked = AttemptHooks::of(&attempt.runtime.hooks, task, &ctx);
    PreparedRun { task, ctx, body, hooked }
}

/// Runs an attempt with its hooks. The slot is free after it, unless hooks have to review the
/// outcome.
pub(crate) async fn run<'a>(
    attempt: &mut Attempt<'a>,
    prepared: PreparedRun<'a>,
) -> AttemptStep<(JsonResult, Option<AttemptHooks<'a>>)> {
    let PreparedRun { task, ctx, body, hooked } = prepared;
    let timing = RunTiming::begin(&attempt.runtime.clock);
    tell_started(attempt, timing.started_at);
    let bounds = RunBounds::of(attempt.runtime, task, &ctx);
    let end = match start(attempt, task, ctx, body) {
        Ok(run) => {
            bounds
                .within(attempt.span.run(around(hooked.as_ref(), contained(Arc::clone(&attempt.received), run))))
                .await
        }
        Err(NotStarted::Failed(error)) => RunEnd::Finished(Err(error)),
        // The embed was read, so this is an ordinary failure for the follow-ups.
        Err(NotStarted::Arguments(error)) => return Err(Box::pin(reject(attempt, &error.into())).await),
    };
    attempt.timing = Some(timing.end());
    if hooked.is_none() {
        attempt.release_slot();
    }
    match end {
        RunEnd::Finished(result) => Ok((result, hooked)),
        RunEnd::Interrupted => Err(attempt.interrupted()),
        RunEnd::Terminated => Err(Box::pin(terminate(attempt)).await),
    }
}

/// Tells that an attempt starts: by its event, and by its row if starts are tracked.
pub(crate) fn tell_started(attempt: &Attempt<'_>, started_at: Timestamp) {
    attempt.received.start(started_at);
    if let Some(task) = attempt.task {
        attempt.runtime.starts.add(task.name);
    }
    let TaskHeaders { task, id, .. } = attempt.headers();
    let wait = if are_counted() { queue_wait(attempt) } else { None };
    let queue = &attempt.received.origin.queue;
    attempt.runtime.processed.fetch_add(1, Ordering::Relaxed);
    let arguments = attempt.shown_arguments.as_ref().map(|shown| (shown.0.as_str(), shown.1.as_str()));
    attempt.span.emit(&TaskStarted { task, id, queue, attempt: attempt.number(), wait, arguments });
    let tracks = |store: &&ResultStore| {
        let of_task = attempt.task.and_then(|task| task.options.track);
        of_task.unwrap_or(store.track) >= TrackedStates::Started && attempt.keeps_outcome()
    };
    let store = attempt.runtime.results.as_ref().filter(tracks);
    if let Some(store) = store {
        store.recorder.record_start(Box::new(start_row(attempt, started_at)));
    }
}

/// Returns the time since a task was due, or was sent. Only an id that begins with the time tells
/// when a task was sent, and only for its first attempt.
fn queue_wait(attempt: &Attempt<'_>) -> Option<Duration> {
    let headers = attempt.headers();
    let sent_at = sent_at(&headers.id).filter(|_| headers.retries == 0);
    let since = headers.eta.into_iter().chain(sent_at).max()?;
    // The clocks of sender and database may differ.
    Some(Duration::try_from(attempt.runtime.clock.now().duration_since(since)).unwrap_or_default())
}

/// The reason why a task has not started.
enum NotStarted {
    /// The arguments do not fit the task.
    Arguments(ArgumentError),
    /// The task failed before its hooks ran.
    Failed(TaskError),
}

/// Returns the future of a task. Reading the arguments may panic, and so may the code before the
/// first `await`.
fn start(
    attempt: &Attempt<'_>,
    task: &TaskDefinition,
    ctx: TaskContext,
    body: Body,
) -> Result<BoxFuture<'static, JsonResult>, NotStarted> {
    let started = catch(|| match task.runner {
        Runner::Async(run) => run(ctx, body).map_err(NotStarted::Arguments),
        Runner::Native(run) => Ok(run(ctx, body)),
        // A blocking task runs on a thread of its own.
        Runner::Blocking(run) => run(ctx, body)
            .map(|run| on_a_thread(attempt.runtime.threads.counted(attempt.span.run_blocking(run))).boxed())
            .map_err(NotStarted::Arguments),
        Runner::Transactional(_) => Err(NotStarted::Failed(without_transaction(task.name))),
    });
    started.unwrap_or_else(|panic| Err(NotStarted::Failed(panic)))
}

/// Runs an attempt in a transaction.
pub(crate) async fn run_in_transaction(
    transaction: &mut PgConnection,
    run: InTransaction,
    bounds: RunBounds,
    span: &ProcessSpan,
    hooked: Option<&AttemptHooks<'_>>,
) -> RunEnd {
    // The call may panic, as the future that it returns may.
    let run = contained(Arc::clone(&bounds.received), async { run(transaction).await }.boxed());
    bounds.within(span.run(around(hooked, run))).await
}

fn without_transaction(name: &str) -> TaskError {
    TaskError::fatal(format!("`{name}` works in a transaction, and cannot be called as part of another task"))
}

/// Returns a task that runs inside another one, without a span and limits of its own.
pub(crate) fn inline(task: &TaskDefinition, threads: &Threads) -> InlineTask {
    let (name, runner, threads) = (task.name, task.runner, threads.clone());
    Box::new(move |ctx, body| run_inline(name, runner, threads.clone(), ctx, body))
}

fn run_inline(
    name: &'static str,
    runner: Runner,
    threads: Threads,
    ctx: TaskContext,
    body: Body,
) -> BoxFuture<'static, JsonResult> {
    let received = Arc::clone(&ctx.received);
    let run = async move {
        match runner {
            Runner::Async(run) => run(ctx, body)?.await,
            Runner::Native(run) => run(ctx, body).await,
            Runner::Blocking(run) => on_a_thread(threads.counted(run(ctx, body)?)).await,
            Runner::Transactional(_) => Err(without_transaction(name)),
        }
    };
    contained(received, run.boxed()).boxed()
}

/// Returns the future of a task whose panic is an error.
fn contained(received: Arc<Received>, run: BoxFuture<'_, JsonResult>) -> impl Future<Output = JsonResult> {
    Contained::new(received, run).map(|run| run.unwrap_or_else(Err))
}

async fn on_a_thread(run: impl FnOnce() -> JsonResult + Send + 'static) -> JsonResult {
    match spawn_blocking(run).await {
        Ok(finished) => finished,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => Err(TaskError::from_panic(panic)),
            Err(error) => Err(TaskError::from_boxed(error)),
        },
    }
}

fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

/// Time that a task that calls `cancelled` has for its cleanup when the worker stops. Its outcome
/// is recorded within the rest of the stop.
const TIDYING: Duration = Duration::from_millis(250);

/// Time limits, termination and stop, which may end an attempt.
pub(crate) struct RunBounds {
    received: Arc<Received>,
    interrupt: CancellationToken,
    limits: TimeLimits,
    /// Signals the task that its soft limit has passed.
    notice: Option<Arc<CancellationNotice>>,
    /// Signals the task that it is terminated.
    terminated: Option<CancellationToken>,
    /// Time that a terminated task has to end.
    grace: Duration,
}

impl RunBounds {
    pub(crate) fn of(runtime: &WorkerRuntime, task: &TaskDefinition, ctx: &TaskContext) -> Self {
        let limits = match task.runner {
            // A thread cannot be ended from outside. It continues, and a worker that stops does not
            // wait for it. A hard time limit only signals the task, as a soft one does.
            Runner::Blocking(_) => TimeLimits { hard: None, soft: earlier(ctx.limits.soft, ctx.limits.hard) },
            _ => ctx.limits,
        };
        Self {
            received: Arc::clone(&ctx.received),
            interrupt: runtime.interrupt().clone(),
            limits,
            notice: ctx.notice.clone(),
            terminated: ctx.terminated.clone(),
            grace: runtime.terminate_grace,
        }
    }

    async fn within(mut self, run: impl Future<Output = JsonResult>) -> RunEnd {
        // Pinned here, because each move would need memory for the whole future again.
        let mut run = std::pin::pin!(run);
        let Some(terminated) = self.terminated.take() else { return self.in_time(run.as_mut()).await };
        let grace = self.grace;
        let overdue = async {
            terminated.cancelled().await;
            tokio::time::sleep(grace).await;
        };
        tokio::select! {
            biased;
            end = self.in_time(run.as_mut()) => match end {
                // The task ends because it was terminated, so its error is not retried. A result
                // counts as usual.
                RunEnd::Finished(Err(_)) if terminated.is_cancelled() => RunEnd::Terminated,
                end => end,
            },
            () = overdue => RunEnd::Terminated,
        }
    }

    async fn in_time(&self, mut run: Pin<&mut impl Future<Output = JsonResult>>) -> RunEnd {
        if self.limits != TimeLimits::default() {
            let hard = std::pin::pin!(never_or_after(self.limits.hard));
            let soft = std::pin::pin!(never_or_after(self.limits.soft));
            return self.limited(run, hard, soft).await;
        }
        tokio::select! {
            biased;
            finished = &mut run => self.ended(finished),
            () = self.interrupt.cancelled() => self.tidied(run).await,
        }
    }

    /// Gives a task that calls `cancelled` a moment to end when the worker stops.
    async fn tidied(&self, run: Pin<&mut impl Future<Output = JsonResult>>) -> RunEnd {
        if !self.received.listens() {
            return RunEnd::Interrupted;
        }
        match timeout(TIDYING, run).await {
            Ok(finished) => self.ended(finished),
            Err(_) => RunEnd::Interrupted,
        }
    }

    /// Returns the end of a run. An error of a task that saw the stop of the worker is not a
    /// failure.
    fn ended(&self, finished: JsonResult) -> RunEnd {
        let told = self.interrupt.is_cancelled() && self.received.listens();
        match finished {
            Err(TaskError { action: ErrorAction::Policy | ErrorAction::Database(_), .. }) if told => {
                RunEnd::Interrupted
            }
            finished => RunEnd::Finished(finished),
        }
    }

    async fn limited(
        &self,
        mut run: Pin<&mut impl Future<Output = JsonResult>>,
        mut hard: Pin<&mut impl Future<Output = ()>>,
        mut soft: Pin<&mut impl Future<Output = ()>>,
    ) -> RunEnd {
        let mut told = false;
        loop {
            tokio::select! {
                biased;
                finished = &mut run => return self.ended(finished),
                () = self.interrupt.cancelled() => return self.tidied(run).await,
                () = &mut hard => {
                    let limit = self.limits.hard.unwrap_or_default();
                    let seconds = match (limit.subsec_nanos(), i64::try_from(limit.as_secs())) {
                        (0, Ok(seconds)) => Value::Int(seconds),
                        _ => Value::Float(limit.as_secs_f64()),
                    };
                    let failure = Failure::new("TimeLimitExceeded", "").with_args(vec![seconds]);
                    return RunEnd::Finished(Err(TaskError::asking(ErrorAction::Fatal, failure)));
                }
                () = &mut soft, if !told => {
                    told = true;
                    if let Some(notice) = &self.notice {
                        notice.give(Cancellation::SoftTimeLimit);
                    }
                }
            }
        }
    }
}

async fn never_or_after(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use celeriac_protocol::TaskState;
    use celeriac_protocol::headers::names;

    use super::*;
    use crate::attempt::Disposition;
    use crate::attempt::decode::{find_task, read_body};
    use crate::attempt::revocation::check_not_revoked;
    use crate::attempt::testing::TestWorker;
    use crate::task::hooks::HookList;

    /// Runs a task whose argument is `how`. Returns its result, or the end of its attempt.
    async fn run_told<'a>(attempt: &mut Attempt<'a>) -> AttemptStep<JsonResult> {
        let task = find_task(attempt).await.unwrap();
        let body = read_body(attempt).await.unwrap();
        let prepared = prepare(attempt, task, body, None);
        run(attempt, prepared).await.map(|(result, _)| result)
    }

    #[tokio::test]
    async fn a_success_keeps_arguments_and_times_and_frees_its_slot() {
        let worker = TestWorker::new().await;
        let mut attempt = worker.deliver("succeed").await;

        let result = run_told(&mut attempt).await.unwrap();

        assert_eq!(result.unwrap(), r#""succeed""#);
        assert_eq!(attempt.arguments.as_ref().unwrap().args.as_deref(), Some(r#"["succeed"]"#));
        assert!(attempt.timing.is_some());
        assert!(attempt.slot.is_none());
    }

    #[tokio::test]
    async fn a_panic_is_a_failure() {
        let worker = TestWorker::new().await;
        let mut attempt = worker.deliver("panic").await;

        let error = run_told(&mut attempt).await.unwrap().unwrap_err();

        assert_eq!((error.failure().kind.as_str(), error.failure().message.as_str()), ("Panic", "it panicked"));
    }

    #[tokio::test]
    async fn arguments_that_do_not_fit_are_rejected_and_recorded_as_they_came() {
        let worker = TestWorker::new().await;
        let mut attempt = worker.deliver_changed("succeed", |_, message| message.body = "[[7], {}, {}]".into()).await;

        let ended = run_told(&mut attempt).await.unwrap_err();

        assert_eq!((ended.disposition, ended.state), (Disposition::Done, TaskState::Failure));
        assert_eq!(worker.published()[0].header(names::DEAD_REASON), Some("wrong-arguments"));
        let row = worker.row().await.unwrap();
        assert_eq!((row.args.as_deref(), row.attempts), (Some("[7]"), 0), "it has not begun");
    }

    #[tokio::test]
    async fn a_hard_time_limit_ends_an_attempt_that_hangs() {
        let limit = celeriac_protocol::task::TimeLimit::After(Duration::from_millis(30));
        let worker = TestWorker::with(|options| options.time_limit = Some(limit), HookList::default()).await;
        let mut attempt = worker.deliver("hang").await;
        let begun = Instant::now();

        let error = run_told(&mut attempt).await.unwrap().unwrap_err();

        assert_eq!(error.failure().kind, "TimeLimitExceeded");
        assert!(begun.elapsed() >= Duration::from_millis(30));
    }

    #[tokio::test]
    async fn a_stop_interrupts_what_hangs_and_what_listens_and_neither_counts() {
        for how in ["hang", "hold", "listen"] {
            let worker = TestWorker::new().await;
            let mut attempt = worker.deliver(how).await;
            worker.interrupt();

            let ended = run_told(&mut attempt).await.unwrap_err();

            assert_eq!((ended.disposition, ended.state), (Disposition::Requeue, TaskState::Pending), "{how}");
            assert_eq!(worker.row().await, None, "{how}");
        }
    }

    #[tokio::test]
    async fn a_terminated_task_that_ends_with_an_error_is_revoked() {
        let worker = TestWorker::new().await;
        let mut attempt = worker.deliver("listen").await;
        let task = find_task(&mut attempt).await.unwrap();
        let body = read_body(&mut attempt).await.unwrap();
        let running = check_not_revoked(&mut attempt).await.unwrap().unwrap();
        running.terminated().cancel();
        let prepared = prepare(&mut attempt, task, body, Some(&running));

        let ended = run(&mut attempt, prepared).await.err().unwrap();

        assert_eq!(ended.state, TaskState::Revoked);
        assert_eq!(worker.row().await.unwrap().failure.unwrap().message, "terminated");
    }
}
