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

/// A shutdown that SIGTERM and SIGINT ask for, from now on. The listener lives on `tracker`, until its second signal.
pub fn on_signals(tracker: &TaskTracker) -> Shutdown {
    let shutdown = Shutdown::new();
    let asked = shutdown.clone();
    let mut signals = Signals::listen();
    tracker.spawn(async move {
        while !asked.hurry.is_cancelled() {
            signals.next().await;
            asked.request();
        }
    });
    shutdown
}

/// The signals that ask for an end. Listened to once: one that arrives between two looks is not missed.
#[cfg(unix)]
struct Signals(Option<(tokio::signal::unix::Signal, tokio::signal::unix::Signal)>);

#[cfg(unix)]
impl Signals {
    fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let (terminate, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
        if let (Ok(terminate), Ok(interrupt)) = (terminate, interrupt) {
            return Self(Some((terminate, interrupt)));
        }
        tracing::error!("cannot listen for signals; only SIGKILL will end this process");
        Self(None)
    }

    async fn next(&mut self) {
        let Some((terminate, interrupt)) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Self {
        Self
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
