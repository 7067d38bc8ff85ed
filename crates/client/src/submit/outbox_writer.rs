//! All messages of a canvas, in the caller's own transaction.

use celeriac_protocol::Signature;
use celeriac_results::outbox::{self, OutboxMessage};
use celeriac_results::{NewJoin, PgConnection};
use celeriac_telemetry::Event;
use celeriac_telemetry::events::client::TaskWritten;

use super::resolve::ResolvedCall;
use crate::children::ids_of;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::handle::{Origin, TaskHandle};

/// Most messages in one statement.
const PIECE: usize = 256;

/// Most bytes of their bodies, beyond which a statement takes no further one.
const ENOUGH_BYTES: usize = 4 << 20;

/// Writes the messages of a canvas to the outbox, many in one statement.
pub(crate) struct OutboxWriter<'a> {
    client: &'a Client,
    transaction: &'a mut PgConnection,
    /// The canvas, for errors.
    canvas: &'static str,
    pending: Vec<OutboxMessage>,
    bytes: usize,
    /// The groups that the running task sends, with the ids of the steps of their members.
    groups: Vec<(String, Vec<Vec<String>>)>,
}

impl<'a> OutboxWriter<'a> {
    /// Returns a writer in this transaction.
    pub(crate) async fn new(
        client: &'a Client,
        transaction: &'a mut PgConnection,
        canvas: &'static str,
    ) -> Result<Self> {
        if client.results().and_then(|results| results.postgres()).is_none() {
            return Err(Error::NoOutbox { task: canvas.to_owned() });
        }
        client.certain_clock().await;
        Ok(Self { client, transaction, canvas, pending: Vec::new(), bytes: 0, groups: Vec::new() })
    }

    pub(crate) fn client(&self) -> &'a Client {
        self.client
    }

    /// Refuses a call that cannot be sent, before anything is written.
    pub(crate) fn check(&self, call: ResolvedCall) -> Result<()> {
        self.client.prepare_resolved(call).map(drop)
    }

    /// Writes the message of a call.
    pub(crate) async fn add(&mut self, call: ResolvedCall) -> Result<()> {
        let message = self.client.prepare_resolved(call)?.into_outbox_message();
        self.bytes = self.bytes.saturating_add(message.message.body.len());
        self.pending.push(message);
        match self.pending.len() >= PIECE || self.bytes >= ENOUGH_BYTES {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    /// Opens a chord, whose members are written too.
    pub(crate) async fn add_join(&mut self, join: &NewJoin) -> Result<()> {
        let failed = |source| Error::Outbox { task: self.canvas.to_owned(), source };
        outbox::add_join(self.transaction, join).await.map_err(failed)
    }

    /// Makes a group of messages a child of the running task.
    pub(crate) fn add_group(&mut self, group: &str, members: &[Vec<Signature>]) {
        if self.client.lineage().is_some() {
            self.groups.push((group.to_owned(), members.iter().map(|steps| ids_of(steps)).collect()));
        }
    }

    /// Writes what is left.
    pub(crate) async fn finish(&mut self) -> Result<()> {
        if !self.pending.is_empty() {
            self.flush().await?;
        }
        if let Some(within) = self.client.lineage() {
            self.groups.drain(..).for_each(|(group, members)| within.regroup(group, members));
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        let failed = |source| Error::Outbox { task: self.canvas.to_owned(), source };
        outbox::add(self.transaction, &self.pending).await.map_err(failed)?;
        for OutboxMessage { id, task, .. } in self.pending.drain(..) {
            TaskWritten { task: &task, id: &id }.emit();
            if let Some(within) = &self.client.lineage {
                within.add(&id);
            }
        }
        self.bytes = 0;
        Ok(())
    }

    /// Returns a handle to a task of the canvas. It waits for the row.
    pub(crate) fn handle<T>(&self, id: String) -> TaskHandle<T> {
        TaskHandle::new(self.client.clone(), id, None, Origin { is_sent: true, ..Origin::default() })
    }
}
