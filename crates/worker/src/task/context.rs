//! The context of an attempt: its access to the message and to the worker.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use celeriac_client::{Canvas, Client, Lineage};
use celeriac_protocol::headers::names;
use celeriac_protocol::{Body, HeaderMap, Map, Properties, TaskHeaders, TimeLimits, Value};
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::allowed::AllowedQueues;
use crate::follow_up_size::FollowUpLimits;
use crate::task::error::{TaskError, TaskResult};
use crate::task::progress::ProgressReports;
use crate::task::received::Received;
use crate::task::result::JsonResult;
use crate::task::time_limits::{Cancellation, CancellationNotice};

/// The context of an attempt: its message, and everything that the task may use. Cheap to clone.
///
/// A task that takes a context takes it first:
///
/// ```
/// use celeriac::prelude::*;
///
/// #[task(soft_time_limit = "1m")]
/// async fn export(ctx: TaskContext, order: u64) -> TaskResult<()> {
///     println!("attempt {} of task {}", ctx.attempt(), ctx.id());
///     tokio::select! {
///         () = write_rows(order) => Ok(()),
///         // The soft time limit has passed, the task was terminated, or the worker stops.
///         () = ctx.cancelled() => Err(TaskError::retry_in(seconds(10), "interrupted")),
///     }
/// }
///
/// async fn write_rows(order: u64) {
///     println!("writing {order}");
/// }
/// ```
#[derive(Clone)]
pub struct TaskContext {
    pub(crate) received: Arc<Received>,
    pub(crate) environment: Arc<TaskEnvironment>,
    pub(crate) limits: TimeLimits,
    /// Time at which the attempt is ended, if it can be.
    pub(crate) deadline: Option<Instant>,
    /// Signals the attempt to end, if that can happen before the worker stops.
    pub(crate) notice: Option<Arc<CancellationNotice>>,
    /// Cancelled when the task is terminated. `None` without a store.
    pub(crate) terminated: Option<CancellationToken>,
}

/// The part of a worker that its tasks can use.
pub(crate) struct TaskEnvironment {
    pub(crate) client: Client,
    pub(crate) state: SharedState,
    /// Retention time of rows.
    pub(crate) keep: Duration,
    /// Most that one task may send: by its follow-ups, or as one of Celery's own tasks.
    pub(crate) follow_up_limits: FollowUpLimits,
    /// The queues to which messages may make the worker send tasks.
    pub(crate) allowed_follow_ups: AllowedQueues,
    /// Finds a task that runs inside another one.
    pub(crate) find_inline: FindInline,
    /// Tells of the states that running tasks give themselves.
    pub(crate) progress: ProgressReports,
    /// Cancelled when running tasks must end.
    pub(crate) interrupt: CancellationToken,
}

/// Finds a task of the worker by its name.
pub(crate) type FindInline = Box<dyn Fn(&str) -> Option<InlineTask> + Send + Sync>;

/// Runs a task inside another one, without a span and limits of its own.
pub(crate) type InlineTask = Box<dyn Fn(TaskContext, Body) -> BoxFuture<'static, JsonResult> + Send + Sync>;

impl TaskContext {
    /// Returns the context of an attempt that starts now. `hard` is its hard time limit, if it can
    /// be ended.
    pub(crate) fn new(
        received: Arc<Received>,
        environment: Arc<TaskEnvironment>,
        limits: TimeLimits,
        hard: Option<Duration>,
        terminated: Option<CancellationToken>,
    ) -> Self {
        let deadline = hard.and_then(|hard| Instant::now().checked_add(hard));
        let notice = (limits != TimeLimits::default()).then(Arc::default);
        Self { received, environment, limits, deadline, notice, terminated }
    }

    /// Returns the task id.
    pub fn id(&self) -> &str {
        &self.headers_of_task().id
    }

    /// Returns the name of the task.
    pub fn name(&self) -> &str {
        &self.headers_of_task().task
    }

