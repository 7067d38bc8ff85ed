//! Starts, runs and stops all parts of a worker.

mod banner;
mod consumers;
mod health;
mod queues;
mod services;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use celeriac_broker::{Consumer, Error as BrokerError, Subscription};
use celeriac_client::Client;
use celeriac_client::events::{EventHeartbeat, EventSender, WorkerLoad};
use celeriac_protocol::DecodeLimits;
use celeriac_protocol::retry::Backoff;
use celeriac_results::{PostgresBackend, ResultsOptions};
use celeriac_telemetry::events::broker::BrokerAwaited;
use celeriac_telemetry::events::worker::{
    ConsumersNotStarted, SettlementsUnconfirmed, WorkerOffline, WorkerOnline, WorkerStopping,
};
use celeriac_telemetry::health::register;
use celeriac_telemetry::{ErrorChain, Event, ServiceFailure};
use celeriac_topology::{Prefetch, Topology};
use futures::FutureExt;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::allowed::AllowedQueues;
use crate::attempt::execute::inline;
use crate::attempt::publish::BACKOFF;
use crate::attempt::transaction::requires_transactions;
use crate::control::answer_requests;
use crate::control::mingle::mingle;
use crate::control::node::{ControlNode, ShownSettings};
use crate::controls::Controls;
use crate::error::{Error, Result};
use crate::intake::prefetch;
use crate::live_queues::{AddedConsumer, LiveQueues};
use crate::memory::DecodeMemory;
use crate::name::worker_name;
use crate::options::WorkerOptions;
use crate::overdue_chords::end_overdue_chords;
use crate::own_queues::warn_of_shared_name;
use crate::rate_limits::RateLimits;
use crate::relay::Relay;
use crate::remote_commands::ControlAccess;
use crate::revoked_stamps::RevokedStamps;
use crate::running_tasks::RunningTasks;
use crate::runtime::WorkerRuntime;
use crate::shutdown::Shutdown;
use crate::slots::Slots;
use crate::start_counts::StartCounts;
use crate::suspect_turns::SuspectTurns;
use crate::task::context::{FindInline, SharedState, TaskEnvironment};
use crate::task::hooks::HookList;
use crate::task::limit_overrides::LimitOverrides;
use crate::task::progress::ProgressReports;
use crate::task::registry::Registry;
use crate::threads::Threads;
use crate::worker::banner::{Banner, BannerQueue};
use crate::worker::consumers::ConsumerSet;
use crate::worker::health::WorkerHealth;
use crate::worker::queues::{ConsumedQueues, consumed_queues};
use crate::worker::services::Services;

/// Time after the drain in which outcomes are recorded and follow-ups sent.
const RECORDED: Duration = Duration::from_millis(400);

/// Time after the drain in which the broker receives the last settlements, and the store the last
/// rows.
const SETTLED: Duration = Duration::from_millis(600);

/// The parts of a worker.
#[derive(Debug)]
pub struct WorkerParts {
    /// Options of the worker.
    pub options: WorkerOptions,
    /// Options of the result store.
    pub results: ResultsOptions,
    /// The tasks of the worker.
    pub registry: Registry,
    /// All exchanges and queues.
    pub topology: Topology,
    /// The client, whose broker and store the worker shares.
    pub client: Client,
    /// Values that tasks share.
    pub state: SharedState,
    /// Hooks around every attempt.
    pub hooks: HookList,
    /// Limits for the messages that it reads.
    pub limits: DecodeLimits,
    /// RabbitMQ's `consumer_timeout`.
    pub consumer_timeout: Duration,
    /// The broker's address, without password.
    pub broker_url: String,
    /// The store's address, without password.
    pub results_url: String,
    /// The configuration, as remote control shows it.
    pub settings: ShownSettings,
}

/// A worker that has not started yet.
pub struct Worker {
    pub(crate) runtime: Arc<WorkerRuntime>,
    options: WorkerOptions,
    queues: Vec<String>,
    broker_url: String,
    results_url: String,
    services: Services,
    health: Arc<WorkerHealth>,
    settings: ShownSettings,
    /// Consumers that are added while it runs.
    added: Mutex<mpsc::Receiver<AddedConsumer>>,
    events: Arc<EventSender>,
}

