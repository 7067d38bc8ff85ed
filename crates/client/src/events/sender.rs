//! Takes events without a wait, and publishes them.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use celeriac_broker::{Broker, Error as BrokerError, Outgoing};
use celeriac_protocol::retry::Backoff;
use celeriac_protocol::{Codec, LamportClock, Message, Properties, RetryPolicy};
use celeriac_telemetry::events::broker::BrokerAwaited;
use celeriac_telemetry::events::monitors::{MonitorEventsDropped, MonitorEventsSent, MonitorsNotTold};
use celeriac_telemetry::{ErrorChain, Event, MonitorField, MonitorValue, Monitors, clock};
use futures::FutureExt;
use tokio::sync::Notify;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::buffer::{EventBatch, EventBuffer, TaskPhase};
use super::writer::EventWriter;
use super::{EVENT_EXCHANGE, EventLevel, event_topology};

/// Time for which events of tasks are collected in one message, after the message before.
const COLLECT: Duration = Duration::from_millis(10);

/// Time for the last events after the stop.
const LAST: Duration = Duration::from_millis(300);

/// Least time between two log lines about dropped events.
const TOLD: Duration = Duration::from_secs(5);

/// Waits between attempts to publish what the broker may take later.
const LATER: RetryPolicy = RetryPolicy::backoff(Duration::from_millis(100), Duration::from_secs(5));

/// Waits between attempts to publish what the broker refuses, until an operator changes something.
const REFUSED: RetryPolicy = RetryPolicy::backoff(Duration::from_secs(1), Duration::from_secs(300));

/// Sends events to Celery's monitors, in the name of one worker or client.
///
/// Events are taken without a wait, within a bound. A service publishes them, many in one message.
/// While the broker takes none, events wait. Those without room are counted and dropped.
pub struct EventSender {
    hostname: String,
    clock: Arc<LamportClock>,
    writer: EventWriter,
    /// The level, as its number.
    level: AtomicU8,
    buffer: Mutex<EventBuffer>,
    filled: Notify,
    beat: Notify,
}

/// The load of a worker, for its heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkerLoad {
    /// Number of tasks that run.
    pub active: u64,
    /// Number of attempts that have started since the worker did.
    pub processed: u64,
}

/// The heartbeats of a worker.
pub struct EventHeartbeat {
    /// Time between two heartbeats.
    pub interval: Duration,
    /// Reads the load of the worker.
    pub load: Box<dyn Fn() -> WorkerLoad + Send + Sync>,
}

impl EventSender {
    /// Returns a sender with this name, which sends the events of this level.
    pub fn new(hostname: &str, clock: Arc<LamportClock>, level: EventLevel) -> Self {
        Self {
            hostname: hostname.to_owned(),
            clock,
            writer: EventWriter::new(hostname, clock::now()),
            level: AtomicU8::new(level as u8),
            buffer: Mutex::default(),
            filled: Notify::new(),
            beat: Notify::new(),
        }
    }

    /// Switches the events of tasks on or off, and returns `true` if they were on. A worker that
    /// has sent none comes online for monitors; without events of tasks it stays online.
    pub fn set_task_events(&self, on: bool) -> bool {
        let change = |before: u8| Some(if on { EventLevel::All as u8 } else { before.min(EventLevel::Worker as u8) });
        let (Ok(before) | Err(before)) = self.level.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
        self.filled.notify_one();
        before == EventLevel::All as u8
    }

    /// Sends a heartbeat now, if the worker is online for monitors.
    pub fn beat(&self) {
        self.beat.notify_one();
    }