    /// Returns the number of this attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.headers_of_task().retries.saturating_add(1)
    }

    /// Returns the queue that delivered the task.
    pub fn queue(&self) -> &str {
        &self.received.origin.queue
    }

    /// Returns `true` if the broker delivered this attempt before, to any worker. It may have run
    /// already.
    pub fn redelivered(&self) -> bool {
        self.received.is_redelivered()
    }

    /// Returns the id of the first task of the workflow.
    pub fn root_id(&self) -> &str {
        self.received.root_id()
    }

    /// Returns the id of the task that sent this one.
    pub fn parent_id(&self) -> Option<&str> {
        self.headers_of_task().parent_id.as_deref()
    }

    /// Returns the time after which the task no longer starts.
    pub fn expires(&self) -> Option<Timestamp> {
        self.headers_of_task().expires
    }

    /// Returns the time for which the task was scheduled, if it was.
    pub fn eta(&self) -> Option<Timestamp> {
        self.headers_of_task().eta
    }

    /// Returns the id of its group.
    pub fn group(&self) -> Option<&str> {
        self.headers_of_task().group.as_deref()
    }

    /// Returns its position in the group.
    pub fn group_index(&self) -> Option<i64> {
        self.headers_of_task().group_index
    }

    /// Returns the time limits of this attempt: those of the call, else of the task, else of the
    /// worker.
    pub fn time_limits(&self) -> TimeLimits {
        self.limits
    }

    /// Returns the time at which the hard time limit ends this attempt.
    ///
    /// It is `None` without a limit, and for a blocking task, whose thread cannot be ended.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Returns the time limits in the message, which the call has set.
    pub fn call_time_limits(&self) -> TimeLimits {
        self.headers_of_task().limits
    }

    /// Returns the number of tasks that it replaced, one after the other.
    pub fn replaced_task_nesting(&self) -> u32 {
        self.headers_of_task().replaced_task_nesting
    }

    /// Returns the display name that the call has set in place of the task's.
    pub fn shadow(&self) -> Option<&str> {
        self.headers_of_task().shadow.as_deref()
    }

    /// Returns the priority of the message.
    pub fn priority(&self) -> Option<u8> {
        self.properties().priority
    }

    /// Returns the queue to which the worker sends the reply.
    pub fn reply_to(&self) -> Option<&str> {
        self.properties().reply_to.as_deref().filter(|queue| !queue.is_empty())
    }

    /// Returns the AMQP properties of the message.
    pub fn properties(&self) -> &Properties {
        &self.received.message.properties
    }

    /// Returns its stamps, by name.
    pub fn stamps(&self) -> &Map {
        &self.headers_of_task().stamps
    }

    /// Returns a header of the message.
    pub fn header(&self, name: &str) -> Option<&Value> {
        self.headers().get(name)
    }

    /// Returns the headers that the sender added, without those of Celery, Celeriac, RabbitMQ and
    /// the trace.
    pub fn custom_headers(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.headers().iter().filter(|(name, _)| names::is_custom(name))
    }

    /// Returns all headers of the message.
    pub fn headers(&self) -> &HeaderMap {
        &self.received.message.headers
    }

    /// Returns a client for sending further tasks, which become children of this one.
    pub fn client(&self) -> &Client {
        self.received.client.get_or_init(|| {
            let lineage = Lineage::new(self.id().to_owned(), self.root_id().to_owned());
            self.environment.client.within(Arc::new(lineage))
        })
    }

    /// Gives this running task a state, with anything to say about it. The row of the task and the
    /// caller have it until the task gives itself another one or ends.
    ///
    /// ```
    /// use celeriac::prelude::*;
    ///
    /// #[task]
    /// async fn copy(ctx: TaskContext, files: Vec<String>) -> TaskResult<usize> {
    ///     for (done, file) in files.iter().enumerate() {
    ///         ctx.update_state("PROGRESS", &value!({"done": done, "file": file})).await?;
    ///     }
    ///     Ok(files.len())
    /// }
    /// ```
    ///
    /// The record of the task has the state `Started`, with the name in `custom_state` and the rest
    /// in `result`. A Python client sees the name in `AsyncResult.state`, and the rest in `.info`.
    ///
    /// It waits for the row, so the states of a task are written in order. A reply that cannot be
    /// sent is dropped.
    ///
    /// # Errors
    /// Returns an error if Celery has a state of this name, if the name is empty or longer than 50
    /// bytes, if `meta` cannot be serialized, if the store can never hold it, or if the worker
    /// stops.
    pub async fn update_state<M: Serialize + ?Sized + Sync>(&self, state: &str, meta: &M) -> TaskResult<()> {
        let TaskEnvironment { progress, client, interrupt, .. } = &*self.environment;
        progress.tell(&self.received, (client, interrupt), state, Value::from_serialize(meta)?).await
    }

    /// Puts another task in the place of this one, or a chain, group or chord. A task returns it:
    ///
    /// ```
    /// use celeriac::prelude::*;
    ///
    /// #[task]
    /// async fn total(prices: Vec<i64>) -> TaskResult<i64> {
    ///     Ok(prices.iter().sum())
    /// }
    ///
    /// #[task]
    /// async fn add_tax(cents: i64) -> TaskResult<i64> {
    ///     Ok(cents + cents / 5)
    /// }
    ///
    /// #[task]
    /// async fn order(ctx: TaskContext, prices: Vec<i64>, tax: bool) -> TaskResult<i64> {
    ///     if tax {
    ///         return ctx.replace(total(prices).then(add_tax));
    ///     }
    ///     Ok(prices.iter().sum())
    /// }
    /// ```
    ///
    /// The last task of the replacement has the id of this one, and everything that follows from
    /// it: callbacks, errbacks, the steps behind it, the reply, its place in a group or chord. A
    /// group is followed by Celery's `celery.accumulate`, whose result is the list of its results.
    ///
    /// # Errors
    /// Always, with the replacement as the request.
    pub fn replace<T>(&self, replacement: impl Canvas) -> TaskResult<T> {
        Err(replacement.into_part().finish().map_or_else(TaskError::from_boxed, TaskError::replace))
    }

    /// Returns the value of this type that the builder received with `state`.
    ///
    /// # Errors
    /// Returns an error if there is no value of this type.
    pub fn state<T: Send + Sync + 'static>(&self) -> Result<Arc<T>, TaskError> {
        self.environment.state.get().ok_or_else(|| {
            TaskError::fatal(format!(
                "no state of type {}: give it to the builder with .state(…)",
                std::any::type_name::<T>()
            ))
        })
    }

    /// Completes when the task should end: its soft time limit has passed, it was terminated, or
    /// the worker stops and its drain time has passed.
    ///
    /// When the worker stops, a task that has called this has 250 ms for its cleanup. A success
    /// counts. If the task returns an error, or takes longer and is dropped, its message returns to
    /// the queue, and the run does not count as an attempt. An error that requests a next step,
    /// such as [`TaskError::retry_in`], does count.
    ///
    /// A task that continues past its soft limit is ended by the hard one, if there is one. A
    /// terminated task is dropped after `worker.terminate_grace`.
    pub async fn cancelled(&self) {
        self.received.listen();
        let limited = async {
            match &self.notice {
                Some(notice) => notice.given().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.environment.interrupt.cancelled() => {}
            () = limited => {}
            () = cancelled(self.terminated.as_ref()) => {}
        }
    }

    /// Returns `true` if the task should end. Blocking tasks can poll it.
    pub fn is_cancelled(&self) -> bool {
        self.cancellation().is_some()
    }

    /// Returns the reason why the task should end, if it should.
    pub fn cancellation(&self) -> Option<Cancellation> {
        self.received.listen();
        if self.terminated.as_ref().is_some_and(CancellationToken::is_cancelled) {
            return Some(Cancellation::Terminated);
        }
        let stopping = || self.environment.interrupt.is_cancelled().then_some(Cancellation::Stopping);
        self.notice.as_ref().and_then(|notice| notice.why()).or_else(stopping)
    }

    fn headers_of_task(&self) -> &TaskHeaders {
        &self.received.headers
    }
}

/// Completes when the token is cancelled. Never completes without a token.
async fn cancelled(token: Option<&CancellationToken>) {
    match token {
        Some(token) => token.cancelled().await,
        None => std::future::pending().await,
    }
}

impl fmt::Debug for TaskContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TaskContext")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}

/// Values that tasks share, one of each type.
#[derive(Clone, Default)]
pub struct SharedState(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl SharedState {
    /// Adds a value. Replaces a value of the same type.
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: Arc<T>) {
        self.0.insert(TypeId::of::<T>(), value);
    }

    fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.get(&TypeId::of::<T>()).and_then(|value| Arc::clone(value).downcast().ok())
    }
}

impl fmt::Debug for SharedState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SharedState({} values)", self.0.len())
    }
}
