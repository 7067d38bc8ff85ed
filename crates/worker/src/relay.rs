//! Relays the outbox: sends the tasks of committed transactions.
//!
//! ```text
//! wait for the lease ─ window of rows ─ publish, each confirmed ─ delete the sent rows ─┐
//!                      ▲                                                                │
//!                      └──────────────── next window, or a notification ────────────────┘
//! ```
//!
//! One process relays at a time. If it dies between a confirm and the delete, the next process
//! sends the message again. So each message has a header that marks a possible repeat, and the
//! worker that runs it first reads the store.

mod calls;
mod gauges;
mod waits;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use celeriac_broker::{BrokerHealth, Error as BrokerError, Outgoing, PublishFault};
use celeriac_client::Client;
use celeriac_protocol::headers::names;
use celeriac_protocol::retry::{Backoff, RetryPolicy};
use celeriac_results::outbox::{OutboxMessage, OutboxRow, RelayFailure};
use celeriac_results::{OverdueCount, PostgresBackend, RelayLease, SentRecord, StoreClock};
use celeriac_telemetry::events::broker::BrokerAwaited;
use celeriac_telemetry::events::client::TaskSent;
use celeriac_telemetry::events::relay::{
    MessagesRelayed, OverdueRetriesCounted, OverdueRetriesNotCounted, RelayFailed, RelayInterrupted, RelayPaused,
    RelayStarted, RelayTopologyNotDeclared, RetriesOverdue,
};
use celeriac_telemetry::events::results::{SentTasksNotRecorded, StoreAwaited};
use celeriac_telemetry::health::register;
use celeriac_telemetry::trace::{PublishInfo, PublishSpan};
use celeriac_telemetry::{ErrorChain, Event};
use celeriac_topology::{DIRECT_EXCHANGE, Topology};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::hold::SHORTEST_HOLD;
use crate::relay::gauges::OutboxGauges;
use crate::relay::waits::ExpectedWaits;
use crate::task::registry::Registry;

/// Most messages of a window, and bytes at which it is full.
const WINDOW: (u32, u64) = (1_024, 8 * 1024 * 1024);

/// Time after which a retry that has not begun is overdue. An attempt that runs for so long has
/// said so in the store.
const OVERDUE: Duration = Duration::from_secs(3_600);

/// Time between two counts of overdue retries, and the number that is counted at most.
const COUNT: (Duration, u32) = (Duration::from_secs(300), 10_000);

/// Waits between two attempts while broker or database are unavailable.
const RECONNECT: RetryPolicy = RetryPolicy::backoff(Duration::from_millis(100), Duration::from_secs(10));

/// Waits between two attempts at a message that could not be sent.
const RESEND: RetryPolicy = RetryPolicy::backoff(Duration::from_secs(1), Duration::from_secs(300));

/// Relays the outbox.
#[derive(Debug)]
pub struct Relay {
    client: Client,
    tasks: Arc<Registry>,
    undeclared: bool,
}

/// The outcome of a window.
#[derive(Debug, Default)]
struct WindowOutcome {
    sent: Vec<i64>,
    unsent: Vec<RelayFailure>,
    /// Time at which the oldest sent message was written.
    oldest: Option<Timestamp>,
    /// Reason why the broker accepts nothing at present.
    away: Option<String>,
    /// True if an exchange or queue is missing that this program may declare.
    missing: bool,
    /// The rows of sent tasks, where sending is tracked.
    rows: Vec<SentRecord>,
}

/// The outcome of one message.
enum EntryOutcome {
    /// It is on a queue. Its row, if its sending is tracked.
    Sent(Option<Box<SentRecord>>),
    /// The message is invalid, or its destination does not accept it.
    Failed(BrokerError),
    /// The call is not valid, or its destination is not declared, and only declared ones are
    /// allowed.
    Refused(String),
    /// Nothing can be sent at present, for a reason outside of the message.
    Postponed(String),
}

