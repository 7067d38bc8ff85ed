//! A worker in the test's process, for tests of single steps. It takes one delivery at a time, and
//! records every published message with the state of the row at that time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use celeriac_broker::{
    Broker, BrokerHealth, BrokerOptions, Browser, Consumer, Depth, Error as BrokerError, Outgoing,
    Result as BrokerResult, Subscription, TransientQueue,
};
use celeriac_client::call::CallOptions;
use celeriac_client::client::SendLimits;
use celeriac_client::{Client, ClientOptions, DynamicCall};
use celeriac_config::Secret;
use celeriac_protocol::headers::names;
use celeriac_protocol::{
    Body, DecodeLimits, Failure, Message, Parameter, RetryPolicy, Signature, Task, TaskOptions, TaskState, Value,
};
use celeriac_results::{Backend, NewJoin, Recorded, ResultsOptions, TaskRecord};
use celeriac_telemetry::Supervisor;
use celeriac_topology::{Ladder, Router, RoutesOptions, TaskOverrides, Topology};
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::attempt::row::{RowDetails, row};
use crate::attempt::{Attempt, decode};
use crate::control::node::ShownSettings;
use crate::options::WorkerOptions;
use crate::runtime::WorkerRuntime;
use crate::slots::{SlotMeter, TaskSlot};
use crate::task::context::{SharedState, TaskContext};
use crate::task::definition::{AsyncTask, TaskDefinition};
use crate::task::error::{TaskError, TaskResult};
use crate::task::hooks::HookList;
use crate::task::registry::Registry;
use crate::worker::{Worker, WorkerParts};

/// The queue of the worker's tasks.
pub(crate) const QUEUE: &str = "celeriac";

/// The id of every delivered task.
pub(crate) const ID: &str = "1";

/// The chord of a task that is a member of one.
const CHORD: &str = "chord";

/// A published message.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
    pub(crate) message: Message,
    /// State of the delivered task's row at that time.
    pub(crate) row: Option<TaskState>,
}

impl Published {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.message.headers.text(name)
    }
}

/// A broker that records published messages.
#[derive(Debug)]
struct WitnessBroker {
    inner: Arc<dyn Broker>,
    backend: Arc<dyn Backend>,
    published: Mutex<Vec<Published>>,
    /// Number of the next publishes that panic.
    panics: AtomicU32,
    /// Number of publishes before all others panic.
    passes: AtomicU32,
}

impl Broker for WitnessBroker {
    fn declare<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, BrokerResult<()>> {
        self.inner.declare(topology)
    }

    fn publish(&self, outgoing: Outgoing) -> BoxFuture<'_, BrokerResult<()>> {
        Box::pin(async move {
            let panics = self.panics.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            assert!(panics.is_err(), "the broker panics");
            let passes = self.passes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            assert!(passes.is_ok(), "the worker dies");
            let headers = &outgoing.message.headers;
            if headers.get(TOO_LARGE).is_some() && headers.get(names::DEAD_REASON).is_none() {
                let name = TOO_LARGE.to_owned();
                return Err(BrokerError::HeadersTooLarge { size: 2, limit: 1, name, largest: 2 });
            }
            let row = self.backend.find(ID).await.unwrap().map(|row| row.state);
            let Outgoing { exchange, routing_key, message, .. } = outgoing.clone();
            self.inner.publish(outgoing).await?;
            self.published.lock().unwrap().push(Published {
                exchange: exchange.into_owned(),
                routing_key,
                message,
                row,
            });
            Ok(())
        })
    }

    fn consume(&self, subscription: Subscription) -> BoxFuture<'_, BrokerResult<Consumer>> {
        self.inner.consume(subscription)
    }

    fn replies<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, BrokerResult<Consumer>> {
        self.inner.replies(queue)
    }

    fn consume_transient(&self, queue: TransientQueue) -> BoxFuture<'_, BrokerResult<Consumer>> {
        self.inner.consume_transient(queue)
    }

    fn depth<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, BrokerResult<Option<Depth>>> {
        self.inner.depth(queue)
    }

    fn ladder(&self) -> &Ladder {
        self.inner.ladder()
    }

    fn browse<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, BrokerResult<Box<dyn Browser>>> {
        self.inner.browse(queue)
    }

    fn health(&self) -> watch::Receiver<BrokerHealth> {
        self.inner.health()
    }

    fn services(&self) -> &Supervisor {
        self.inner.services()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}

/// A task whose argument selects what it does.
pub(crate) struct Act;

impl Task for Act {
    const NAME: &'static str = "act";
    type Args = (String,);
    type Output = String;

    fn parameters() -> &'static [Parameter] {
        const HOW: &[Parameter] = &[Parameter::required("how")];
        HOW
    }
}

struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("it panicked in its drop");
    }
}

