//! What a task may say of how it went.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use celeriac_protocol::Failure;

/// What a task returns: a value, or an error that may steer what follows.
pub type TaskResult<T> = Result<T, TaskError>;

/// The error of a task.
///
/// `?` makes one of any error; the task's retry policy then decides. The constructors here steer instead.
pub struct TaskError {
    pub(crate) steer: Steer,
    pub(crate) failure: Failure,
}

/// What an error asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Steer {
    /// Whatever the task's retry policy says.
    Policy,
    /// Another attempt after this wait, within `max_retries`.
    RetryIn(Duration),
    /// No further attempt.
    Fatal,
    /// No further attempt, and the message goes to the dead-letter queue.
    Reject,
    /// The task ends without an outcome worth keeping.
    Ignore,
}

impl TaskError {
    /// An error without a type of its own; the retry policy decides.
    pub fn new(message: impl Into<String>) -> Self {
        Self { steer: Steer::Policy, failure: Failure::new("TaskError", message) }
    }

    /// An error of this kind; the retry policy decides. A name of one of Python's own exceptions, such as `ValueError`, is
    /// raised as that exception by Python's callers.
    pub fn of_kind(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self { steer: Steer::Policy, failure: Failure::new(kind, message) }
    }

    /// The same error, which no policy tries again.
    #[must_use]
    pub fn for_good(self) -> Self {
        Self { steer: Steer::Fatal, ..self }
    }

    /// The same error, of this Python module: callers that have imported it see its own exception.
    #[must_use]
    pub fn of_module(mut self, module: impl Into<String>) -> Self {
        self.failure.module = Some(module.into());
        self
    }

    /// An error of any kind, such as `anyhow::Error` or a boxed one, that `?` alone cannot take.
    pub fn any(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let error = error.into();
        Self { steer: Steer::Policy, failure: describe("Error", error.as_ref()) }
    }

    /// Tries again after a wait, as long as `max_retries` allows.
    pub fn retry_in(wait: Duration, reason: impl Into<String>) -> Self {
        Self { steer: Steer::RetryIn(wait), failure: Failure::new("Retry", reason) }
    }

    /// Fails for good, whatever the retry policy says.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self { steer: Steer::Fatal, failure: Failure::new("Fatal", message) }
    }

    /// Fails for good and puts the message on the dead-letter queue, from where it can be replayed.
    pub fn reject(reason: impl Into<String>) -> Self {
        Self { steer: Steer::Reject, failure: Failure::new("Reject", reason) }
    }

    /// Ends the task without an outcome worth keeping.
    pub fn ignore() -> Self {
        Self { steer: Steer::Ignore, failure: Failure::new("Ignore", "") }
    }

    /// The error's kind, message and causes.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for TaskError {
    fn from(error: E) -> Self {
        Self { steer: Steer::Policy, failure: describe(&short_type_name::<E>(), &error) }
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TaskError").field("steer", &self.steer).field("failure", &self.failure).finish()
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

/// `shop::payment::Declined` becomes `Declined`; what stands in angle brackets is left out. One that is called `Error` says
/// whose: `std::io::error::Error` becomes `io::Error`, `serde_json::error::Error` becomes `serde_json::Error`.
fn short_type_name<T>() -> String {
    let full = std::any::type_name::<T>();
    let outer = full.split('<').next().unwrap_or(full);
    let mut parts = outer.rsplit("::");
    let name = parts.next().unwrap_or(outer);
    if name != "Error" {
        return name.to_owned();
    }
    match parts.find(|part| !matches!(*part, "error" | "errors")) {
        Some(owner) => format!("{owner}::{name}"),
        None => name.to_owned(),
    }
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
    fn an_error_that_is_called_error_says_whose_it_is() {
        assert_eq!(short_type_name::<std::io::Error>(), "io::Error");
        assert_eq!(short_type_name::<serde_json::Error>(), "serde_json::Error");
        assert_eq!(short_type_name::<fmt::Error>(), "fmt::Error");
        assert_eq!(short_type_name::<Box<fmt::Error>>(), "Box");
    }

    #[test]
    fn an_error_of_a_kind_can_be_final_and_of_a_module() {
        let error = TaskError::of_kind("Declined", "no").of_module("shop.errors").for_good();
        assert_eq!((error.steer, error.failure.module.as_deref()), (Steer::Fatal, Some("shop.errors")));
    }
}
