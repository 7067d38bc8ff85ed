//! Errors of tasks, and the actions that they request.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use celeriac_protocol::retry::kind_of_type;
use celeriac_protocol::{Failure, Signature, Value};
use celeriac_results::DatabaseFault;
use celeriac_telemetry::panic_text;
use jiff::Timestamp;

use crate::task::retry_options::RetryOptions;

/// The return type of a task: a value, or an error that may request an action.
pub type TaskResult<T> = Result<T, TaskError>;

/// The error of a task.
///
/// `?` converts any error, and the task's retry policy decides. The constructors here request an
/// action instead.
///
/// ```
/// use celeriac::prelude::*;
///
/// #[task(max_retries = 5, retry_backoff = "1s..10m")]
/// async fn charge(order: String) -> TaskResult<u16> {
///     // An error of any type: the retry policy of the task decides.
///     let number: u16 = order.parse()?;
///     match number {
///         // The message goes to the dead-letter queue.
///         0 => Err(TaskError::reject("no such order")),
///         // Another attempt, which the task requests itself.
///         1 => Err(TaskError::retry_in(minutes(5), "the shop is closed")),
///         // The retry policy decides, but the server has named the wait.
///         2 => Err(TaskError::of_kind("Throttled", "slow down").with_retry_delay(seconds(30))),
///         number => Ok(number),
///     }
/// }
/// ```
///
/// `retry_in` and `retry_at` are requests: the task asks for another attempt, and nothing has
/// failed. `with_retry_delay` changes no decision: the error stays the error that it is, and only
/// the wait before an attempt that the policy grants is another.
pub struct TaskError {
    pub(crate) action: ErrorAction,
    /// Boxed, because every result of a task has room for an error.
    pub(crate) failure: Box<Failure>,
    /// Changes for the next attempt, if there is one.
    pub(crate) retry: Option<Box<RetryOptions>>,
    /// The task or canvas in place of this one.
    pub(crate) replacement: Option<Box<Signature>>,
}

/// The action that an error requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorAction {
    /// The retry policy of the task decides.
    Policy,
    /// As `Policy`, unless the task runs in a transaction of the database at fault.
    Database(DatabaseFault),
    /// Another attempt after this wait, within `max_retries`.
    RetryIn(Duration),
    /// Another attempt at this time, within `max_retries`.
    RetryAt(Timestamp),
    /// The retry policy of the task decides, with this wait.
    RetryDelay(Duration),
    /// No further attempt.
    Fatal,
    /// No further attempt, and the message goes to the dead-letter queue.
    Reject,
    /// As `Reject`, with this reason for the dead letter: one of Celery's own tasks refuses it.
    Refuse(&'static str),
    /// The task ends without an outcome.
    Ignore,
    /// The message returns to its queue after this wait. The run does not count as an attempt.
    Requeue(Duration),
    /// Another task takes the place of this one.
    Replace,
}

impl ErrorAction {
    /// Returns the action of an error that asks for none.
    fn of_cause(error: &(dyn StdError + 'static)) -> Self {
        DatabaseFault::of(error).map_or(Self::Policy, Self::Database)
    }

    /// Returns the fault of a database.
    pub(crate) fn database_fault(self) -> Option<DatabaseFault> {
        match self {
            Self::Database(fault) => Some(fault),
            _ => None,
        }
    }

    /// Returns the requested wait, or zero for a time that has passed.
    pub(crate) fn wait(self, now: Timestamp) -> Option<Duration> {
        match self {
            Self::RetryIn(wait) | Self::RetryDelay(wait) => Some(wait),
            Self::RetryAt(time) => Some(Duration::try_from(time.duration_since(now)).unwrap_or_default()),
            _ => None,
        }
    }

    /// Returns `true` for a request for another attempt, which is not an error.
    pub(crate) fn asks_for_retry(self) -> bool {
        matches!(self, Self::RetryIn(_) | Self::RetryAt(_))
    }
}

impl TaskError {
    /// Returns an error that asks for this action.
    pub(crate) fn asking(action: ErrorAction, failure: Failure) -> Self {
        Self { action, failure: Box::new(failure), retry: None, replacement: None }
    }

