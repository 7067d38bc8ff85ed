//! A task with its arguments and options, not yet sent.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use celeriac_protocol::compression::Compression;
use celeriac_protocol::{Body, Codec, Map, Signature, Task, TimeLimits, Value};
use celeriac_topology::{CallRoute, DIRECT_EXCHANGE};
use jiff::Timestamp;

use crate::client::Client;
use crate::error::{Error, Result};
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

/// The options of a call.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CallOptions {
    /// Task id. Default: a new one, which tells when it was made.
    pub id: Option<String>,
    /// The time at which it runs.
    pub when: When,
    /// The time after which it must not start.
    pub expires: Option<Expiry>,
    /// Its route, where the call says more than the configuration.
    pub route: CallRoute,
    /// Headers of the caller's own.
    pub headers: Vec<(String, Value)>,
    /// True if the result is of no interest.
    pub ignore_result: Option<bool>,
    /// The compression of its body.
    pub compression: Option<Compression>,
    /// The longest that an attempt may take.
    pub limits: TimeLimits,
    /// A name to show in place of the task's.
    pub shadow: Option<String>,
    /// Celery's stamps: marks by which tasks can be found and revoked, by name.
    pub stamps: Map,
    /// The tasks that follow from it.
    pub follow: Follow,
    /// Its relations to other tasks.
    pub relations: Relations,
    /// Tasks of one key that are sent in transactions are sent one after the other.
    pub order_key: Option<String>,
    /// Sent again with the same key, it is the same task.
    pub idempotency_key: Option<String>,
}

/// The tasks that are sent when a task has ended.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Follow {
    /// Called with its result.
    pub callbacks: Vec<Signature>,
    /// Called with its id when it fails.
    pub errbacks: Vec<Signature>,
    /// Steps of a chain: the first is called with its result, and so on.
    pub steps: Vec<Signature>,
}

/// The relations of a task to other tasks. Nobody needs to say this of a call: whoever sends it does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relations {
    /// First task of the workflow.
    pub root_id: Option<String>,
    /// The task that sends it.
    pub parent_id: Option<String>,
    /// Its group.
    pub group: Option<String>,
    /// Its position in the group.
    pub group_index: Option<i64>,
    /// The number of times that it was replaced by another task.
    pub replaced_task_nesting: u32,
    /// The queue that awaits its reply, where that is not the sender's own.
    pub reply_to: Option<String>,
}

/// The time at which a task runs.
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

/// The time after which a task must not start.
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

    /// Sends it to the worker of this name, which has to have `worker.direct_queue`. There is an error where no such worker ever
    /// was; for one that is away it waits.
    pub fn to_worker(self, worker: impl Into<String>) -> Self {
        self.exchange(DIRECT_EXCHANGE).routing_key(worker)
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

    /// Sets the serializer of its body.
    pub fn serializer(mut self, codec: Codec) -> Self {
        self.options.route.codec = Some(codec);
        self
    }

    /// Compresses its body.
    pub fn compress(mut self, compression: Compression) -> Self {
        self.options.compression = Some(compression);
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

    /// Ends an attempt that takes longer than this.
    ///
    /// A task that blocks its thread cannot be ended; it is told, as by [`Call::soft_time_limit`].
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.options.limits.hard = Some(limit);
        self
    }

    /// Tells the task to come to an end after this long: its context's `cancelled` completes.
    pub fn soft_time_limit(mut self, limit: Duration) -> Self {
        self.options.limits.soft = Some(limit);
        self
    }

    /// A name for people and monitors, in place of the task's.
    pub fn shadow(mut self, name: impl Into<String>) -> Self {
        self.options.shadow = Some(name.into());
        self
    }

    /// A stamp, by which Celery's tools find and revoke tasks.
    pub fn stamp(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.options.stamps.insert(name.into(), value.into());
        self
    }

    /// Has another task called with the result, as soon as there is one: `Signature::new("orders.notify")`, or any
    /// call's [`Call::signature`]. Whatever language it is written in.
    pub fn link(mut self, callback: Signature) -> Self {
        self.options.follow.callbacks.push(callback);
        self
    }

    /// Has another task called with this one's id if it fails for good.
    pub fn on_error(mut self, errback: Signature) -> Self {
        self.options.follow.errbacks.push(errback);
        self
    }

    /// Keeps it in order with others of the same key that are sent in transactions: they reach their queue one after the
    /// other, as they were committed. Only [`Client::submit_in`] can do that.
    pub fn ordered_by(mut self, key: impl Into<String>) -> Self {
        self.options.order_key = Some(key.into());
        self
    }

    /// Sends it once: submitted again with the same key, it is not sent, and the handle is that of the first. A key is the
    /// task's own, holds for as long as results are kept, and needs Postgres as the store of results.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.options.idempotency_key = Some(key.into());
        self
    }

    /// The call as a signature, for [`Call::link`] or a [`Chain`](crate::Chain). It takes whatever stands before it as
    /// its first arguments; [`Signature::immutable`] takes nothing.
    ///
    /// # Errors
    /// When an argument cannot be written.
    pub fn signature(self) -> Result<Signature> {
        let Body { args, .. } = Body::of_call(&self.args)
            .map_err(|source| Error::Encode { task: T::NAME.to_owned(), source: Box::new(source) })?;
        let mut signature = Signature { args, ..Signature::new(T::NAME) };
        signature.options = self.options.into_celerys();
        Ok(signature)
    }

    /// Sends it: `Ok` means that it stands on a queue, on disk.
    ///
    /// # Errors
    /// When it does not, or when that cannot be known; see [`Error`].
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
