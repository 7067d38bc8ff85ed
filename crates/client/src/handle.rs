//! Handles: the outcome of a task, awaited.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::{Codec, DecodeLimits, TaskState};
use celeriac_results::{AttemptRecord, Backend, TaskRecord};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::client::Client;
use crate::error::{Awaited, Error, Result};
use crate::replies::PendingReply;

/// A task that was sent, and what it will return.
pub struct TaskHandle<T> {
    client: Client,
    id: String,
    /// Its replies, if it may have any.
    reply: Option<Arc<PendingReply>>,
    /// True if it went to every worker, so that there is not one outcome.
    to_all: bool,
    output: PhantomData<fn() -> T>,
}

impl Client {
    /// A handle to a task that was sent earlier, here or elsewhere.
    ///
    /// `T` is what the task returns; [`serde_json::Value`] takes anything. Without a store of results it learns only what
    /// this client is told from now on, of tasks that it sent itself.
    pub fn handle<T>(&self, id: impl Into<String>) -> TaskHandle<T> {
        let id = id.into();
        let reply = self.inner.replies.as_ref().map(|replies| replies.pending_reply(&id));
        TaskHandle::new(self.clone(), id, reply)
    }
}

impl<T> TaskHandle<T> {
    pub(crate) fn new(client: Client, id: String, reply: Option<Arc<PendingReply>>) -> Self {
        Self { client, id, reply, to_all: false, output: PhantomData }
    }

    pub(crate) fn of_broadcast(self) -> Self {
        Self { to_all: true, ..self }
    }

    /// Task id.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn is_to_all(&self) -> bool {
        self.to_all
    }

    /// Returns its state. [`TaskState::Pending`] as long as nothing is known of it.
    ///
    /// # Errors
    /// When the store of results cannot answer.
    pub async fn status(&self) -> Result<TaskState> {
        Ok(self.record().await?.map_or(TaskState::Pending, |record| record.state))
    }

    /// Reports whether it has ended.
    ///
    /// # Errors
    /// When the store of results cannot answer.
    pub async fn ready(&self) -> Result<bool> {
        Ok(self.status().await?.is_final())
    }

    /// Reports whether it has ended with a result.
    ///
    /// # Errors
    /// When the store of results cannot answer.
    pub async fn successful(&self) -> Result<bool> {
        Ok(self.status().await? == TaskState::Success)
    }

    /// Reports whether it has ended with an error.
    ///
    /// # Errors
    /// When the store of results cannot answer.
    pub async fn failed(&self) -> Result<bool> {
        Ok(self.status().await? == TaskState::Failure)
    }

    /// Everything that is known of it: its row, or what its replies told when that is further.
    ///
    /// A reply tells state, result, error, relations and the time of the end; the rest of its record is empty.
    ///
    /// # Errors
    /// When the store of results cannot answer.
    pub async fn record(&self) -> Result<Option<TaskRecord>> {
        let told = |reply: &Arc<PendingReply>| reply.record();
        match (self.store(), &self.reply) {
            (None, None) => Err(self.no_source_error()),
            (None, Some(reply)) => Ok(told(reply)),
            (Some(store), reply) => {
                let stored = store.find(&self.id).await.map_err(Error::Results)?;
                let told = reply.as_ref().and_then(told);
                Ok(further(stored, told))
            }
        }
    }

    /// Every attempt that is on record, in order, also from before it was replayed.
    ///
    /// # Errors
    /// When there is no store of results, or it cannot answer: replies tell nothing of attempts.
    pub async fn attempts(&self) -> Result<Vec<AttemptRecord>> {
        let store = self.store().ok_or_else(|| self.no_source_error())?;
        store.attempts(&self.id).await.map_err(Error::Results)
    }

    /// Deletes what is known of it, and takes no more replies; whether there was anything.
    ///
    /// # Errors
    /// When the store of results cannot answer.
    pub async fn forget(&self) -> Result<bool> {
        let told = self.reply.as_ref().map(|reply| reply.forget());
        match (self.store(), told) {
            (None, None) => Err(self.no_source_error()),
            (None, Some(told)) => Ok(told),
            (Some(store), told) => {
                let stored = store.forget(&self.id).await.map_err(Error::Results)?;
                Ok(stored || told.unwrap_or(false))
            }
        }
    }

    /// Waits until it has ended, as long as `client.result_timeout` allows.
    ///
    /// # Errors
    /// [`Error::Timeout`] when it has not ended by then.
    pub async fn wait(&self) -> Result<TaskRecord> {
        self.wait_timeout(self.client.inner.options.result_timeout).await
    }

    /// Waits until it has ended, this long at most.
    ///
    /// # Errors
    /// [`Error::Timeout`] when it has not ended by then.
    pub async fn wait_timeout(&self, patience: Duration) -> Result<TaskRecord> {
        match timeout(patience, self.ended()).await {
            Ok(record) => record,
            Err(_) => Err(Error::Timeout { id: self.id.clone(), waited: patience, awaited: self.awaited() }),
        }
    }

    async fn ended(&self) -> Result<TaskRecord> {
        let stored = async |store: &Arc<dyn Backend>| store.finished(&self.id).await.map_err(Error::Results);
        match (self.store(), &self.reply) {
            _ if self.to_all => Err(Error::ToAll { id: self.id.clone() }),
            (None, None) => Err(self.no_source_error()),
            (Some(store), None) => stored(store).await,
            (None, Some(reply)) => reply.finished().await,
            (Some(store), Some(reply)) => tokio::select! {
                record = stored(store) => record,
                record = reply.finished() => record,
            },
        }
    }

    fn store(&self) -> Option<&Arc<dyn Backend>> {
        self.client.inner.results.as_ref()
    }

    /// Returns why nothing can ever be known of it.
    fn no_source_error(&self) -> Error {
        match self.client.inner.replies {
            Some(_) => Error::NoReply { id: self.id.clone() },
            None => Error::NoResults,
        }
    }

    fn awaited(&self) -> Awaited {
        match (self.store(), &self.reply) {
            (None, Some(reply)) if !reply.is_sent_here() => Awaited::ReplyToAnother,
            (None, _) => Awaited::Reply,
            (Some(_), Some(reply)) if reply.is_sent_here() => Awaited::StoreOrReply,
            (Some(_), _) => Awaited::Store,
        }
    }
}

