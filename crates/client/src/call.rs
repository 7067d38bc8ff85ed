//! A task with its arguments and options, before it is submitted.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use celeriac_protocol::compression::Compression;
use celeriac_protocol::{Body, Codec, Map, Signature, Task, TimeLimits, Value};
use celeriac_results::PgConnection;
use celeriac_topology::{CallRoute, DIRECT_EXCHANGE};
use jiff::Timestamp;

use crate::canvas::{Canvas, Immutable, Member, Part, PartOrigin, PartProblem, Step};
use crate::client::Client;
use crate::error::Result;
use crate::handle::TaskHandle;

/// A call of a task. The function that `#[task]` makes returns it.
///
/// Nothing happens until the call is submitted:
///
/// ```no_run
/// use celeriac::prelude::*;
///
/// #[task]
/// async fn email(to: String) -> TaskResult<()> {
///     println!("sending to {to}");
///     Ok(())
/// }
///
/// # async fn example(client: &Client) -> celeriac::Result<()> {
/// let call = email("ada@example.org".to_owned())
///     .delay(minutes(5))
///     .expires_in(hours(1))
///     .queue("mail")
///     .header("tenant", "blue");
/// let handle = call.submit(client).await?;
/// # let _ = handle;
/// # Ok(())
/// # }
/// ```
///
/// An option of a call wins over `task_options` of the configuration, which wins over `#[task]`.
///
/// A `Call<T, Partial<First>>` has all arguments but the first, and follows another task: see
/// [`TaskVerbs::with`](crate::TaskVerbs::with).
#[must_use = "a call does nothing until it is submitted"]
pub struct Call<T: Task, A = <T as Task>::Args> {
    pub(crate) args: A,
    pub(crate) options: CallOptions,
    pub(crate) problem: Option<PartProblem>,
    task: PhantomData<fn() -> T>,
}

/// Options of a call. The methods of [`Call`] set them; a [`DynamicCall`](crate::DynamicCall) takes
/// them as a value.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CallOptions {
    /// Task id. Default: a new UUID of version 7, which holds the time at which it was made.
    pub id: Option<String>,
    /// Time at which the task runs. Default: at once.
    pub when: When,
    /// Time after which the task does not start.
    pub expires: Option<Expiry>,
    /// Route. Each field that is set wins over the routes of the configuration.
    pub route: CallRoute,
    /// Headers that the caller adds.
    pub headers: Vec<(String, Value)>,
    /// True if no result is stored.
    pub ignore_result: Option<bool>,
    /// Compression of the body. Default: `client.compression`.
    pub compression: Option<Compression>,
    /// Time limits of an attempt.
    pub limits: TimeLimits,
    /// Name for people and monitors, in place of the task's.
    pub shadow: Option<String>,
    /// Celery's stamps, by name. Celery's tools find and revoke tasks by them.
    pub stamps: Map,
    /// Tasks that follow from this one.
    pub follow: Follow,
    /// Relations to other tasks.
    pub relations: Relations,
    /// Order key. Tasks of one key that are submitted in transactions are sent one after the other.
    pub order_key: Option<String>,
    /// Idempotency key. A call with the key of an earlier call is that task.
    pub idempotency_key: Option<String>,
}

/// Tasks that are sent when a task has ended.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Follow {
    /// Tasks called with the result.
    pub callbacks: Vec<Signature>,
    /// Tasks called with the task's id when it fails.
    pub errbacks: Vec<Signature>,
    /// Steps of a chain: the first is called with the result, the second with the first's, and so
    /// on.
    pub steps: Vec<Signature>,
}

/// Relations of a task to other tasks. The client fills them in when a task submits another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relations {
    /// First task of the workflow.
    pub root_id: Option<String>,
    /// The task that sends it.
    pub parent_id: Option<String>,
    /// Id of its group.
    pub group: Option<String>,
    /// Its position in the group.
    pub group_index: Option<i64>,
    /// Number of tasks that it replaced, one after the other.
    pub replaced_task_nesting: u32,
    /// Queue for its reply. Default: the client's own, if the client requests replies.
    pub reply_to: Option<String>,
}

/// Time at which a task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum When {
    /// At once, when a worker is free.
    #[default]
    Now,
    /// This long after it was submitted.
    After(Duration),
    /// At a time.
    At(Timestamp),
}

/// Time after which a task does not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// This long after it was submitted.
    After(Duration),
    /// At a time.
    At(Timestamp),
}

impl<T: Task, A> Call<T, A> {
    /// Makes a call without options.
    pub(crate) fn made(args: A, problem: Option<PartProblem>) -> Self {
        Self { args, options: CallOptions::default(), problem, task: PhantomData }
    }

