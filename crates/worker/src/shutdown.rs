//! How a worker is told to stop: once in order, twice in a hurry.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Two wishes: to stop, and to stop now.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    stop: CancellationToken,
    hurry: CancellationToken,
}

impl Shutdown {
    /// Nobody wants anything to stop yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for an orderly end. Asked a second time, it hurries.
    pub fn request(&self) {
        if self.stop.is_cancelled() {
            self.hurry.cancel();
        }
        self.stop.cancel();
    }

    /// Whether an end was asked for.
    pub fn is_requested(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Completes when an end was asked for.
    pub async fn requested(&self) {
        self.stop.cancelled().await;
    }

    /// Completes when it was asked for twice.
    pub async fn hurried(&self) {
        self.hurry.cancelled().await;
    }

    pub(crate) fn token(&self) -> CancellationToken {
        self.stop.clone()
    }
}

/// A shutdown that SIGTERM and SIGINT ask for. The listener lives on `tracker`, until its second signal.
pub fn on_signals(tracker: &TaskTracker) -> Shutdown {
    let shutdown = Shutdown::new();
    let asked = shutdown.clone();
    tracker.spawn(async move {
        while !asked.hurry.is_cancelled() {
            signal().await;
            asked.request();
        }
    });
    shutdown
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("cannot listen for signals; only SIGKILL will end this process");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(not(unix))]
async fn signal() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
