//! Events between a program and the collector of its metrics.

const TARGET: &str = "celeriac::metrics";

event! {
    /// The collector refuses metrics. Logged once, until it accepts them again.
    pub struct MetricsRefused<'a> {
        /// The collector.
        endpoint: &'a str,
        /// Error.
        error: &'a str,
    }
    log: WARN "{endpoint} takes no metrics, they are sent again until it does: {error}";
}

event! {
    /// The collector accepts metrics again.
    pub struct MetricsAccepted<'a> {
        /// The collector.
        endpoint: &'a str,
    }
    log: INFO "{endpoint} takes metrics again";
}
