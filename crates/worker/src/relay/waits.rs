//! Expected wait of each queue, measured by the process that relays.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use celeriac_client::Client;
use celeriac_results::PostgresBackend;
use celeriac_telemetry::health::{HealthSource, UnreadyPart};
use celeriac_telemetry::{Gauge, GaugeReading, are_counted};
use tokio::time::sleep;

/// Interval between two measurements. Each asks the broker once for each queue.
const INTERVAL: Duration = Duration::from_secs(15);

/// The latest measurement. Empty while another process relays.
#[derive(Debug, Default)]
pub(super) struct ExpectedWaits(Mutex<Vec<(Arc<str>, Duration)>>);

impl ExpectedWaits {
    /// Measures at every interval, if metrics are exported.
    pub(super) async fn measure(&self, client: &Client) -> Infallible {
        let store = client.results().and_then(|results| results.postgres());
        let (Some(store), true) = (store, are_counted()) else { return std::future::pending().await };
        let topology = client.topology();
        // Each worker has a queue of its own of a broadcast, so its name is no queue.
        let queues = topology.work_queues().map(Arc::from);
        let queues: Vec<Arc<str>> =
            queues.filter(|queue| !topology.is_broadcast(std::slice::from_ref(queue))).collect();
        loop {
            self.set(read(client, store, &queues).await);
            sleep(INTERVAL).await;
        }
    }

    /// Removes the measurement, because another process relays from now on.
    pub(super) fn forget(&self) {
        self.set(Vec::new());
    }

    fn set(&self, waits: Vec<(Arc<str>, Duration)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = waits;
    }
}

/// Returns the known waits. A queue that cannot be read has none: broker and database that are away
/// have their own log lines.
async fn read(client: &Client, store: &PostgresBackend, queues: &[Arc<str>]) -> Vec<(Arc<str>, Duration)> {
    let mut depths = Vec::with_capacity(queues.len());
    for queue in queues {
        if let Ok(Some(depth)) = client.broker().depth(queue).await {
            depths.push((Arc::clone(queue), depth.ready));
        }
    }
    let waits = store.expected_waits(&depths).await.unwrap_or_default();
    depths.into_iter().zip(waits).filter_map(|((queue, _), wait)| Some((queue, wait?))).collect()
}

impl HealthSource for ExpectedWaits {
    fn unready(&self) -> Vec<UnreadyPart> {
        Vec::new()
    }

    fn gauges(&self, readings: &mut Vec<GaugeReading>) {
        for (queue, wait) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            readings.push(Gauge::ExpectedWait.read_queue(queue, wait.as_secs_f64()));
        }
    }
}
