//! Runs one attempt of a task, and keeps whatever happens in it to itself.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::{ArgumentError, Body, Failure, TimeLimits};
use celeriac_results::PgConnection;
use celeriac_telemetry::trace::ProcessSpan;
use futures::FutureExt;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::cancellation::{Cancellation, Notice};
use crate::context::TaskContext;
use crate::decode::Received;
use crate::handler::{Finished, InTransaction, Runner, TaskDefinition};
use crate::hooks::{Hooked, around};
use crate::outcome::{Steer, TaskError};

/// How an attempt ended.
pub(crate) enum Attempt {
    /// The task came to an end of its own.
    Finished(Finished),
    /// The worker stops, and could wait no longer.
    Interrupted,
    /// It was revoked while it ran, and has ended for that, or was dropped.
    Terminated,
}

/// Runs an attempt, with the hooks that it has.
///
/// # Errors
/// When the arguments do not fit the task, which then has not begun.
pub(crate) async fn execute(
    task: &TaskDefinition,
    ctx: TaskContext,
    body: Body,
    span: &ProcessSpan,
    hooked: Option<&Hooked<'_>>,
) -> Result<Attempt, ArgumentError> {
    let bounds = Bounds::of(&ctx);
    match task.runner {
        Runner::Async(run) => {
            // The handler's first lines, up to its first await, may panic as well as the rest.
            let run = std::panic::catch_unwind(AssertUnwindSafe(|| run(ctx, body)));
            let run = match run {
                Ok(run) => run?,
                Err(panic) => return Ok(Attempt::Finished(Err(panicked(panic.as_ref())))),
            };
            Ok(bounds.within(span.run(around(hooked, guarded(run)))).await)
        }
        Runner::Native(run) => Ok(bounds.within(span.run(guarded(run(ctx, body)))).await),
        Runner::Blocking(run) => {
            let threads = ctx.world.threads.clone();
            let run = run(ctx, body)?;
            let entered = threads.counted(span.run_blocking(run));
            // A thread cannot be taken away from a task: it goes on, but nobody waits for it any more when the worker
            // stops. A hard time limit only tells it, as a soft one does.
            let limits = TimeLimits { hard: None, soft: earlier(bounds.limits.soft, bounds.limits.hard) };
            Ok(Bounds { limits, ..bounds }.within(span.run(around(hooked, on_a_thread(entered)))).await)
        }
        Runner::Transactional(_) => Ok(Attempt::Finished(Err(without_transaction(task)))),
    }
}

/// Runs an attempt in a transaction.
pub(crate) async fn execute_in(
    transaction: &mut PgConnection,
    run: InTransaction,
    bounds: Bounds,
    span: &ProcessSpan,
    hooked: Option<&Hooked<'_>>,
) -> Attempt {
    // The call itself may panic as well as what it begins.
    bounds.within(span.run(around(hooked, guarded(async { run(transaction).await })))).await
}

fn without_transaction(task: &TaskDefinition) -> TaskError {
    TaskError::fatal(format!("`{}` works in a transaction, and cannot be called as part of another task", task.name))
}

/// Runs a task inside another one: no span, no limits of its own.
///
/// # Errors
/// As the task says; also when the arguments do not fit it.
pub(crate) async fn call(task: &TaskDefinition, ctx: TaskContext, body: Body) -> Finished {
    match task.runner {
        Runner::Async(run) => guarded(run(ctx, body)?).await,
        Runner::Native(run) => guarded(run(ctx, body)).await,
        Runner::Blocking(run) => {
            let threads = ctx.world.threads.clone();
            on_a_thread(threads.counted(run(ctx, body)?)).await
        }
        Runner::Transactional(_) => Err(without_transaction(task)),
    }
}

async fn guarded(run: impl Future<Output = Finished>) -> Finished {
    AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|panic| Err(panicked(panic.as_ref())))
}

async fn on_a_thread(run: impl FnOnce() -> Finished + Send + 'static) -> Finished {
    match spawn_blocking(run).await {
        Ok(finished) => finished,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => Err(panicked(panic.as_ref())),
            Err(error) => Err(TaskError::any(error)),
        },
    }
}

/// The threads on which blocking tasks run, also those for which nobody waits any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Threads(Arc<()>);

impl Threads {
    /// How many there are.
    pub(crate) fn running(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }

