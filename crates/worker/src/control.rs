//! Celery's remote control: answers questions about this worker, and obeys commands.
//!
//! - `arguments`: reads the arguments of a command;
//! - `commands`: the function of each command;
//! - `node`: the state of the worker that commands read and change;
//! - `inspect`, `task_info`: the tasks of the worker; `stats`, `resources`: the worker as a whole;
//!   `queues`: what it consumes; `steer`: slots and limits; `revoke`: revoked tasks;
//! - `mingle`: the exchange with other workers at the start;
//! - `recipients`: whether a request is for this worker.
//!
//! Requests arrive on a queue of their own, and each is answered by a task of its own. So an answer
//! waits neither for a slot nor for another command.

mod arguments;
mod commands;
mod inspect;
pub(crate) mod mingle;
pub(crate) mod node;
mod queues;
mod recipients;
mod resources;
mod revoke;
mod stats;
mod steer;
mod task_info;

use std::sync::Arc;
use std::time::Duration;

use celeriac_broker::{Consumer, Error as BrokerError, Outgoing, TransientExchange, TransientQueue};
use celeriac_protocol::control::{self, ReplyAddress, exception};
use celeriac_protocol::{ControlReply, ControlRequest, Message, Value, shorten};
use celeriac_telemetry::Event;
use celeriac_telemetry::events::broker::BrokerAwaited;
use celeriac_telemetry::events::worker::WorkerNameShared;
use celeriac_telemetry::events::worker::control::{
    ControlObeyed, ControlRefused, ControlReplyLost, ControlUnavailable, ControlUnreadable,
};
use celeriac_topology::ExchangeKind;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::control::arguments::CommandArguments;
use crate::control::commands::run;
use crate::control::node::ControlNode;
use crate::remote_commands::{CommandKind, RemoteCommand};

const REQUESTS: TransientExchange = TransientExchange { name: control::EXCHANGE, kind: ExchangeKind::Fanout };
const REPLIES: TransientExchange = TransientExchange { name: control::REPLY_EXCHANGE, kind: ExchangeKind::Direct };

/// Time between two attempts to consume the queue.
const AGAIN: Duration = Duration::from_secs(5);

/// Most requests in progress. Further ones wait on the queue.
const MOST: usize = 64;

/// Most bytes of a name or of arguments in a log line.
const SHOWN: usize = 200;

/// Answers requests until the worker has ended.
pub(crate) async fn answer_requests(node: Arc<ControlNode>, stop: CancellationToken) {
    let Some(mut consumer) = stop.run_until_cancelled(subscribe(&node)).await else { return };
    let mut answering = JoinSet::new();
    while let Some(Some(delivery)) = stop.run_until_cancelled(consumer.next()).await {
        // Acknowledged before the command: one that ends the worker must not come again.
        delivery.settlement.ack();
        while answering.try_join_next().is_some() {}
        if answering.len() >= MOST {
            answering.join_next().await;
        }
        if let Some(request) = read(&node, &delivery.message) {
            answering.spawn(obey(Arc::clone(&node), request));
        }
    }
    // What has arrived is answered; the end of the worker bounds the time.
    while answering.join_next().await.is_some() {}
    consumer.close().await;
}

/// Consumes the queue of this worker. Waits for the broker, and for the end of another worker of
/// the same name.
async fn subscribe(node: &ControlNode) -> Consumer {
    let queue = TransientQueue {
        name: control::node_queue(node.name()),
        exchange: REQUESTS,
        routing_key: String::new(),
        publishes_to: REPLIES,
        expires: control::QUEUE_EXPIRES,
        message_ttl: control::MESSAGE_TTL,
    };
    let (mut told, mut failures) = (None, 0);
    loop {
        let error = match node.runtime.broker.consume_transient(queue.clone()).await {
            Ok(consumer) => return consumer,
            Err(error) => error,
        };
        let text = error.to_string();
        let is_told = told.as_ref() == Some(&text);
        failures = if node.runtime.is_broker_away() { 0 } else { failures + 1 };
        match &error {
            // The connections tell that the broker is away. The first failure after its return is
            // part of that.
            error if error.is_retryable() && failures < 2 => {
                BrokerAwaited { work: "remote control", retry_in: AGAIN, error: &text }.emit();
            }
            _ if is_told => {}
            BrokerError::QueueLocked { .. } => WorkerNameShared { name: node.name(), queue: &queue.name }.emit(),
            _ => ControlUnavailable { queue: &queue.name, retry_in: AGAIN, error: &text }.emit(),
        }
        told = Some(text);
        sleep(AGAIN).await;
    }
}

/// Returns the request of a message, if it is for this worker.
fn read(node: &ControlNode, message: &Message) -> Option<ControlRequest> {
    match ControlRequest::read(message) {
        Ok(request) => {
            node.clock.adjust(request.clock);
            recipients::includes(&request.recipients, node.name()).then_some(request)
        }
        Err(error) => {
            ControlUnreadable { error: &error.to_string() }.emit();
            None
        }
    }
}

/// Runs the command of a request, and replies if the sender awaits it.
async fn obey(node: Arc<ControlNode>, request: ControlRequest) {
    let ControlRequest { method, arguments, reply_to, .. } = request;
    let value = match RemoteCommand::find(&method) {
        None => Err(exception("KeyError", method.as_str())),
        Some(command) if !node.options.control.allows(command) => {
            Err(exception("PermissionError", format!("worker.control does not allow `{}`", command.name)))
        }
        Some(command) => {
            let shown = Value::Map(arguments.clone());
            let value = run(command.name, &node, CommandArguments::new(command.name, arguments)).await;
            if value.is_ok() && command.kind == CommandKind::Control {
                let shown = shorten(&serde_json::to_string(&shown).unwrap_or_default(), SHOWN).into_owned();
                ControlObeyed { command: command.name, arguments: &shown }.emit();
            }
            value
        }
    };
    let value = match value {
        Ok(value) => value,
        Err(refusal) => {
            let error = refusal.get("error").and_then(Value::as_str).unwrap_or_default();
            ControlRefused { command: &shorten(&method, SHOWN), error: &shorten(error, SHOWN) }.emit();
            Some(refusal)
        }
    };
    if let (Some(value), Some(address)) = (value, reply_to) {
        reply(&node, &method, value, address).await;
    }
}

/// Sends a reply to the queue of its caller.
async fn reply(node: &ControlNode, method: &str, value: Value, address: ReplyAddress) {
    let ReplyAddress { exchange, routing_key, ticket } = address;
    // Nobody outside can make the worker publish elsewhere, such as to a queue of tasks.
    if exchange != control::REPLY_EXCHANGE {
        let error = format!("replies go to exchange `{}` alone", control::REPLY_EXCHANGE);
        ControlReplyLost { command: method, error: &error }.emit();
        return;
    }
    let reply = ControlReply { node: node.name().to_owned(), value, ticket, clock: node.clock.tick() };
    let message = reply.to_message().or_else(|error| {
        // A value of a task that JSON cannot hold.
        ControlReply { value: exception("EncodeError", error.to_string()), ..reply }.to_message()
    });
    let sent = match message {
        Ok(message) => {
            let exchange = control::REPLY_EXCHANGE.into();
            let outgoing = Outgoing { exchange, routing_key, message, mandatory: false };
            node.runtime.broker.publish(outgoing).await.map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = sent {
        ControlReplyLost { command: &shorten(method, SHOWN), error: &error }.emit();
    }
}
