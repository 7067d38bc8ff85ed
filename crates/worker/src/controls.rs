//! Settings of a worker that can be changed while it runs.

use std::sync::Arc;

use celeriac_protocol::RateLimit;

use crate::error::{Error, Result};
use crate::rate_limits::RateLimits;
use crate::task::registry::Registry;

/// A hold on a worker, which outlives its start. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Controls {
    pub(crate) registry: Arc<Registry>,
    pub(crate) rates: Arc<RateLimits>,
}

impl Controls {
    /// The rate at which a task may start on this worker. `None`: no limit.
    ///
    /// # Errors
    /// When the worker has no task of this name.
    pub fn rate_limit(&self, task: &str) -> Result<Option<RateLimit>> {
        self.known(task)?;
        Ok(self.rates.find(task).map(|limiter| limiter.rate()))
    }

    /// Changes how often a task may start on this worker, until it ends. Messages that are waiting by the old rate come
    /// back when they were to, and then go by the new one.
    ///
    /// # Errors
    /// When the worker has no task of this name.
    pub fn set_rate_limit(&self, task: &str, rate: Option<RateLimit>) -> Result<()> {
        self.known(task)?;
        self.rates.set(task, rate);
        Ok(())
    }

    fn known(&self, task: &str) -> Result<()> {
        if self.registry.iter().any(|known| known.name == task) {
            return Ok(());
        }
        let nearest = self.registry.nearest(task).map(str::to_owned);
        Err(Error::UnknownTask { name: task.to_owned(), nearest })
    }
}