/// State of a worker after its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "threads that are left behind keep the process alive"]
pub struct ShutdownReport {
    /// Blocking tasks that did not end within the drain time.
    ///
    /// Their messages are back on their queues, and other workers run them. Their threads cannot be
    /// stopped, and a runtime waits for its threads when it is dropped. So end the process, as the
    /// command `worker` does.
    pub blocking_tasks_left: usize,
    /// Async tasks that did not end although they were interrupted, because they do not yield: they
    /// compute or block without an `.await`.
    ///
    /// They occupy threads of the runtime, so end the process.
    pub tasks_abandoned: usize,
}

impl Worker {
    /// Builds a worker from its parts.
    ///
    /// # Errors
    /// Returns an error if a configured queue is not declared, or if a transactional task is
    /// registered and the result store is not Postgres.
    #[doc(hidden)]
    pub fn new(parts: WorkerParts) -> Result<Self> {
        let transactions =
            parts.client.results().and_then(|backend| backend.postgres()).map(PostgresBackend::transactions);
        if let Some(task) = requires_transactions(&parts.registry, transactions) {
            return Err(Error::NoTransactions { task });
        }
        let name: Arc<str> = worker_name(parts.options.name.as_deref()).into();
        let mut topology = parts.topology;
        let ConsumedQueues { queues, broadcasts } = consumed_queues(&parts.options, &mut topology, &name)?;
        let services = Services::new();
        let results = parts.client.results().map(|backend| services.open_store(backend, &parts.results));
        let rates = Arc::new(RateLimits::of(&parts.registry));
        let registry = Arc::new(parts.registry);
        let threads = Threads::default();
        let environment = TaskEnvironment {
            client: parts.client.clone(),
            state: parts.state,
            keep: parts.results.retention,
            follow_up_limits: parts.options.follow_up_limits(parts.limits.size),
            allowed_follow_ups: AllowedQueues::new(parts.options.allow_follow_ups_to.as_deref()),
            find_inline: find_inline(&registry, &threads),
            progress: ProgressReports {
                worker: Arc::clone(&name),
                recorder: results.as_ref().map(|results| results.recorder.clone()),
                replies: parts.options.send_replies,
                allowed_replies: AllowedQueues::new(parts.options.allow_replies_to.as_deref()),
            },
            interrupt: CancellationToken::new(),
        };
        let (live, added) = LiveQueues::new();
        let lamport = Arc::clone(parts.client.lamport());
        let events = Arc::new(EventSender::new(&name, lamport, parts.options.events));
        let runtime = WorkerRuntime {
            name,
            registry,
            broker: Arc::clone(parts.client.broker()),
            topology,
            broadcasts,
            results,
            clock: parts.client.clock().clone(),
            limits: parts.limits,
            decode_memory: DecodeMemory::new(parts.options.max_decoded_size),
            large_builds: Semaphore::new(1),
            allowed_replies: AllowedQueues::new(parts.options.allow_replies_to.as_deref()),
            replies: parts.options.send_replies,
            slots: Arc::new(Slots::new(parts.options.concurrency)),
            rates,
            limits_at_run_time: LimitOverrides::default(),
            revoked_stamps: RevokedStamps::default(),
            starts: StartCounts::default(),
            live,
            crash_limit: parts.options.crash_limit,
            unknown_task_grace: parts.options.unknown_task_grace,
            consumer_timeout: parts.consumer_timeout,
            suspects: SuspectTurns::new(parts.options.concurrency),
            hooks: parts.hooks,
            threads,
            running: RunningTasks::new(),
            monitors: Arc::<EventSender>::clone(&events),
            processed: Arc::default(),
            terminate_grace: parts.options.terminate_grace,
            abort: CancellationToken::new(),
            environment: Arc::new(environment),
        };
        let health = Arc::new(WorkerHealth::new(Arc::clone(&runtime.slots), &queues));
        register(&health);
        Ok(Self {
            runtime: Arc::new(runtime),
            options: parts.options,
            queues,
            broker_url: parts.broker_url,
            results_url: parts.results_url,
            services,
            health,
            settings: parts.settings,
            added: Mutex::new(added),
            events,
        })
    }

