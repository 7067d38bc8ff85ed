//! The events of tasks that a client sends: Celery's `task_send_sent_event`.

use std::sync::Arc;

use celeriac_broker::Broker;
use celeriac_protocol::headers::names;
use celeriac_protocol::{HeaderMap, LamportClock, Value};
use celeriac_telemetry::{MonitorValue, Monitors};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{EventLevel, EventSender};

/// Tells monitors of tasks that a client has sent.
#[derive(Debug)]
pub(crate) struct SentEvents {
    sender: Arc<EventSender>,
    stop: CancellationToken,
    service: TaskTracker,
}

/// A message that was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SentMessage<'a> {
    pub(crate) task: &'a str,
    pub(crate) id: &'a str,
    pub(crate) queue: &'a str,
    pub(crate) exchange: &'a str,
    pub(crate) routing_key: &'a str,
    pub(crate) headers: &'a HeaderMap,
}

impl SentEvents {
    /// Starts to publish, in the name of a client.
    pub(crate) fn start(broker: &Arc<dyn Broker>, hostname: &str, clock: &Arc<LamportClock>) -> Self {
        let sender = Arc::new(EventSender::new(hostname, Arc::clone(clock), EventLevel::All));
        let (stop, service) = (CancellationToken::new(), TaskTracker::new());
        let publishing = Arc::clone(&sender).run(Arc::clone(broker), None, stop.clone());
        service.spawn(broker.services().watch("events", publishing));
        Self { sender, stop, service }
    }

    /// Tells monitors of a message.
    pub(crate) fn tell(&self, sent: SentMessage<'_>) {
        let SentMessage { task, id, queue, exchange, routing_key, headers } = sent;
        let retries = headers.get(names::RETRIES).and_then(Value::as_u64).unwrap_or_default();
        self.sender.tell(
            "task-sent",
            &[
                ("uuid", id.into()),
                ("name", task.into()),
                ("args", headers.text(names::ARGSREPR).into()),
                ("kwargs", headers.text(names::KWARGSREPR).into()),
                ("root_id", headers.text(names::ROOT_ID).unwrap_or(id).into()),
                ("parent_id", headers.text(names::PARENT_ID).into()),
                ("retries", MonitorValue::Integer(retries)),
                ("eta", headers.text(names::ETA).into()),
                ("expires", headers.text(names::EXPIRES).into()),
                ("queue", queue.into()),
                ("exchange", exchange.into()),
                ("routing_key", routing_key.into()),
            ],
        );
    }

    /// Publishes the events that wait, for up to 300 ms, and ends.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.service.close();
        self.service.wait().await;
    }
}

impl Drop for SentEvents {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
