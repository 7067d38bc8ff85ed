//! The events of one attempt for Celery's monitors.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::events::Event;
use crate::monitors::Monitors;

/// The events of one attempt for monitors.
///
/// After an event that was dropped, all others are. A monitor sees an attempt from its arrival on
/// or not at all: without the arrival it would show a task without a name.
#[derive(Debug)]
pub(super) struct MonitoredAttempt {
    monitors: Arc<dyn Monitors>,
    dropped: AtomicBool,
}

impl MonitoredAttempt {
    /// Returns `None` if monitors are not told at the arrival of the message.
    pub(super) fn new(monitors: Option<&Arc<dyn Monitors>>) -> Option<Self> {
        let monitors = Arc::clone(monitors.filter(|monitors| monitors.are_told())?);
        Some(Self { monitors, dropped: AtomicBool::new(false) })
    }

    /// Passes an event on, if monitors are still told.
    pub(super) fn emit(&self, event: &impl Event) {
        if !self.monitors.are_told() {
            return;
        }
        event.tell_monitors(&mut |kind, fields| {
            if self.dropped.load(Ordering::Relaxed) {
                self.monitors.skip();
            } else if !self.monitors.tell(kind, fields) {
                self.dropped.store(true, Ordering::Relaxed);
            }
        });
    }
}
