//! Handles to submitted tasks, which await their outcomes.

use std::fmt;
use std::future::pending;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::{Codec, DecodeLimits, TaskState};
use celeriac_results::{AttemptRecord, Backend, TaskRecord};
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

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
    origin: Origin,
    output: PhantomData<fn() -> T>,
}

/// Facts about a task from its submission.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Origin {
    /// This client has sent the task, or knows that another one has.
    pub(crate) is_sent: bool,
    /// The caller asked for no result.
    pub(crate) is_ignored: bool,
    /// The task went to every worker. Then it has no single outcome.
    pub(crate) is_to_all: bool,
}

/// Longest time before the deadline of a wait at which the store is asked whether it has a row of a
/// task that this client did not send.
const LAST_LOOK: Duration = Duration::from_secs(1);

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
        TaskHandle::new(self.clone(), id, reply, Origin::default())
    }
}

impl<T> TaskHandle<T> {
    pub(crate) fn new(client: Client, id: String, reply: Option<Arc<PendingReply>>, origin: Origin) -> Self {
        Self { client, id, reply, origin, output: PhantomData }
    }

    pub(crate) fn with_origin(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    /// Returns a handle to the same task, whose result has another type.
    pub(crate) fn typed<U>(self) -> TaskHandle<U> {
        let Self { client, id, reply, origin, output: _ } = self;
        TaskHandle { client, id, reply, origin, output: PhantomData }
    }

    /// Returns the task id.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn is_to_all(&self) -> bool {
        self.origin.is_to_all
    }

    /// Returns the state, or [`TaskState::Pending`] if the task has no row.
    ///
    /// With `results.track: sent`, a task that was sent and has not started is
    /// [`TaskState::Sent`], and one without a row is unknown, unless this client has sent it.
    ///
    /// # Errors
    /// Returns [`Error::Unknown`] for an unknown task, and an error if the result store cannot
    /// answer.
    pub async fn status(&self) -> Result<TaskState> {
        match self.record().await? {
            Some(record) => Ok(record.state),
            None if self.client.records_sent() && !self.is_sent() => Err(Error::Unknown { id: self.id.clone() }),
            None => Ok(TaskState::Pending),
        }
    }

    /// Returns true if the task has ended.
    ///
    /// # Errors
    /// As [`TaskHandle::status`].
    pub async fn ready(&self) -> Result<bool> {
        Ok(self.status().await?.is_final())
    }

    /// Returns true if the task has ended with a result.
    ///
    /// # Errors
    /// As [`TaskHandle::status`].
    pub async fn successful(&self) -> Result<bool> {
        Ok(self.status().await? == TaskState::Success)
    }

    /// Returns true if the task has ended with an error.
    ///
    /// # Errors
    /// As [`TaskHandle::status`].
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

    /// Waits until the task has ended, up to `client.result_timeout`, and returns its row, or its
    /// last reply.
    ///
    /// A task that failed is no error here: its record holds the failure.
    ///
    /// # Errors
    /// Returns [`Error::Timeout`] if the task has not ended by then, [`Error::Unknown`] if nothing
    /// is known of it by then, and [`Error::Ignored`] if the call asked for no result. Returns
    /// [`Error::WaitInTask`] at once if the client is that of a running task: see
    /// [`Client::allow_sync_subtasks`].
    pub async fn wait(&self) -> Result<TaskRecord> {
        self.wait_timeout(self.client.inner.options.result_timeout).await
    }

    /// Waits until the task has ended, up to `patience`.
    ///
    /// # Errors
    /// As [`TaskHandle::wait`].
    pub async fn wait_timeout(&self, patience: Duration) -> Result<TaskRecord> {
        self.ended(patience, |store| store.finished(&self.id)).await
    }

    /// Waits until the task has ended. `stored` waits for its end in the store.
    async fn ended<'a>(
        &'a self,
        patience: Duration,
        stored: impl FnOnce(&'a Arc<dyn Backend>) -> BoxFuture<'a, celeriac_results::Result<TaskRecord>>,
    ) -> Result<TaskRecord> {
        if let Some(waiter) = self.client.waiter() {
            return Err(Error::WaitInTask { id: self.id.clone(), waiter: waiter.id.clone() });
        }
        if self.origin.is_to_all {
            return Err(Error::ToAll { id: self.id.clone() });
        }
        if self.origin.is_ignored && self.client.awaits_outcomes() {
            return Err(Error::Ignored { id: self.id.clone() });
        }
        if self.store().is_none() && self.reply.is_none() {
            return Err(self.no_source_error());
        }
        let from_store = async {
            match self.store() {
                Some(store) => stored(store).await.map_err(Error::Results),
                None => pending().await,
            }
        };
        let from_reply = async {
            match &self.reply {
                Some(reply) => reply.finished().await,
                None => pending().await,
            }
        };
        let mut is_missing = false;
        let last_look = self.is_missing(patience);
        let waiting = async {
            let (mut from_store, mut from_reply, last_look) = (pin!(from_store), pin!(from_reply), pin!(last_look));
            tokio::select! {
                record = &mut from_store => return record,
                record = &mut from_reply => return record,
                missing = last_look => is_missing = missing,
            }
            tokio::select! {
                record = from_store => record,
                record = from_reply => record,
            }
        };
        match timeout(patience, waiting).await {
            Ok(record) => record,
            Err(_) if is_missing => Err(Error::Unknown { id: self.id.clone() }),
            Err(_) => Err(Error::Timeout { id: self.id.clone(), waited: patience, awaited: self.awaited() }),
        }
    }

    /// Asks the store shortly before the deadline of a wait. Returns true if nothing is known of
    /// the task.
    async fn is_missing(&self, patience: Duration) -> bool {
        let Some(store) = self.store().filter(|_| !self.is_sent()) else { return false };
        sleep(patience.saturating_sub(LAST_LOOK.min(patience / 2))).await;
        store.has_row(&self.id).await.is_ok_and(|has_row| !has_row)
    }

    /// Returns true if the task was sent, as far as this client knows.
    fn is_sent(&self) -> bool {
        self.origin.is_sent || self.reply.as_ref().is_some_and(|reply| reply.is_sent_here())
    }

    fn store(&self) -> Option<&Arc<dyn Backend>> {
        self.client.inner.results.as_ref()
    }

    /// Returns the error of a task whose outcome is neither stored nor sent to this client.
    fn no_source_error(&self) -> Error {
        match self.client.inner.replies {
            Some(_) => Error::Ignored { id: self.id.clone() },
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
    /// if the task did not run to its end, [`Error::Ignored`] if its result is not kept,
    /// [`Error::Timeout`] if it has not ended in time, [`Error::Unknown`] if nothing is known of it
    /// by then, and an error if the result cannot be read.
    pub async fn get(&self) -> Result<T> {
        self.get_timeout(self.client.inner.options.result_timeout).await
    }

    /// Waits for the result, up to `patience`.
    ///
    /// # Errors
    /// As [`TaskHandle::get`].
    pub async fn get_timeout(&self, patience: Duration) -> Result<T> {
        outcome(self.ended(patience, |store| store.outcome(&self.id)).await?)
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
    match (state, result) {
        (TaskState::Success, Some(text)) => read(&text).map_err(|source| Error::Decode { id, source }),
        (TaskState::Success | TaskState::Ignored, _) => Err(Error::Ignored { id }),
        (state, _) => Err(Error::of_end(id, state, failure)),
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
        Self { client, id, reply, origin: self.origin, output: PhantomData }
    }
}

impl<T> fmt::Debug for TaskHandle<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TaskHandle").field("id", &self.id).finish_non_exhaustive()
    }
}
