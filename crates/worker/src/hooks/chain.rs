//! Hooks that wrap each other, around one attempt.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::Failure;
use futures::FutureExt;
use tokio::time::timeout;

use super::erased::AnyHooks;
use super::{Decided, Hooks, Start, TaskOutput};
use crate::context::{TaskContext, World};
use crate::decide::Verdict;
use crate::execute::panicked;
use crate::handler::{Finished, TaskDefinition};
use crate::outcome::{Steer, TaskError, TaskResult};

/// Hooks, the outermost first.
#[derive(Clone, Default)]
pub struct HookList(Vec<Arc<dyn AnyHooks>>);

impl HookList {
    /// Adds hooks inside of those that are there.
    pub fn add(&mut self, hooks: impl Hooks) {
        self.0.push(Arc::new(hooks));
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for HookList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "HookList({})", self.0.len())
    }
}

/// An attempt that has hooks.
pub(crate) struct Hooked<'a> {
    program: &'a HookList,
    task: &'a HookList,
    ctx: TaskContext,
}

/// Runs an attempt between its hooks, if it has any. A panic in one of them is a failure of the attempt.
pub(crate) async fn around(hooked: Option<&Hooked<'_>>, run: impl Future<Output = Finished>) -> Finished {
    match hooked {
        None => run.await,
        Some(hooked) => Box::pin(hooked.around(run)).await,
    }
}

impl<'a> Hooked<'a> {
    /// `None` for most: what has no hooks pays nothing for them. Celery's own tasks have none.
    pub(crate) fn of(task: &'a TaskDefinition, world: &'a World, ctx: &TaskContext) -> Option<Self> {
        let (program, task) = (&world.hooks, task.own_hooks()?);
        (!program.is_empty() || !task.is_empty()).then(|| Self { program, task, ctx: ctx.clone() })
    }

    fn inward(&self) -> impl DoubleEndedIterator<Item = &dyn AnyHooks> {
        self.program.0.iter().chain(&self.task.0).map(|hooks| &**hooks)
    }

    fn outward(&self) -> impl Iterator<Item = &dyn AnyHooks> {
        self.inward().rev()
    }

    async fn around(&self, run: impl Future<Output = Finished>) -> Finished {
        let mut finished = match self.before_start().await {
            Ok(Start::Run) => run.await,
            Ok(Start::Return(output)) => Ok(output.0),
            Err(error) => Err(error),
        };
        for hooks in self.outward() {
            let Ok(result) = finished else { break };
            let changed = guarded(async { hooks.on_success(&self.ctx, TaskOutput(result)).await }).await;
            finished = changed.unwrap_or_else(Err).map(|output| output.0);
        }
        finished
    }

    async fn before_start(&self) -> TaskResult<Start> {
        for hooks in self.inward() {
            match guarded(async { hooks.before_start(&self.ctx).await }).await.unwrap_or_else(Err)? {
                Start::Run => {}
                instead => return Ok(instead),
            }
        }
        Ok(Start::Run)
    }

    /// Lets the hooks change what was decided, and then see it. Each half takes as long as an attempt may, where that has
    /// a hard limit; when it takes longer, what was decided stands. The same holds when one of them panics.
    pub(crate) async fn judge(&self, verdict: Verdict) -> Verdict {
        let limit = self.ctx.time_limits().hard.unwrap_or(Duration::MAX);
        let judged = match timeout(limit, self.change(verdict.clone())).await {
            Ok(changed) => changed,
            Err(_) => {
                tracing::warn!(
                    task = self.ctx.name(),
                    id = self.ctx.id(),
                    "hooks took too long; what was decided stands"
                );
                verdict
            }
        };
        if timeout(limit, self.after_return(&decided(&judged))).await.is_err() {
            tracing::warn!(task = self.ctx.name(), id = self.ctx.id(), "`after_return` took too long");
        }
        judged
    }

