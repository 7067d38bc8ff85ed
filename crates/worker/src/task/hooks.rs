//! Hooks: functions that run around the attempts of tasks, and may change their outcome.
//!
//! The program's hooks wrap the task's own: see [`Hooks`] for the order.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::Failure;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::task::context::TaskContext;
use crate::task::error::{TaskError, TaskResult};
use crate::task::result;

/// Functions around the attempts of tasks: of one task, as `#[task(hooks = Audit)]`, or of all
/// tasks, as `Builder::hooks(Audit)`.
///
/// Several hooks wrap each other: those of the program in the order in which they were added, then
/// those of the task. [`before_start`](Self::before_start) runs from the outermost to the
/// innermost. All others run from the innermost to the outermost, and each sees the outcome that
/// the one before it returned.
///
/// Hooks run before the outcome is recorded. If a worker dies in between, the attempt runs again
/// with its hooks. They run on the runtime, those of blocking tasks too.
///
/// ```
/// use celeriac::hooks::Decided;
/// use celeriac::prelude::*;
///
/// struct Audit;
///
/// impl Hooks for Audit {
///     async fn after_return(&self, ctx: &TaskContext, decided: &Decided) {
///         if let Decided::Failure(failure) = decided {
///             println!("task {} failed at attempt {}: {failure}", ctx.id(), ctx.attempt());
///         }
///     }
/// }
///
/// #[task(hooks = Audit)]
/// async fn charge(cents: i64) -> TaskResult<i64> {
///     Ok(cents)
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no hook",
    label = "does not implement `Hooks`",
    note = "write `impl Hooks for {Self}` with those of its methods that are of use"
)]
pub trait Hooks: Send + Sync + 'static {
    /// Runs before the task. May end the attempt in its place: with a value, as if the task had
    /// returned it, or with an error, as if the task had failed.
    ///
    /// # Errors
    /// The attempt fails with this error.
    fn before_start(&self, ctx: &TaskContext) -> impl Future<Output = TaskResult<Start>> + Send {
        let _ = ctx;
        async { Ok(Start::Run) }
    }

    /// Runs after a success. Returns the result, or another one.
    ///
    /// # Errors
    /// The attempt fails with this error instead, and the task's retry policy decides.
    fn on_success(&self, ctx: &TaskContext, result: TaskOutput) -> impl Future<Output = TaskResult<TaskOutput>> + Send {
        let _ = ctx;
        async { Ok(result) }
    }

    /// Runs after a failure without a further attempt. Returns the error, or another one; or a
    /// result, which makes the task a success.
    ///
    /// # Errors
    /// The task fails with this error. Of the actions that it requests, only
    /// [`reject`](TaskError::reject) and [`ignore`](TaskError::ignore) count.
    fn on_failure(&self, ctx: &TaskContext, error: TaskError) -> impl Future<Output = TaskResult<TaskOutput>> + Send {
        let _ = ctx;
        async { Err(error) }
    }

    /// Runs after a failure with another attempt after a wait. Returns the wait, or another one.
    ///
    /// # Errors
    /// The task fails with this error, without another attempt.
    fn on_retry(
        &self,
        ctx: &TaskContext,
        error: &TaskError,
        wait: Duration,
    ) -> impl Future<Output = TaskResult<Duration>> + Send {
        let _ = (ctx, error);
        async move { Ok(wait) }
    }

    /// Runs after the decision on an attempt. Cannot change it.
    fn after_return(&self, ctx: &TaskContext, decided: &Decided) -> impl Future<Output = ()> + Send {
        let _ = (ctx, decided);
        async {}
    }
}

/// The start of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// The task runs.
    Run,
    /// The task does not run, and this is its result.
    Return(TaskOutput),
}

/// The result of a task, as it is stored and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskOutput(pub(crate) String);

impl TaskOutput {
    /// Returns a result. Its type must be the return type of the task, which its callers read.
    ///
    /// # Errors
    /// Returns an error if the value cannot be written as JSON.
    pub fn new<T: Serialize + ?Sized>(value: &T) -> TaskResult<Self> {
        result::write(value).map(Self)
    }

    /// Returns the result as a value.
    ///
    /// # Errors
    /// Returns an error if the result is not of this type.
    pub fn read<T: DeserializeOwned>(&self) -> TaskResult<T> {
        result::read(&self.0)?.into_typed().map_err(|error| TaskError::fatal(format!("the result {error}")))
    }

    /// Returns the result as JSON text.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

/// The decision on an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Decided {
    /// The task has succeeded.
    Success(TaskOutput),
    /// The task is tried again.
    Retry {
        /// Time until the next attempt.
        wait: Duration,
        /// The error of this attempt.
        failure: Failure,
    },
    /// The task has failed.
    Failure(Failure),
    /// Nothing of the attempt is kept: the task asked for that, returned itself to its queue, or
    /// was replaced.
    Ignored,
}

/// Hooks, the outermost first.
#[derive(Clone, Default)]
pub struct HookList(Vec<Arc<dyn AnyHooks>>);

impl HookList {
    /// Adds hooks inside the present ones.
    pub fn add(&mut self, hooks: impl Hooks) {
        self.0.push(Arc::new(hooks));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the hooks, the outermost first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &dyn AnyHooks> {
        self.0.iter().map(|hooks| &**hooks)
    }
}

impl fmt::Debug for HookList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "HookList({})", self.0.len())
    }
}

/// [`Hooks`] with boxed futures, so that different ones fit in one list.
pub(crate) trait AnyHooks: Send + Sync {
    fn before_start<'a>(&'a self, ctx: &'a TaskContext) -> BoxFuture<'a, TaskResult<Start>>;

    fn on_success<'a>(&'a self, ctx: &'a TaskContext, result: TaskOutput) -> BoxFuture<'a, TaskResult<TaskOutput>>;

    fn on_failure<'a>(&'a self, ctx: &'a TaskContext, error: TaskError) -> BoxFuture<'a, TaskResult<TaskOutput>>;

    fn on_retry<'a>(
        &'a self,
        ctx: &'a TaskContext,
        error: &'a TaskError,
        wait: Duration,
    ) -> BoxFuture<'a, TaskResult<Duration>>;

    fn after_return<'a>(&'a self, ctx: &'a TaskContext, decided: &'a Decided) -> BoxFuture<'a, TaskResult<()>>;
}

impl<H: Hooks> AnyHooks for H {
    fn before_start<'a>(&'a self, ctx: &'a TaskContext) -> BoxFuture<'a, TaskResult<Start>> {
        Hooks::before_start(self, ctx).boxed()
    }

    fn on_success<'a>(&'a self, ctx: &'a TaskContext, result: TaskOutput) -> BoxFuture<'a, TaskResult<TaskOutput>> {
        Hooks::on_success(self, ctx, result).boxed()
    }

    fn on_failure<'a>(&'a self, ctx: &'a TaskContext, error: TaskError) -> BoxFuture<'a, TaskResult<TaskOutput>> {
        Hooks::on_failure(self, ctx, error).boxed()
    }

    fn on_retry<'a>(
        &'a self,
        ctx: &'a TaskContext,
        error: &'a TaskError,
        wait: Duration,
    ) -> BoxFuture<'a, TaskResult<Duration>> {
        Hooks::on_retry(self, ctx, error, wait).boxed()
    }

    fn after_return<'a>(&'a self, ctx: &'a TaskContext, decided: &'a Decided) -> BoxFuture<'a, TaskResult<()>> {
        Hooks::after_return(self, ctx, decided).map(Ok).boxed()
    }
}