impl<T: DeserializeOwned> TaskHandle<T> {
    /// Its result, as soon as it has ended; `client.result_timeout` bounds the wait.
    ///
    /// # Errors
    /// [`Error::Failed`] with the task's own error, [`Error::NotRun`], [`Error::Timeout`], and what can go wrong on the
    /// way.
    pub async fn get(&self) -> Result<T> {
        outcome(self.wait().await?)
    }

    /// Its result, as soon as it has ended, with a bound of the caller's own.
    ///
    /// # Errors
    /// As [`TaskHandle::get`].
    pub async fn get_timeout(&self, patience: Duration) -> Result<T> {
        outcome(self.wait_timeout(patience).await?)
    }
}

/// Merges what is known from both sides. A row tells more than a reply, but not before the task has ended there, too.
fn further(stored: Option<TaskRecord>, told: Option<TaskRecord>) -> Option<TaskRecord> {
    match (stored, told) {
        (Some(stored), Some(told)) if told.state.is_final() && !stored.state.is_final() => Some(told),
        (Some(stored), _) => Some(stored),
        (None, told) => told,
    }
}

fn outcome<T: DeserializeOwned>(record: TaskRecord) -> Result<T> {
    let TaskRecord { id, state, result, failure, .. } = record;
    match state {
        TaskState::Success | TaskState::Ignored => {
            // A task whose result is ignored has none; `()` reads null.
            let text = result.as_deref().unwrap_or("null");
            read(text).map_err(|source| Error::Decode { id, source })
        }
        state => Err(Error::of_end(id, state, failure)),
    }
}

/// A result as rows and replies hold it: JSON by the rules of the wire.
fn read<T: DeserializeOwned>(text: &str) -> Result<T, Box<dyn std::error::Error + Send + Sync>> {
    // It is stored already: only its depth is worth a bound.
    let limits = DecodeLimits { size: usize::MAX, ..DecodeLimits::default() };
    Ok(Codec::Json.decode_value(text.as_bytes(), &limits)?.into_typed()?)
}

impl<T> Clone for TaskHandle<T> {
    fn clone(&self) -> Self {
        let (client, id, reply) = (self.client.clone(), self.id.clone(), self.reply.clone());
        Self { client, id, reply, to_all: self.to_all, output: PhantomData }
    }
}

impl<T> fmt::Debug for TaskHandle<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TaskHandle").field("id", &self.id).finish_non_exhaustive()
    }
}
