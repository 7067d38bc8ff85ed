//! What a task sees of the world around it.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use celeriac_client::{Client, Lineage};
use celeriac_protocol::{HeaderMap, Map, TaskHeaders, TimeLimits, Value};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::decode::Received;
use crate::execute::Threads;
use crate::outcome::TaskError;
use crate::registry::Registry;

/// What a task knows of itself, and what it may use. Cheap to clone.
#[derive(Clone)]
pub struct TaskContext {
    pub(crate) received: Arc<Received>,
    pub(crate) world: Arc<World>,
    /// Cancelled when its time is up, where it has a limit.
    pub(crate) time_is_up: Option<CancellationToken>,
    /// Cancelled when it is terminated, where there is a store that can tell.
    pub(crate) terminated: Option<CancellationToken>,
}

/// What all tasks of a worker share.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) registry: Arc<Registry>,
    pub(crate) state: SharedState,
    /// How long rows are kept.
    pub(crate) keep: Duration,
    pub(crate) threads: Threads,
    /// Cancelled when running tasks have to come to an end.
    pub(crate) interrupt: CancellationToken,
}

impl TaskContext {
    /// Task id.
    pub fn id(&self) -> &str {
        &self.headers_of_task().id
    }

    /// Name of the task.
    pub fn name(&self) -> &str {
        &self.headers_of_task().task
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.headers_of_task().retries.saturating_add(1)
    }

    /// The queue the task came from.
    pub fn queue(&self) -> &str {
        &self.received.origin.queue
    }

    /// Whether the broker delivered this attempt before, to anybody: a sign that it may have run already.
    pub fn redelivered(&self) -> bool {
        self.received.is_again()
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

    /// How long this attempt may take.
    pub fn time_limits(&self) -> TimeLimits {
        self.headers_of_task().limits
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
            self.world.client.within(Arc::new(lineage))
        })
    }

    /// What was given to the builder with `state`.
    ///
    /// # Errors
    /// When nothing of this type was given.
    pub fn state<T: Send + Sync + 'static>(&self) -> Result<Arc<T>, TaskError> {
        self.world.state.get().ok_or_else(|| {
            TaskError::fatal(format!(
                "no state of type {}: give it to the builder with .state(…)",
                std::any::type_name::<T>()
            ))
        })
    }

    /// Completes when the task should come to an end: its soft time limit has passed, it is terminated, or the worker
    /// stops and its drain time is over.
    ///
    /// A task that does not end when the worker stops is dropped at its next await, and its message goes back to the
    /// queue; one that goes on past its soft limit is ended by the hard one, if there is one. One that is terminated is dropped
    /// after `worker.terminate_grace`.
    pub async fn cancelled(&self) {
        tokio::select! {
            () = self.world.interrupt.cancelled() => {}
            () = cancelled(self.time_is_up.as_ref()) => {}
            () = cancelled(self.terminated.as_ref()) => {}
        }
    }

    /// Whether the task should come to an end, for blocking tasks to look at.
    pub fn is_cancelled(&self) -> bool {
        let is_up = self.time_is_up.as_ref().is_some_and(CancellationToken::is_cancelled);
        self.world.interrupt.is_cancelled() || is_up || self.is_terminated()
    }

    /// Whether it was terminated: nobody wants its outcome any more.
    pub fn is_terminated(&self) -> bool {
        self.terminated.as_ref().is_some_and(CancellationToken::is_cancelled)
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
