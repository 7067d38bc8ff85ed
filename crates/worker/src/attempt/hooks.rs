//! Runs the hooks of an attempt: around it, and after its decision.

use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::Failure;
use celeriac_telemetry::Event;
use celeriac_telemetry::events::worker::task::{HookPanicked, HookTimedOut};
use futures::FutureExt;
use tokio::time::timeout;

use crate::attempt::decide::{Decision, REJECTED};
use crate::attempt::{Attempt, AttemptStep};
use crate::panics::Contained;
use crate::task::context::TaskContext;
use crate::task::definition::TaskDefinition;
use crate::task::error::{ErrorAction, TaskError, TaskResult};
use crate::task::hooks::{AnyHooks, Decided, HookList, Start, TaskOutput};
use crate::task::result::JsonResult;
use crate::task::retry_options::RetryOptions;

/// An attempt with its hooks.
pub(crate) struct AttemptHooks<'a> {
    program: &'a HookList,
    task: &'a HookList,
    ctx: TaskContext,
}

/// Runs an attempt between its hooks, if it has any. A panic in one of them fails the attempt.
pub(crate) async fn around(hooked: Option<&AttemptHooks<'_>>, run: impl Future<Output = JsonResult>) -> JsonResult {
    match hooked {
        None => run.await,
        Some(hooked) => Box::pin(hooked.around(run)).await,
    }
}

/// Lets the hooks of an attempt change the decision, unless the worker stops first.
pub(crate) async fn review(
    attempt: &Attempt<'_>,
    hooked: Option<AttemptHooks<'_>>,
    decision: Decision,
) -> AttemptStep<Decision> {
    let Some(hooked) = hooked else { return Ok(decision) };
    tokio::select! {
        biased;
        decision = attempt.span.run(Box::pin(hooked.review(decision))) => Ok(decision),
        () = attempt.runtime.interrupt().cancelled() => Err(attempt.interrupted()),
    }
}

impl<'a> AttemptHooks<'a> {
    /// Returns `None` without hooks, so that such an attempt has no extra cost. Celery's own tasks
    /// have no hooks.
    pub(crate) fn of(program: &'a HookList, task: &'a TaskDefinition, ctx: &TaskContext) -> Option<Self> {
        let task = task.own_hooks()?;
        (!program.is_empty() || !task.is_empty()).then(|| Self { program, task, ctx: ctx.clone() })
    }

    fn inward(&self) -> impl DoubleEndedIterator<Item = &dyn AnyHooks> {
        self.program.iter().chain(self.task.iter())
    }

    fn outward(&self) -> impl Iterator<Item = &dyn AnyHooks> {
        self.inward().rev()
    }

    async fn around(&self, run: impl Future<Output = JsonResult>) -> JsonResult {
        let mut finished = match self.before_start().await {
            Ok(Start::Run) => run.await,
            Ok(Start::Return(output)) => Ok(output.0),
            Err(error) => Err(error),
        };
        for hooks in self.outward() {
            let Ok(result) = finished else { break };
            let changed = self.contained(async { hooks.on_success(&self.ctx, TaskOutput(result)).await }).await;
            finished = changed.unwrap_or_else(Err).map(|output| output.0);
        }
        finished
    }

    async fn before_start(&self) -> TaskResult<Start> {
        for hooks in self.inward() {
            match self.contained(async { hooks.before_start(&self.ctx).await }).await.unwrap_or_else(Err)? {
                Start::Run => {}
                instead => return Ok(instead),
            }
        }
        Ok(Start::Run)
    }

    /// Lets the hooks change the decision, and then observe it.
    ///
    /// With a hard time limit, each half may take as long as an attempt. If it takes longer, or if
    /// a hook panics, the decision does not change.
    async fn review(&self, decision: Decision) -> Decision {
        let limit = self.ctx.time_limits().hard.unwrap_or(Duration::MAX);
        let reviewed = match timeout(limit, self.change(decision.clone())).await {
            Ok(changed) => changed,
            Err(_) => {
                self.timed_out("on_retry, on_failure, on_success", limit);
                decision
            }
        };
        if timeout(limit, self.after_return(&decided(&reviewed))).await.is_err() {
            self.timed_out("after_return", limit);
        }
        reviewed
    }

