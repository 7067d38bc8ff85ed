//! Browses a queue. The messages that it has shown are not in the queue until it ends.

use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use tokio::time::Instant;

use super::host::MemoryHost;
use super::stored::Stored;
use crate::browse::{Browsed, Browser};
use crate::error::Result;

pub(super) struct MemoryBrowser {
    host: Arc<MemoryHost>,
    queue: usize,
    name: Arc<str>,
    ready: u64,
    left: u64,
    /// The message that was shown last.
    current: Option<Stored>,
    kept: Vec<Stored>,
}

impl MemoryBrowser {
    pub(super) fn new(host: Arc<MemoryHost>, queue: &str) -> Result<Self> {
        let (queue, name, ready) = host.lock().look_at(queue, Instant::now())?;
        Ok(Self { host, queue, name, ready, left: ready, current: None, kept: Vec::new() })
    }

    fn show(&mut self) -> Option<Browsed> {
        self.kept.extend(self.current.take());
        self.left = self.left.checked_sub(1)?;
        let stored = self.host.lock().take_first(self.queue, Instant::now())?;
        let browsed = stored.browsed(&self.name);
        self.current = Some(stored);
        Some(browsed)
    }

    fn give_back(&mut self) {
        self.kept.extend(self.current.take());
        self.host.lock().return_all(self.queue, self.kept.drain(..), Instant::now());
    }
}

impl Browser for MemoryBrowser {
    fn ready(&self) -> u64 {
        self.ready
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Browsed>>> {
        ready(Ok(self.show())).boxed()
    }

    fn remove(&mut self) {
        self.current = None;
    }

    fn removed(&mut self) -> BoxFuture<'_, Result<()>> {
        ready(Ok(())).boxed()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        drop(self);
        ready(Ok(())).boxed()
    }
}

impl Drop for MemoryBrowser {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl fmt::Debug for MemoryBrowser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MemoryBrowser").field("queue", &self.name).finish_non_exhaustive()
    }
}