    async fn change(&self, verdict: Verdict) -> Verdict {
        let mut verdict = match verdict {
            Verdict::Retry { wait, failure } => self.on_retry(wait, failure).await,
            verdict => verdict,
        };
        // A success has been through `on_success`; it is seen here only by those outside of whoever made it of a failure.
        if matches!(verdict, Verdict::Fail(_) | Verdict::DeadLetter { .. }) {
            for hooks in self.outward() {
                verdict = self.end(hooks, verdict).await;
            }
        }
        verdict
    }

    async fn on_retry(&self, mut wait: Duration, failure: Failure) -> Verdict {
        let error = TaskError { steer: Steer::Policy, failure };
        for hooks in self.outward() {
            match self.unless_panicked(async { hooks.on_retry(&self.ctx, &error, wait).await }).await {
                Some(Ok(changed)) => wait = changed,
                Some(Err(final_error)) => return failed_by(final_error, Verdict::Fail),
                None => {}
            }
        }
        Verdict::Retry { wait, failure: error.failure }
    }

    /// One hook's word on how a task ends.
    async fn end(&self, hooks: &dyn AnyHooks, verdict: Verdict) -> Verdict {
        let said = match verdict.clone() {
            Verdict::Succeed(result) => {
                self.unless_panicked(async { hooks.on_success(&self.ctx, TaskOutput(result)).await }).await
            }
            Verdict::Fail(failure) | Verdict::DeadLetter { failure, .. } => {
                let error = TaskError { steer: Steer::Policy, failure };
                self.unless_panicked(async { hooks.on_failure(&self.ctx, error).await }).await
            }
            _ => None,
        };
        match (said, verdict) {
            (None, verdict) => verdict,
            (Some(Ok(output)), _) => Verdict::Succeed(output.0),
            (Some(Err(error)), Verdict::DeadLetter { reason, .. }) => {
                failed_by(error, |failure| Verdict::DeadLetter { reason, failure })
            }
            (Some(Err(error)), _) => failed_by(error, Verdict::Fail),
        }
    }

    async fn after_return(&self, decided: &Decided) {
        for hooks in self.outward() {
            self.unless_panicked(async { hooks.after_return(&self.ctx, decided).await }).await;
        }
    }

    /// What a hook answers after the attempt was decided: there a panic changes nothing.
    async fn unless_panicked<T>(&self, hook: impl Future<Output = TaskResult<T>>) -> Option<TaskResult<T>> {
        match guarded(hook).await {
            Ok(answer) => Some(answer),
            Err(panic) => {
                let (task, id, panic) = (self.ctx.name(), self.ctx.id(), panic.failure().message.as_str());
                tracing::warn!(task, id, panic, "a hook panicked; what was decided stands");
                None
            }
        }
    }
}

/// What a hook answers, or its panic.
async fn guarded<T>(hook: impl Future<Output = TaskResult<T>>) -> Result<TaskResult<T>, TaskError> {
    AssertUnwindSafe(hook).catch_unwind().await.map_err(|panic| panicked(panic.as_ref()))
}

/// How a task ends with the error of a hook: `as_before`, unless it says more.
fn failed_by(error: TaskError, as_before: impl FnOnce(Failure) -> Verdict) -> Verdict {
    match error.steer {
        Steer::Ignore => Verdict::Ignore,
        Steer::Reject => Verdict::DeadLetter { reason: "rejected", failure: error.failure },
        _ => as_before(error.failure),
    }
}

fn decided(verdict: &Verdict) -> Decided {
    match verdict {
        Verdict::Succeed(result) => Decided::Success(TaskOutput(result.clone())),
        Verdict::Retry { wait, failure } => Decided::Retry { wait: *wait, failure: failure.clone() },
        Verdict::Fail(failure) | Verdict::DeadLetter { failure, .. } => Decided::Failure(failure.clone()),
        Verdict::Ignore => Decided::Ignored,
    }
}