    /// Returns an error without a type of its own. The retry policy decides.
    pub fn new(message: impl Into<String>) -> Self {
        Self::asking(ErrorAction::Policy, Failure::new("TaskError", message))
    }

    /// Returns an error of this kind. The retry policy decides.
    ///
    /// Python callers raise the name of one of Python's own exceptions, such as `ValueError`, as
    /// that exception.
    pub fn of_kind(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self::asking(ErrorAction::Policy, Failure::new(kind, message))
    }

    /// Returns the same error, which no policy retries.
    #[must_use]
    pub fn permanent(self) -> Self {
        Self { action: ErrorAction::Fatal, ..self }
    }

    /// Returns the same error, from this Python module. Callers that have imported the module raise
    /// its exception.
    #[must_use]
    pub fn of_module(mut self, module: impl Into<String>) -> Self {
        self.failure.module = Some(module.into());
        self
    }

    /// Returns the same error with these arguments of its exception, for callers in Python, and for
    /// [`Failure::args_as`]. The message becomes the text that Python's `str` returns for it.
    ///
    /// ```
    /// use celeriac::prelude::*;
    ///
    /// let declined = TaskError::of_kind("Declined", "")
    ///     .of_module("shop.errors")
    ///     .with_args([value!("no funds"), value!(7)]);
    /// assert_eq!(declined.failure().message, "('no funds', 7)");
    /// ```
    #[must_use]
    pub fn with_args(self, args: impl IntoIterator<Item = impl Into<Value>>) -> Self {
        let args = args.into_iter().map(Into::into).collect();
        Self { failure: Box::new(self.failure.with_args(args)), ..self }
    }

    /// Converts any error, including `anyhow::Error` and boxed errors, which `?` does not accept.
    pub fn from_boxed(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let error = error.into();
        Self::asking(ErrorAction::of_cause(error.as_ref()), describe("Error", error.as_ref()))
    }

    /// Requests another attempt after a wait, within `max_retries`. The reason may be empty.
    pub fn retry_in(wait: Duration, reason: impl Into<String>) -> Self {
        Self::asking(ErrorAction::RetryIn(wait), Failure::retry(reason))
    }

    /// Requests another attempt at a time, within `max_retries`. A time that has passed means at
    /// once. The reason may be empty.
    pub fn retry_at(time: Timestamp, reason: impl Into<String>) -> Self {
        Self::asking(ErrorAction::RetryAt(time), Failure::retry(reason))
    }

    /// Returns the same request with the error that caused it. After the last attempt the task
    /// fails with that error.
    ///
    /// ```
    /// use celeriac::prelude::*;
    ///
    /// #[task(max_retries = 3)]
    /// async fn parse(number: String) -> TaskResult<u16> {
    ///     number.parse().map_err(|error| TaskError::retry_in(seconds(60), "").caused_by(error))
    /// }
    /// ```
    #[must_use]
    pub fn caused_by(self, cause: impl Into<Self>) -> Self {
        Self { failure: cause.into().failure, ..self }
    }

    /// Returns the same error with changes for the next attempt, if there is one.
    #[must_use]
    pub fn with_retry_options(self, options: RetryOptions) -> Self {
        Self { retry: Some(Box::new(options)), ..self }
    }

    /// Returns the same error with a wait from outside, such as a server's `Retry-After`.
    ///
    /// The retry policy still decides if there is another attempt, and how many; the wait is this
    /// one.
    #[must_use]
    pub fn with_retry_delay(self, wait: Duration) -> Self {
        let action =
            if self.action.asks_for_retry() { ErrorAction::RetryIn(wait) } else { ErrorAction::RetryDelay(wait) };
        Self { action, ..self }
    }

    /// Rejects the message, with this reason for its dead letter.
    pub(crate) fn refuse(reason: &'static str, kind: &str, message: String) -> Self {
        Self::asking(ErrorAction::Refuse(reason), Failure::new(kind, message))
    }

    /// Fails permanently, whatever the retry policy.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self::asking(ErrorAction::Fatal, Failure::new("Fatal", message))
    }