    fn timed_out(&self, hook: &str, limit: Duration) {
        HookTimedOut { task: self.ctx.name(), id: self.ctx.id(), hook, limit }.emit();
    }

    async fn change(&self, decision: Decision) -> Decision {
        let mut decision = match decision {
            Decision::Retry { wait, failure, options } => self.on_retry(wait, failure, options).await,
            decision => decision,
        };
        // A success of the task has already passed `on_success`. It runs here only for hooks
        // outside of a hook that turned a failure into a success.
        if matches!(decision, Decision::Fail(_) | Decision::DeadLetter { .. }) {
            for hooks in self.outward() {
                decision = self.end(hooks, decision).await;
            }
        }
        decision
    }

    async fn on_retry(&self, mut wait: Duration, failure: Failure, options: Option<Box<RetryOptions>>) -> Decision {
        let error = TaskError::asking(ErrorAction::Policy, failure);
        for hooks in self.outward() {
            match self.unless_panicked(async { hooks.on_retry(&self.ctx, &error, wait).await }).await {
                Some(Ok(changed)) => wait = changed,
                Some(Err(final_error)) => return failed_by(final_error, Decision::Fail),
                None => {}
            }
        }
        Decision::Retry { wait, failure: *error.failure, options }
    }

    /// Returns the decision after one hook.
    async fn end(&self, hooks: &dyn AnyHooks, decision: Decision) -> Decision {
        let said = match decision.clone() {
            Decision::Succeed(result) => {
                self.unless_panicked(async { hooks.on_success(&self.ctx, TaskOutput(result)).await }).await
            }
            Decision::Fail(failure) | Decision::DeadLetter { failure, .. } => {
                let error = TaskError::asking(ErrorAction::Policy, failure);
                self.unless_panicked(async { hooks.on_failure(&self.ctx, error).await }).await
            }
            _ => None,
        };
        match (said, decision) {
            (None, decision) => decision,
            (Some(Ok(output)), _) => Decision::Succeed(output.0),
            (Some(Err(error)), Decision::DeadLetter { reason, .. }) => {
                failed_by(error, |failure| Decision::DeadLetter { reason, failure })
            }
            (Some(Err(error)), _) => failed_by(error, Decision::Fail),
        }
    }

    async fn after_return(&self, decided: &Decided) {
        for hooks in self.outward() {
            self.unless_panicked(async { hooks.after_return(&self.ctx, decided).await }).await;
        }
    }

    /// Returns the answer of a hook, or `None` if it panicked. The decision then does not change.
    async fn unless_panicked<T>(&self, hook: impl Future<Output = TaskResult<T>> + Send) -> Option<TaskResult<T>> {
        match self.contained(hook).await {
            Ok(answer) => Some(answer),
            Err(panic) => {
                let (task, id) = (self.ctx.name(), self.ctx.id());
                HookPanicked { task, id, error: &panic.failure().message }.emit();
                None
            }
        }
    }

    /// Returns the answer of a hook, or its panic.
    fn contained<'h, T>(&self, hook: impl Future<Output = TaskResult<T>> + Send + 'h) -> Contained<'h, TaskResult<T>> {
        Contained::new(Arc::clone(&self.ctx.received), hook.boxed())
    }
}

/// Returns the decision after an error of a hook: that of `as_before`, unless the error requests
/// another one.
fn failed_by(error: TaskError, as_before: impl FnOnce(Failure) -> Decision) -> Decision {
    match error.action {
        ErrorAction::Ignore => Decision::Ignore,
        ErrorAction::Reject => Decision::DeadLetter { reason: REJECTED, failure: *error.failure },
        ErrorAction::Refuse(reason) => Decision::DeadLetter { reason, failure: *error.failure },
        _ => as_before(*error.failure),
    }
}

