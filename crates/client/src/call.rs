//! A task with its arguments and options, not yet sent.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use celeriac_broker::CallRoute;
use celeriac_protocol::{Codec, Task, Value};
use jiff::Timestamp;

use crate::client::Client;
use crate::error::Result;
use crate::handle::TaskHandle;

/// A call of a task: what calling the task's function returns.
///
/// Nothing happens until it is submitted.
#[must_use = "a call does nothing until it is submitted"]
pub struct Call<T: Task> {
    pub(crate) args: T::Args,
    pub(crate) options: CallOptions,
    task: PhantomData<fn() -> T>,
}

/// What a call says beside its arguments.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CallOptions {
    /// Task id. Default: a new one, which tells when it was made.
    pub id: Option<String>,
    /// When to run.
    pub when: When,
    /// When it is too late to start.
    pub expires: Option<Expiry>,
    /// Where to send it, and how.
    pub route: CallRoute,
    /// Headers of the caller's own.
    pub headers: Vec<(String, Value)>,
    /// Whether the result is of no interest.
    pub ignore_result: Option<bool>,
}

/// When a task is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum When {
    /// As soon as a worker is free.
    #[default]
    Now,
    /// After a wait.
    After(Duration),
    /// At a time.
    At(Timestamp),
}

/// When it is too late to start a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// This long after it was sent.
    After(Duration),
    /// At a time.
    At(Timestamp),
}

impl<T: Task> Call<T> {
    /// A call with these arguments.
    pub fn new(args: T::Args) -> Self {
        Self { args, options: CallOptions::default(), task: PhantomData }
    }

    /// Runs it after a wait.
    pub fn delay(mut self, wait: Duration) -> Self {
        self.options.when = When::After(wait);
        self
    }

    /// Runs it at a time, or at once if that has passed.
    pub fn eta(mut self, time: Timestamp) -> Self {
        self.options.when = When::At(time);
        self
    }

    /// Does not start it later than this after sending.
    pub fn expires_in(mut self, wait: Duration) -> Self {
        self.options.expires = Some(Expiry::After(wait));
        self
    }

    /// Does not start it after this time.
    pub fn expires_at(mut self, time: Timestamp) -> Self {
        self.options.expires = Some(Expiry::At(time));
        self
    }

    /// Sends it to this queue, whatever the routes say.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.options.route.queue = Some(queue.into());
        self
    }

    /// Sends it to this exchange, whatever the routes say.
    pub fn exchange(mut self, exchange: impl Into<String>) -> Self {
        self.options.route.exchange = Some(exchange.into());
        self
    }

    /// Sends it with this routing key.
    pub fn routing_key(mut self, key: impl Into<String>) -> Self {
        self.options.route.routing_key = Some(key.into());
        self
    }

    /// Priority, where the queue has any.
    pub fn priority(mut self, priority: u8) -> Self {
        self.options.route.priority = Some(priority);
        self
    }

    /// How its body is written.
    pub fn serializer(mut self, codec: Codec) -> Self {
        self.options.route.codec = Some(codec);
        self
    }

    /// A header of your own, which the task reads from its context.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.options.headers.push((name.into(), value.into()));
        self
    }

    /// The id, instead of a new one. A worker records one outcome for an id, however often it is sent.
    pub fn task_id(mut self, id: impl Into<String>) -> Self {
        self.options.id = Some(id.into());
        self
    }

    /// Stores no result.
    pub fn ignore_result(mut self) -> Self {
        self.options.ignore_result = Some(true);
        self
    }

    /// Sends it: `Ok` means that it stands on a queue, on disk.
    ///
    /// # Errors
    /// When it does not, or when that cannot be known; see [`Error`](crate::Error).
    pub async fn submit(self, client: &Client) -> Result<TaskHandle<T::Output>> {
        client.submit(self).await
    }
}

impl<T: Task> Clone for Call<T>
where
    T::Args: Clone,
{
    fn clone(&self) -> Self {
        Self { args: self.args.clone(), options: self.options.clone(), task: PhantomData }
    }
}

impl<T: Task> fmt::Debug for Call<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Call").field("task", &T::NAME).field("options", &self.options).finish_non_exhaustive()
    }
}
