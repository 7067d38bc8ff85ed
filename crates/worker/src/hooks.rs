//! What runs around the attempts of tasks, and may change how they end.
//!
//! Those of the program wrap those of the task: see [`Hooks`] for the order.

mod chain;
mod erased;

use std::time::Duration;

use celeriac_protocol::Failure;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::TaskContext;
use crate::handler;
use crate::outcome::{TaskError, TaskResult};

pub use chain::HookList;
pub(crate) use chain::{Hooked, around};

/// What runs around the attempts of tasks: of one, as `#[task(hooks = Audit)]`, or of all, as `Builder::hooks(Audit)`.
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
    /// What the attempt fails with.
    fn before_start(&self, ctx: &TaskContext) -> impl Future<Output = TaskResult<Start>> + Send {
        let _ = ctx;
        async { Ok(Start::Run) }
    }

    /// When the attempt has succeeded. Returns the result, or another.
    ///
    /// # Errors
    /// What the attempt fails with instead; the task's retry policy then decides.
    fn on_success(&self, ctx: &TaskContext, result: TaskOutput) -> impl Future<Output = TaskResult<TaskOutput>> + Send {
        let _ = ctx;
        async { Ok(result) }
    }

    /// When the task has failed, and is not tried again. Returns the error, or another; or a result, and the task has
    /// succeeded.
    ///
    /// # Errors
    /// What the task fails with. What it asks for besides counts only where it is [`reject`](TaskError::reject) or
    /// [`ignore`](TaskError::ignore).
    fn on_failure(&self, ctx: &TaskContext, error: TaskError) -> impl Future<Output = TaskResult<TaskOutput>> + Send {
        let _ = ctx;
        async { Err(error) }
    }

    /// When the attempt has failed, and another follows after a wait. Returns the wait, or another.
    ///
    /// # Errors
    /// What the task fails with: there is no other attempt.
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

/// How an attempt begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// The task runs.
    Run,
    /// It does not: this is its result.
    Return(TaskOutput),
}

/// The result of a task, as it is stored and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskOutput(String);

impl TaskOutput {
    /// A result. It has to be of the type that the task returns: whoever awaits it reads that.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn new<T: Serialize + ?Sized>(value: &T) -> TaskResult<Self> {
        handler::write(value).map(Self)
    }

    /// The result as a value.
    ///
    /// # Errors
    /// When it is none of this type.
    pub fn read<T: DeserializeOwned>(&self) -> TaskResult<T> {
        handler::read(&self.0)?.into_typed().map_err(|error| TaskError::fatal(format!("the result {error}")))
    }

    /// The result as JSON text.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

/// What becomes of an attempt.
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
