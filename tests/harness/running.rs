//! A worker in this process.

use std::sync::{Arc, Mutex, PoisonError};

use celeriac::{Celeriac, Client, Controls, Shutdown};
use celeriac_worker::ShutdownReport;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

type Worker = JoinHandle<celeriac_worker::Result<ShutdownReport>>;

/// A running worker and a client for it.
#[derive(Debug, Clone)]
pub struct Running {
    /// The client, which shares the worker's connections.
    pub client: Client,
    /// The settings that can change while it runs.
    pub controls: Controls,
    shutdown: Shutdown,
    /// `None` after the stop.
    worker: Arc<Mutex<Option<Worker>>>,
}

impl Running {
    /// Starts a worker.
    ///
    /// # Panics
    /// Panics if it cannot be built.
    pub async fn start(app: &Celeriac) -> Self {
        let client = app.client().await.expect("a client");
        let worker = app.worker(client.clone()).expect("a worker");
        let (controls, shutdown) = (worker.controls(), Shutdown::new());
        let worker = TaskTracker::new().spawn(worker.run_until(shutdown.clone()));
        Self { client, controls, shutdown, worker: Arc::new(Mutex::new(Some(worker))) }
    }

    /// Requests the worker's stop.
    pub fn request_stop(&self) {
        self.shutdown.request();
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// Panics if it was stopped before, or if it panics.
    pub async fn ended(self) -> celeriac_worker::Result<ShutdownReport> {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take().expect("a running worker");
        worker.await.expect("the worker did not panic")
    }

    /// Stops it in order, and waits for its end. Does nothing after the first time.
    ///
    /// # Panics
    /// Panics if it ends with an error.
    pub async fn stop(self) {
        self.shutdown.request();
        let Some(worker) = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let report = worker.await.expect("the worker did not panic").expect("the worker ended in order");
        assert_eq!(report.blocking_tasks_left, 0, "a blocking task has not ended");
        self.client.close().await;
    }
}
