//! What happens between a program and the collector of its traces.

use tracing::{Level, info, warn};

use super::Occurrence;

const TARGET: &str = "celeriac::traces";

/// The collector takes no spans. Tasks go on; told once, until it takes them again.
#[derive(Debug, Clone, Copy)]
pub struct CollectorLost<'a> {
    /// The collector.
    pub endpoint: &'a str,
    /// What went wrong.
    pub error: &'a str,
}

impl Occurrence for CollectorLost<'_> {
    fn tell(&self) {
        warn!(target: TARGET, "{} takes no traces, they are dropped until it does: {}", self.endpoint, self.error);
    }

    fn level(&self) -> Level {
        Level::WARN
    }
}

/// The program ends, and not all of its spans reached the collector: it was gone, or too slow.
#[derive(Debug, Clone, Copy)]
pub struct SpansLost {
    /// How many did not.
    pub spans: u64,
}

impl Occurrence for SpansLost {
    fn tell(&self) {
        warn!(target: TARGET, "{} spans never reached the collector of traces", self.spans);
    }

    fn level(&self) -> Level {
        Level::WARN
    }
}

/// The collector takes spans again.
#[derive(Debug, Clone, Copy)]
pub struct CollectorRestored<'a> {
    /// The collector.
    pub endpoint: &'a str,
}

impl Occurrence for CollectorRestored<'_> {
    fn tell(&self) {
        info!(target: TARGET, "{} takes traces again", self.endpoint);
    }

    fn level(&self) -> Level {
        Level::INFO
    }
}
