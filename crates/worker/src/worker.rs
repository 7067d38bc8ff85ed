//! Starts, runs and stops everything a worker is made of.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use celeriac_broker::{Consumer, Error as BrokerError, Subscription};
use celeriac_client::Client;
use celeriac_protocol::DecodeLimits;
use celeriac_results::{Recorder, ResultsOptions, Suspects};
use celeriac_telemetry::Event;
use celeriac_telemetry::events::worker::{WorkerOffline, WorkerOnline, WorkerStopping};
use celeriac_topology::{Prefetch, QueueKind, Topology};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broadcast::{own_options, own_queue};
use crate::context::{SharedState, World};
use crate::controls::Controls;
use crate::direct;
use crate::error::{Error, Result};
use crate::execute::Threads;
use crate::follow_up::Backoff;
use crate::handler::TaskDefinition;
use crate::hooks::HookList;
use crate::intake::Door;
use crate::lifecycle::{Core, Results};
use crate::options::WorkerOptions;
use crate::prefetch;
use crate::rate::Rates;
use crate::registry::Registry;
use crate::relay::Relay;
use crate::shutdown::Shutdown;
use crate::slots::Slots;
use crate::transactional::in_want_of_transactions;
use crate::tuning::Tuning;

/// How long after the drain what has ended may take to be recorded, and what follows from it to be sent.
const RECORDED: Duration = Duration::from_millis(400);

/// How long after the drain the broker may take to note the last settlements, and the store the last rows.
const SETTLED: Duration = Duration::from_millis(600);

/// How long the services may take to end, however much of the drain is left.
const PARTING: Duration = Duration::from_secs(5);

/// What a worker is made of.
#[derive(Debug)]
pub struct WorkerParts {
    /// How it works.
    pub options: WorkerOptions,
    /// How it stores outcomes.
    pub results: ResultsOptions,
    /// The tasks it knows.
    pub registry: Registry,
    /// Exchanges and queues, all of them.
    pub topology: Topology,
    /// Its client, whose broker and store it shares.
    pub client: Client,
    /// What tasks share.
    pub state: SharedState,
    /// What runs around every attempt.
    pub hooks: HookList,
    /// Bounds of what it reads.
    pub limits: DecodeLimits,
    /// The broker's address, without password.
    pub broker_url: String,
    /// The store's address, without password.
    pub results_url: String,
}

/// A worker that has not started yet.
pub struct Worker {
    core: Arc<Core>,
    options: WorkerOptions,
    queues: Vec<String>,
    broker_url: String,
    results_url: String,
    services: Services,
}

/// What a worker leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "threads that are left behind keep the process alive"]
pub struct Farewell {
    /// Blocking tasks that did not end within the drain time. Their messages are back on their queues and somebody else
    /// runs them; but nobody can take their threads from them, and a runtime waits for its threads when it is dropped. So
    /// end the process, as the verb `worker` does.
    pub abandoned: usize,
}

/// What runs beside the tasks.
struct Services {
    tracker: TaskTracker,
    stop: CancellationToken,
    /// Cancelled when there is no more patience with broker and store.
    give_up: CancellationToken,
}

impl Services {
    fn new() -> Self {
        Self { tracker: TaskTracker::new(), stop: CancellationToken::new(), give_up: CancellationToken::new() }
    }

    /// Runs one of them until it ends, or there is no more patience with it.
    fn run(&self, service: impl Future<Output = ()> + Send + 'static) {
        let give_up = self.give_up.clone();
        self.tracker.spawn(async move {
            let _ = give_up.run_until_cancelled(service).await;
        });
    }

    /// Lets them end in order; nobody waits for what they have not done by then.
    async fn end(&self, overdue: impl Future<Output = ()>) {
        self.stop.cancel();
        self.tracker.close();
        tokio::select! {
            biased;
            () = self.tracker.wait() => return,
            () = overdue => {}
            () = sleep(PARTING) => {}
        }
        self.give_up.cancel();
        self.tracker.wait().await;
    }
}

