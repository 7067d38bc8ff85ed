//! Events between a program and the collector of its traces.

const TARGET: &str = "celeriac::traces";

event! {
    /// The collector accepts no spans. Tasks continue. Logged once, until it accepts them again.
    pub struct CollectorLost<'a> {
        /// The collector.
        endpoint: &'a str,
        /// Error.
        error: &'a str,
    }
    log: WARN "{endpoint} takes no traces, they are dropped until it does: {error}";
}

event! {
    /// The program ends, and some of its spans did not reach the collector, which was unavailable
    /// or too slow.
    pub struct SpansLost {
        /// Number of spans.
        spans: u64,
    }
    log: WARN "{spans} spans never reached the collector of traces";
}

event! {
    /// The collector accepts spans again.
    pub struct CollectorRestored<'a> {
        /// The collector.
        endpoint: &'a str,
    }
    log: INFO "{endpoint} takes traces again";
}
