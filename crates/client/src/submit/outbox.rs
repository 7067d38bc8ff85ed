//! Tasks that are sent in the caller's own transaction.

use celeriac_results::PgConnection;
use celeriac_results::idempotency::KeyState;
use celeriac_results::outbox::{self, OutboxMessage};
use celeriac_telemetry::Event;
use celeriac_telemetry::events::client::TaskWritten;
use celeriac_telemetry::trace::{PublishInfo, PublishSpan};

use super::idempotency::SameAs;
use super::prepare::PreparedTask;
use super::resolve::ResolvedCall;
use crate::canvas::Canvas;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::handle::{Origin, TaskHandle};

impl Client {
    /// Submits a call, or a chain, group or chord, as part of the transaction that is open on this
    /// connection. It is sent if the transaction commits, and only then.
    ///
    /// Each message is a row in the table `celeriac.outbox`. A worker or `celeriac relay` sends it
    /// after the commit, at least once and within moments. The broker may be away. The database has
    /// to be that of the result store.
    ///
    /// A canvas that cannot be sent is refused before anything is written. If the future is dropped
    /// while it writes, roll back: a part of the canvas may be in the transaction.
    ///
    /// ```no_run
    /// use celeriac::prelude::*;
    /// use celeriac::sqlx::{self, Connection, PgConnection};
    ///
    /// # #[task]
    /// # async fn charge(order: i64) -> TaskResult<()> { let _ = order; Ok(()) }
    /// # async fn example(client: &Client, database: &mut PgConnection) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut transaction = database.begin().await?;
    /// sqlx::query("INSERT INTO orders (id) VALUES (17)").execute(&mut *transaction).await?;
    /// client.submit_in(&mut transaction, charge(17)).await?;
    /// transaction.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns an error if the options conflict, if no route matches, or if the result store is not
    /// Postgres: the transaction can go on. Returns an error if the database refuses the row: the
    /// transaction is lost, as after any failed statement.
    pub async fn submit_in<C: Canvas>(&self, transaction: &mut PgConnection, canvas: C) -> Result<C::Handle> {
        canvas.submit_within(self, transaction).await
    }

    pub(crate) async fn enqueue<T>(
        &self,
        transaction: &mut PgConnection,
        mut call: ResolvedCall,
    ) -> Result<TaskHandle<T>> {
        let task = call.request.task.clone();
        if self.results().and_then(|results| results.postgres()).is_none() {
            return Err(Error::NoOutbox { task });
        }
        self.settle_clock(&call.request.options).await;
        let is_ignored = call.request.options.ignore_result == Some(true);
        let mut origin = Origin { is_sent: true, is_ignored, is_to_all: false };
        let failed = |source| Error::Outbox { task: task.clone(), source };
        if let Some((keys, claim)) = self.claim_for(&mut call.request)? {
            let claimed = keys.claim_in(transaction, &claim).await.map_err(failed)?;
            match claimed {
                KeyState::First => {}
                // The relay marks each message as repeated, so a second copy is harmless.
                KeyState::Unsent(previous) => call.request.options.id = Some(previous.same_as(&claim)?.id),
                KeyState::Sending(previous) | KeyState::Sent(previous) => {
                    return Ok(TaskHandle::new(self.clone(), previous.same_as(&claim)?.id, None, origin));
                }
            }
        }
        let prepared = self.prepare_resolved(call)?;
        let id = prepared.id.clone();
        origin.is_to_all = self.is_to_all(&prepared);
        outbox::add(transaction, &[prepared.into_outbox_message()]).await.map_err(failed)?;
        TaskWritten { task: &task, id: &id }.emit();
        if let Some(within) = &self.lineage {
            within.add(&id);
        }
        Ok(TaskHandle::new(self.clone(), id, None, origin))
    }
}

impl PreparedTask {
    /// Returns the message as an outbox row. The relay computes the delay when it sends the
    /// message. The trace continues from here.
    pub fn into_outbox_message(self) -> OutboxMessage {
        let Self { task, id, outgoing, destination, eta, expires, order_key, .. } = self;
        let mut message = outgoing.message;
        let (exchange, routing_key) = (&destination.exchange, &destination.routing_key);
        let span = PublishSpan::create(&PublishInfo { task: &task, id: &id, exchange, routing_key });
        span.inject(&mut message.headers);
        span.end(Ok(()));
        message.properties.expiration = None;
        let queue = match &*destination.queues {
            [queue] if eta.is_some() => Some(queue.to_string()),
            _ => None,
        };
        let exchange = destination.exchange.into_owned();
        OutboxMessage {
            id,
            task,
            exchange,
            routing_key: destination.routing_key,
            queue,
            order_key,
            eta,
            expires,
            message,
        }
    }
}
