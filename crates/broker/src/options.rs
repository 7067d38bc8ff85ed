//! The `broker` section of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use celeriac_config::{ByteSize, Secret, duration, text};
use celeriac_topology::{QueueKind, SettingsLocation, delay::PREFIX};
use serde::{Deserialize, Serialize};

/// Address of the broker, and the options of its connections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrokerOptions {
    /// `amqp://user:password@host:port/vhost`, `amqps://…`, or `memory://` for a broker inside this
    /// process. Several URLs, separated by commas, are the nodes of a cluster.
    pub url: Secret,
    /// RabbitMQ's management API: `http://user:password@host:15672`, or `https://…`, which `tls`
    /// secures too. Default: port 15672 of the nodes of `url`, with the same user, if it answers.
    pub management_url: Option<Secret>,
    /// Declares the exchanges, queues and bindings of the program. If false, the program only
    /// checks that they exist, and `celeriac topology apply` declares them.
    pub declare: bool,
    /// Keeps the settings that RabbitMQ can change later in policies. The arguments of queues
    /// cannot change. `celeriac topology apply` creates the policies over the management API.
    pub use_policies: bool,
    /// TLS of `amqps://` URLs, and of a management API over `https://`.
    pub tls: TlsOptions,
    /// Time between two heartbeats. A side that sends none for twice this time counts as lost.
    #[serde(with = "duration")]
    pub heartbeat: Duration,
    /// Longest time for one attempt to connect.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// Longest time for a publish: connection, window and confirm together.
    #[serde(with = "duration")]
    pub publish_timeout: Duration,
    /// RabbitMQ's `consumer_timeout`: the longest time for which it lets a worker hold a message.
    #[serde(with = "duration")]
    pub consumer_timeout: Duration,
    /// Number of messages that may be published and not confirmed.
    pub confirm_window: usize,
    /// Number of channels for publishing.
    pub publish_channels: usize,
    /// Largest task that is sent or run. A sender of a larger one gets an error, and a worker
    /// dead-letters it.
    #[serde(with = "text")]
    pub max_message_size: ByteSize,
    /// Prefix of the exchanges and queues that delay messages. Celery's programs use only their own
    /// prefix.
    pub delay_prefix: String,
    /// Type of delay queues that do not exist yet: `quorum`, or `classic` for a single node with
    /// little memory.
    pub delay_queue_type: QueueKind,
}

/// TLS of connections. The broker's certificate and name are always verified.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsOptions {
    /// Certificates of the authorities that may sign the broker's certificate, as a PEM file.
    /// Default: the authorities that the machine trusts.
    pub cacertfile: Option<PathBuf>,
    /// Certificate of this program, followed by its intermediate certificates, for a broker that
    /// requires one.
    pub certfile: Option<PathBuf>,
    /// Private key of the certificate, without a passphrase.
    pub keyfile: Option<PathBuf>,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self {
            url: Secret::new("memory://"),
            management_url: None,
            declare: true,
            use_policies: false,
            tls: TlsOptions::default(),
            heartbeat: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            publish_timeout: Duration::from_secs(30),
            consumer_timeout: Duration::from_secs(30 * 60),
            confirm_window: 512,
            publish_channels: 2,
            max_message_size: ByteSize::mib(8),
            delay_prefix: PREFIX.to_owned(),
            delay_queue_type: QueueKind::Quorum,
        }
    }
}

impl BrokerOptions {
    /// Returns the place of settings of queues.
    #[doc(hidden)]
    pub fn settings_location(&self) -> SettingsLocation {
        if self.use_policies { SettingsLocation::Policies } else { SettingsLocation::Arguments }
    }

    /// Returns `true` for the broker inside this process.
    pub(crate) fn is_in_process(&self) -> bool {
        self.url.expose().starts_with("memory://")
    }
}
