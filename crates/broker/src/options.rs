//! The `broker` section of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use celeriac_config::{ByteSize, Secret, duration, text};
use celeriac_topology::{QueueKind, SettingsLocation, delay::PREFIX};
use serde::{Deserialize, Serialize};

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

    /// Whether the broker is one inside this process.
    pub(crate) fn is_in_process(&self) -> bool {
        self.url.expose().starts_with("memory://")
    }
}
