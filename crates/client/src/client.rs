//! The client: broker, routes and result store.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use celeriac_broker::{Broker, BrokerHealth, Error as BrokerError};
use celeriac_protocol::task::TrackedStates;
use celeriac_protocol::{DecodeLimits, LamportClock};
use celeriac_results::{Backend, SentTasks, StoreClock};
use celeriac_telemetry::health::{self, HealthSource, UnreadyPart, register};
use celeriac_telemetry::{Gauge, GaugeReading, ServiceFailure};
use celeriac_topology::{Router, TaskOverrides, Topology};
use tokio::sync::OnceCell;

use crate::children::Children;
use crate::control::RemoteControl;
use crate::events::{EventStream, SentEvents};
use crate::options::ClientOptions;
use crate::replies::Replies;

/// Submits tasks and awaits their results. Cheap to clone; clones share everything.
///
/// ```no_run
/// use celeriac::prelude::*;
///
/// #[task]
/// async fn charge(cents: i64) -> TaskResult<i64> {
///     Ok(cents)
/// }
///
/// #[tokio::main]
/// async fn main() -> celeriac::Result<()> {
///     let client = Celeriac::from_config("config").build()?.client().await?;
///     let handle = charge(1299).submit(&client).await?;
///     println!("{} charged {}", handle.id(), handle.get().await?);
///     client.close().await;
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) inner: Arc<ClientInner>,
    /// The running task that submits with this client, if any.
    pub(crate) lineage: Option<Arc<Lineage>>,
    /// True if a running task may wait for the tasks that it submits.
    pub(crate) allows_waits: bool,
}

/// A running task that submits other tasks. They become its children.
#[derive(Debug)]
#[doc(hidden)]
pub struct Lineage {
    /// Task id.
    pub id: String,
    /// Id of the first task of its workflow.
    pub root_id: String,
    children: Mutex<Children>,
}

impl Lineage {
    /// Creates a lineage without children.
    pub fn new(id: String, root_id: String) -> Self {
        Self { id, root_id, children: Mutex::default() }
    }

    pub(crate) fn add(&self, child: &str) {
        self.children.lock().unwrap_or_else(PoisonError::into_inner).add_task(child.to_owned());
    }

    /// Puts the members of a group, which were added, into the group.
    pub(crate) fn regroup(&self, group: String, members: Vec<Vec<String>>) {
        self.children.lock().unwrap_or_else(PoisonError::into_inner).regroup(group, members);
    }

    /// Returns the tasks and groups that it submitted.
    pub fn children(&self) -> Children {
        self.children.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Debug)]
pub(crate) struct ClientInner {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) router: Arc<Router>,
    pub(crate) results: Option<Arc<dyn Backend>>,
    /// The states of a task that are written, unless the task sets others.
    pub(crate) track: TrackedStates,
    /// Started by the first task whose sending is tracked.
    pub(crate) sent_tasks: OnceLock<SentTasks>,
    /// Started by the first task of which monitors are told.
    pub(crate) sent_events: OnceLock<SentEvents>,
    pub(crate) clock: StoreClock,
    /// The logical clock of this process among Celery's.
    pub(crate) lamport: Arc<LamportClock>,
    pub(crate) replies: Option<Replies>,
    pub(crate) control: RemoteControl,
    pub(crate) options: ClientOptions,
    pub(crate) overrides: Arc<TaskOverrides>,
    pub(crate) limits: SendLimits,
    /// Header `origin` in Celery's form, `gen<pid>@<host>`.
    pub(crate) origin: String,
    /// Set when exchanges and queues are declared, which the first send does.
    pub(crate) declared: OnceCell<()>,
}

/// Limits of sent messages.
#[derive(Debug, Clone, Copy)]
pub struct SendLimits {
    /// Largest body, in bytes.
    pub message_size: usize,
    /// Number of unconfirmed messages of a bulk submission.
    pub window: usize,
}

impl Client {
    /// Creates a client that sends through `broker` by the routes of `router`. It awaits results in
    /// `results`, and as replies if the options request them. The `results` come with the states
    /// that are written. `overrides` win over the declarations
    /// of tasks.
    #[doc(hidden)]
    pub fn new(
        broker: Arc<dyn Broker>,
        router: Arc<Router>,
        (results, track): (Option<Arc<dyn Backend>>, TrackedStates),
        options: ClientOptions,
        overrides: Arc<TaskOverrides>,
        limits: SendLimits,
    ) -> Self {
        // A reply is read one at a time, so its size bounds it.
        let decode = DecodeLimits { size: limits.message_size, values: usize::MAX, ..DecodeLimits::default() };
        let replies = options.request_replies.then(|| Replies::new(Arc::clone(&broker), decode));
        let origin = format!("gen{}@{}", std::process::id(), gethostname::gethostname().to_string_lossy());
        let clock = results.as_ref().map(|results| results.clock().clone()).unwrap_or_default();
        let lamport = Arc::<LamportClock>::default();
        let inner = ClientInner {
            control: RemoteControl::new(Arc::clone(&broker), Arc::clone(&lamport)),
            broker,
            router,
            results,
            track,
            sent_tasks: OnceLock::new(),
            sent_events: OnceLock::new(),
            clock,
            lamport,
            replies,
            options,
            overrides,
            limits,
            origin,
            declared: OnceCell::new(),
        };
        let inner = Arc::new(inner);
        register(&inner);
        Self { inner, lineage: None, allows_waits: false }
    }

