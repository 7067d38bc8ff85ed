//! Stops a worker. The first request ends it in order, the second one at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use celeriac_telemetry::Event;
use celeriac_telemetry::events::worker::SignalsUnavailable;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Two requests: to stop, and to stop now.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    stop: ShutdownRequest,
    hurry: ShutdownRequest,
    failed: Arc<AtomicBool>,
}

/// A request, and the time at which it was made.
#[derive(Debug, Clone, Default)]
struct ShutdownRequest {
    made: CancellationToken,
    since: Arc<OnceLock<Instant>>,
}

impl ShutdownRequest {
    fn make(&self) {
        self.since.get_or_init(Instant::now);
        self.made.cancel();
    }

    async fn made(&self) -> Instant {
        self.made.cancelled().await;
        *self.since.get_or_init(Instant::now)
    }
}

impl Shutdown {
    /// Returns a shutdown without a request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requests an orderly end. A second call requests an end at once.
    pub fn request(&self) {
        if self.is_requested() {
            self.hurry.make();
        }
        self.stop.make();
    }

    /// Requests an end at once: running tasks are interrupted.
    pub fn request_now(&self) {
        self.stop.make();
        self.hurry.make();
    }

    /// Requests an orderly end, because the worker cannot go on.
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
        self.stop.make();
    }

    /// Returns `true` if the worker ends because one of its services has ended.
    pub fn is_failure(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Returns `true` after a request.
    pub fn is_requested(&self) -> bool {
        self.stop.made.is_cancelled()
    }

    /// Completes after a request.
    pub async fn requested(&self) {
        self.stop.made.cancelled().await;
    }

    /// Completes after a request to end at once.
    pub async fn hurried(&self) {
        self.hurry.made.cancelled().await;
    }

    /// Completes when running tasks must end: `drain` after the request, or at the request to end
    /// at once. Returns the time.
    pub async fn drained(&self, drain: Duration) -> Instant {
        let Some(over) = self.stop.made().await.checked_add(drain) else { return self.hurry.made().await };
        tokio::select! {
            () = sleep_until(over) => {}
            _ = self.hurry.made() => {}
        }
        self.hurry.since.get().map_or(over, |hurried| over.min(*hurried))
    }

    /// Completes `time` after the end of the drain.
    pub async fn overdue(&self, drain: Duration, time: Duration) {
        sleep_until(self.drained(drain).await + time).await;
    }

    /// Runs `end` when [`overdue`](Self::overdue) completes, on a thread of its own. It runs even
    /// if tasks that do not yield occupy every thread of the runtime.
    pub fn when_overdue(&self, drain: Duration, time: Duration, end: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.clone();
        on_own_thread("celeriac-end", async move {
            shutdown.overdue(drain, time).await;
            end.await;
        });
    }

    pub(crate) fn token(&self) -> CancellationToken {
        self.stop.made.clone()
    }
}

/// Returns a shutdown that SIGTERM and SIGINT request, and SIGQUIT at once. SIGUSR2 changes the log
/// level to `DEBUG` and back.
///
/// Its listener runs until an end at once is requested. It has a thread of its own, because tasks
/// that do not yield can occupy every thread of the runtime.
pub fn on_signals() -> Shutdown {
    let shutdown = Shutdown::new();
    let asked = shutdown.clone();
    let (listening, heard) = mpsc::channel();
    let listener = async move {
        let mut signals = Signals::listen();
        let _ = listening.send(());
        while !asked.hurry.made.is_cancelled() {
            match signals.next().await {
                SignalRequest::Stop => asked.request(),
                SignalRequest::StopNow => asked.request_now(),
                SignalRequest::ToggleDebug => celeriac_telemetry::toggle_debug(),
            }
        }
    };
    on_own_thread("celeriac-signals", listener);
    // No signal from here on is missed.
    if heard.recv().is_err() {
        SignalsUnavailable.emit();
    }
    shutdown
}

/// Runs a future on a thread and a runtime of its own, apart from tasks that do not yield. Drops it
/// if the system provides none.
fn on_own_thread(name: &str, work: impl Future<Output = ()> + Send + 'static) {
    let run = move || {
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
            runtime.block_on(work);
        }
    };
    let _ = std::thread::Builder::new().name(name.to_owned()).spawn(run);
}

/// The request of a signal.
enum SignalRequest {
    Stop,
    StopNow,
    ToggleDebug,
}

/// The signals that request something. They are registered once, so that no signal is missed
/// between two polls.
struct Signals {
    /// SIGTERM, SIGINT, SIGQUIT and SIGUSR2. `None` if the system refuses to register them.
    #[cfg(unix)]
    heard: Option<[tokio::signal::unix::Signal; 4]>,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit(), SignalKind::user_defined2()];
        if let [Ok(terminate), Ok(interrupt), Ok(quit), Ok(user)] = kinds.map(signal) {
            return Self { heard: Some([terminate, interrupt, quit, user]) };
        }
        SignalsUnavailable.emit();
        Self { heard: None }
    }

    async fn next(&mut self) -> SignalRequest {
        let Some([terminate, interrupt, quit, user]) = &mut self.heard else { return std::future::pending().await };
        tokio::select! {
            _ = terminate.recv() => SignalRequest::Stop,
            _ = interrupt.recv() => SignalRequest::Stop,
            _ = quit.recv() => SignalRequest::StopNow,
            _ = user.recv() => SignalRequest::ToggleDebug,
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Self {
        Self {}
    }

    async fn next(&mut self) -> SignalRequest {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        SignalRequest::Stop
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns the seconds from `begun` until the end is overdue, with a drain timeout of ten
    /// seconds.
    async fn overdue(shutdown: &Shutdown, begun: Instant) -> f64 {
        shutdown.overdue(10 * SECOND, SECOND).await;
        begun.elapsed().as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn the_drain_starts_with_the_first_request() {
        let (shutdown, begun) = (Shutdown::new(), Instant::now());
        assert!(timeout(3600 * SECOND, shutdown.requested()).await.is_err(), "nobody has asked");
        let waited = begun.elapsed().as_secs_f64();
        shutdown.request();
        advance(4 * SECOND).await;
        assert!((overdue(&shutdown, begun).await - waited - 11.0).abs() < 0.1);
        assert!((overdue(&shutdown, begun).await - waited - 11.0).abs() < 0.1, "it is past, and stays so");
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_request_never_delays_the_end() {
        let (shutdown, begun) = (Shutdown::new(), Instant::now());
        shutdown.request();
        advance(3 * SECOND).await;
        shutdown.request();
        assert!((overdue(&shutdown, begun).await - 4.0).abs() < 0.1);

        let (late, begun) = (Shutdown::new(), Instant::now());
        late.request();
        advance(10 * SECOND + SECOND / 2).await;
        late.request_now();
        assert!((overdue(&late, begun).await - 11.0).abs() < 0.1, "the drain was over before");
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_without_limit_ends_at_a_second_request() {
        let (shutdown, begun) = (Shutdown::new(), Instant::now());
        shutdown.request();
        advance(SECOND).await;
        shutdown.request();
        shutdown.overdue(Duration::MAX, SECOND).await;
        assert!((begun.elapsed().as_secs_f64() - 2.0).abs() < 0.1);
    }
}
