//! The heartbeat: a task on the program's runtime that says that the runtime runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::services;

/// Interval between two beats.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// The heartbeat of a runtime.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    /// The origin of the time of the last beat.
    start: Instant,
    /// Nanoseconds from the origin to the last beat.
    beat_at: AtomicU64,
    due: Notify,
}

impl Heartbeat {
    /// Starts the heartbeat of the present runtime, until `stop`. Returns `None` outside of a
    /// runtime.
    pub(crate) fn start(stop: CancellationToken) -> Option<Arc<Self>> {
        let runtime = Handle::try_current().ok()?;
        let heartbeat = Arc::new(Self { start: Instant::now(), beat_at: AtomicU64::new(0), due: Notify::new() });
        let beats = Arc::clone(&heartbeat);
        let run = services().watch("heartbeat", async move { stop.run_until_cancelled(beats.run()).await });
        TaskTracker::new().spawn_on(run, &runtime);
        Some(heartbeat)
    }

    async fn run(&self) {
        loop {
            self.beat_at.store(self.elapsed(), Ordering::Relaxed);
            self.due.notified().await;
        }
    }

    /// Asks for the next beat. Called from another thread, because a wake-up from outside makes an
    /// idle thread of the runtime poll the timers and sockets that a blocked thread has left.
    pub(super) fn ask(&self) {
        self.due.notify_one();
    }

    /// Returns the time since the last beat.
    pub(super) fn silence(&self) -> Duration {
        Duration::from_nanos(self.elapsed().saturating_sub(self.beat_at.load(Ordering::Relaxed)))
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
