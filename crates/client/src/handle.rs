//! How the outcome of a task is awaited.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::State;
use celeriac_results::{Backend, TaskRecord};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::client::Client;
use crate::error::{Error, Result};

/// A task that was sent, and what it will return.
pub struct TaskHandle<T> {
    client: Client,
    id: String,
    output: PhantomData<fn() -> T>,
}

impl<T> TaskHandle<T> {
    pub(crate) fn new(client: Client, id: String) -> Self {
        Self { client, id, output: PhantomData }
    }

    /// Task id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it stands. [`State::Pending`] as long as nothing is recorded of it.
    ///
    /// # Errors
    /// When the store of results cannot answer.
    pub async fn status(&self) -> Result<State> {
        Ok(self.record().await?.map_or(State::Pending, |record| record.state))
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// When the store of results cannot answer.
    pub async fn ready(&self) -> Result<bool> {
        Ok(self.status().await?.is_final())
    }

    /// Whether it has ended with a result.
    ///
    /// # Errors
    /// When the store of results cannot answer.
    pub async fn successful(&self) -> Result<bool> {
        Ok(self.status().await? == State::Success)
    }

    /// Whether it has ended with an error.
    ///
    /// # Errors
    /// When the store of results cannot answer.
    pub async fn failed(&self) -> Result<bool> {
        Ok(self.status().await? == State::Failure)
    }

    /// Everything that is recorded of it.
    ///
    /// # Errors
    /// When the store of results cannot answer.
    pub async fn record(&self) -> Result<Option<TaskRecord>> {
        self.results()?.find(&self.id).await.map_err(Error::Results)
    }

    /// Deletes what is recorded of it; whether there was anything.
    ///
    /// # Errors
    /// When the store of results cannot answer.
    pub async fn forget(&self) -> Result<bool> {
        self.results()?.forget(&self.id).await.map_err(Error::Results)
    }

    /// Waits until it has ended, as long as `client.result_timeout` allows.
    ///
    /// # Errors
    /// [`Error::Timeout`] when it has not ended by then.
    pub async fn wait(&self) -> Result<TaskRecord> {
        self.wait_for(self.client.inner.options.result_timeout).await
    }

    /// Waits until it has ended, this long at most.
    ///
    /// # Errors
    /// [`Error::Timeout`] when it has not ended by then.
    pub async fn wait_for(&self, patience: Duration) -> Result<TaskRecord> {
        match timeout(patience, self.results()?.finished(&self.id)).await {
            Ok(record) => record.map_err(Error::Results),
            Err(_) => Err(Error::Timeout { id: self.id.clone(), waited: patience }),
        }
    }

    fn results(&self) -> Result<&Arc<dyn Backend>> {
        self.client.inner.results.as_ref().ok_or(Error::NoResults)
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
    pub async fn get_within(&self, patience: Duration) -> Result<T> {
        outcome(self.wait_for(patience).await?)
    }
}

fn outcome<T: DeserializeOwned>(record: TaskRecord) -> Result<T> {
    let TaskRecord { id, state, result, failure, .. } = record;
    match (state, failure) {
        (State::Success | State::Ignored, _) => {
            // A task whose result is ignored has none; `()` reads null.
            let text = result.as_deref().unwrap_or("null");
            serde_json::from_str(text).map_err(|source| Error::Decode { id, source: Box::new(source) })
        }
        (State::Failure, Some(failure)) => Err(Error::Failed { id, failure }),
        (state, failure) => Err(Error::NotRun { id, state, failure }),
    }
}

impl<T> Clone for TaskHandle<T> {
    fn clone(&self) -> Self {
        Self::new(self.client.clone(), self.id.clone())
    }
}

impl<T> fmt::Debug for TaskHandle<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TaskHandle").field("id", &self.id).finish_non_exhaustive()
    }
}
