//! The nodes of a cluster, as one setting names them.

use std::time::Duration;

use celeriac_config::Secret;
use lapin::uri::{AMQPScheme, AMQPUri};

use crate::error::{Error, Result};
use crate::options::BrokerOptions;

/// The largest frame, which is RabbitMQ's own default. The headers of a message have to fit one frame, and a consumer is sent what
/// any client has published, which RabbitMQ does not cut again. A client keeps 64 frames' worth of address space for each
/// connection; memory is taken as it is used.
const FRAME_MAX: u32 = 128 << 10;

/// The address of a node, for those who reach it otherwise than over AMQP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddress {
    /// Its host.
    pub host: String,
    /// The virtual host.
    pub vhost: String,
    /// The user.
    pub username: String,
    /// The user's password.
    pub password: Secret,
    /// Whether connections to it are secured.
    pub tls: bool,
}

/// The addresses of the nodes that `broker.url` names.
///
/// # Errors
/// When one of them cannot be understood.
pub fn nodes(options: &BrokerOptions) -> Result<Vec<NodeAddress>> {
    Ok(BrokerNode::all(options)?.iter().map(BrokerNode::address).collect())
}

/// Whether the URLs can be understood.
///
/// # Errors
/// When one of them cannot.
pub(crate) fn check(options: &BrokerOptions) -> Result<()> {
    BrokerNode::all(options).map(drop)
}

/// One node.
#[derive(Clone)]
pub(crate) struct BrokerNode {
    uri: AMQPUri,
    shown: String,
}

impl BrokerNode {
    /// The nodes of `broker.url`.
    ///
    /// # Errors
    /// When one of them cannot be understood.
    pub(crate) fn all(options: &BrokerOptions) -> Result<Vec<Self>> {
        split(options.url.expose()).into_iter().map(|url| Self::new(url.trim(), options)).collect()
    }

    fn new(url: &str, options: &BrokerOptions) -> Result<Self> {
        let shown = Secret::new(url).masked();
        let invalid = |reason: String| Error::Invalid { key: "broker.url".to_owned(), reason };
        let mut uri: AMQPUri = url.parse().map_err(|reason| invalid(format!("`{shown}` is no AMQP URL: {reason}")))?;
        if url.contains("://[") || url.contains("@[") {
            return Err(invalid(format!("`{shown}` has an IPv6 address, which is not supported; use a host name")));
        }
        uri.query.heartbeat.get_or_insert(seconds(options.heartbeat));
        uri.query.connection_timeout.get_or_insert(milliseconds(options.connect_timeout));
        uri.query.frame_max.get_or_insert(FRAME_MAX);
        Ok(Self { uri, shown })
    }

    fn address(&self) -> NodeAddress {
        let AMQPUri { authority, vhost, .. } = &self.uri;
        NodeAddress {
            host: authority.host.clone(),
            vhost: vhost.clone(),
            username: authority.userinfo.username.clone(),
            password: Secret::new(&authority.userinfo.password),
            tls: self.speaks_tls(),
        }
    }

    /// The URL without its password.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether connections to it are secured.
    pub(crate) fn speaks_tls(&self) -> bool {
        self.uri.scheme == AMQPScheme::AMQPS
    }

    /// The URL with everything that a connection needs.
    pub(crate) fn uri(&self) -> &AMQPUri {
        &self.uri
    }
}

fn seconds(duration: Duration) -> u16 {
    // Half a second is no heartbeat, and zero means none at all.
    u16::try_from(duration.as_secs().max(u64::from(!duration.is_zero()))).unwrap_or(u16::MAX)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// Only a comma before another AMQP scheme separates: a password may hold commas too.
fn split(urls: &str) -> Vec<&str> {
    let mut nodes = Vec::new();
    let mut rest = urls;
    while let Some((comma, _)) = rest.match_indices(',').find(|(comma, _)| {
        let next = rest[comma + 1..].trim_start();
        next.starts_with("amqp://") || next.starts_with("amqps://")
    }) {
        nodes.push(&rest[..comma]);
        rest = &rest[comma + 1..];
    }
    nodes.push(rest);
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(url: &str) -> Result<Vec<BrokerNode>> {
        BrokerNode::all(&BrokerOptions { url: Secret::new(url), ..BrokerOptions::default() })
    }

    #[test]
    fn several_urls_are_the_nodes_of_a_cluster() {
        let nodes = nodes("amqp://u:p,w@a:1/%2f, amqps://b/v?heartbeat=3").unwrap();
        let shown: Vec<_> = nodes.iter().map(BrokerNode::shown).collect();
        assert_eq!(shown, ["amqp://u:***@a:1/%2f", "amqps://b/v?heartbeat=3"]);
        assert_eq!(
            nodes[0].uri().to_string(),
            "amqp://u:p%2Cw@a:1/%2F?frame_max=131072&heartbeat=10&connection_timeout=10000"
        );
        assert_eq!(
            nodes[1].uri().to_string(),
            "amqps://guest:guest@b:5671/v?frame_max=131072&heartbeat=3&connection_timeout=10000"
        );
    }

    #[test]
    fn a_url_that_cannot_be_used_is_said_so_without_its_password() {
        for url in ["amqp://u:secret@host:port/", "amqp://u:secret@[::1]:5672/"] {
            let message = nodes(url).err().unwrap().to_string();
            assert!(message.starts_with("broker.url: `amqp://u:***@"), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }
}
