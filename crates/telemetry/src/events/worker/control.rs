//! Events of remote control.

use std::time::Duration;

const TARGET: &str = "celeriac::worker";

event! {
    /// The queue of remote control cannot be consumed. Another attempt follows.
    pub struct ControlUnavailable<'a> {
        /// The queue.
        queue: &'a str,
        /// Time until the next attempt.
        retry_in: Duration,
        /// Error.
        error: &'a str,
    }
    log: WARN "remote control unavailable" { queue, retry_in_seconds = retry_in.as_secs_f64(), error };
}

event! {
    /// A message of remote control cannot be read, and is discarded.
    pub struct ControlUnreadable<'a> {
        /// The reason.
        error: &'a str,
    }
    log: WARN "remote command unreadable" { error };
}

event! {
    /// A remote command that changes the worker was obeyed.
    pub struct ControlObeyed<'a> {
        /// Name of the command.
        command: &'a str,
        /// Its arguments, shortened.
        arguments: &'a str,
    }
    log: INFO "remote command obeyed" { command, arguments };
}

event! {
    /// A remote command was refused.
    pub struct ControlRefused<'a> {
        /// Name of the command, shortened.
        command: &'a str,
        /// The reason.
        error: &'a str,
    }
    log: WARN "remote command refused" { command, error };
}

event! {
    /// A reply of remote control could not be sent. Its caller does not see this worker.
    pub struct ControlReplyLost<'a> {
        /// Name of the command.
        command: &'a str,
        /// Error.
        error: &'a str,
    }
    log: WARN "remote reply lost" { command, error };
}