    /// Takes the call apart.
    pub(crate) fn into_parts(self) -> (A, CallOptions, Option<PartProblem>) {
        (self.args, self.options, self.problem)
    }

    /// Runs the task after `wait`. RabbitMQ holds the message until then.
    pub fn delay(mut self, wait: Duration) -> Self {
        self.options.when = When::After(wait);
        self
    }

    /// Runs the task at `time`, or at once if that has passed.
    pub fn eta(mut self, time: Timestamp) -> Self {
        self.options.when = When::At(time);
        self
    }

    /// Does not start the task later than `wait` after it was submitted.
    pub fn expires_in(mut self, wait: Duration) -> Self {
        self.options.expires = Some(Expiry::After(wait));
        self
    }

    /// Does not start the task after `time`.
    pub fn expires_at(mut self, time: Timestamp) -> Self {
        self.options.expires = Some(Expiry::At(time));
        self
    }

    /// Sends the task to this queue, whatever the routes say.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.options.route.queue = Some(queue.into());
        self
    }

    /// Sends the task to the worker of this name, which needs `worker.direct_queue`.
    ///
    /// The task waits for a worker that is away. A worker that never was there is an error.
    pub fn to_worker(self, worker: impl Into<String>) -> Self {
        self.exchange(DIRECT_EXCHANGE).routing_key(worker)
    }

    /// Sends the task to this exchange, whatever the routes say.
    pub fn exchange(mut self, exchange: impl Into<String>) -> Self {
        self.options.route.exchange = Some(exchange.into());
        self
    }

    /// Sends the task with this routing key.
    pub fn routing_key(mut self, key: impl Into<String>) -> Self {
        self.options.route.routing_key = Some(key.into());
        self
    }

    /// Sets the priority, for a queue that has priorities.
    pub fn priority(mut self, priority: u8) -> Self {
        self.options.route.priority = Some(priority);
        self
    }

    /// Sets the serializer of the body. Default: that of the route, then `client.serializer`.
    pub fn serializer(mut self, codec: Codec) -> Self {
        self.options.route.codec = Some(codec);
        self
    }

    /// Compresses the body. Default: `client.compression`.
    pub fn compress(mut self, compression: Compression) -> Self {
        self.options.compression = Some(compression);
        self
    }

    /// Adds a header, which the task reads with `TaskContext::header`.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.options.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the task id. Default: a new one.
    ///
    /// A worker records one outcome for an id, however often the task is sent. So a call with an id
    /// can be submitted again after an error.
    pub fn task_id(mut self, id: impl Into<String>) -> Self {
        self.options.id = Some(id.into());
        self
    }

    /// Stores no result and requests no reply.
    pub fn ignore_result(mut self) -> Self {
        self.options.ignore_result = Some(true);
        self
    }

    /// Ends an attempt that takes longer than `limit`.
    ///
    /// A blocking task cannot be ended. Its context is cancelled instead, as by
    /// [`Call::soft_time_limit`].
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.options.limits.hard = Some(limit);
        self
    }

    /// Cancels the context of an attempt after `limit`, so that the task can end by itself:
    /// `TaskContext::cancelled` completes.
    pub fn soft_time_limit(mut self, limit: Duration) -> Self {
        self.options.limits.soft = Some(limit);
        self
    }

    /// Sets a name for people and monitors, in place of the task's.
    pub fn shadow(mut self, name: impl Into<String>) -> Self {
        self.options.shadow = Some(name.into());
        self
    }

    /// Adds a stamp. Celery's tools find and revoke tasks by their stamps.
    pub fn stamp(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.options.stamps.insert(name.into(), value.into());
        self
    }

    /// Calls another task with the result when this one has succeeded.
    ///
    /// The other task may be written in any language: `Signature::new("orders.notify")` names it.
    pub fn link<N, F>(mut self, callback: N) -> Self
    where
        N: Step<T::Output, F>,
    {
        let callback = self.took(callback.into_part());
        self.options.follow.callbacks.push(callback);
        self
    }

    /// Calls another task with this one's id when this one has failed and is not retried.
    pub fn on_error<N, F>(mut self, errback: N) -> Self
    where
        N: Step<String, F>,
    {
        let errback = self.took(errback.into_part());
        self.options.follow.errbacks.push(errback);
        self
    }

    /// Returns the signature of a part, and keeps its problem.
    fn took(&mut self, Part { signature, origin }: Part) -> Signature {
        self.problem = self.problem.take().or(origin.into_problem());
        signature
    }

    /// Keeps the task in order with others of the same key: they reach their queue one after the
    /// other, in the order of their commits. Only [`Client::submit_in`] can do that; other calls
    /// are refused.
    pub fn ordered_by(mut self, key: impl Into<String>) -> Self {
        self.options.order_key = Some(key.into());
        self
    }

    /// Sends the task once for this key.
    ///
    /// A second call with the key sends nothing and returns the handle of the first. Each task has
    /// keys of its own. A key holds as long as results are kept (`results.retention`), and needs
    /// Postgres as the result store.
    ///
    /// ```no_run
    /// use celeriac::prelude::*;
    ///
    /// # #[task]
    /// # async fn charge(order: u64) -> TaskResult<()> { let _ = order; Ok(()) }
    /// # async fn example(client: &Client) -> celeriac::Result<()> {
    /// let order = 17;
    /// let first = charge(order).idempotency_key(format!("order-{order}")).submit(client).await?;
    /// let again = charge(order).idempotency_key(format!("order-{order}")).submit(client).await?;
    /// assert_eq!(first.id(), again.id());
    /// # Ok(())
    /// # }
    /// ```
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.options.idempotency_key = Some(key.into());
        self
    }
}