    /// Returns a client that submits on behalf of a task. The tasks it submits are children of that
    /// task.
    #[must_use]
    #[doc(hidden)]
    pub fn within(&self, lineage: Arc<Lineage>) -> Self {
        Self { inner: Arc::clone(&self.inner), lineage: Some(lineage), allows_waits: false }
    }

    /// Returns a client with which a running task may wait for other tasks.
    ///
    /// The client of a task's context refuses that, as Celery does: if every slot of the workers
    /// has a task that waits for another one, none of them ends. Another task that follows from the
    /// result waits without a slot: a callback, a chain or a chord.
    ///
    /// ```
    /// use celeriac::prelude::*;
    ///
    /// #[task]
    /// async fn price(sku: String) -> TaskResult<i64> {
    ///     Ok(sku.len().try_into()?)
    /// }
    ///
    /// #[task(queue = "orders")]
    /// async fn total(ctx: TaskContext, sku: String) -> TaskResult<i64> {
    ///     // Workers of another queue run `price`.
    ///     let client = ctx.client().allow_sync_subtasks();
    ///     Ok(price(sku).submit(&client).await?.get().await?)
    /// }
    /// ```
    #[must_use]
    pub fn allow_sync_subtasks(&self) -> Self {
        Self { allows_waits: true, ..self.clone() }
    }

    /// Returns the running task that may not wait for others, if there is one.
    pub(crate) fn waiter(&self) -> Option<&Lineage> {
        self.lineage().filter(|_| !self.allows_waits)
    }

    /// Returns the task on whose behalf it submits.
    #[doc(hidden)]
    pub fn lineage(&self) -> Option<&Lineage> {
        self.lineage.as_deref()
    }

    /// Returns the declared exchanges and queues.
    #[doc(hidden)]
    pub fn topology(&self) -> &Topology {
        self.inner.router.topology()
    }

    /// Returns the broker.
    #[doc(hidden)]
    pub fn broker(&self) -> &Arc<dyn Broker> {
        &self.inner.broker
    }

    /// Returns the store of results, if there is one.
    #[doc(hidden)]
    pub fn results(&self) -> Option<&Arc<dyn Backend>> {
        self.inner.results.as_ref()
    }

    /// Returns the clock by which this client and its workers decide.
    #[doc(hidden)]
    pub fn clock(&self) -> &StoreClock {
        &self.inner.clock
    }

    /// Returns the logical clock of this process in Celery's events and control messages.
    #[doc(hidden)]
    pub fn lamport(&self) -> &Arc<LamportClock> {
        &self.inner.lamport
    }

    /// Returns true if outcomes are stored or requested as replies.
    #[doc(hidden)]
    pub fn awaits_outcomes(&self) -> bool {
        self.inner.results.is_some() || self.inner.replies.is_some()
    }

    /// Returns the remote control of all workers on this broker, of Celery too.
    pub fn control(&self) -> RemoteControl {
        self.inner.control.clone()
    }

    /// Receives the events of all workers and clients on this broker, of Celery's too.
    ///
    /// # Errors
    /// Returns an error if the queue for the events cannot be declared.
    pub async fn events(&self) -> Result<EventStream, BrokerError> {
        EventStream::open(Arc::clone(&self.inner.broker), Arc::clone(&self.inner.lamport)).await
    }

    /// Returns the health of the broker as this client's connections see it, for a health check.
    ///
    /// A client that has not submitted anything yet is disconnected: it connects with the first
    /// task.
    pub fn broker_health(&self) -> BrokerHealth {
        self.inner.broker.health().borrow().clone()
    }

    /// Waits until a service of the broker, of the store or of telemetry fails.
    #[doc(hidden)]
    pub async fn service_failure(&self) -> ServiceFailure {
        let of_store = async {
            match &self.inner.results {
                Some(results) => results.health().services().failure().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            failure = self.inner.broker.services().failure() => failure,
            failure = of_store => failure,
            failure = health::services().failure() => failure,
        }
    }

    /// Closes the connections once every submitted task is confirmed. Open waits for a result end
    /// with an error.
    pub async fn close(&self) {
        if let Some(replies) = &self.inner.replies {
            replies.close().await;
        }
        if let Some(events) = self.inner.sent_events.get() {
            events.close().await;
        }
        self.inner.control.close().await;
        self.inner.broker.close().await;
        if let Some(sent) = self.inner.sent_tasks.get() {
            sent.close().await;
        }
        if let Some(results) = &self.inner.results {
            results.close().await;
        }
    }
}

/// Broker and result store. A client that has sent nothing yet has no connection to the broker,
/// which is no fault.
impl HealthSource for ClientInner {
    fn unready(&self) -> Vec<UnreadyPart> {
        let broker = match &*self.broker.health().borrow() {
            BrokerHealth::Disconnected { reason: Some(reason) } => Some(UnreadyPart::new("broker", reason)),
            BrokerHealth::Blocked { reason } => {
                Some(UnreadyPart::new("broker", format!("it blocks publishing: {reason}")))
            }
            BrokerHealth::Disconnected { reason: None } | BrokerHealth::Connected => None,
        };
        let loss = self.results.as_ref().and_then(|results| results.health().loss());
        broker.into_iter().chain(loss.map(|error| UnreadyPart::new("result store", error))).collect()
    }

    fn gauges(&self, readings: &mut Vec<GaugeReading>) {
        readings.push(Gauge::BlockedTime.read(self.broker.blocked_time().as_secs_f64()));
    }
}
