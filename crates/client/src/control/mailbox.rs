//! The queue for the replies of this process, and the requests that await them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use celeriac_broker::{Broker, Consumer, Error, Outgoing, Result, TransientExchange, TransientQueue};
use celeriac_protocol::control::{self, Recipients, ReplyAddress};
use celeriac_protocol::{ControlReply, ControlRequest, LamportClock, Map};
use celeriac_telemetry::Event;
use celeriac_telemetry::clock;
use celeriac_telemetry::events::client::ControlReplyUnreadable;
use celeriac_topology::ExchangeKind;
use tokio::sync::{OnceCell, mpsc};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

const REQUESTS: TransientExchange = TransientExchange { name: control::EXCHANGE, kind: ExchangeKind::Fanout };
const REPLIES: TransientExchange = TransientExchange { name: control::REPLY_EXCHANGE, kind: ExchangeKind::Direct };

/// Most replies that wait for the caller of one request. Further ones are dropped.
const MOST: usize = 1024;

/// The queue for replies. The first request opens it.
pub(super) struct Mailbox {
    broker: Arc<dyn Broker>,
    /// Key of the binding.
    id: String,
    opened: OnceCell<()>,
    awaited: Arc<AwaitedReplies>,
    lamport: Arc<LamportClock>,
    service: TaskTracker,
    closed: CancellationToken,
}

/// The requests that await replies, by ticket.
#[derive(Default)]
struct AwaitedReplies {
    by_ticket: Mutex<HashMap<String, mpsc::Sender<ControlReply>>>,
}

/// A request that awaits replies. Dropping it ends that.
struct OpenRequest<'a> {
    awaited: &'a AwaitedReplies,
    ticket: String,
    replies: mpsc::Receiver<ControlReply>,
}

impl Mailbox {
    pub(super) fn new(broker: Arc<dyn Broker>, lamport: Arc<LamportClock>) -> Self {
        Self {
            broker,
            id: Uuid::now_v7().to_string(),
            opened: OnceCell::new(),
            awaited: Arc::default(),
            lamport,
            service: TaskTracker::new(),
            closed: CancellationToken::new(),
        }
    }

    /// Sends a request, and collects the replies until the timeout or the limit.
    pub(super) async fn ask(
        &self,
        command: &str,
        arguments: Map,
        recipients: Recipients,
        wait: Duration,
        limit: Option<usize>,
    ) -> Result<Vec<ControlReply>> {
        self.open().await?;
        let mut request = self.awaited.await_replies();
        let address = ReplyAddress {
            exchange: control::REPLY_EXCHANGE.to_owned(),
            routing_key: self.id.clone(),
            ticket: request.ticket.clone(),
        };
        let expires = clock::now().as_duration().as_secs_f64() + wait.as_secs_f64();
        self.send(command, arguments, recipients, Some((address, expires))).await?;
        let until = Instant::now() + wait;
        let mut replies = Vec::new();
        while limit.is_none_or(|limit| replies.len() < limit) {
            match timeout_at(until, request.replies.recv()).await {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) | Err(_) => break,
            }
        }
        Ok(replies)
    }

    /// Sends a request that nobody answers.
    pub(super) async fn tell(&self, command: &str, arguments: Map, recipients: Recipients) -> Result<()> {
        self.open().await?;
        self.send(command, arguments, recipients, None).await
    }

    async fn send(
        &self,
        command: &str,
        arguments: Map,
        recipients: Recipients,
        reply: Option<(ReplyAddress, f64)>,
    ) -> Result<()> {
        let (reply_to, expires) = reply.unzip();
        let clock = self.lamport.tick();
        let request = ControlRequest { method: command.to_owned(), arguments, recipients, reply_to, expires, clock };
        let message = request
            .to_message()
            .map_err(|error| Error::Invalid { key: "arguments".to_owned(), reason: error.to_string() })?;
        // Without a worker there is no queue, which is no error.
        let (exchange, routing_key) = (control::EXCHANGE.into(), String::new());
        self.broker.publish(Outgoing { exchange, routing_key, message, mandatory: false }).await
    }

    /// Opens the queue for replies. The exchange of requests exists after it.
    async fn open(&self) -> Result<()> {
        let queue = TransientQueue {
            name: control::reply_queue(&self.id),
            exchange: REPLIES,
            routing_key: self.id.clone(),
            publishes_to: REQUESTS,
            expires: control::QUEUE_EXPIRES,
            message_ttl: control::MESSAGE_TTL,
        };
        let open = || async {
            let consumer = self.broker.consume_transient(queue).await?;
            let (awaited, lamport) = (Arc::clone(&self.awaited), Arc::clone(&self.lamport));
            self.service.spawn(serve(consumer, awaited, lamport, self.closed.clone()));
            Ok(())
        };
        self.opened.get_or_try_init(open).await.copied()
    }

    pub(super) async fn close(&self) {
        self.closed.cancel();
        self.service.close();
        self.service.wait().await;
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

/// Passes replies on until the mailbox is closed.
async fn serve(
    mut consumer: Consumer,
    awaited: Arc<AwaitedReplies>,
    lamport: Arc<LamportClock>,
    closed: CancellationToken,
) {
    while let Some(Some(delivery)) = closed.run_until_cancelled(consumer.next()).await {
        match ControlReply::read(&delivery.message) {
            Ok(reply) => {
                lamport.adjust(reply.clock);
                awaited.pass_on(reply);
            }
            Err(error) => ControlReplyUnreadable { error: &error.to_string() }.emit(),
        }
        delivery.settlement.ack();
    }
    consumer.close().await;
}

impl AwaitedReplies {
    fn await_replies(&self) -> OpenRequest<'_> {
        let (sender, replies) = mpsc::channel(MOST);
        let ticket = Uuid::now_v7().to_string();
        self.lock().insert(ticket.clone(), sender);
        OpenRequest { awaited: self, ticket, replies }
    }

    /// Passes a reply to its request, if that still waits and has room.
    fn pass_on(&self, reply: ControlReply) {
        let sender = self.lock().get(&reply.ticket).cloned();
        if let Some(sender) = sender {
            let _ = sender.try_send(reply);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, mpsc::Sender<ControlReply>>> {
        self.by_ticket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenRequest<'_> {
    fn drop(&mut self) {
        self.awaited.lock().remove(&self.ticket);
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Mailbox").field("id", &self.id).finish_non_exhaustive()
    }
}
