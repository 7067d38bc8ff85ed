//! Revoking tasks.

use std::future::IntoFuture;
use std::time::Duration;

use celeriac_results::RevokeOptions;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::handle::TaskHandle;

/// Tasks that are to be revoked: awaiting it does so.
///
/// When that has returned, none of them that had not begun begins any more, on any worker. Those that run go on, unless
/// they are [terminated](Self::terminate); those that have ended stay as they are.
#[derive(Debug)]
#[must_use = "nothing is revoked until this is awaited"]
pub struct Revoke {
    client: Client,
    ids: Vec<String>,
    options: RevokeOptions,
    /// The first of them that went to every worker.
    to_all: Option<String>,
}

impl Revoke {
    /// Ends those that run, too: they are told, and dropped after `worker.terminate_grace`.
    pub fn terminate(mut self) -> Self {
        self.options.terminate = true;
        self
    }

    /// For options long they stay revoked. Without it, as long as the row of a task is kept (`results.retention`); a task that is
    /// due later than that needs longer.
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
    /// Revokes tasks, whoever sent them. Many at once take no longer than one.
    ///
    /// # Errors
    /// When it is awaited: without a store of results, or when the store cannot answer.
    pub fn revoke(&self, ids: impl IntoIterator<Item = impl Into<String>>) -> Revoke {
        let ids = ids.into_iter().map(Into::into).collect();
        Revoke { client: self.clone(), ids, options: RevokeOptions { terminate: false, lasts: None }, to_all: None }
    }
}

impl<T> TaskHandle<T> {
    /// Revokes the task: if it has not begun, it never will.
    ///
    /// # Errors
    /// When it is awaited: without a store of results, when the store cannot answer, or when it went to every worker.
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
