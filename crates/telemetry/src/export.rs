//! Exporters of traces and metrics over OTLP.

pub(crate) mod metrics;
pub(crate) mod traces;

use std::time::Duration;

/// Longest time that one request may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The address of a signal, `traces` or `metrics`, at the collector at `url`.
fn endpoint(url: &str, signal: &str) -> String {
    format!("{}/v1/{signal}", url.trim_end_matches('/'))
}