    /// Returns the time that running tasks have after a request to stop.
    pub fn drain(&self) -> Duration {
        self.options.drain_timeout
    }

    /// Returns the settings that can change while the worker runs.
    pub fn controls(&self) -> Controls {
        Controls { registry: Arc::clone(&self.runtime.registry), rates: Arc::clone(&self.runtime.rates) }
    }

    /// Runs tasks until a shutdown is requested, and then ends in order.
    ///
    /// It consumes no new deliveries, and returns deliveries that have not started to their queues.
    /// Running tasks may finish within the drain time, and are settled. Until then the worker waits
    /// for an unavailable broker.
    ///
    /// ```no_run
    /// use celeriac::Shutdown;
    /// use celeriac::prelude::*;
    ///
    /// # #[task]
    /// # async fn charge(cents: i64) -> TaskResult<i64> { Ok(cents) }
    /// # async fn example() -> celeriac::Result<()> {
    /// let app = Celeriac::from_config("config").tasks(tasks![charge]).build()?;
    /// let worker = app.worker(app.client().await?)?;
    ///
    /// let shutdown = Shutdown::new();
    /// tokio::spawn({
    ///     let shutdown = shutdown.clone();
    ///     async move {
    ///         if tokio::signal::ctrl_c().await.is_ok() {
    ///             shutdown.request();
    ///         }
    ///     }
    /// });
    /// let report = worker.run_until(shutdown).await?;
    /// println!("{} blocking tasks still run", report.blocking_tasks_left);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns an error if the broker refuses an operation that the worker needs: access, a queue,
    /// a declaration. Returns an error if a service of the worker ended, such as a consumer or the
    /// recorder. The worker then stops by itself, as after a request.
    pub async fn run_until(self, shutdown: Shutdown) -> Result<ShutdownReport> {
        self.health.stops_with(&shutdown);
        self.start_control(&shutdown);
        let outcome = match self.subscribe(&shutdown).await {
            Ok(Some(consumers)) => Ok(self.work(consumers, &shutdown).await),
            Ok(None) => Ok(0),
            Err(error) => Err(Error::Broker(error)),
        };
        self.services.end(shutdown.overdue(self.options.drain_timeout, SETTLED)).await;
        let tasks_abandoned = outcome?;
        if let Some(ServiceFailure { service, reason }) = self.services.failure(self.client()).now_or_never() {
            return Err(Error::ServiceEnded { service, reason });
        }
        Ok(ShutdownReport { blocking_tasks_left: self.runtime.threads.running(), tasks_abandoned })
    }

    /// Starts to answer remote commands, which it does until it has ended.
    fn start_control(&self, shutdown: &Shutdown) {
        if self.options.control == ControlAccess::Off {
            return;
        }
        let node = Arc::new(ControlNode {
            runtime: Arc::clone(&self.runtime),
            options: self.options.clone(),
            shutdown: shutdown.clone(),
            broker_url: self.broker_url.clone(),
            results_url: self.results_url.clone(),
            settings: self.settings.clone(),
            clock: Arc::clone(self.client().lamport()),
            events: Arc::clone(&self.events),
            started: Instant::now(),
            added: Default::default(),
        });
        self.services.run("remote control", answer_requests(Arc::clone(&node), self.services.stop.clone()));
        self.services.run("mingle", mingle(node, self.services.stop.clone()));
    }