    /// Publishes events until the stop. A worker comes online first, sends heartbeats, and goes
    /// offline last.
    pub async fn run(
        self: Arc<Self>,
        broker: Arc<dyn Broker>,
        heartbeat: Option<EventHeartbeat>,
        stop: CancellationToken,
    ) {
        let publisher = EventPublisher { sender: &self, broker: &*broker, declared: false, told: None, online: false };
        let late = async {
            stop.cancelled().await;
            let is_away = broker.health().borrow().is_away();
            sleep(if is_away { Duration::ZERO } else { LAST }).await;
        };
        tokio::select! {
            () = publisher.run(heartbeat.as_ref(), &stop) => {}
            () = late => {}
        }
        let mut buffer = self.lock();
        while let Some(left) = buffer.take() {
            buffer.count_dropped(left.events);
        }
        let events = buffer.take_dropped();
        drop(buffer);
        if events > 0 {
            MonitorEventsDropped { events }.emit();
        }
    }

    fn push_worker(&self, kind: &'static str, heartbeat: &EventHeartbeat) {
        let WorkerLoad { active, processed } = (heartbeat.load)();
        let load_average = load_average();
        let fields = [
            ("freq", heartbeat.interval.into()),
            ("active", MonitorValue::Integer(active)),
            ("processed", MonitorValue::Integer(processed)),
            ("loadavg", MonitorValue::Numbers(&load_average)),
            ("sw_ident", MonitorValue::Text("celeriac")),
            ("sw_ver", MonitorValue::Text(env!("CARGO_PKG_VERSION"))),
            ("sw_sys", MonitorValue::Text(system())),
        ];
        let event = self.writer.begin(kind, clock::now(), &fields);
        self.lock().push_worker(kind, event, || self.clock.tick());
    }

    fn sends(&self, level: EventLevel) -> bool {
        self.level.load(Ordering::Relaxed) >= level as u8
    }

    fn lock(&self) -> MutexGuard<'_, EventBuffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Monitors for EventSender {
    fn are_told(&self) -> bool {
        self.sends(EventLevel::All)
    }

    fn tell(&self, kind: &'static str, fields: &[MonitorField<'_>]) -> bool {
        let phase = if kind == "task-received" { TaskPhase::Arrival } else { TaskPhase::Later };
        let event = self.writer.begin(kind, clock::now(), fields);
        let mut buffer = self.lock();
        let (was_empty, was_full) = (buffer.is_empty(), buffer.has_full_batch());
        let taken = buffer.push_task(event, phase, || self.clock.tick());
        let is_full = buffer.has_full_batch();
        drop(buffer);
        if was_empty || is_full && !was_full {
            self.filled.notify_one();
        }
        taken
    }

    fn skip(&self) {
        self.lock().count_dropped(1);
    }
}

/// Publishes the events of a sender.
struct EventPublisher<'a> {
    sender: &'a EventSender,
    broker: &'a dyn Broker,
    /// True once the exchange is declared.
    declared: bool,
    /// The time of the last log line about dropped events.
    told: Option<Instant>,
    /// True once monitors were told that the worker is online.
    online: bool,
}

