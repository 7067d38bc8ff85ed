//! Receives the events of a fleet.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use celeriac_broker::{Broker, Consumer, Error, Subscription};
use celeriac_protocol::retry::Backoff;
use celeriac_protocol::{LamportClock, RetryPolicy};
use celeriac_telemetry::events::monitors::{EventsInterrupted, EventsUnreadable};
use celeriac_telemetry::{ErrorChain, Event, clock};
use celeriac_topology::{Binding, QueueKind, QueueOptions, Topology};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::reader::MonitorEvent;
use super::{EVENT_EXCHANGE, event_topology};

/// Time after which the queue is deleted if nobody consumes it, as in Celery.
const EXPIRES: Duration = Duration::from_secs(60);

/// Time that an event waits for a receiver that does not read, as in Celery.
const WAITS: Duration = Duration::from_secs(5);

/// Most messages that wait in this process.
const PREFETCH: u16 = 64;

/// Waits between attempts to receive again.
const AGAIN: RetryPolicy = RetryPolicy::backoff(Duration::from_millis(100), Duration::from_secs(5));

/// The events of all workers and clients on a broker, of Celery's too.
///
/// A message that is no event is skipped and counted. After a lost connection the stream goes on;
/// events that nobody received within five seconds are lost.
///
/// ```no_run
/// use celeriac::events::FleetState;
///
/// # async fn example(client: celeriac::Client) -> celeriac::Result<()> {
/// let mut events = client.events().await?;
/// let mut fleet = FleetState::default();
/// while let Some(event) = events.next().await {
///     fleet.apply(&event);
///     println!("{} {:?}", event.kind, fleet.counts());
/// }
/// # Ok(())
/// # }
/// ```
pub struct EventStream {
    broker: Arc<dyn Broker>,
    clock: Arc<LamportClock>,
    topology: Topology,
    queue: String,
    consumer: Option<Consumer>,
    arrived: VecDeque<MonitorEvent>,
    unreadable: u64,
}

impl EventStream {
    /// Starts to receive on a broker. `clock` passes the times of the events.
    ///
    /// # Errors
    /// Returns an error if the queue for the events cannot be declared.
    #[doc(hidden)]
    pub async fn open(broker: Arc<dyn Broker>, clock: Arc<LamportClock>) -> Result<Self, Error> {
        let queue = format!("{EVENT_EXCHANGE}.{}", Uuid::now_v7());
        let options = QueueOptions {
            kind: QueueKind::Classic,
            bindings: vec![Binding::new(EVENT_EXCHANGE, "#")],
            expires: Some(EXPIRES),
            message_ttl: Some(WAITS),
            own: true,
            plain: true,
            ..QueueOptions::default()
        };
        let mut topology = event_topology();
        topology.queues.insert(queue.clone(), options);
        let (consumer, arrived) = (None, VecDeque::new());
        let mut stream = Self { broker, clock, topology, queue, consumer, arrived, unreadable: 0 };
        stream.consumer = Some(stream.consume().await?);
        Ok(stream)
    }

    /// Returns the next event, or `None` after the client was closed.
    ///
    /// Cancel safe: no event is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<MonitorEvent> {
        let mut backoff = Backoff::new(AGAIN);
        loop {
            if let Some(event) = self.arrived.pop_front() {
                return Some(event);
            }
            let delivery = match &mut self.consumer {
                Some(consumer) => {
                    let consuming = consumer.consuming();
                    tokio::select! {
                        delivery = consumer.next() => delivery,
                        () = lost_for(consuming, WAITS) => {
                            // The queue may have expired. The consumer, which logs its loss itself,
                            // finds it once it is there.
                            let _ = self.broker.declare(&self.topology).await;
                            continue;
                        }
                    }
                }
                None => None,
            };
            let Some(delivery) = delivery else {
                self.consumer = None;
                match self.consume().await {
                    Ok(consumer) => self.consumer = Some(consumer),
                    Err(Error::Closed) => return None,
                    Err(error) => {
                        let retry_in = backoff.next_wait(fastrand::f64());
                        EventsInterrupted { retry_in, error: &ErrorChain(&error).to_string() }.emit();
                        sleep(retry_in).await;
                    }
                }
                continue;
            };
            let now = clock::now().as_microsecond() as f64 / 1e6;
            match MonitorEvent::read(&delivery.message, now) {
                Ok(events) => {
                    // Clients do not share the clock of the workers.
                    let clocks = events.iter().filter(|event| event.kind != "task-sent").map(|event| event.clock);
                    if let Some(clock) = clocks.max() {
                        self.clock.adjust(clock);
                    }
                    self.arrived.extend(events);
                }
                Err(error) => {
                    self.unreadable += 1;
                    EventsUnreadable { routing_key: &delivery.origin.routing_key, error: &error.to_string() }.emit();
                }
            }
            delivery.settlement.ack();
        }
    }

    /// Returns the number of messages that were no events.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Stops receiving. The broker deletes the queue after a minute.
    pub async fn close(self) {
        if let Some(consumer) = self.consumer {
            consumer.close().await;
        }
    }

    async fn consume(&self) -> Result<Consumer, Error> {
        self.broker.declare(&self.topology).await?;
        let (queue, tag) = (self.queue.clone(), self.queue.clone());
        let subscription = Subscription { queue, prefetch: PREFETCH, most: PREFETCH, priority: 0, tag };
        self.broker.consume(subscription).await
    }
}

/// Waits until nothing was consumed for this long.
async fn lost_for(mut consuming: watch::Receiver<bool>, time: Duration) {
    loop {
        if consuming.wait_for(|consuming| !consuming).await.is_err() {
            // The end of the consumer is seen by its next delivery.
            std::future::pending::<()>().await;
        }
        if timeout(time, consuming.wait_for(|consuming| *consuming)).await.is_err() {
            return;
        }
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EventStream").field("queue", &self.queue).finish_non_exhaustive()
    }
}
