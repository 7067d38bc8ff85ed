//! The services that run beside the tasks: their start, and their end.

use std::sync::Arc;
use std::time::Duration;

use celeriac_client::Client;
use celeriac_results::{Backend, CrashTracker, JoinTracker, Recorder, ResultsOptions};
use celeriac_telemetry::{ServiceFailure, Supervisor};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::runtime::ResultStore;

/// Time in which the services must end, even if the drain time was longer.
const PARTING: Duration = Duration::from_secs(5);

/// Time in which services that are overdue are dropped. Each is dropped at its next poll, which a
/// task that does not yield can prevent.
const DROPPED: Duration = Duration::from_millis(100);

/// The services that run beside the tasks.
pub(super) struct Services {
    tracker: TaskTracker,
    pub(super) stop: CancellationToken,
    /// Cancelled when waits for broker and store must end.
    abort: CancellationToken,
    pub(super) supervisor: Supervisor,
}

impl Services {
    pub(super) fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            abort: CancellationToken::new(),
            supervisor: Supervisor::default(),
        }
    }

    /// Runs a service until it ends, or until the waits must end.
    pub(super) fn run(&self, service: &str, run: impl Future<Output = ()> + Send + 'static) {
        let (abort, run) = (self.abort.clone(), self.supervisor.watch(service, run));
        self.tracker.spawn(async move {
            let _ = abort.run_until_cancelled(run).await;
        });
    }

    /// Starts the services that record outcomes, count crashes and members of chords, and read
    /// revocations.
    pub(super) fn open_store(&self, backend: &Arc<dyn Backend>, options: &ResultsOptions) -> ResultStore {
        let (recorder, service) = Recorder::new(Arc::clone(backend), options);
        self.run("recorder", service.run(self.stop.clone()));
        // The first call starts reading, so that the first task finds a fresh read.
        let _ = backend.revocation_cache();
        let (crashes, service) = CrashTracker::new(Arc::<dyn Backend>::clone(backend));
        self.run("crash log", service.run(self.stop.clone()));
        let (joins, service) = JoinTracker::new(Arc::<dyn Backend>::clone(backend));
        self.run("joins", service.run(self.stop.clone()));
        ResultStore { backend: Arc::clone(backend), recorder, track: options.track, logs: options.logs, crashes, joins }
    }

    /// Waits until a service fails: one of these, or one of broker and store.
    pub(super) async fn failure(&self, client: &Client) -> ServiceFailure {
        tokio::select! {
            biased;
            failure = client.service_failure() => failure,
            failure = self.supervisor.failure() => failure,
        }
    }

    /// Ends the services in order, and drops those that are overdue.
    pub(super) async fn end(&self, overdue: impl Future<Output = ()>) {
        self.stop.cancel();
        self.tracker.close();
        tokio::select! {
            biased;
            () = self.tracker.wait() => return,
            () = overdue => {}
            () = sleep(PARTING) => {}
        }
        self.abort.cancel();
        let _ = timeout(DROPPED, self.tracker.wait()).await;
    }
}
