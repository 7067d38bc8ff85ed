//! Depth and age of the outbox, measured by the process that relays.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use celeriac_results::{Outbox, StoreClock};
use celeriac_telemetry::health::{HealthSource, UnreadyPart};
use celeriac_telemetry::{Gauge, GaugeReading, are_counted};
use tokio::time::sleep;

/// Interval between two measurements. Each counts the rows of the outbox.
const INTERVAL: Duration = Duration::from_secs(10);

/// The latest measurement. `None` while another process relays.
#[derive(Debug, Default)]
pub(super) struct OutboxGauges(Mutex<Option<OutboxReading>>);

#[derive(Debug, Clone, Copy)]
struct OutboxReading {
    messages: u64,
    age: Duration,
}

impl OutboxGauges {
    /// Measures at every interval, if metrics are exported.
    pub(super) async fn measure(&self, outbox: &Outbox, clock: &StoreClock) -> Infallible {
        if !are_counted() {
            return std::future::pending().await;
        }
        loop {
            // A database that is away has its own log line.
            if let Ok(lag) = outbox.lag().await {
                let age = lag.oldest_at.map(|oldest| clock.now().duration_since(oldest));
                let age = age.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default();
                self.set(Some(OutboxReading { messages: lag.waiting, age }));
            }
            sleep(INTERVAL).await;
        }
    }

    /// Removes the measurement, because another process relays from now on.
    pub(super) fn forget(&self) {
        self.set(None);
    }

    fn set(&self, reading: Option<OutboxReading>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reading;
    }
}

impl HealthSource for OutboxGauges {
    fn unready(&self) -> Vec<UnreadyPart> {
        Vec::new()
    }

    fn gauges(&self, readings: &mut Vec<GaugeReading>) {
        let reading = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(OutboxReading { messages, age }) = reading {
            readings.push(Gauge::OutboxMessages.read(messages as f64));
            readings.push(Gauge::OutboxAge.read(age.as_secs_f64()));
        }
    }
}
