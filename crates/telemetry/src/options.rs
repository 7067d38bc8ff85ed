//! The `telemetry` section of the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use celeriac_config::{Secret, nearest, quoted};
use reqwest::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use crate::health::ListenAddress;
use crate::otlp::{OtlpProtocol, OtlpTarget};

/// Logs, traces and metrics of a program, and their destination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryOptions {
    /// Service name of traces and metrics.
    pub service_name: String,
    /// Collector of traces and metrics over OTLP, such as `http://localhost:4318`. Default: none.
    pub otlp_endpoint: Option<String>,
    /// Protocol of the collector.
    pub otlp_protocol: OtlpProtocol,
    /// Headers of every export, such as those that authorize it.
    pub otlp_headers: BTreeMap<String, Secret>,
    /// Certificates of the authorities that may sign the collector's certificate, as a PEM file.
    /// Default: the authorities that the machine trusts.
    pub otlp_cacertfile: Option<PathBuf>,
    /// Address of the health server, with `/livez`, `/readyz` and `/metrics`: an IP address and a
    /// port, or `unix:` and the path of a socket. Default: none.
    pub listen: Option<String>,
    /// Sampling and shape of traces.
    pub traces: TraceOptions,
    /// Log lines.
    pub log: LogOptions,
}

/// Sampling and shape of traces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TraceOptions {
    /// Share of traces that is kept, 0 to 1. The sender of a task decides for the whole trace.
    pub sample_ratio: f64,
    /// Relation of the span of a task to the span that sent the task.
    pub relation: TraceRelation,
    /// A task that is due later than this after its send has a trace of its own, as with
    /// [`TraceRelation::Link`]. It is known for ids that begin with the time, as Celeriac's do.
    #[serde(with = "celeriac_config::duration")]
    pub link_after: Duration,
    /// Makes a span for each acknowledgement too. Each settlement is an event of the task's span.
    pub ack_spans: bool,
}

/// Relation of the span of a task to the span that sent the task. It has a link in both cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TraceRelation {
    /// It is a child, in the same trace.
    #[default]
    Child,
    /// It begins a trace of its own.
    Link,
}

/// Log lines, written to standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogOptions {
    /// `error`, `warn`, `info`, `debug`, `trace` or `off`, also for single modules:
    /// `info,celeriac::broker=debug`.
    pub level: String,
    /// Text for people, or JSON for machines.
    pub format: LogFormat,
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object in each line.
    Json,
}

impl Default for TelemetryOptions {
    fn default() -> Self {
        Self {
            service_name: "celeriac".to_owned(),
            otlp_endpoint: None,
            otlp_protocol: OtlpProtocol::default(),
            otlp_headers: BTreeMap::new(),
            otlp_cacertfile: None,
            listen: None,
            traces: TraceOptions::default(),
            log: LogOptions::default(),
        }
    }
}

impl Default for TraceOptions {
    fn default() -> Self {
        Self {
            sample_ratio: 1.0,
            relation: TraceRelation::default(),
            link_after: Duration::from_secs(3_600),
            ack_spans: false,
        }
    }
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::default() }
    }
}

impl TelemetryOptions {
    /// Returns the faults of these options, each with its key.
    pub fn validate(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if self.service_name.trim().is_empty() {
            problems.push(("service_name".to_owned(), "should not be empty".to_owned()));
        }
        if let Some(url) = &self.otlp_endpoint
            && let Some(reason) = unusable(url)
        {
            problems.push(("otlp_endpoint".to_owned(), format!("{reason}, found {}", quoted(url))));
        }
        for (name, value) in &self.otlp_headers {
            if HeaderName::try_from(name).is_err() {
                problems.push(("otlp_headers".to_owned(), format!("{} is not the name of a header", quoted(name))));
            } else if HeaderValue::try_from(value.expose()).is_err() {
                problems.push((format!("otlp_headers.{name}"), "is not the value of a header".to_owned()));
            }
        }
        if let Some(path) = &self.otlp_cacertfile
            && let Err(error) = std::fs::File::open(path)
        {
            problems.push(("otlp_cacertfile".to_owned(), format!("cannot read {}: {error}", path.display())));
        }
        if let Some(Err(reason)) = self.listen_address() {
            problems.push(("listen".to_owned(), reason));
        }
        if !(0.0..=1.0).contains(&self.traces.sample_ratio) {
            problems.push((
                "traces.sample_ratio".to_owned(),
                format!("should be between 0 and 1, got {}", self.traces.sample_ratio),
            ));
        }
        if let Some(problem) = problem_of_level(&self.log.level) {
            problems.push(("log.level".to_owned(), problem));
        }
        problems
    }