    fn counted(self, run: impl FnOnce() -> Finished + Send + 'static) -> impl FnOnce() -> Finished + Send + 'static {
        move || {
            let finished = run();
            drop(self);
            finished
        }
    }
}

fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

/// How long a task that listens may tidy up when the worker stops. What it comes to is recorded after that, before the worker
/// gives up.
const TIDYING: Duration = Duration::from_millis(250);

/// What may end an attempt from outside.
pub(crate) struct Bounds {
    received: Arc<Received>,
    interrupt: CancellationToken,
    limits: TimeLimits,
    /// Tells the task that its soft limit has passed.
    notice: Option<Arc<Notice>>,
    /// Tells the task that it is terminated.
    terminated: Option<CancellationToken>,
    /// How long it may go on after that.
    grace: Duration,
}

impl Bounds {
    pub(crate) fn of(ctx: &TaskContext) -> Self {
        Self {
            received: Arc::clone(&ctx.received),
            interrupt: ctx.world.interrupt.clone(),
            limits: ctx.limits,
            notice: ctx.notice.clone(),
            terminated: ctx.terminated.clone(),
            grace: ctx.world.grace,
        }
    }

    async fn within(mut self, attempt: impl Future<Output = Finished>) -> Attempt {
        // Pinned here, so that it is held once: each further hand would take as much memory again.
        let mut attempt = std::pin::pin!(attempt);
        let Some(terminated) = self.terminated.take() else { return self.in_time(attempt.as_mut()).await };
        let grace = self.grace;
        let overdue = async {
            terminated.cancelled().await;
            tokio::time::sleep(grace).await;
        };
        tokio::select! {
            biased;
            attempt = self.in_time(attempt.as_mut()) => match attempt {
                // It was told to end, and does: that is no error to be tried again. A result is one all the same.
                Attempt::Finished(Err(_)) if terminated.is_cancelled() => Attempt::Terminated,
                attempt => attempt,
            },
            () = overdue => Attempt::Terminated,
        }
    }

    async fn in_time(&self, mut attempt: Pin<&mut impl Future<Output = Finished>>) -> Attempt {
        if self.limits != TimeLimits::default() {
            let hard = std::pin::pin!(never_or_after(self.limits.hard));
            let soft = std::pin::pin!(never_or_after(self.limits.soft));
            return self.limited(attempt, hard, soft).await;
        }
        tokio::select! {
            biased;
            finished = &mut attempt => self.ended(finished),
            () = self.interrupt.cancelled() => self.tidied(attempt).await,
        }
    }

    /// The worker stops: who has asked to be told has a moment to come to an end.
    async fn tidied(&self, attempt: Pin<&mut impl Future<Output = Finished>>) -> Attempt {
        if !self.received.listens() {
            return Attempt::Interrupted;
        }
        match timeout(TIDYING, attempt).await {
            Ok(finished) => self.ended(finished),
            Err(_) => Attempt::Interrupted,
        }
    }

    /// An error of one that was told to end, because the worker stops, is no failure: it has done what it was told.
    fn ended(&self, finished: Finished) -> Attempt {
        let told = self.interrupt.is_cancelled() && self.received.listens();
        match finished {
            Err(TaskError { steer: Steer::Policy, .. }) if told => Attempt::Interrupted,
            finished => Attempt::Finished(finished),
        }
    }

    async fn limited(
        &self,
        mut attempt: Pin<&mut impl Future<Output = Finished>>,
        mut hard: Pin<&mut impl Future<Output = ()>>,
        mut soft: Pin<&mut impl Future<Output = ()>>,
    ) -> Attempt {
        let mut told = false;
        loop {
            tokio::select! {
                biased;
                finished = &mut attempt => return self.ended(finished),
                () = self.interrupt.cancelled() => return self.tidied(attempt).await,
                () = &mut hard => {
                    let limit = self.limits.hard.unwrap_or_default().as_secs_f64();
                    let failure = Failure::new("TimeLimitExceeded", format!("{limit}"));
                    return Attempt::Finished(Err(TaskError { steer: Steer::Fatal, failure }));
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

pub(crate) fn panicked(panic: &(dyn Any + Send)) -> TaskError {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the task panicked".to_owned());
    TaskError { steer: Steer::Policy, failure: Failure::new("Panic", message) }
}
