//! Events between a program and the collector of its traces.

const TARGET: &str = "celeriac::traces";

event! {
    /// The collector takes no spans. Tasks go on. Logged once, until it takes them again.
    pub struct CollectorLost<'a> {
        /// The collector.
        endpoint: &'a str,
        /// Error.
        error: &'a str,
    }
    log: WARN "{endpoint} takes no traces, they are dropped until it does: {error}";
}

event! {
    /// The program ends, and not all of its spans reached the collector: it was gone, or too slow.
    pub struct SpansLost {
        /// Number of spans.
        spans: u64,
    }
    log: WARN "{spans} spans never reached the collector of traces";
}

event! {
    /// The collector takes spans again.
    pub struct CollectorRestored<'a> {
        /// The collector.
        endpoint: &'a str,
    }
    log: INFO "{endpoint} takes traces again";
}
