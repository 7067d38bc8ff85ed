//! Revoking tasks.

use std::future::IntoFuture;
use std::time::Duration;

use celeriac_results::RevokeOptions;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::handle::TaskHandle;

/// A revocation of tasks. It happens when it is awaited.
///
/// Once it has returned, no worker starts any of the tasks. Tasks that run go on, unless they are
/// [terminated](Self::terminate). Tasks that have ended stay as they are.
///
/// ```no_run
/// use celeriac::prelude::*;
///
/// # async fn example(client: &Client, ids: Vec<String>) -> celeriac::Result<()> {
/// client.revoke(ids).terminate().lasting(hours(48)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is revoked until this is awaited"]
pub struct Revoke {
    client: Client,
    ids: Vec<String>,
    options: RevokeOptions,
    /// Id of a task that went to every worker, which cannot be revoked.
    to_all: Option<String>,
}

impl Revoke {
    /// Also ends tasks that run. Their contexts are cancelled, and the tasks are dropped after
    /// `worker.terminate_grace`.
    pub fn terminate(mut self) -> Self {
        self.options.terminate = true;
        self
    }

    /// Keeps the tasks revoked for `time`. Default: `results.retention`, the time that rows are
    /// kept.
    ///
    /// A task that is due later than that runs. Pass a time that outlives its delay.
    pub fn lasting(mut self, time: Duration) -> Self {
        self.options.lasts = Some(time);
        self
    }

    async fn send(self) -> Result<()> {
        if let Some(id) = self.to_all {
            return Err(Error::ToAll { id });
        }
        let Some(store) = self.client.results() else { return Err(Error::NoRevocations) };
        store.revoke(&self.ids, self.options).await.map_err(Error::Revoke)
    }
}

impl IntoFuture for Revoke {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        self.send().boxed()
    }
}

impl Client {
    /// Revokes tasks, also those of other senders. Many tasks take no longer than one.
    ///
    /// # Errors
    /// When awaited, returns an error if there is no result store, or if it cannot answer.
    pub fn revoke(&self, ids: impl IntoIterator<Item = impl Into<String>>) -> Revoke {
        let ids = ids.into_iter().map(Into::into).collect();
        Revoke { client: self.clone(), ids, options: RevokeOptions { terminate: false, lasts: None }, to_all: None }
    }
}

impl<T> TaskHandle<T> {
    /// Revokes the task, so that it does not start.
    ///
    /// # Errors
    /// When awaited, returns an error if there is no result store, if the store cannot answer, or
    /// if the task went to every worker.
    pub fn revoke(&self) -> Revoke {
        let to_all = self.is_to_all().then(|| self.id().to_owned());
        Revoke { to_all, ..self.client().revoke([self.id()]) }
    }

    /// Revokes the task, and ends it if it runs.
    ///
    /// # Errors
    /// As [`TaskHandle::revoke`].
    pub fn terminate(&self) -> Revoke {
        self.revoke().terminate()
    }
}
