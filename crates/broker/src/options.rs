//! The `broker` section of the configuration.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use celeriac_config::{ByteSize, Secret, duration, text};
use celeriac_topology::{Ladder, QueueKind, SettingsLocation, delay::PREFIX};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::broker::Broker;
use crate::error::{Error, Result};
use crate::startup::StartupChecks;

/// How to reach the broker, and how to treat it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrokerOptions {
    /// `amqp://user:password@host:port/vhost`, `amqps://…`, or `memory://` for a broker inside this process. Several,
    /// separated by commas, are the nodes of a cluster.
    pub url: Secret,
    /// RabbitMQ's management API: `http://user:password@host:15672`, or `https://…`, secured by `tls` too. Default: port 15672 of the nodes of `url`, with the
    /// same user, where it answers.
    pub management: Option<Secret>,
    /// Whether a program makes what it needs: exchanges, queues, bindings. If not, it only looks whether they are there, and
    /// `celeriac topology apply` makes them.
    pub declare: bool,
    /// Whether what RabbitMQ can change later is kept in policies, which `celeriac topology apply` makes over the management
    /// API, and not in the arguments of queues, which cannot be changed.
    pub policies: bool,
    /// How `amqps://` URLs are secured, and a management API over `https://`.
    pub tls: TlsOptions,
    /// How often both sides prove that they live.
    #[serde(with = "duration")]
    pub heartbeat: Duration,
    /// How long one attempt to connect may take.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// How long a publish may wait for connection, window and confirm together.
    #[serde(with = "duration")]
    pub publish_timeout: Duration,
    /// How many messages may be published and not confirmed.
    pub confirm_window: usize,
    /// How many channels share the publishing.
    pub publish_channels: usize,
    /// Larger tasks are neither sent nor run: a sender gets an error, a worker dead-letters them.
    #[serde(with = "text")]
    pub max_message_size: ByteSize,
    /// What the names of the exchanges and queues begin with by which messages are delayed. Celery's programs know only
    /// its own.
    pub delay_prefix: String,
    /// The kind of the queues in which delayed messages wait, where they do not exist yet: `quorum`, or `classic` on one
    /// node that is short of memory.
    pub delay_queues: QueueKind,
}

/// How connections over TLS are secured. The broker's certificate is always verified, by its name too.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsOptions {
    /// Certificates of the authorities that may have signed the broker's, as a PEM file. Default: those that the machine
    /// trusts.
    pub ca: Option<PathBuf>,
    /// Our own certificate, with those between it and its authority behind it, for a broker that asks for one.
    pub certificate: Option<PathBuf>,
    /// Its private key, without a passphrase.
    pub key: Option<PathBuf>,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self {
            url: Secret::new("memory://"),
            management: None,
            declare: true,
            policies: false,
            tls: TlsOptions::default(),
            heartbeat: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            publish_timeout: Duration::from_secs(30),
            confirm_window: 512,
            publish_channels: 2,
            max_message_size: ByteSize::mib(8),
            delay_prefix: PREFIX.to_owned(),
            delay_queues: QueueKind::Quorum,
        }
    }
}

impl BrokerOptions {
    /// Where the settings of queues are kept.
    pub fn settings_location(&self) -> SettingsLocation {
        if self.policies { SettingsLocation::Policies } else { SettingsLocation::Arguments }
    }

    /// What is wrong with these options, each with the key it stands under.
    pub fn validate(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let url = self.url.expose();
        if !["amqp://", "amqps://", "memory://"].iter().any(|scheme| url.starts_with(scheme)) {
            problems.push(("url".to_owned(), "should begin with amqp://, amqps:// or memory://".to_owned()));
        } else if !self.is_in_process()
            && let Err(Error::Invalid { reason, .. }) = crate::amqp::check(self)
        {
            problems.push(("url".to_owned(), reason));
        } else {
            problems.extend(self.problems_of_tls());
        }
        if let Some(url) = &self.management
            && let Err(reason) = check_management(url)
        {
            problems.push(("management".to_owned(), reason));
        }
        problems.extend(Ladder::problem(&self.delay_prefix).map(|problem| ("delay_prefix".to_owned(), problem)));
        for (key, value) in [("confirm_window", self.confirm_window), ("publish_channels", self.publish_channels)] {
            if value == 0 {
                problems.push((key.to_owned(), "should be at least 1".to_owned()));
            }
        }
        for (key, value) in [("connect_timeout", self.connect_timeout), ("publish_timeout", self.publish_timeout)] {
            if value.is_zero() {
                problems.push((key.to_owned(), "should be more than 0s".to_owned()));
            }
        }
        problems
    }