    /// Fails permanently and sends the message to the dead-letter queue, for a later replay.
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::asking(ErrorAction::Reject, Failure::new("Reject", reason))
    }

    /// Returns the message to the end of its queue, after a wait. The run does not count as an
    /// attempt, and there is no limit: another worker, or this one at another time, has to be able
    /// to end the task.
    ///
    /// ```
    /// use celeriac::prelude::*;
    ///
    /// #[task]
    /// async fn render(ctx: TaskContext, scene: String) -> TaskResult<usize> {
    ///     if ctx.state::<Gpu>().is_err() {
    ///         return Err(TaskError::requeue_in(seconds(5), "no GPU here"));
    ///     }
    ///     Ok(scene.len())
    /// }
    ///
    /// struct Gpu;
    /// ```
    pub fn requeue_in(wait: Duration, reason: impl Into<String>) -> Self {
        Self::asking(ErrorAction::Requeue(wait), Failure::new("Requeue", reason))
    }

    /// Puts a task or canvas in the place of this one.
    pub(crate) fn replace(replacement: Signature) -> Self {
        let failure = Failure::new("Ignore", format!("replaced by `{}`", replacement.task));
        Self { replacement: Some(Box::new(replacement)), ..Self::asking(ErrorAction::Replace, failure) }
    }

    /// Ends the task without an outcome.
    pub fn ignore() -> Self {
        Self::asking(ErrorAction::Ignore, Failure::new("Ignore", ""))
    }

    /// Returns the error of a task that panicked.
    pub(crate) fn from_panic(panic: Box<dyn Any + Send>) -> Self {
        let message = panic_text(&*panic).unwrap_or("the task panicked").to_owned();
        // The value may panic in its own drop.
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(again);
        }
        Self::asking(ErrorAction::Policy, Failure::new("Panic", message))
    }

    /// Returns the error's kind, message and causes.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for TaskError {
    fn from(error: E) -> Self {
        let kind = kind_of_type(std::any::type_name::<E>());
        Self::asking(ErrorAction::of_cause(&error), describe(&kind, &error))
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TaskError").field("action", &self.action).field("failure", &self.failure).finish()
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(formatter)
    }
}

fn describe(kind: &str, error: &dyn StdError) -> Failure {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        causes.push(format!("caused by: {error}"));
        cause = error.source();
    }
    let trace = if causes.is_empty() { None } else { Some(causes.join("\n")) };
    Failure { trace, ..Failure::new(kind, error.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("card declined")]
    struct Declined(#[source] fmt::Error);

    #[test]
    fn an_error_keeps_its_type_message_and_causes() {
        let failed: TaskResult<()> = (|| Err(Declined(fmt::Error))?)();
        let failure = failed.unwrap_err().failure;
        assert_eq!((failure.kind.as_str(), failure.message.as_str()), ("Declined", "card declined"));
        assert!(failure.trace.unwrap().starts_with("caused by: an error occurred"));
    }

    #[test]
    fn a_retry_delay_does_not_change_the_error() {
        let error = TaskError::from(Declined(fmt::Error)).with_retry_delay(Duration::from_secs(9));
        assert_eq!(error.action, ErrorAction::RetryDelay(Duration::from_secs(9)));
        assert_eq!((error.failure.kind.as_str(), error.failure.trace.is_some()), ("Declined", true));
        let wish = TaskError::retry_in(Duration::ZERO, "busy").with_retry_delay(Duration::from_secs(9));
        assert_eq!(wish.action, ErrorAction::RetryIn(Duration::from_secs(9)));
    }

    #[test]
    fn a_time_that_is_past_is_no_wait() {
        let now = Timestamp::UNIX_EPOCH;
        let later = now.checked_add(Duration::from_millis(1_500)).unwrap();
        assert_eq!(ErrorAction::RetryAt(later).wait(now), Some(Duration::from_millis(1_500)));
        assert_eq!(ErrorAction::RetryAt(now).wait(later), Some(Duration::ZERO));
    }

    #[test]
    fn an_error_of_a_kind_can_be_final_and_of_a_module() {
        let error = TaskError::of_kind("Declined", "no").of_module("shop.errors").permanent();
        assert_eq!((error.action, error.failure.module.as_deref()), (ErrorAction::Fatal, Some("shop.errors")));
    }
}
