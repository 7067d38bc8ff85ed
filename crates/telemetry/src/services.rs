//! Supervision of services: tasks that serve a whole process, and must not end before its stop.
//!
//! A service that panics leaves its process half alive: a queue that is not consumed, outcomes that
//! nobody writes. So the first failure is logged and kept, for the owner to end the process.

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::Shared;

use crate::events::Event;
use crate::events::worker::ServiceEnded;

/// A service that ended before its stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceFailure {
    /// The service.
    pub service: Arc<str>,
    /// The message of its panic, or another reason.
    pub reason: Arc<str>,
}

/// Watches services, and keeps the failure of the first one that fails. Cheap to clone.
#[derive(Clone)]
pub struct Supervisor {
    report: Arc<Mutex<Option<oneshot::Sender<ServiceFailure>>>>,
    failure: Shared<oneshot::Receiver<ServiceFailure>>,
}

impl Default for Supervisor {
    fn default() -> Self {
        let (report, failure) = oneshot::channel();
        Self { report: Arc::new(Mutex::new(Some(report))), failure: failure.shared() }
    }
}

impl Supervisor {
    /// Runs a service. Returns `None` if it panicked, which is its failure.
    pub fn watch<F: Future>(&self, service: &str, run: F) -> impl Future<Output = Option<F::Output>> + use<F> {
        let (supervisor, service) = (self.clone(), Arc::<str>::from(service));
        AssertUnwindSafe(run).catch_unwind().map(move |ended| {
            let failed =
                |panic: Box<dyn Any + Send>| supervisor.failed(&service, panic_text(&*panic).unwrap_or("panic"));
            ended.map_err(failed).ok()
        })
    }

    /// Logs that a service has ended before its stop, and keeps the first such failure.
    pub fn failed(&self, service: &str, reason: &str) {
        ServiceEnded { service, error: reason }.emit();
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(report) = report {
            let _ = report.send(ServiceFailure { service: service.into(), reason: reason.into() });
        }
    }

    /// Waits until a service fails.
    pub async fn failure(&self) -> ServiceFailure {
        match self.failure.clone().await {
            Ok(failure) => failure,
            // The sender lives as long as this.
            Err(oneshot::Canceled) => std::future::pending().await,
        }
    }
}

/// Returns the message of a panic, if it has one.
pub fn panic_text(panic: &(dyn Any + Send)) -> Option<&str> {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str))
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Supervisor").field("failure", &self.failure.peek()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_service_that_panics_is_the_failure() {
        let supervisor = Supervisor::default();
        assert_eq!(supervisor.watch("one", async { 7 }).now_or_never().unwrap(), Some(7));
        assert!(supervisor.failure().now_or_never().is_none());
        let panicked = supervisor.watch("two", async { panic!("it fell over") }).now_or_never().unwrap();
        assert_eq!(panicked, None::<()>);
        supervisor.clone().failed("three", "ended");
        let expected = ServiceFailure { service: "two".into(), reason: "it fell over".into() };
        assert_eq!(supervisor.failure().now_or_never(), Some(expected));
    }
}