    /// Returns the collector, if there is one.
    pub(crate) fn otlp(&self) -> Option<OtlpTarget<'_>> {
        Some(OtlpTarget {
            url: self.otlp_endpoint.as_deref()?,
            protocol: self.otlp_protocol,
            headers: &self.otlp_headers,
            cacertfile: self.otlp_cacertfile.as_deref(),
        })
    }

    /// Returns the address of the health server, if there is one, or the fault of it.
    #[doc(hidden)]
    pub fn listen_address(&self) -> Option<Result<ListenAddress, String>> {
        self.listen.as_deref().map(str::parse)
    }
}

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Returns the fault of a level such as `info,celeriac::broker=debug`.
fn problem_of_level(text: &str) -> Option<String> {
    text.split(',')
        .find_map(problem_of_directive)
        .or_else(|| EnvFilter::try_new(text).err().map(|error| error.to_string()))
}

/// Returns the fault of one directive.
///
/// `EnvFilter` reads a single word that is not a level as a module, and then logs nothing else. So
/// this check requires a level with every module. It leaves spans in brackets to `EnvFilter`.
fn problem_of_directive(directive: &str) -> Option<String> {
    let (part, level) = match directive.trim().rsplit_once('=') {
        Some((part, level)) => (Some(part), level),
        None => (None, directive.trim()),
    };
    let is_fine = level.is_empty() || level.parse::<LevelFilter>().is_ok();
    if is_fine || directive.contains(['[', ']', '{', '}']) {
        return None;
    }
    let message = format!("should be one of {}, found `{level}`", LEVELS.join(", "));
    Some(match (nearest(&level.to_lowercase(), LEVELS), part) {
        (Some(near), _) => format!("{message}, did you mean {near}?"),
        (None, Some(_)) => message,
        (None, None) => format!("{message}; for a part of the program write {level}=debug"),
    })
}

/// Returns the reason why traces and metrics cannot be exported to a URL.
fn unusable(url: &str) -> Option<&'static str> {
    match url.split_once("://") {
        Some(("http" | "https", host)) if !host.is_empty() && !host.starts_with('/') => None,
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
        for unknown in [r#"{"otlp_endpiont": "x"}"#, r#"{"traces": {"rate": 1}}"#, r#"{"log": {"format": "xml"}}"#] {
            assert!(read(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn all_faults_are_reported_together() {
        let options = r#"{"service_name": " ", "otlp_endpoint": "localhost:4318", "listen": "9464", "traces": {"sample_ratio": 1.5}, "log": {"level": "app=loud"}}"#;
        let keys: Vec<_> = read(options).unwrap().validate().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["service_name", "otlp_endpoint", "listen", "traces.sample_ratio", "log.level"]);
    }

    #[test]
    fn an_export_that_cannot_work_is_a_fault() {
        let options = r#"{"otlp_protocol": "grpc", "otlp_headers": {"a b": "1", "key": "two\nlines"}, "otlp_cacertfile": "/no/such.pem"}"#;
        let faults = read(options).unwrap().validate();
        let expected = [
            ("otlp_headers", "`a b` is not the name of a header"),
            ("otlp_headers.key", "is not the value of a header"),
            ("otlp_cacertfile", "cannot read /no/such.pem: No such file or directory (os error 2)"),
        ];
        assert_eq!(faults, expected.map(|(key, reason)| (key.to_owned(), reason.to_owned())));
        assert!(read(r#"{"otlp_protocol": "http/json"}"#).is_err());
    }

    #[test]
    fn a_level_is_a_level_and_a_part_has_one() {
        let fine =
            ["info", "INFO", "off", "", "3", "info,celeriac::broker=debug", "warn,app=off", "app[span{id=1}]=info"];
        for level in fine {
            assert_eq!(problem_of_level(level), None, "{level}");
        }
        let wrong = [
            ("inof", "found `inof`, did you mean info?"),
            ("warning", "found `warning`, did you mean warn?"),
            ("info,app=debgu", "found `debgu`, did you mean debug?"),
            ("loud", "found `loud`; for a part of the program write loud=debug"),
            (
                "info,celeriac::broker",
                "found `celeriac::broker`; for a part of the program write celeriac::broker=debug",
            ),
            ("app=loud", "found `loud`"),
        ];
        for (level, end) in wrong {
            let expected = format!("should be one of error, warn, info, debug, trace, off, {end}");
            assert_eq!(problem_of_level(level), Some(expected), "{level}");
        }
    }

    #[test]
    fn an_invalid_collector_is_shown_without_its_password() {
        let options =
            |url: &str| TelemetryOptions { otlp_endpoint: Some(url.to_owned()), ..TelemetryOptions::default() };
        let found = |url| options(url).validate().into_iter().next().unwrap().1;
        assert_eq!(found("localhost:4318"), "should be a URL such as http://localhost:4318, found `localhost:4318`");
        assert!(found("grpc://me:secret@collector").ends_with("found `grpc://me:***@collector`"));
    }

    #[test]
    fn a_collector_is_reached_over_http_or_https() {
        for url in ["http://localhost:4318", "http://collector:4318/prefix/", "https://collector"] {
            assert_eq!(unusable(url), None, "{url}");
        }
        for url in ["", "http://", "http:///v1/traces", "https://", "grpc://collector:4317"] {
            assert!(unusable(url).is_some(), "{url}");
        }
    }
}
