//! Publishes prepared messages and waits for their confirms.

use celeriac_broker::Error as BrokerError;
use celeriac_protocol::headers::names;
use celeriac_telemetry::events::client::{SendFailed, TaskSent};
use celeriac_telemetry::trace::{PublishInfo, PublishSpan};
use celeriac_telemetry::{ErrorChain, Event};

use super::prepare::PreparedTask;
use super::resolve::{DynamicCall, ResolvedCall};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::events::{SentEvents, SentMessage};
use crate::handle::{Origin, TaskHandle};

/// Marks a message that may be on its queue already. The worker then reads the result store before
/// it runs the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeated {
    No,
    Yes,
}

impl Client {
    /// Returns the reply queue, if the client requests replies.
    pub(crate) async fn reply_queue(&self, task: &str) -> Result<Option<&str>> {
        match &self.inner.replies {
            None => Ok(None),
            Some(replies) => {
                let queue = replies.queue().await;
                queue.map(Some).map_err(|source| Error::Send { task: task.to_owned(), source })
            }
        }
    }

    /// Prepares and publishes a call, even if it was sent before. Returns a handle to `awaited`, or
    /// else to the task itself.
    pub(super) async fn send_anew<T>(
        &self,
        mut call: ResolvedCall,
        awaited: Option<String>,
        repeated: Repeated,
    ) -> Result<TaskHandle<T>> {
        let DynamicCall { task, options, .. } = &mut call.request;
        let ignored = awaited.is_none() && options.ignore_result == Some(true);
        let replies = self.inner.replies.as_ref().filter(|_| !ignored);
        if awaited.is_none() && replies.is_some() {
            let own = self.reply_queue(task).await?.map(str::to_owned);
            let reply_to = &mut options.relations.reply_to;
            *reply_to = reply_to.take().or(own);
        }
        let mut prepared = self.prepare_resolved(call)?;
        if repeated == Repeated::Yes {
            prepared.outgoing.message.headers.insert(names::REPEATED, true);
        }
        let id = awaited.unwrap_or_else(|| prepared.id.clone());
        // Registered before the send, because the reply may arrive at once.
        let reply = replies.map(|replies| replies.expect_reply(&id));
        let origin = Origin { is_sent: true, is_ignored: ignored, is_to_all: self.is_to_all(&prepared) };
        self.publish(prepared).await?;
        Ok(TaskHandle::new(self.clone(), id, reply, origin))
    }

    /// Returns true if the message goes to every worker.
    pub(super) fn is_to_all(&self, prepared: &PreparedTask) -> bool {
        self.inner.router.topology().is_broadcast(&prepared.destination.queues)
    }

    /// Publishes a message and waits for its confirm.
    async fn publish(&self, prepared: PreparedTask) -> Result<()> {
        let row = self.sent_task(&prepared);
        let PreparedTask { task, id, mut outgoing, destination, eta, .. } = prepared;
        let failed = |source: BrokerError| Error::Send { task: task.clone(), source };
        self.declare().await.map_err(failed)?;
        let (exchange, routing_key) = (&destination.exchange, &destination.routing_key);
        let delay = eta.map(|eta| self.clock().time_until(eta)).filter(|delay| !delay.is_zero());
        let span = PublishSpan::start(&PublishInfo { task: &task, id: &id, exchange, routing_key }).delayed(delay);
        span.inject(&mut outgoing.message.headers);
        let told = self.inner.options.task_sent_events.then(|| outgoing.message.headers.clone());
        let sent = self.inner.broker.publish(outgoing).await;
        if let (Ok(()), Some(headers)) = (&sent, &told) {
            let queue: &str = if let [queue] = &*destination.queues { queue } else { routing_key };
            self.tell_monitors(SentMessage { task: &task, id: &id, queue, exchange, routing_key, headers });
        }
        match &sent {
            Ok(()) => TaskSent { task: &task, id: &id, exchange, routing_key }.emit(),
            Err(error) => SendFailed { task: &task, id: &id, error: &ErrorChain(error).to_string() }.emit(),
        }
        span.end(sent.as_ref().map(|&()| ()).map_err(|error| error as &dyn std::fmt::Display));
        sent.map_err(failed)?;
        self.record_sent(row).await;
        if let Some(within) = &self.lineage {
            within.add(&id);
        }
        Ok(())
    }

    /// Tells monitors of a task that is on a queue.
    fn tell_monitors(&self, sent: SentMessage<'_>) {
        let inner = &self.inner;
        let start = || SentEvents::start(&inner.broker, &inner.origin, &inner.lamport);
        inner.sent_events.get_or_init(start).tell(sent);
    }

    /// Declares exchanges and queues before the first message.
    async fn declare(&self) -> Result<(), BrokerError> {
        let declare = || async { self.inner.broker.declare(self.inner.router.topology()).await };
        self.inner.declared.get_or_try_init(declare).await.map(|&()| ())
    }
}
