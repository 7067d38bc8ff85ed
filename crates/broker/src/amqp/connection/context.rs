//! State that all connections of a broker share.

use std::sync::Arc;
use std::time::Duration;

use celeriac_telemetry::Supervisor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::health::HealthTracker;

/// State that all connections of a broker share.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionContext {
    pub(crate) connect_timeout: Duration,
    pub(crate) health: Arc<HealthTracker>,
    pub(crate) tracker: TaskTracker,
    pub(crate) closing: CancellationToken,
    pub(crate) services: Supervisor,
}

impl ConnectionContext {
    pub(crate) fn new(connect_timeout: Duration) -> Self {
        Self {
            connect_timeout,
            health: Arc::new(HealthTracker::new()),
            tracker: TaskTracker::new(),
            closing: CancellationToken::new(),
            services: Supervisor::default(),
        }
    }
}
