//! Hooks: code that runs around the attempts of tasks, and may change how they end.
//!
//! Those of the program wrap those of the task: see [`Hooks`] for the order.

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

/// Code that runs around the attempts of tasks: of one, as `#[task(hooks = Audit)]`, or of all, as `Builder::hooks(Audit)`.
///
/// Several wrap each other: those of the program in the order in which they were given, then those of the task. So
/// [`before_start`](Self::before_start) goes from the outermost to the innermost, and everything else the other way: the
/// innermost first, and what it makes of the outcome is what the next one sees.
///
/// All of it happens before the outcome is recorded. A worker that dies in between leaves an attempt that runs again, with
/// its hooks. They run on the runtime, those of blocking tasks too.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no hook",
    label = "does not implement `Hooks`",
    note = "write `impl Hooks for {Self}` with those of its methods that are of use"
)]
pub trait Hooks: Send + Sync + 'static {
    /// Before the task runs. May end the attempt in its place: with a value, as if the task had returned it, or with an
    /// error, as if it had failed.
    ///
    /// # Errors
    /// The attempt fails with this error.
    fn before_start(&self, ctx: &TaskContext) -> impl Future<Output = TaskResult<Start>> + Send {
        let _ = ctx;
        async { Ok(Start::Run) }
    }

    /// When the attempt has succeeded. Returns the result, or another.
    ///
    /// # Errors
    /// The attempt fails with this error instead; the task's retry policy then decides.
    fn on_success(&self, ctx: &TaskContext, result: TaskOutput) -> impl Future<Output = TaskResult<TaskOutput>> + Send {
        let _ = ctx;
        async { Ok(result) }
    }

    /// When the task has failed, and is not tried again. Returns the error, or another; or a result, and the task has
    /// succeeded.
    ///
    /// # Errors
    /// The task fails with this error. Anything else that it asks for counts only where it is [`reject`](TaskError::reject) or
    /// [`ignore`](TaskError::ignore).
    fn on_failure(&self, ctx: &TaskContext, error: TaskError) -> impl Future<Output = TaskResult<TaskOutput>> + Send {
        let _ = ctx;
        async { Err(error) }
    }

    /// When the attempt has failed, and another follows after a wait. Returns the wait, or another.
    ///
    /// # Errors
    /// The task fails with this error: there is no other attempt.
    fn on_retry(
        &self,
        ctx: &TaskContext,
        error: &TaskError,
        wait: Duration,
    ) -> impl Future<Output = TaskResult<Duration>> + Send {
        let _ = (ctx, error);
        async move { Ok(wait) }
    }

    /// When it is decided what becomes of the attempt, whatever it is. Nothing changes it any more.
    fn after_return(&self, ctx: &TaskContext, decided: &Decided) -> impl Future<Output = ()> + Send {
        let _ = (ctx, decided);
        async {}
    }
}

/// The beginning of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// The task runs.
    Run,
    /// It does not: this is its result.
    Return(TaskOutput),
}

/// The result of a task, as it is stored and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskOutput(pub(crate) String);

impl TaskOutput {
    /// A result. It has to be of the type that the task returns: whoever awaits it reads that.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn new<T: Serialize + ?Sized>(value: &T) -> TaskResult<Self> {
        result::write(value).map(Self)
    }

    /// The result as a value.
    ///
    /// # Errors
    /// When it is none of this type.
    pub fn read<T: DeserializeOwned>(&self) -> TaskResult<T> {
        result::read(&self.0)?.into_typed().map_err(|error| TaskError::fatal(format!("the result {error}")))
    }

    /// The result as JSON text.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

/// The end of an attempt, as it was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// The task has succeeded.
    Success(TaskOutput),
    /// It is tried again.
    Retry {
        /// After this.
        wait: Duration,
        /// Why.
        failure: Failure,
    },
    /// It has failed.
    Failure(Failure),
    /// It has ended, and nothing is kept of it.
    Ignored,
}

/// Hooks, the outermost first.
#[derive(Clone, Default)]
pub struct HookList(Vec<Arc<dyn AnyHooks>>);

impl HookList {
    /// Adds hooks inside of those that are there.
    pub fn add(&mut self, hooks: impl Hooks) {
        self.0.push(Arc::new(hooks));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The hooks, the outermost first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &dyn AnyHooks> {
        self.0.iter().map(|hooks| &**hooks)
    }
}

impl fmt::Debug for HookList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "HookList({})", self.0.len())
    }
}

/// [`Hooks`] whose futures are boxed, so that different ones fit into one list.
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
