//! Handles to submitted tasks, which await their outcomes.

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

/// A handle to a submitted task. It awaits the task's outcome.
///
/// ```no_run
/// use celeriac::ClientError;
/// use celeriac::prelude::*;
///
/// # async fn example(handle: TaskHandle<i64>) -> Result<(), ClientError> {
/// match handle.get_timeout(seconds(30)).await {
///     Ok(cents) => println!("charged {cents}"),
///     Err(ClientError::Failed { failure, .. }) => println!("failed: {failure}"),
///     Err(ClientError::Timeout { .. }) => println!("{} still runs", handle.id()),
///     Err(error) => return Err(error),
/// }
/// # Ok(())
/// # }
/// ```
pub struct TaskHandle<T> {
    client: Client,
    id: String,
    /// Pending reply, if the client requests replies.
    reply: Option<Arc<PendingReply>>,
    /// True if the task went to every worker. Then it has no single outcome.
    to_all: bool,
    output: PhantomData<fn() -> T>,
}

impl Client {
    /// Makes a handle to a task that was submitted earlier, by this program or another.
    ///
    /// `T` is the type of the task's result; [`serde_json::Value`] takes any result. Without a
    /// result store, the handle learns only from replies that arrive from now on, of tasks that
    /// this client submitted.
    ///
    /// ```no_run
    /// use celeriac::prelude::*;
    ///
    /// # async fn example(client: &Client, id: String) -> celeriac::Result<()> {
    /// let state = client.handle::<i64>(id).status().await?;
    /// println!("{state}");
    /// # Ok(())
    /// # }
    /// ```
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

    /// Returns the task id.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn is_to_all(&self) -> bool {
        self.to_all
    }

    /// Returns the state, or [`TaskState::Pending`] if the task is unknown. With
    /// `results.track: sent`, a task that was sent and has not started is [`TaskState::Sent`].
    ///
    /// # Errors
    /// Returns an error if the result store cannot answer.
    pub async fn status(&self) -> Result<TaskState> {
        Ok(self.record().await?.map_or(TaskState::Pending, |record| record.state))
    }

    /// Returns true if the task has ended.
    ///
    /// # Errors
    /// Returns an error if the result store cannot answer.
    pub async fn ready(&self) -> Result<bool> {
        Ok(self.status().await?.is_final())
    }

    /// Returns true if the task has ended with a result.
    ///
    /// # Errors
    /// Returns an error if the result store cannot answer.
    pub async fn successful(&self) -> Result<bool> {
        Ok(self.status().await? == TaskState::Success)
    }

    /// Returns true if the task has ended with an error.
    ///
    /// # Errors
    /// Returns an error if the result store cannot answer.
    pub async fn failed(&self) -> Result<bool> {
        Ok(self.status().await? == TaskState::Failure)
    }

    /// Returns the record of the task: its row, or its last reply if only that has the end of the
    /// task.
    ///
    /// A record from a reply has state, result, error, relations and the time of the end. Its other
    /// fields are empty.
    ///
    /// # Errors
    /// Returns an error if the result store cannot answer.
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

    /// Returns every recorded attempt, in order. Attempts from before a replay are included.
    ///
    /// Returns an error if there is no result store, or if it cannot answer. Replies do not include
    /// attempts.
    pub async fn attempts(&self) -> Result<Vec<AttemptRecord>> {
        let store = self.store().ok_or_else(|| self.no_source_error())?;
        store.attempts(&self.id).await.map_err(Error::Results)
    }

    /// Deletes the task's record and ignores further replies. Returns true if there was a record.
    ///
    /// # Errors
    /// Returns an error if the result store cannot answer.
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

    /// Waits until the task has ended, up to `client.result_timeout`.
    ///
    /// A task that failed is no error here: its record holds the failure.
    ///
    /// # Errors
    /// Returns [`Error::Timeout`] if the task has not ended by then.
    pub async fn wait(&self) -> Result<TaskRecord> {
        self.wait_timeout(self.client.inner.options.result_timeout).await
    }

    /// Waits until the task has ended, up to `patience`.
    ///
    /// # Errors
    /// Returns [`Error::Timeout`] if the task has not ended by then.
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

    /// Returns the error of a task whose outcome is neither stored nor sent to this client.
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
    /// Waits for the result, up to `client.result_timeout`.
    ///
    /// # Errors
    /// Returns [`Error::Failed`] with the task's own error, [`Error::Revoked`] or [`Error::NotRun`]
    /// if the task did not run to its end, [`Error::Timeout`] if it has not ended in time, and an
    /// error if the result cannot be read.
    pub async fn get(&self) -> Result<T> {
        outcome(self.wait().await?)
    }

    /// Waits for the result, up to `patience`.
    ///
    /// # Errors
    /// As [`TaskHandle::get`].
    pub async fn get_timeout(&self, patience: Duration) -> Result<T> {
        outcome(self.wait_timeout(patience).await?)
    }
}

/// Merges the row and the last reply. The row has more fields, so the reply counts only if it alone
/// has the end of the task.
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
            // An ignored result is not stored. `()` deserializes from null.
            let text = result.as_deref().unwrap_or("null");
            read(text).map_err(|source| Error::Decode { id, source })
        }
        state => Err(Error::of_end(id, state, failure)),
    }
}

/// Deserializes the JSON of a result, as rows and replies have it.
fn read<T: DeserializeOwned>(text: &str) -> Result<T, Box<dyn std::error::Error + Send + Sync>> {
    // Its size was limited when it was stored. Its depth is limited to protect the stack.
    let limits = DecodeLimits { size: usize::MAX, values: usize::MAX, ..DecodeLimits::default() };
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
