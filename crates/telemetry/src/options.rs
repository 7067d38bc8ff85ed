//! The `telemetry` section of the configuration.

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// What a program tells, and where to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryOptions {
    /// The service under whose name traces are stored.
    pub service: String,
    /// Collector that takes traces over OTLP (HTTP), such as `http://localhost:4318`. Default: none, no traces are made.
    pub otlp: Option<String>,
    /// Which traces are made.
    pub traces: TraceOptions,
    /// What is logged.
    pub log: LogOptions,
}

/// Which traces are made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TraceOptions {
    /// The share of traces that is kept, 0 to 1. Whoever sends a task decides for the whole trace.
    pub ratio: f64,
}

/// What is logged, to standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogOptions {
    /// `error`, `warn`, `info`, `debug`, `trace` or `off`, also for single parts: `info,celeriac::broker=debug`.
    pub level: String,
    /// For people or for machines.
    pub format: LogFormat,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for TelemetryOptions {
    fn default() -> Self {
        Self { service: "celeriac".to_owned(), otlp: None, traces: TraceOptions::default(), log: LogOptions::default() }
    }
}

impl Default for TraceOptions {
    fn default() -> Self {
        Self { ratio: 1.0 }
    }
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::default() }
    }
}

impl TelemetryOptions {
    /// What is wrong with these options, each with the key it stands under.
    pub fn validate(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if self.service.trim().is_empty() {
            problems.push(("service".to_owned(), "should not be empty".to_owned()));
        }
        if let Some(reason) = self.otlp.as_deref().and_then(unusable) {
            problems.push(("otlp".to_owned(), reason.to_owned()));
        }
        if !(0.0..=1.0).contains(&self.traces.ratio) {
            problems.push(("traces.ratio".to_owned(), format!("should be between 0 and 1, got {}", self.traces.ratio)));
        }
        if let Err(error) = EnvFilter::try_new(&self.log.level) {
            problems.push(("log.level".to_owned(), error.to_string()));
        }
        problems
    }
}

/// Why traces cannot be sent to a URL.
fn unusable(url: &str) -> Option<&'static str> {
    match url.split_once("://") {
        Some(("http", host)) if !host.is_empty() && !host.starts_with('/') => None,
        Some(("https", _)) => Some("should begin with http://: send to a collector close by, which sends on over TLS"),
        _ => Some("should be a URL such as http://localhost:4318"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<TelemetryOptions, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn every_key_has_a_default_and_no_other_is_read() {
        assert_eq!(read("{}").unwrap(), TelemetryOptions::default());
        assert!(TelemetryOptions::default().validate().is_empty());
        for unknown in [r#"{"otpl": "x"}"#, r#"{"traces": {"rate": 1}}"#, r#"{"log": {"format": "xml"}}"#] {
            assert!(read(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_told_together() {
        let options =
            r#"{"service": " ", "otlp": "localhost:4318", "traces": {"ratio": 1.5}, "log": {"level": "app=loud"}}"#;
        let keys: Vec<_> = read(options).unwrap().validate().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["service", "otlp", "traces.ratio", "log.level"]);
    }

    #[test]
    fn a_collector_is_reached_over_http() {
        for url in ["http://localhost:4318", "http://collector:4318/prefix/"] {
            assert_eq!(unusable(url), None, "{url}");
        }
        for url in ["", "http://", "http:///v1/traces", "https://collector", "grpc://collector:4317"] {
            assert!(unusable(url).is_some(), "{url}");
        }
    }
}