    /// Declares and subscribes. Returns `None` if the worker is stopped before the broker is
    /// available.
    async fn subscribe(&self, shutdown: &Shutdown) -> Result<Option<Vec<Consumer>>, BrokerError> {
        let mut backoff = Backoff::new(BACKOFF);
        loop {
            let attempt = tokio::select! {
                attempt = self.try_subscribe() => attempt,
                () = shutdown.requested() => return Ok(None),
            };
            let retry_in = match attempt {
                Ok(consumers) => {
                    warn_of_shared_name(&*self.runtime.broker, &self.runtime.topology, &self.runtime.name).await;
                    return Ok(Some(consumers));
                }
                // An external queue may be declared later, by the program that owns it.
                Err(error) if error.is_retryable() || self.is_foreign(&error) => {
                    let retry_in = backoff.next_wait(fastrand::f64());
                    let told = ErrorChain(&error).to_string();
                    match error.is_retryable() && self.runtime.is_broker_away() {
                        true => BrokerAwaited { work: "consumers", retry_in, error: &told }.emit(),
                        false => ConsumersNotStarted { retry_in, error: &told }.emit(),
                    }
                    self.health.not_consumed(&told);
                    retry_in
                }
                Err(error) => return Err(error),
            };
            tokio::select! {
                () = sleep(retry_in) => {}
                () = shutdown.requested() => return Ok(None),
            }
        }
    }

    fn is_foreign(&self, error: &BrokerError) -> bool {
        let BrokerError::NoSuchQueue { queue } = error else { return false };
        self.runtime.topology.queues.get(queue).is_some_and(|options| options.external)
    }

    async fn try_subscribe(&self) -> Result<Vec<Consumer>, BrokerError> {
        self.runtime.broker.declare(&self.runtime.topology).await?;
        let mut consumers = Vec::with_capacity(self.queues.len());
        for queue in &self.queues {
            let (prefetch, most) = prefetch::bounds(self.prefetch(queue), self.options.concurrency);
            let (priority, tag) = (self.options.consumer_priority, format!("{}/{queue}", self.runtime.name));
            let subscription = Subscription { queue: queue.clone(), prefetch, most, priority, tag };
            consumers.push(self.runtime.broker.consume(subscription).await?);
        }
        Ok(consumers)
    }

    fn prefetch(&self, queue: &str) -> Prefetch {
        let options = self.runtime.topology.queues.get(queue);
        prefetch::of_queue(options, self.options.prefetch, self.options.concurrency)
    }

    /// Runs tasks until the stop, or until a service fails. Returns the number of abandoned tasks.
    async fn work(&self, consumers: Vec<Consumer>, shutdown: &Shutdown) -> usize {
        let _reports = self.runtime.running.report();
        let mut set = ConsumerSet::new(&self.runtime, &self.health, &self.services.supervisor, shutdown.token());
        for consumer in consumers {
            let prefetch = self.prefetch(consumer.queue());
            set.add(consumer, prefetch);
        }
        self.services.run("prefetch", Arc::clone(&set.tuner).run(shutdown.token()));
        // A message of its own queues ends a chord that is overdue.
        if let Some(queue) = self.queues.iter().find(|queue| !self.runtime.broadcasts.contains(*queue)) {
            let (runtime, stop) = (Arc::clone(&self.runtime), self.services.stop.clone());
            self.services.run("overdue chords", end_overdue_chords(runtime, queue.clone(), stop));
        }
        if self.options.run_relay
            && let Ok(relay) = Relay::new(self.client().clone())
        {
            let relay = relay.undeclared(self.options.relay_undeclared).tasks(Arc::clone(&self.runtime.registry));
            self.services.run("relay", relay.run_until(self.services.stop.clone()));
        }
        let sender = Arc::clone(&self.events);
        let stop = self.services.stop.clone();
        self.services.run("events", sender.run(Arc::clone(&self.runtime.broker), Some(self.heartbeat()), stop));
        let (name, concurrency) = (&self.runtime.name, self.options.concurrency);
        WorkerOnline { name, queues: &self.queues, concurrency, tasks: self.runtime.registry.iter().count() }.emit();
        let mut added = self.added.lock().await;
        loop {
            tokio::select! {
                () = shutdown.requested() => break,
                _ = self.services.failure(self.client()) => shutdown.fail(),
                Some(AddedConsumer { consumer, prefetch }) = added.recv() => set.add(consumer, prefetch),
                () = set.tend() => {}
            }
        }
        added.close();

        let attempts = set.attempts.clone();
        WorkerStopping { running: attempts.len(), drain_timeout: self.options.drain_timeout }.emit();
        // Deliveries that have not started return at once, so that other workers need not wait for
        // the drain.
        let drain = self.options.drain_timeout;
        tokio::select! {
            () = set.ended() => {}
            () = shutdown.overdue(drain, RECORDED) => {}
        }
        attempts.close();
        tokio::select! {
            () = attempts.wait() => {}
            _ = shutdown.drained(drain) => {}
        }
        let interrupted = attempts.len();
        self.runtime.environment.interrupt.cancel();
        // The outcome of a task that has ended is recorded now, if broker and store are available.
        tokio::select! {
            () = attempts.wait() => {}
            () = shutdown.overdue(drain, RECORDED) => self.runtime.abort.cancel(),
        }
        // An attempt ends at its next poll, unless its task does not yield.
        tokio::select! {
            () = async { tokio::join!(attempts.wait(), set.closed()); } => {}
            () = shutdown.overdue(drain, SETTLED) => SettlementsUnconfirmed.emit(),
        }
        let abandoned = self.runtime.running.abandon();
        WorkerOffline { name: &self.runtime.name, interrupted }.emit();
        abandoned
    }