impl Worker {
    /// Puts a worker together.
    ///
    /// # Errors
    /// When it is asked to consume a queue that is not declared, or has a task whose transaction the store has not.
    pub fn new(parts: WorkerParts) -> Result<Self> {
        let transactions = parts.client.results().and_then(|backend| backend.transactions());
        if let Some(task) = in_want_of_transactions(&parts.registry, transactions) {
            return Err(Error::NoTransactions { task });
        }
        let name: Arc<str> = parts.options.name.clone().unwrap_or_else(default_name).into();
        let mut topology = parts.topology;
        let mut broadcasts = HashSet::new();
        let mut queues = chosen_queues(&parts.options, &topology)?;
        for queue in &mut queues {
            if let Some(options) = own_options(&topology, queue) {
                *queue = own_queue(queue, &name);
                topology.queues.insert(queue.clone(), options);
                broadcasts.insert(queue.clone());
            }
        }
        if parts.options.direct {
            queues.push(direct::add_to(&mut topology, &name));
        }
        let services = Services::new();
        let results = parts.client.results().map(|backend| {
            let (recorder, service) = Recorder::new(Arc::clone(backend), &parts.results);
            services.run(service.run(services.stop.clone()));
            // Read before the first task comes, and kept up to date from now on.
            let _ = backend.revocations();
            let (suspects, service) = Suspects::new(Arc::clone(backend));
            services.run(service.run(services.stop.clone()));
            Results { backend: Arc::clone(backend), recorder, suspects }
        });
        let rates = Arc::new(Rates::of(&parts.registry));
        let registry = Arc::new(parts.registry);
        let world = World {
            client: parts.client.clone(),
            registry: Arc::clone(&registry),
            state: parts.state,
            hooks: parts.hooks,
            keep: parts.results.keep,
            threads: Threads::default(),
            grace: parts.options.terminate_grace,
            interrupt: CancellationToken::new(),
            give_up: CancellationToken::new(),
        };
        let core = Core {
            name,
            registry,
            broker: Arc::clone(parts.client.broker()),
            topology,
            broadcasts,
            results,
            limits: parts.limits,
            replies: parts.options.replies,
            slots: Arc::new(Slots::new(parts.options.concurrency)),
            rates,
            max_deliveries: parts.options.max_deliveries,
            alone: Arc::new(Semaphore::new(1)),
            world: Arc::new(world),
        };
        Ok(Self {
            core: Arc::new(core),
            options: parts.options,
            queues,
            broker_url: parts.broker_url,
            results_url: parts.results_url,
            services,
        })
    }

    /// How long running tasks may go on once it is told to stop.
    pub fn drain(&self) -> Duration {
        self.options.drain
    }

    /// What can be changed of it while it runs.
    pub fn controls(&self) -> Controls {
        Controls { registry: Arc::clone(&self.core.registry), rates: Arc::clone(&self.core.rates) }
    }

    /// Runs tasks until it is told to stop; then ends in order: no new deliveries, what has not begun goes back to its
    /// queue, what runs may finish within the drain time, everything is settled.
    ///
    /// An absent broker is waited for.
    ///
    /// # Errors
    /// When the broker refuses what the worker needs: access, a queue, a declaration.
    pub async fn run_until(self, shutdown: Shutdown) -> Result<Farewell> {
        let outcome = match self.subscribe(&shutdown).await {
            Ok(Some(consumers)) => {
                self.work(consumers, &shutdown).await;
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => Err(Error::Broker(error)),
        };
        self.services.end(shutdown.overdue(self.options.drain, SETTLED)).await;
        outcome.map(|()| Farewell { abandoned: self.core.world.threads.running() })
    }

    /// Declares and subscribes; `None` when the worker is stopped before the broker was there.
    async fn subscribe(&self, shutdown: &Shutdown) -> Result<Option<Vec<Consumer>>, BrokerError> {
        let mut backoff = Backoff::default();
        loop {
            let attempt = tokio::select! {
                attempt = self.try_subscribe() => attempt,
                () = shutdown.requested() => return Ok(None),
            };
            match attempt {
                Ok(consumers) => return Ok(Some(consumers)),
                // The owner of a foreign queue may start later than this worker.
                Err(error) if error.is_retryable() || self.is_foreign(&error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot consume yet; trying again");
                }
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = sleep(backoff.next()) => {}
                () = shutdown.requested() => return Ok(None),
            }
        }
    }

    fn is_foreign(&self, error: &BrokerError) -> bool {
        let BrokerError::NoSuchQueue { queue } = error else { return false };
        self.core.topology.queues.get(queue).is_some_and(|options| options.foreign)
    }

    async fn try_subscribe(&self) -> Result<Vec<Consumer>, BrokerError> {
        self.core.broker.declare(&self.core.topology).await?;
        let mut consumers = Vec::with_capacity(self.queues.len());
        for queue in &self.queues {
            let (prefetch, most) = match self.prefetch(queue) {
                Prefetch::Fixed(prefetch) => (prefetch, prefetch),
                Prefetch::Auto => (prefetch::first(self.options.concurrency), prefetch::MOST),
            };
            let tag = format!("{}/{queue}", self.core.name);
            consumers.push(self.core.broker.consume(Subscription { queue: queue.clone(), prefetch, most, tag }).await?);
        }
        Ok(consumers)
    }

    /// How many messages may be held of a queue: as it says itself, or else as the worker does.
    fn prefetch(&self, queue: &str) -> Prefetch {
        let options = self.core.topology.queues.get(queue);
        let prefetch = options.and_then(|options| options.prefetch).unwrap_or(self.options.prefetch);
        match prefetch {
            // A change would pass the queue on to another worker.
            Prefetch::Auto if options.is_some_and(|options| options.single_active_consumer) => {
                Prefetch::Fixed(prefetch::alone(self.options.concurrency))
            }
            prefetch => prefetch,
        }
    }

    async fn work(&self, consumers: Vec<Consumer>, shutdown: &Shutdown) {
        let lives = TaskTracker::new();
        let mut doors = JoinSet::new();
        let mut tuning = Tuning::new(Arc::clone(&self.core.slots));
        for consumer in consumers {
            let auto = self.prefetch(consumer.queue()) == Prefetch::Auto;
            let (meter, bound) = tuning.watch(consumer.queue(), consumer.prefetch(), auto);
            let door = Door { core: Arc::clone(&self.core), consumer, meter, bound, lives: lives.clone() };
            doors.spawn(door.take_in(shutdown.token()));
        }
        self.services.run(tuning.run(shutdown.token()));
        if self.options.relay
            && let Ok(relay) = Relay::new(self.core.world.client.clone())
        {
            self.services.run(relay.run_until(self.services.stop.clone()));
        }
        let facts = self.facts();
        let tasks = facts.tasks.len();
        WorkerOnline { name: facts.name, queues: &self.queues, concurrency: facts.concurrency, tasks }.emit();
        shutdown.requested().await;

        WorkerStopping { running: lives.len(), patience: self.options.drain }.emit();
        let consumers = doors.join_all().await;
        // What had arrived and not begun goes back at once, so that others need not wait for the drain.
        let mut closing = JoinSet::new();
        for consumer in consumers {
            closing.spawn(consumer.close());
        }
        lives.close();
        let drain = self.options.drain;
        tokio::select! {
            () = lives.wait() => {}
            _ = shutdown.drained(drain) => {}
        }
        let interrupted = lives.len();
        self.core.world.interrupt.cancel();
        // A task that has ended is not in vain, if broker and store are there.
        tokio::select! {
            () = lives.wait() => {}
            () = shutdown.overdue(drain, RECORDED) => self.core.world.give_up.cancel(),
        }
        lives.wait().await;
        tokio::select! {
            _ = closing.join_all() => {}
            () = shutdown.overdue(drain, SETTLED) => {
                tracing::warn!("the broker did not confirm the last settlements; it delivers those tasks again");
            }
        }
        WorkerOffline { name: &self.core.name, interrupted }.emit();
    }

    pub(crate) fn facts(&self) -> Facts<'_> {
        let queues = self.queues.iter().map(|queue| (queue.as_str(), self.bindings(queue))).collect();
        Facts {
            name: &self.core.name,
            broker_url: &self.broker_url,
            results_url: &self.results_url,
            concurrency: self.options.concurrency,
            prefetch: self.options.prefetch,
            drain: self.options.drain,
            queues,
            tasks: self.core.registry.iter().collect(),
        }
    }