impl<T: Task> Call<T> {
    /// Makes a call with these arguments, without options.
    pub fn new(args: T::Args) -> Self {
        Self::made(args, None)
    }

    /// Makes a step that ignores the result of the task before: Celery's `si`.
    pub fn immutable(self) -> Immutable<T::Output> {
        Immutable::of(self.into_part())
    }

    /// Makes a signature of the call, for parts that are known at run time alone.
    ///
    /// As a step, the result of the task before it becomes its first argument, unless the signature
    /// is [immutable](Signature::immutable).
    ///
    /// # Errors
    /// Returns an error if an argument cannot be serialized, or if the call has an option that only
    /// a call by itself can have.
    pub fn signature(self) -> Result<Signature> {
        Ok(Signature { immutable: false, ..self.into_part().finish()? })
    }

    /// Submits the call. `Ok` means that RabbitMQ has the task on a queue, on disk.
    ///
    /// ```no_run
    /// use celeriac::prelude::*;
    ///
    /// # #[task]
    /// # async fn charge(cents: i64) -> TaskResult<i64> { Ok(cents) }
    /// # async fn example(client: &Client) -> celeriac::Result<()> {
    /// let handle = charge(1299).submit(client).await?;
    /// let charged: i64 = handle.get().await?;
    /// # let _ = charged;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns an error if the task is on no queue, or may be on none: see
    /// [`Error::may_have_been_sent`](crate::Error::may_have_been_sent).
    ///
    /// # Panics
    /// Panics outside of a Tokio runtime.
    pub async fn submit(self, client: &Client) -> Result<TaskHandle<T::Output>> {
        client.submit(self).await
    }
}

/// Makes a part of a call of a task.
pub(crate) fn part_of<T: Task>(body: Body, options: CallOptions, problem: Option<PartProblem>) -> Part {
    let alone = options.order_key.is_some() || options.idempotency_key.is_some();
    let reason = "an order key or an idempotency key is for a call that is submitted by itself";
    let problem = problem.or_else(|| alone.then(|| PartProblem::call(T::NAME, reason)));
    let Body { args, kwargs, embed: _ } = body;
    let signature = Signature { args, kwargs, options: options.into_celerys(), ..Signature::new(T::NAME) };
    Part { signature, origin: PartOrigin::of::<T>(problem) }
}

impl<T: Task> Canvas for Call<T> {
    type Output = T::Output;
    type Handle = TaskHandle<T::Output>;

    /// A call has all arguments, so it takes none of a task before it.
    fn into_part(self) -> Part {
        let (args, options, problem) = self.into_parts();
        match Body::of_task::<T>(&args) {
            Ok(body) => part_of::<T>(body, options, problem).immutable(),
            Err(error) => part_of::<T>(Body::default(), options, Some(PartProblem::encode(T::NAME, &error))),
        }
    }

    async fn submit_within(self, client: &Client, transaction: &mut PgConnection) -> Result<Self::Handle> {
        client.enqueue(transaction, client.resolve_typed(self)?).await
    }
}

impl<T: Task> Member for Call<T> {}

impl<T: Task, A: Clone> Clone for Call<T, A> {
    fn clone(&self) -> Self {
        let (args, options, problem) = (self.args.clone(), self.options.clone(), self.problem.clone());
        Self { args, options, problem, task: PhantomData }
    }
}

impl<T: Task, A> fmt::Debug for Call<T, A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Call").field("task", &T::NAME).field("options", &self.options).finish_non_exhaustive()
    }
}
