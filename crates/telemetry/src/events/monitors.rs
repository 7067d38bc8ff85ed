//! Events of telling Celery's monitors.

use std::time::Duration;

use crate::metrics::{MONITOR_EVENTS_DROPPED, MONITOR_EVENTS_SENT, MONITOR_EVENTS_UNREADABLE};

const TARGET: &str = "celeriac::monitors";

event! {
    /// Events for monitors are at the broker.
    pub struct MonitorEventsSent {
        /// Number of events.
        events: usize,
    }
    log: TRACE "monitors told" { events };
    count: MONITOR_EVENTS_SENT(events);
}

event! {
    /// Events for monitors are lost: the broker takes them too slowly, or not at all.
    pub struct MonitorEventsDropped {
        /// Number of events.
        events: u64,
    }
    log: WARN "monitor events dropped" { events };
    count: MONITOR_EVENTS_DROPPED(events);
}

event! {
    /// Events for monitors could not be published. Another attempt follows.
    pub struct MonitorsNotTold<'a> {
        /// Time until the next attempt.
        retry_in: Duration,
        /// Error.
        error: &'a str,
    }
    log: WARN "monitors not told" { retry_in_seconds = retry_in.as_secs_f64(), error };
}

event! {
    /// A receiver of events cannot consume its queue. Another attempt follows.
    pub struct EventsInterrupted<'a> {
        /// Time until the next attempt.
        retry_in: Duration,
        /// Error.
        error: &'a str,
    }
    log: WARN "events interrupted" { retry_in_seconds = retry_in.as_secs_f64(), error };
}

event! {
    /// A message on the exchange of events is no event, and is skipped.
    pub struct EventsUnreadable<'a> {
        /// The routing key.
        routing_key: &'a str,
        /// Error.
        error: &'a str,
    }
    log: DEBUG "event unreadable" { routing_key, error };
    count: MONITOR_EVENTS_UNREADABLE;
}