impl Relay {
    /// Returns a relay for the outbox of this client's store.
    ///
    /// # Errors
    /// Returns an error if the store has no outbox.
    pub fn new(client: Client) -> Result<Self> {
        match client.results().and_then(|results| results.postgres()).map(PostgresBackend::outbox) {
            Some(_) => Ok(Self { client, tasks: Arc::default(), undeclared: true }),
            None => Err(Error::NoOutbox),
        }
    }

    /// Sets whether messages to exchanges and queues that the client does not declare are sent too.
    /// Otherwise they stay in the outbox, with this reason. Default: `true`.
    #[must_use]
    pub fn undeclared(mut self, undeclared: bool) -> Self {
        self.undeclared = undeclared;
        self
    }

    /// Sets the tasks of the program. Their options apply to calls from SQL, and such a call is
    /// refused if its arguments do not fit. Default: none, so that calls are sent unchecked.
    #[must_use]
    pub fn tasks(mut self, tasks: Arc<Registry>) -> Self {
        self.tasks = tasks;
        self
    }

    /// Relays until `stop` is cancelled. Reconnects after each loss of database or broker. At
    /// `stop`, published messages are confirmed and deleted first.
    pub async fn run_until(self, stop: CancellationToken) {
        let Some(results) = self.client.results() else { return };
        let Some(outbox) = results.postgres().map(PostgresBackend::outbox) else { return };
        let health = results.health();
        let gauges = Arc::new(OutboxGauges::default());
        let waits = Arc::new(ExpectedWaits::default());
        register(&gauges);
        register(&waits);
        let mut backoff = Backoff::new(RECONNECT);
        while !stop.is_cancelled() {
            // A holder without a broker would keep all others from relaying.
            if stop.run_until_cancelled(Box::pin(self.reach_broker())).await.is_none() {
                return;
            }
            let losses = health.losses();
            let Some(ended) = stop.run_until_cancelled(Box::pin(outbox.acquire_lease())).await else { return };
            let has_led = ended.is_ok();
            let error = match ended {
                Ok(mut lead) => {
                    RelayStarted.emit();
                    backoff = Backoff::new(RECONNECT);
                    let served = tokio::select! {
                        served = Box::pin(self.serve(&mut lead, &stop)) => served,
                        never = gauges.measure(outbox, self.client.clock()) => match never {},
                        never = Box::pin(waits.measure(&self.client)) => match never {},
                    };
                    gauges.forget();
                    waits.forget();
                    match served {
                        Ok(()) => {
                            lead.end().await;
                            continue;
                        }
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            let retry_in = backoff.next_wait(fastrand::f64());
            let told = ErrorChain(&error).to_string();
            // A store that is back may have ended the lease by its loss, which has its line.
            let is_told = health.is_lost() || health.losses() != losses;
            match is_told || (!has_led && error.is_connection_lost()) {
                true => StoreAwaited { work: "relay", retry_in, error: &told }.emit(),
                false => RelayInterrupted { retry_in, error: &told }.emit(),
            }
            let _ = stop.run_until_cancelled(sleep(retry_in)).await;
        }
    }

    /// Declares the topology, once the broker is reached. A message to a missing queue would wait
    /// for its next attempt.
    async fn reach_broker(&self) {
        let mut backoff = Backoff::new(RECONNECT);
        while let Err(error) = self.client.broker().declare(self.client.topology()).await {
            if error.publish_fault() != PublishFault::Passing {
                return RelayTopologyNotDeclared { error: &ErrorChain(&error).to_string() }.emit();
            }
            let retry_in = backoff.next_wait(fastrand::f64());
            BrokerAwaited { work: "relay", retry_in, error: &ErrorChain(&error).to_string() }.emit();
            sleep(retry_in).await;
        }
    }

    /// Sends windows until `stop` is cancelled, or until the broker is not reached.
    async fn serve(&self, lead: &mut RelayLease, stop: &CancellationToken) -> celeriac_results::Result<()> {
        let mut backoff = Backoff::new(RECONNECT);
        let mut counted: Option<Instant> = None;
        while !stop.is_cancelled() {
            if counted.is_none_or(|counted| counted.elapsed() >= COUNT.0) {
                counted = Some(Instant::now());
                self.alive(lead, |_| self.count_overdue()).await?;
            }
            let (rows, bytes) = WINDOW;
            let window = lead.window(rows, bytes).await?;
            if window.is_empty() {
                match stop.run_until_cancelled(lead.news()).await {
                    Some(heard) => heard?,
                    None => return Ok(()),
                }
                continue;
            }
            let outcome = self.alive(lead, |until| self.publish(window, until)).await?;
            // Written first: a relay that dies here leaves the message, and the next one writes
            // both.
            self.record_sent(&outcome.rows).await?;
            lead.conclude(&outcome.sent, &outcome.unsent).await?;
            outcome.tell(self.client.clock());
            if outcome.missing {
                self.declare().await;
            }
            match outcome.away {
                None => backoff = Backoff::new(RECONNECT),
                Some(reason) => {
                    let wait = backoff.next_wait(fastrand::f64());
                    let health = self.client.broker_health();
                    match health.is_away() {
                        true => BrokerAwaited { work: "relay", retry_in: wait, error: &reason }.emit(),
                        false => RelayPaused { retry_in: wait, error: &reason }.emit(),
                    }
                    if matches!(health, BrokerHealth::Disconnected { .. }) {
                        return Ok(());
                    }
                    if stop.run_until_cancelled(self.alive(lead, |_| sleep(wait))).await.is_none() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Runs `work` while the lease is certainly held.
    async fn alive<T, F: Future<Output = T>>(
        &self,
        lead: &mut RelayLease,
        work: impl FnOnce(LeaseValidity) -> F,
    ) -> celeriac_results::Result<T> {
        let (tell, held) = tokio::sync::watch::channel(lead.held_until());
        let mut work = std::pin::pin!(work(LeaseValidity(held)));
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                () = sleep(lead.beats()) => {
                    lead.beat().await?;
                    let _ = tell.send(lead.held_until());
                }
            }
        }
    }

    /// Publishes a window: keys in parallel, and the messages of one key in order.
    async fn publish(&self, window: Vec<OutboxRow>, held: LeaseValidity) -> WindowOutcome {
        let mut outcome = WindowOutcome::default();
        let mut lines: FuturesUnordered<_> =
            in_lines(window).into_iter().map(|line| self.publish_line(line, &held)).collect();
        while let Some(part) = lines.next().await {
            outcome.add(part);
        }
        outcome
    }

    /// Publishes messages in order, up to the first one that cannot be sent.
    async fn publish_line(&self, line: Vec<OutboxRow>, held: &LeaseValidity) -> WindowOutcome {
        let mut outcome = WindowOutcome::default();
        for row in line {
            let OutboxRow { seq, created_at, attempts, .. } = row;
            let (task, id) = (row.message.task.clone(), row.message.id.clone());
            let sent = if held.for_sure() {
                match calls::message_of(&self.client, &self.tasks, row) {
                    Ok(entry) => self.send(entry).await,
                    Err(reason) => EntryOutcome::Refused(reason),
                }
            } else {
                EntryOutcome::Postponed("this process was paused, and another may relay now".to_owned())
            };
            match sent {
                EntryOutcome::Sent(row) => {
                    outcome.rows.extend(row.map(|row| *row));
                    outcome.sent.push(seq);
                    outcome.oldest = Some(outcome.oldest.map_or(created_at, |oldest| oldest.min(created_at)));
                }
                EntryOutcome::Failed(error) => {
                    outcome.missing |= error.publish_fault() == PublishFault::Address;
                    outcome.fail((seq, attempts), (&task, &id), ErrorChain(&error).to_string());
                    break;
                }
                EntryOutcome::Refused(reason) => {
                    outcome.fail((seq, attempts), (&task, &id), reason);
                    break;
                }
                EntryOutcome::Postponed(reason) => {
                    outcome.away = Some(reason);
                    break;
                }
            }
        }
        outcome
    }

    /// Writes the rows of sent tasks. A database that refuses them does not keep messages from
    /// being sent.
    async fn record_sent(&self, rows: &[SentRecord]) -> celeriac_results::Result<()> {
        let Some(results) = self.client.results().filter(|_| !rows.is_empty()) else { return Ok(()) };
        match results.record_sent(rows).await {
            Err(error) if !error.is_retryable() => {
                SentTasksNotRecorded { tasks: rows.len(), error: &ErrorChain(&error).to_string() }.emit();
                Ok(())
            }
            written => written,
        }
    }

    async fn send(&self, entry: OutboxMessage) -> EntryOutcome {
        if !self.undeclared
            && let Some(destination) = undeclared(self.client.topology(), &entry)
        {
            let reason = format!("{destination} is not declared, and worker.relay_undeclared is false");
            return EntryOutcome::Refused(reason);
        }
        let declared = self.tasks.get(&entry.task).map(|task| task.options.clone()).unwrap_or_default();
        let track = self.client.tracked_states(&entry.task, declared);
        let row = self.client.sent_from_outbox(&entry, track);
        let (task, id) = (entry.task.clone(), entry.id.clone());
        let (exchange, routing_key) = (entry.exchange.clone(), entry.routing_key.clone());
        let mut outgoing = self.outgoing(entry);
        let info = PublishInfo { task: &task, id: &id, exchange: &exchange, routing_key: &routing_key };
        let span = PublishSpan::relay(&mut outgoing.message.headers, &info);
        let sent = self.client.broker().publish(outgoing).await;
        if sent.is_ok() {
            TaskSent { task: &task, id: &id, exchange: &exchange, routing_key: &routing_key }.emit();
        }
        span.end(sent.as_ref().map(|&()| ()).map_err(|error| error as &dyn std::fmt::Display));
        match sent {
            Ok(()) => EntryOutcome::Sent(row),
            Err(error) if is_its_own(&error) => EntryOutcome::Failed(error),
            Err(error) => EntryOutcome::Postponed(ErrorChain(&error).to_string()),
        }
    }

    /// Returns the message, with the delay from now.
    fn outgoing(&self, entry: OutboxMessage) -> Outgoing {
        let OutboxMessage { exchange, routing_key, queue, eta, expires, mut message, .. } = entry;
        message.headers.insert(names::REPEATED, true);
        let until = |time| self.client.clock().time_until(time);
        let wait = eta.map(until).filter(|wait| *wait >= SHORTEST_HOLD);
        let held = wait.zip(queue).and_then(|(wait, queue)| self.client.broker().ladder().address(wait, &queue));
        // RabbitMQ would apply an expiration to the delay levels too, so a delayed message expires
        // by its header alone.
        message.properties.expiration = expires.filter(|_| held.is_none()).map(until);
        let (exchange, routing_key) = held.unwrap_or((exchange, routing_key));
        Outgoing { exchange: Cow::Owned(exchange), routing_key, message, mandatory: true }
    }

    /// Counts the tasks whose next attempt is overdue, and warns of them.
    async fn count_overdue(&self) {
        let Some(store) = self.client.results().and_then(|results| results.postgres()) else { return };
        match store.overdue_retries().count(OVERDUE, COUNT.1).await {
            Ok(OverdueCount { retries, oldest }) => {
                OverdueRetriesCounted { retries }.emit();
                if retries > 0 {
                    RetriesOverdue { retries, oldest }.emit();
                }
            }
            Err(error) => OverdueRetriesNotCounted { error: &ErrorChain(&error).to_string() }.emit(),
        }
    }

    async fn declare(&self) {
        if let Err(error) = self.client.broker().declare(self.client.topology()).await {
            RelayTopologyNotDeclared { error: &ErrorChain(&error).to_string() }.emit();
        }
    }
}

/// The time until which the lease is certainly held.
#[derive(Debug, Clone)]
struct LeaseValidity(tokio::sync::watch::Receiver<Instant>);

impl LeaseValidity {
    fn for_sure(&self) -> bool {
        Instant::now() < *self.0.borrow()
    }
}

impl WindowOutcome {
    /// Adds a message that stays in the outbox with an error.
    fn fail(&mut self, (seq, attempts): (i64, u32), (task, id): (&str, &str), error: String) {
        let wait = RESEND.wait(attempts, fastrand::f64());
        RelayFailed { task, id, error: &error, retry_in: wait }.emit();
        self.unsent.push(RelayFailure { seq, error, wait });
    }

    fn add(&mut self, part: Self) {
        self.sent.extend(part.sent);
        self.rows.extend(part.rows);
        self.unsent.extend(part.unsent);
        self.oldest = self.oldest.into_iter().chain(part.oldest).min();
        self.away = self.away.take().or(part.away);
        self.missing |= part.missing;
    }

    fn tell(&self, clock: &StoreClock) {
        if let Some(oldest) = self.oldest {
            let lag = Duration::try_from(clock.now().duration_since(oldest)).unwrap_or_default();
            MessagesRelayed { messages: self.sent.len(), lag }.emit();
        }
    }
}

/// Returns the destination of a message if the topology does not declare it. The exchange of direct
/// queues needs no declaration.
fn undeclared(topology: &Topology, entry: &OutboxMessage) -> Option<String> {
    let OutboxMessage { exchange, routing_key, queue, .. } = entry;
    let queue = queue.as_ref().or_else(|| exchange.is_empty().then_some(routing_key));
    if let Some(queue) = queue.filter(|queue| !topology.queues.contains_key(*queue)) {
        return Some(format!("queue `{queue}`"));
    }
    let is_known = exchange.is_empty() || exchange == DIRECT_EXCHANGE || topology.exchanges.contains_key(exchange);
    (!is_known).then(|| format!("exchange `{exchange}`"))
}

/// Groups the messages by key. A message without a key is a group of its own.
fn in_lines(window: Vec<OutboxRow>) -> Vec<Vec<OutboxRow>> {
    let mut lines: Vec<Vec<OutboxRow>> = Vec::new();
    let mut of_key: HashMap<String, usize> = HashMap::new();
    for waiting in window {
        match &waiting.message.order_key {
            None => lines.push(vec![waiting]),
            Some(key) => match of_key.get(key) {
                Some(&line) => lines[line].push(waiting),
                None => {
                    of_key.insert(key.clone(), lines.len());
                    lines.push(vec![waiting]);
                }
            },
        }
    }
    lines
}

/// Returns `true` if the error concerns the message or its queue alone, and others can be sent.
fn is_its_own(error: &BrokerError) -> bool {
    match error.publish_fault() {
        PublishFault::Message | PublishFault::Address | PublishFault::Full => true,
        PublishFault::Passing | PublishFault::Program => false,
    }
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::Message;

    use super::*;

    fn waiting(seq: i64, key: Option<&str>) -> OutboxRow {
        let entry = OutboxMessage {
            id: seq.to_string(),
            task: "t".to_owned(),
            exchange: String::new(),
            routing_key: "q".to_owned(),
            queue: None,
            order_key: key.map(str::to_owned),
            eta: None,
            expires: None,
            message: Message::default(),
        };
        OutboxRow { seq, created_at: Timestamp::UNIX_EPOCH, attempts: 0, message: entry, call: None }
    }

    #[test]
    fn messages_of_one_key_are_one_group_in_order() {
        let window = [(1, None), (2, Some("a")), (3, Some("b")), (4, Some("a")), (5, None), (6, Some("a"))];
        let lines = in_lines(window.map(|(seq, key)| waiting(seq, key)).into());
        let seqs: Vec<Vec<i64>> = lines.iter().map(|line| line.iter().map(|one| one.seq).collect()).collect();
        assert_eq!(seqs, [vec![1], vec![2, 4, 6], vec![3], vec![5]]);
    }
}