    /// Returns the heartbeats for Celery's monitors.
    fn heartbeat(&self) -> EventHeartbeat {
        let (slots, processed) = (Arc::clone(&self.runtime.slots), Arc::clone(&self.runtime.processed));
        let load = move || WorkerLoad { active: slots.used() as u64, processed: processed.load(Ordering::Relaxed) };
        EventHeartbeat { interval: self.options.heartbeat_interval, load: Box::new(load) }
    }

    fn client(&self) -> &Client {
        &self.runtime.environment.client
    }

    /// Returns the tasks that run, for a program that ends without them.
    #[doc(hidden)]
    pub fn running_tasks(&self) -> RunningTasks {
        self.runtime.running.clone()
    }

    /// Returns the banner for the start: name, broker, results, slots, queues and tasks.
    pub fn banner(&self) -> String {
        self.to_banner().to_string()
    }

    /// Logs the content of the banner in one line, for a program with JSON log lines.
    pub fn log_banner(&self) {
        self.to_banner().log();
    }

    fn to_banner(&self) -> Banner<'_> {
        let queues = self.queues.iter().map(|queue| BannerQueue {
            name: queue,
            prefetch: self.prefetch(queue),
            bindings: self.bindings(queue),
        });
        Banner {
            name: &self.runtime.name,
            broker_url: &self.broker_url,
            results_url: &self.results_url,
            concurrency: self.options.concurrency,
            drain_timeout: self.options.drain_timeout,
            queues: queues.collect(),
            tasks: self.runtime.registry.iter().collect(),
        }
    }

    fn bindings(&self, queue: &str) -> String {
        let bound =
            self.runtime.topology.queues.get(queue).map(|options| options.bindings.as_slice()).unwrap_or_default();
        if bound.is_empty() {
            return format!("exchange=(default) routing_key={queue}");
        }
        let bound: Vec<_> = bound
            .iter()
            .map(|binding| format!("exchange={} routing_key={}", binding.exchange, binding.routing_key))
            .collect();
        bound.join(", ")
    }
}

/// Returns the function that finds tasks that run inside another one.
fn find_inline(registry: &Arc<Registry>, threads: &Threads) -> FindInline {
    let (registry, threads) = (Arc::clone(registry), threads.clone());
    Box::new(move |name| registry.get(name).map(|task| inline(task, &threads)))
}

impl fmt::Debug for Worker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Worker")
            .field("name", &self.runtime.name)
            .field("queues", &self.queues)
            .finish_non_exhaustive()
    }
}