    fn bindings(&self, queue: &str) -> String {
        let bound = self.core.topology.queues.get(queue).map(|options| options.bind.as_slice()).unwrap_or_default();
        if bound.is_empty() {
            return format!("exchange=(default) key={queue}");
        }
        let bound: Vec<_> =
            bound.iter().map(|binding| format!("exchange={} key={}", binding.exchange, binding.key)).collect();
        bound.join(", ")
    }
}

/// What the banner tells.
pub(crate) struct Facts<'a> {
    pub(crate) name: &'a str,
    pub(crate) broker_url: &'a str,
    pub(crate) results_url: &'a str,
    pub(crate) concurrency: usize,
    pub(crate) prefetch: Prefetch,
    pub(crate) drain: Duration,
    pub(crate) queues: Vec<(&'a str, String)>,
    pub(crate) tasks: Vec<&'a TaskDefinition>,
}

fn chosen_queues(options: &WorkerOptions, topology: &Topology) -> Result<Vec<String>> {
    if options.queues.is_empty() {
        return Ok(topology.work_queues().map(str::to_owned).collect());
    }
    let is_stream =
        |queue: &&String| topology.queues.get(*queue).is_some_and(|options| options.kind == QueueKind::Stream);
    if let Some(stream) = options.queues.iter().find(is_stream) {
        return Err(Error::Stream { queue: stream.clone() });
    }
    let unknown = options.queues.iter().find(|queue| !topology.queues.contains_key(*queue));
    match unknown {
        None => Ok(options.queues.clone()),
        Some(queue) => Err(Error::UnknownQueue {
            queue: queue.clone(),
            nearest: celeriac_config::nearest(queue, topology.queues.keys().map(String::as_str)).map(str::to_owned),
        }),
    }
}

/// The name of a worker that is given none.
pub fn default_name() -> String {
    format!("celeriac@{}", gethostname::gethostname().to_string_lossy())
}

impl fmt::Debug for Worker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Worker")
            .field("name", &self.core.name)
            .field("queues", &self.queues)
            .finish_non_exhaustive()
    }
}