impl EventPublisher<'_> {
    /// Runs until the stop, and until no event waits after it.
    async fn run(mut self, heartbeat: Option<&EventHeartbeat>, stop: &CancellationToken) {
        let mut beats = heartbeat.map(|heartbeat| beats(heartbeat.interval));
        let mut is_last = false;
        loop {
            if let Some(heartbeat) = heartbeat.filter(|_| !self.online && self.sender.sends(EventLevel::Worker)) {
                self.online = true;
                self.sender.push_worker("worker-online", heartbeat);
            }
            if stop.is_cancelled() && !is_last {
                is_last = true;
                if let Some(heartbeat) = heartbeat.filter(|_| self.online) {
                    self.sender.push_worker("worker-offline", heartbeat);
                }
            }
            let batch = self.sender.lock().take();
            let Some(batch) = batch else {
                if is_last {
                    return;
                }
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = self.sender.filled.notified() => {}
                    () = next(&mut beats), if self.online => self.beat(heartbeat),
                    () = self.sender.beat.notified(), if self.online => self.beat(heartbeat),
                }
                continue;
            };
            if !self.publish(batch, stop).await {
                return;
            }
            self.tell_dropped();
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = self.full_batch() => {}
                () = sleep(COLLECT) => {}
            }
            if beats.as_mut().is_some_and(|beats| beats.tick().now_or_never().is_some()) {
                self.beat(heartbeat);
            }
        }
    }

    fn beat(&self, heartbeat: Option<&EventHeartbeat>) {
        if let Some(heartbeat) = heartbeat.filter(|_| self.online) {
            self.sender.push_worker("worker-heartbeat", heartbeat);
        }
    }

    /// Waits until a message takes no more events.
    async fn full_batch(&self) {
        while !self.sender.lock().has_full_batch() {
            self.sender.filled.notified().await;
        }
    }

    /// Publishes a message, again and again if the broker may take it later. Returns `false` if the
    /// stop comes first.
    async fn publish(&mut self, batch: EventBatch, stop: &CancellationToken) -> bool {
        let EventBatch { routing_key, body, events } = batch;
        let message = self.message(body);
        let (mut later, mut refused) = (Backoff::new(LATER), Backoff::new(REFUSED));
        loop {
            let outgoing = Outgoing {
                exchange: EVENT_EXCHANGE.into(),
                routing_key: routing_key.clone(),
                message: message.clone(),
                mandatory: false,
            };
            let Err(error) = self.publish_once(outgoing).await else {
                MonitorEventsSent { events }.emit();
                return true;
            };
            let backoff = if error.is_retryable() { &mut later } else { &mut refused };
            let retry_in = backoff.next_wait(fastrand::f64());
            let told = ErrorChain(&error).to_string();
            match error.is_retryable() && self.broker.health().borrow().is_away() {
                true => BrokerAwaited { work: "events", retry_in, error: &told }.emit(),
                false => MonitorsNotTold { retry_in, error: &told }.emit(),
            }
            self.tell_dropped();
            if timeout(retry_in, stop.cancelled()).await.is_ok() {
                self.sender.lock().count_dropped(events);
                return false;
            }
        }
    }

    async fn publish_once(&mut self, outgoing: Outgoing) -> Result<(), BrokerError> {
        if !self.declared {
            self.broker.declare(&event_topology()).await?;
            self.declared = true;
        }
        let published = self.broker.publish(outgoing).await;
        if let Err(BrokerError::NoSuchExchange { .. }) = &published {
            self.declared = false;
        }
        published
    }

    fn message(&self, body: Vec<u8>) -> Message {
        Message {
            headers: [("hostname", self.sender.hostname.as_str().into())].into_iter().collect(),
            properties: Properties {
                content_type: Some(Codec::Json.content_type().to_owned()),
                content_encoding: Some(Codec::Json.content_encoding().to_owned()),
                transient: true,
                ..Properties::default()
            },
            body: body.into(),
        }
    }

    /// Logs and counts dropped events, once in a while.
    fn tell_dropped(&mut self) {
        let now = Instant::now();
        if self.told.is_some_and(|told| now - told < TOLD) {
            return;
        }
        let events = self.sender.lock().take_dropped();
        if events > 0 {
            self.told = Some(now);
            MonitorEventsDropped { events }.emit();
        }
    }
}

fn beats(every: Duration) -> Interval {
    let mut beats = interval_at(Instant::now() + every, every);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats
}

async fn next(beats: &mut Option<Interval>) {
    match beats {
        Some(beats) => {
            beats.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Returns the load of the machine over 1, 5 and 15 minutes, or zeros where the system does not
/// show it in a file.
fn load_average() -> [f64; 3] {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut numbers = text.split(' ').map(|number| number.parse().unwrap_or_default());
    std::array::from_fn(|_| numbers.next().unwrap_or_default())
}

/// Returns the name of the operating system, as Python names it.
fn system() -> &'static str {
    match std::env::consts::OS {
        "linux" => "Linux",
        "macos" => "Darwin",
        "windows" => "Windows",
        other => other,
    }
}

impl fmt::Debug for EventSender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EventSender").field("hostname", &self.hostname).finish_non_exhaustive()
    }
}

impl fmt::Debug for EventHeartbeat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EventHeartbeat").field("interval", &self.interval).finish_non_exhaustive()
    }
}
