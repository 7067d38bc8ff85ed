//! Events of a program's own telemetry: its collector, and its health server.

const TARGET: &str = "celeriac::telemetry";

event! {
    /// The collector refuses spans. Logged once, until it accepts them again.
    pub struct TracesRefused<'a> {
        /// The collector.
        url: &'a str,
        /// Error.
        error: &'a str,
    }
    log: WARN "traces refused" { url, error };
}

event! {
    /// The collector accepts spans again.
    pub struct TracesAccepted<'a> {
        /// The collector.
        url: &'a str,
    }
    log: INFO "traces accepted" { url };
}

event! {
    /// The program ended before the collector accepted all of its spans.
    pub struct SpansLost {
        /// Number of lost spans.
        spans: u64,
    }
    log: WARN "spans lost" { spans };
}

event! {
    /// The collector refuses metrics. Logged once, until it accepts them again.
    pub struct MetricsRefused<'a> {
        /// The collector.
        url: &'a str,
        /// Error.
        error: &'a str,
    }
    log: WARN "metrics refused" { url, error };
}

event! {
    /// The collector accepts metrics again.
    pub struct MetricsAccepted<'a> {
        /// The collector.
        url: &'a str,
    }
    log: INFO "metrics accepted" { url };
}

event! {
    /// The last traces and metrics could not be sent in time.
    pub struct FlushFailed<'a> {
        /// Error.
        error: &'a str,
    }
    log: WARN "telemetry not flushed" { error };
}

event! {
    /// The program has a `tracing` subscriber of its own, and the options of `telemetry.log` have
    /// no effect.
    pub struct LogOptionsUnused;
    log: DEBUG "log options unused";
}

event! {
    /// The health server listens.
    pub struct HealthServed<'a> {
        /// Its address.
        address: &'a str,
    }
    log: INFO "health served" { address };
}

event! {
    /// The service manager that started the program takes no messages. Logged once, until it does
    /// again.
    pub struct ManagerNotNotified<'a> {
        /// Error.
        error: &'a str,
    }
    log: WARN "service manager not notified" { error };
}

event! {
    /// A signal changed the level of the log lines.
    pub struct LogLevelChanged<'a> {
        /// The level from now on.
        level: &'a str,
    }
    log: INFO "log level changed" { level };
}