    fn problems_of_tls(&self) -> Vec<(String, String)> {
        if !self.is_in_process() {
            return crate::amqp::problems_of_tls(self);
        }
        let said = self.tls != TlsOptions::default();
        let problem = || ("tls".to_owned(), "is for amqps:// URLs, and memory:// is none".to_owned());
        said.then(problem).into_iter().collect()
    }

    fn is_in_process(&self) -> bool {
        self.url.expose().starts_with("memory://")
    }
}

/// Whether this can be the URL of a management API.
fn check_management(url: &Secret) -> Result<(), String> {
    let url = url.expose();
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err("should begin with http:// or https://".to_owned());
    }
    Url::parse(url).map(drop).map_err(|reason| format!("is no URL: {reason}"))
}

/// The broker that the options name. `name` is what the broker's lists show of this program.
///
/// Does not connect yet: connections are made where they are needed.
///
/// # Errors
/// When the options do not make sense.
pub fn connect(options: &BrokerOptions, name: &str) -> Result<Arc<dyn Broker>> {
    connect_with_checks(options, name, None)
}

/// The same, looked at with these checks once everything is declared.
///
/// # Errors
/// As [`connect`].
pub fn connect_with_checks(
    options: &BrokerOptions,
    name: &str,
    checks: Option<Arc<dyn StartupChecks>>,
) -> Result<Arc<dyn Broker>> {
    if let Some((key, reason)) = options.validate().into_iter().next() {
        return Err(Error::Invalid { key: format!("broker.{key}"), reason });
    }
    if options.is_in_process() {
        return Ok(Arc::new(crate::memory::MemoryBroker::new(options)));
    }
    Ok(Arc::new(crate::amqp::AmqpBroker::new(options, name)?.with_checks(checks)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_make_no_sense_are_all_named() {
        let options = BrokerOptions {
            url: Secret::new("amqp://u:secret@host:port/"),
            confirm_window: 0,
            publish_timeout: Duration::ZERO,
            ..BrokerOptions::default()
        };
        let problems = options.validate();
        let keys: Vec<_> = problems.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["url", "confirm_window", "publish_timeout"]);
        assert!(!problems[0].1.contains("secret"), "{}", problems[0].1);
        assert_eq!(BrokerOptions::default().validate(), []);
    }

    #[test]
    fn a_management_url_of_another_kind_is_refused_without_its_password() {
        for (url, reason) in [
            ("ftp://u:secret@host", "should begin with http:// or https://"),
            ("host:15672", "should begin with http:// or https://"),
            ("http://u:secret@host:port", "is no URL: invalid port number"),
        ] {
            assert_eq!(check_management(&Secret::new(url)), Err(reason.to_owned()));
        }
    }

    #[test]
    fn the_url_chooses_the_broker() {
        let connect = |url: &str| connect(&BrokerOptions { url: Secret::new(url), ..BrokerOptions::default() }, "test");
        assert!(format!("{:?}", connect("memory://").unwrap()).starts_with("MemoryBroker"));
        let amqp = format!("{:?}", connect("amqp://u:secret@host/").unwrap());
        assert!(amqp.starts_with("AmqpBroker") && !amqp.contains("secret"), "{amqp}");
        let error = connect("redis://host").unwrap_err();
        assert_eq!(error.to_string(), "broker.url: should begin with amqp://, amqps:// or memory://");
    }
}
