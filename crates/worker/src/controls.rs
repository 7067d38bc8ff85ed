//! Settings of a worker that can change while it runs.

use std::sync::Arc;

use celeriac_protocol::RateLimit;

use crate::error::{Error, Result};
use crate::rate_limits::RateLimits;
use crate::task::registry::Registry;

/// A handle to a worker's settings, which stays valid after the worker has started. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Controls {
    pub(crate) registry: Arc<Registry>,
    pub(crate) rates: Arc<RateLimits>,
}

impl Controls {
    /// Returns the rate limit of a task on this worker, or `None` without a limit.
    ///
    /// # Errors
    /// Returns an error if the worker has no task of this name.
    pub fn rate_limit(&self, task: &str) -> Result<Option<RateLimit>> {
        self.known(task)?;
        Ok(self.rates.find(task).map(|limiter| limiter.rate()))
    }

    /// Changes the rate limit of a task on this worker, until the worker ends.
    ///
    /// Messages that wait at the broker under the old rate return at their old time. Then the new
    /// rate applies to them.
    ///
    /// # Errors
    /// Returns an error if the worker has no task of this name.
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
