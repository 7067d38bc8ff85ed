//! The context of an attempt: what a task sees of its message and of its worker.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use celeriac_client::{Client, Lineage};
use celeriac_protocol::{Body, HeaderMap, Map, TaskHeaders, TimeLimits, Value};
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::task::error::TaskError;
use crate::task::received::Received;
use crate::task::result::JsonResult;
use crate::task::time_limits::{Cancellation, CancellationNotice};

/// The context of an attempt: its message, and all that the task may use. Cheap to clone.
#[derive(Clone)]
pub struct TaskContext {
    pub(crate) received: Arc<Received>,
    pub(crate) environment: Arc<TaskEnvironment>,
    pub(crate) limits: TimeLimits,
    /// When it is ended, where something can end it.
    pub(crate) deadline: Option<Instant>,
    /// Tells it to come to an end, if that may happen before the worker stops.
    pub(crate) notice: Option<Arc<CancellationNotice>>,
    /// Cancelled when it is terminated, where there is a store that can tell.
    pub(crate) terminated: Option<CancellationToken>,
}

/// The part of a worker that its tasks see.
pub(crate) struct TaskEnvironment {
    pub(crate) client: Client,
    pub(crate) state: SharedState,
    /// The time that rows are kept.
    pub(crate) keep: Duration,
    /// Finds a task that runs as part of another.
    pub(crate) find_inline: FindInline,
    /// Cancelled when running tasks have to come to an end.
    pub(crate) interrupt: CancellationToken,
}

/// Finds a task of the worker by its name.
pub(crate) type FindInline = Box<dyn Fn(&str) -> Option<InlineTask> + Send + Sync>;

/// Runs a task inside of another one: no span, no limits of its own.
pub(crate) type InlineTask = Box<dyn Fn(TaskContext, Body) -> BoxFuture<'static, JsonResult> + Send + Sync>;

impl TaskContext {
    /// The context of an attempt that begins now. `hard` is its hard time limit, where something can end it.
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

    /// Task id.
    pub fn id(&self) -> &str {
        &self.headers_of_task().id
    }

    /// Name of the task.
    pub fn name(&self) -> &str {
        &self.headers_of_task().task
    }

    /// The number of this attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.headers_of_task().retries.saturating_add(1)
    }

    /// The queue the task came from.
    pub fn queue(&self) -> &str {
        &self.received.origin.queue
    }

    /// Returns whether the broker delivered this attempt before, to anybody: a sign that it may have run already.
    pub fn redelivered(&self) -> bool {
        self.received.is_redelivered()
    }

    /// First task of the workflow.
    pub fn root_id(&self) -> &str {
        self.received.root_id()
    }

    /// The task that sent this one.
    pub fn parent_id(&self) -> Option<&str> {
        self.headers_of_task().parent_id.as_deref()
    }

    /// When it is too late to start it.
    pub fn expires(&self) -> Option<Timestamp> {
        self.headers_of_task().expires
    }

    /// When it was to run, if it was to run later.
    pub fn eta(&self) -> Option<Timestamp> {
        self.headers_of_task().eta
    }

    /// The group it belongs to.
    pub fn group(&self) -> Option<&str> {
        self.headers_of_task().group.as_deref()
    }

    /// Its position in the group.
    pub fn group_index(&self) -> Option<i64> {
        self.headers_of_task().group_index
    }

    /// The time limits of this attempt: those of the call, or else of the task, or else of the worker.
    pub fn time_limits(&self) -> TimeLimits {
        self.limits
    }

    /// When the hard time limit ends this attempt. `None` without one, and on a thread of its own, which nobody ends.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Its stamps, by name.
    pub fn stamps(&self) -> &Map {
        &self.headers_of_task().stamps
    }

    /// A header of the message.
    pub fn header(&self, name: &str) -> Option<&Value> {
        self.headers().get(name)
    }

    /// All headers of the message.
    pub fn headers(&self) -> &HeaderMap {
        &self.received.message.headers
    }

    /// A client, to send further tasks: they become children of this one.
    pub fn client(&self) -> &Client {
        self.received.client.get_or_init(|| {
            let lineage = Lineage::new(self.id().to_owned(), self.root_id().to_owned());
            self.environment.client.within(Arc::new(lineage))
        })
    }

    /// The value that was given to the builder with `state`.
    ///
    /// # Errors
    /// When nothing of this type was given.
    pub fn state<T: Send + Sync + 'static>(&self) -> Result<Arc<T>, TaskError> {
        self.environment.state.get().ok_or_else(|| {
            TaskError::fatal(format!(
                "no state of type {}: give it to the builder with .state(…)",
                std::any::type_name::<T>()
            ))
        })
    }

    /// Completes when the task should come to an end: its soft time limit has passed, it is terminated, or the worker
    /// stops and its drain time is over.
    ///
    /// When the worker stops, a task that has called this has 250 ms to tidy up. If it succeeds, it has. If it returns an
    /// error, or takes longer and is dropped, its message goes back to the queue, and that is no attempt; only an error that
    /// says what comes next, such as [`TaskError::retry_in`], counts all the same.
    ///
    /// A task that goes on past its soft limit is ended by the hard one, if there is one. One that is terminated is dropped
    /// after `worker.terminate_grace`.
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

    /// Returns whether the task should come to an end, for blocking tasks to look at.
    pub fn is_cancelled(&self) -> bool {
        self.cancellation().is_some()
    }

    /// Why the task should come to an end, if it should.
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

/// Completes when this is cancelled; never where there is none.
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
    /// Adds a value, in place of one of the same type.
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
