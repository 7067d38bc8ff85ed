//! The changes of a task for its next attempt.

use std::time::Duration;

use celeriac_client::call::Expiry;
use celeriac_protocol::{Map, Value};
use jiff::Timestamp;

/// Changes of a task for its next attempt: other arguments, another queue, and so on.
///
/// ```
/// use celeriac::RetryOptions;
/// use celeriac::prelude::*;
///
/// #[task(max_retries = 5)]
/// async fn import(page: u32) -> TaskResult<u32> {
///     if page > 0 {
///         let rest = RetryOptions::new().args([page - 1]).queue("imports-slow").priority(1);
///         return Err(TaskError::retry_in(seconds(10), "another page").with_retry_options(rest));
///     }
///     Ok(page)
/// }
/// ```
///
/// The message keeps everything that is not set here.
#[derive(Debug, Clone, PartialEq, Default)]
#[must_use = "it does nothing until an error has it"]
pub struct RetryOptions {
    pub(crate) args: Option<Vec<Value>>,
    pub(crate) kwargs: Option<Map>,
    pub(crate) headers: Vec<(String, Value)>,
    pub(crate) expires: Option<Expiry>,
    pub(crate) queue: Option<String>,
    pub(crate) priority: Option<u8>,
    pub(crate) max_retries: Option<u32>,
}

impl RetryOptions {
    /// Changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces all positional arguments. Named ones stay.
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<Value>>) -> Self {
        self.args = Some(args.into_iter().map(Into::into).collect());
        self
    }

    /// Replaces all named arguments. Positional ones stay.
    pub fn kwargs<N: Into<String>, V: Into<Value>>(mut self, kwargs: impl IntoIterator<Item = (N, V)>) -> Self {
        self.kwargs = Some(kwargs.into_iter().map(|(name, value)| (name.into(), value.into())).collect());
        self
    }

    /// Sets a header. The others stay.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Does not start the task later than `wait` after this attempt.
    pub fn expires_in(mut self, wait: Duration) -> Self {
        self.expires = Some(Expiry::After(wait));
        self
    }

    /// Does not start the task after `time`.
    pub fn expires_at(mut self, time: Timestamp) -> Self {
        self.expires = Some(Expiry::At(time));
        self
    }

    /// Sends the next attempt to this queue, which must exist.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// Sets the priority, for a queue that has priorities.
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Replaces `max_retries` of the task for the decision on this attempt.
    pub fn max_retries(mut self, max_retries: u32) -> Self {
        self.max_retries = Some(max_retries);
        self
    }
}
