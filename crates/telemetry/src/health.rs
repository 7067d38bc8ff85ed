//! The health of a process: whether its runtime runs, and which of its parts are not ready.
//!
//! - `heartbeat`: measures the time for which the runtime has not run;
//! - `address`: the address of the server, which the configuration names;
//! - `server`: the HTTP server, on a thread and a runtime of its own;
//! - `answers`: the answers to `/livez` and `/readyz`;
//! - `probe`: asks the server of another process;
//! - `notify`: tells a service manager such as systemd;
//! - `gauges`: the values that parts of the program have;
//! - `observe`: reads them when metrics are collected.
//!
//! Parts of a program register themselves as a [`HealthSource`]. They are read when somebody asks,
//! so a program without a server pays nothing.

mod address;
mod answers;
mod gauges;
mod heartbeat;
#[cfg(unix)]
mod notify;
mod observe;
mod probe;
mod server;

use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

pub use address::ListenAddress;
pub use answers::{LiveAnswer, ReadyAnswer};
pub use gauges::{Gauge, GaugeReading};
pub(crate) use heartbeat::Heartbeat;
#[cfg(unix)]
pub(crate) use notify::NotifyingThread;
pub(crate) use observe::observe_gauges;
pub use probe::{ask_live, ask_ready};
pub(crate) use server::{HealthServer, ServingThread};

use crate::services::Supervisor;

/// A part of the program that knows whether it is ready, and that has gauges.
///
/// Its methods are called on the threads of the health server and of the exporter of metrics. They
/// must not wait for the runtime of the program.
pub trait HealthSource: fmt::Debug + Send + Sync + 'static {
    /// Returns everything that is not ready.
    fn unready(&self) -> Vec<UnreadyPart>;

    /// Adds the present values of its gauges.
    fn gauges(&self, readings: &mut Vec<GaugeReading>) {
        let _ = readings;
    }
}

/// A part of the program that is not ready.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct UnreadyPart {
    /// The part, such as ``queue `billing` ``.
    pub part: String,
    /// Reason.
    pub reason: String,
}

impl UnreadyPart {
    /// Returns a part that is not ready, with its reason.
    pub fn new(part: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { part: part.into(), reason: reason.into() }
    }
}

static SOURCES: Mutex<Vec<Weak<dyn HealthSource>>> = Mutex::new(Vec::new());

static SERVICES: LazyLock<Supervisor> = LazyLock::new(Supervisor::default);

/// Adds a part of the program to its health, until the part is dropped.
pub fn register<S: HealthSource>(source: &Arc<S>) {
    let source = Arc::downgrade(source);
    let mut sources = SOURCES.lock().unwrap_or_else(PoisonError::into_inner);
    sources.retain(|source| source.strong_count() > 0);
    sources.push(source);
}

/// A program that starts: it is not ready until this is dropped.
#[derive(Debug)]
pub struct StartingProgram(());

impl StartingProgram {
    /// Registers a program that starts.
    #[must_use = "the program counts as started when it is dropped"]
    pub fn register() -> Arc<Self> {
        let starting = Arc::new(Self(()));
        register(&starting);
        starting
    }
}

impl HealthSource for StartingProgram {
    fn unready(&self) -> Vec<UnreadyPart> {
        vec![UnreadyPart::new("program", "it starts, and waits for broker or database")]
    }
}

/// Returns the supervisor of the services of telemetry: a worker ends if one of them fails.
pub fn services() -> &'static Supervisor {
    &SERVICES
}

/// Returns the registered parts.
fn sources() -> Vec<Arc<dyn HealthSource>> {
    SOURCES.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
}