impl AsyncTask for Act {
    async fn run(ctx: TaskContext, (how,): (String,)) -> TaskResult<String> {
        match how.as_str() {
            "fail" => Err(TaskError::new("no")),
            "reject" => Err(TaskError::reject("no")),
            "ignore" => Err(TaskError::ignore()),
            "panic" => panic!("it panicked"),
            "hang" => std::future::pending().await,
            "hold" => {
                let _held = PanicsInDrop;
                std::future::pending().await
            }
            "listen" => {
                ctx.cancelled().await;
                Err(TaskError::new("told to end"))
            }
            _ => Ok(how),
        }
    }
}

/// A worker that takes one delivery at a time.
pub(crate) struct TestWorker {
    pub(crate) runtime: Arc<WorkerRuntime>,
    pub(crate) backend: Arc<dyn Backend>,
    broker: Arc<WitnessBroker>,
    client: Client,
    /// Kept, because the services end with the worker.
    _worker: Worker,
}

impl TestWorker {
    /// Returns a worker with the task [`Act`].
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}, HookList::default()).await
    }

    /// Returns a worker whose task is tried again.
    pub(crate) async fn retrying(wait: Duration, times: u32) -> Self {
        Self::with(|options| options.retry = RetryPolicy::backoff(wait, wait).times(times), HookList::default()).await
    }

    /// Returns a worker with hooks, and with other options of its task.
    pub(crate) async fn with(change: impl FnOnce(&mut TaskOptions), hooks: HookList) -> Self {
        Self::build(change, hooks, Duration::ZERO).await
    }

    /// Returns a worker that leaves unknown tasks on their queue for this time.
    pub(crate) async fn holding_unknown(grace: Duration) -> Self {
        Self::build(|_| {}, HookList::default(), grace).await
    }

    async fn build(change: impl FnOnce(&mut TaskOptions), hooks: HookList, unknown_task_grace: Duration) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // Tests may run in threads of one process.
        let name = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let results = ResultsOptions {
            url: Secret::new(format!("sqlite://worker-{name}?mode=memory")),
            ..ResultsOptions::default()
        };
        let backend = celeriac_results::connect(&results).await.unwrap().unwrap();
        let options = BrokerOptions { url: Secret::new(format!("memory://worker-{name}")), ..BrokerOptions::default() };
        let inner = celeriac_broker::connect(&options, "test").unwrap();
        let broker = Arc::new(WitnessBroker {
            inner,
            backend: Arc::clone(&backend),
            published: Mutex::default(),
            panics: AtomicU32::new(0),
            passes: AtomicU32::new(u32::MAX),
        });
        let router = Arc::new(Router::new(&RoutesOptions::default()).unwrap());
        let topology = router.topology().clone();
        broker.declare(&topology).await.unwrap();
        let client = Client::new(
            Arc::clone(&broker) as Arc<dyn Broker>,
            router,
            (Some(Arc::clone(&backend)), results.track),
            ClientOptions::default(),
            Arc::new(TaskOverrides::default()),
            SendLimits { message_size: 1 << 20, window: 16 },
        );
        let mut task = TaskDefinition::asynchronous::<Act>();
        change(&mut task.options);
        let parts = WorkerParts {
            options: WorkerOptions {
                name: Some("w".to_owned()),
                concurrency: 4,
                unknown_task_grace,
                ..WorkerOptions::default()
            },
            results,
            registry: Registry::new([task]).unwrap(),
            topology,
            client: client.clone(),
            state: SharedState::default(),
            hooks,
            limits: DecodeLimits::default(),
            consumer_timeout: Duration::from_secs(1_800),
            broker_url: String::new(),
            results_url: String::new(),
            settings: ShownSettings::default(),
        };
        let worker = Worker::new(parts).unwrap();
        Self { runtime: Arc::clone(&worker.runtime), backend, broker, client, _worker: worker }
    }

    /// Delivers a call of [`Act`] with the argument `how`.
    pub(crate) async fn deliver(&self, how: &str) -> Attempt<'_> {
        self.deliver_changed(how, |_, _| {}).await
    }

    /// Delivers a call after a change of its options and its message.
    pub(crate) async fn deliver_changed(
        &self,
        how: &str,
        change: impl FnOnce(&mut CallOptions, &mut Message),
    ) -> Attempt<'_> {
        self.send(how, change).await;
        self.receive().await
    }

    /// Publishes a call to the queue.
    pub(crate) async fn send(&self, how: &str, change: impl FnOnce(&mut CallOptions, &mut Message)) {
        let mut message = Message::default();
        let mut options = CallOptions { id: Some(ID.to_owned()), ..CallOptions::default() };
        change(&mut options, &mut message);
        let body = Body { args: vec![how.into()], ..Body::default() };
        let request = DynamicCall { task: Act::NAME.to_owned(), body, options };
        let mut outgoing = self.client.prepare(request, TaskOptions::default()).unwrap().outgoing;
        for (name, value) in message.headers.iter() {
            outgoing.message.headers.insert(name.to_owned(), value.clone());
        }
        if let Some(reply_to) = message.properties.reply_to {
            outgoing.message.properties.reply_to = Some(reply_to);
        }
        if !message.body.is_empty() {
            outgoing.message.body = message.body;
        }
        let (exchange, routing_key) = ("".into(), QUEUE.to_owned());
        self.broker.inner.publish(Outgoing { exchange, routing_key, ..outgoing }).await.unwrap();
    }

    /// Takes the next delivery, and reads its headers.
    pub(crate) async fn receive(&self) -> Attempt<'_> {
        let delivery = self.take(QUEUE).await;
        let slot = self.slot().await;
        decode::read_headers(&self.runtime, delivery, slot).map_err(|invalid| invalid.reason).unwrap()
    }

    /// Takes a slot.
    pub(crate) async fn slot(&self) -> TaskSlot {
        let meter = Arc::new(SlotMeter::new());
        tokio::time::timeout(Duration::from_secs(10), self.runtime.slots.take(&meter)).await.unwrap().unwrap()
    }

    /// Takes the next delivery of a queue.
    pub(crate) async fn take(&self, queue: &str) -> celeriac_broker::Delivery {
        let tag = "test".to_owned();
        let subscription = Subscription { queue: queue.to_owned(), prefetch: 1, most: 1, priority: 0, tag };
        let mut consumer = self.broker.inner.consume(subscription).await.unwrap();
        let delivery = tokio::time::timeout(Duration::from_secs(10), consumer.next()).await.unwrap().unwrap();
        consumer.stop();
        delivery
    }

    /// Returns the number of messages that wait in a queue.
    pub(crate) async fn depth(&self, queue: &str) -> u32 {
        self.broker.inner.depth(queue).await.unwrap().map_or(0, |depth| depth.ready)
    }

    /// Makes the next publishes panic.
    pub(crate) fn panic_at_publishes(&self, panics: u32) {
        self.broker.panics.store(panics, Ordering::Relaxed);
    }

    /// Makes all publishes after so many panic.
    pub(crate) fn panic_after_publishes(&self, passes: u32) {
        self.broker.passes.store(passes, Ordering::Relaxed);
    }

    /// Returns the published messages, in order.
    pub(crate) fn published(&self) -> Vec<Published> {
        self.broker.published.lock().unwrap().clone()
    }

    /// Returns the row of the delivered task.
    pub(crate) async fn row(&self) -> Option<TaskRecord> {
        self.backend.find(ID).await.unwrap()
    }

    /// Records an outcome of the delivered task, as another worker that ran the same attempt would.
    pub(crate) async fn record_elsewhere(
        &self,
        attempt: &mut Attempt<'_>,
        state: TaskState,
        change: impl FnOnce(&mut TaskRecord),
    ) {
        let result = (state == TaskState::Success).then(|| "1".to_owned());
        let failure = (state != TaskState::Success).then(|| Failure::new("TaskError", "no"));
        let mut row = row(attempt, state, RowDetails { result, failure, begun: true, ..RowDetails::default() });
        row.worker = "other".into();
        change(&mut row);
        let recorded = self.runtime.results.as_ref().unwrap().recorder.record(Box::new(row)).await.unwrap();
        assert_eq!(recorded, Recorded::Stored);
    }

    /// Adds a chord whose only member is the delivered task. Its body is the task `body`.
    pub(crate) async fn add_chord(&self) {
        let body = r#"{"task": "body", "options": {"task_id": "body"}}"#;
        self.backend.add_join(&NewJoin::new(CHORD, 1, body)).await.unwrap();
    }

    /// Stops the worker, after its drain time has passed.
    pub(crate) fn interrupt(&self) {
        self.runtime.interrupt().cancel();
    }
}

/// A header with which the broker accepts a message only as a dead letter.
const TOO_LARGE: &str = "too-large";

/// Makes the broker refuse to publish a message again.
pub(crate) fn unsendable(_: &mut CallOptions, message: &mut Message) {
    message.headers.insert(TOO_LARGE, true);
}

/// Returns a call of another task that follows from the delivered one.
pub(crate) fn follow_up(task: &str) -> Signature {
    let mut signature = Signature::new(task);
    signature.immutable = true;
    signature
}

/// Makes a message that of the only member of a chord.
pub(crate) fn member(_: &mut CallOptions, message: &mut Message) {
    message.headers.insert(names::JOIN, CHORD);
    message.headers.insert(names::GROUP_INDEX, 0_i64);
}

/// Marks a message as delivered before.
pub(crate) fn redelivered(_: &mut CallOptions, message: &mut Message) {
    message.headers.insert(names::SUSPECTED, Value::Bool(true));
}