fn decided(decision: &Decision) -> Decided {
    match decision {
        Decision::Succeed(result) => Decided::Success(TaskOutput(result.clone())),
        Decision::Retry { wait, failure, .. } => Decided::Retry { wait: *wait, failure: failure.clone() },
        Decision::Fail(failure) | Decision::DeadLetter { failure, .. } => Decided::Failure(failure.clone()),
        Decision::Ignore | Decision::Requeue { .. } | Decision::Replace(_) => Decided::Ignored,
    }
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::TaskState;

    use super::*;
    use crate::attempt::Disposition;
    use crate::attempt::decode::{find_task, read_body};
    use crate::attempt::execute::{prepare, run};
    use crate::attempt::testing::TestWorker;
    use crate::task::hooks::Hooks;

    /// Hooks that change the end of an attempt.
    #[derive(Clone, Copy)]
    enum Change {
        /// Turns a failure into a success.
        Forgive,
        /// Turns a success into a failure.
        Blame,
        /// Replaces the run with a result.
        Replace,
        /// Never ends.
        Hang,
    }

    impl Hooks for Change {
        async fn before_start(&self, _: &TaskContext) -> TaskResult<Start> {
            match self {
                Self::Replace => Ok(Start::Return(TaskOutput::new("replaced")?)),
                _ => Ok(Start::Run),
            }
        }

        async fn on_success(&self, _: &TaskContext, result: TaskOutput) -> TaskResult<TaskOutput> {
            match self {
                Self::Blame => Err(TaskError::permanent(TaskError::new("blamed"))),
                _ => Ok(result),
            }
        }

        async fn on_failure(&self, _: &TaskContext, error: TaskError) -> TaskResult<TaskOutput> {
            match self {
                Self::Forgive => TaskOutput::new("forgiven"),
                Self::Hang => std::future::pending().await,
                _ => Err(error),
            }
        }
    }

    async fn worker(change: Change) -> TestWorker {
        let mut hooks = HookList::default();
        hooks.add(change);
        TestWorker::with(|_| {}, hooks).await
    }

    /// Runs a task with the hooks of its worker, up to the reviewed decision.
    async fn reviewed(attempt: &mut Attempt<'_>) -> AttemptStep<Decision> {
        let task = find_task(attempt).await.unwrap();
        let body = read_body(attempt).await.unwrap();
        let prepared = prepare(attempt, task, body, None);
        let (result, hooked) = run(attempt, prepared).await.unwrap();
        assert!(attempt.slot.is_some(), "hooks run in the slot of their task");
        let decision = crate::attempt::decide::decide(attempt, task, result);
        review(attempt, hooked, decision).await
    }

    #[tokio::test]
    async fn a_hook_changes_what_becomes_of_an_attempt() {
        let cases = [
            (Change::Forgive, "fail", Ok("\"forgiven\"")),
            (Change::Blame, "succeed", Err("blamed")),
            (Change::Replace, "hang", Ok("\"replaced\"")),
        ];
        for (change, how, expected) in cases {
            let worker = worker(change).await;
            let mut attempt = worker.deliver(how).await;
            match (reviewed(&mut attempt).await.unwrap(), expected) {
                (Decision::Succeed(result), Ok(expected)) => assert_eq!(result, expected, "{how}"),
                (Decision::Fail(failure), Err(expected)) => assert_eq!(failure.message, expected, "{how}"),
                (decision, _) => panic!("{how}: {decision:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_stop_interrupts_a_hook_and_the_attempt_does_not_count() {
        let worker = worker(Change::Hang).await;
        let mut attempt = worker.deliver("fail").await;
        let stop = async {
            tokio::task::yield_now().await;
            worker.interrupt();
        };

        let (ended, ()) = tokio::join!(reviewed(&mut attempt), stop);

        let ended = ended.unwrap_err();
        assert_eq!((ended.disposition, ended.state), (Disposition::Requeue, TaskState::Pending));
    }
}
