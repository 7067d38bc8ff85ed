//! The nodes of a cluster, from `broker.url`.

use std::time::Duration;

use celeriac_config::{Secret, URL_ESCAPES, has_several_at_signs};
use lapin::uri::{AMQPScheme, AMQPUri};

use crate::error::{Error, Result};
use crate::options::BrokerOptions;

/// The beginnings of a URL.
const SCHEMES: [&str; 2] = ["amqp://", "amqps://"];

/// The largest frame: RabbitMQ's own default.
///
/// The headers of a message must fit in one frame, because RabbitMQ does not divide them. A client
/// reserves address space for 64 frames of each connection, but uses memory only as it needs it.
const FRAME_MAX: u32 = 128 << 10;

/// The address of a node, for access by other protocols than AMQP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddress {
    /// The host.
    pub host: String,
    /// The port of AMQP.
    pub port: u16,
    /// The virtual host.
    pub vhost: String,
    /// The user.
    pub username: String,
    /// The password of the user.
    pub password: Secret,
    /// True for a connection over TLS.
    pub tls: bool,
}

/// Returns the addresses of the nodes in `broker.url`.
///
/// # Errors
/// Returns an error if a URL cannot be parsed.
pub fn nodes(options: &BrokerOptions) -> Result<Vec<NodeAddress>> {
    Ok(BrokerNode::all(options)?.iter().map(BrokerNode::address).collect())
}

/// Checks that the URLs can be parsed.
///
/// # Errors
/// Returns an error if one cannot.
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
    /// Returns the nodes of `broker.url`.
    ///
    /// # Errors
    /// Returns an error if a URL cannot be parsed.
    pub(crate) fn all(options: &BrokerOptions) -> Result<Vec<Self>> {
        split(options.url.expose()).into_iter().map(|url| Self::new(url.trim(), options)).collect()
    }

    fn new(url: &str, options: &BrokerOptions) -> Result<Self> {
        let shown = Secret::new(url).masked();
        let invalid = |reason: String| Error::Invalid { key: "broker.url".to_owned(), reason };
        if !SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
            return Err(invalid(format!("`{shown}` should begin with amqp:// or amqps://")));
        }
        if has_several_at_signs(url) {
            let nodes =
                if url.contains(',') { ", and begin each node of a cluster with amqp:// or amqps://" } else { "" };
            return Err(invalid(format!("`{shown}` has more than one `@`; {URL_ESCAPES}{nodes}")));
        }
        let mut uri: AMQPUri = url.parse().map_err(|reason: String| {
            // The library quotes a part of the URL behind a colon, which may have the password.
            let reason = reason.split(':').next().unwrap_or_default();
            invalid(format!("`{shown}` is no AMQP URL: {reason}; {URL_ESCAPES}"))
        })?;
        if uri.authority.host.contains(',') {
            return Err(invalid(format!("`{shown}` names several hosts; write a URL for each: amqp://…,amqp://…")));
        }
        if uri.vhost.is_empty() {
            return Err(invalid(format!("`{shown}` names an empty virtual host; write /%2f for the default one")));
        }
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
            port: authority.port,
            vhost: vhost.clone(),
            username: authority.userinfo.username.clone(),
            password: Secret::new(&authority.userinfo.password),
            tls: self.speaks_tls(),
        }
    }

    /// Returns the URL without its password.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Returns `true` if connections to the node use TLS.
    pub(crate) fn speaks_tls(&self) -> bool {
        self.uri.scheme == AMQPScheme::AMQPS
    }

    /// Returns the URL with every parameter of the connection.
    pub(crate) fn uri(&self) -> &AMQPUri {
        &self.uri
    }
}

fn seconds(duration: Duration) -> u16 {
    // Less than a second would become zero, which turns heartbeats off.
    u16::try_from(duration.as_secs().max(u64::from(!duration.is_zero()))).unwrap_or(u16::MAX)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// Splits at commas that precede an AMQP scheme, because a password may contain commas.
fn split(urls: &str) -> Vec<&str> {
    let mut nodes = Vec::new();
    let mut rest = urls;
    while let Some((comma, _)) = rest.match_indices(',').find(|(comma, _)| {
        let next = rest[comma + 1..].trim_start();
        SCHEMES.iter().any(|scheme| next.starts_with(scheme))
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
    fn a_password_with_an_at_sign_that_is_not_escaped_is_refused() {
        for url in ["amqp://u:secret@x@host/v", "amqp://u:secret@x/y@host/v", "amqp://b,amqp://u:secret@x@host/v"] {
            let message = nodes(url).err().unwrap().to_string();
            assert!(message.starts_with("broker.url: `amqp://u:***@host/v` has more than one `@`; write"), "{message}");
            assert!(message.ends_with("%40") && !message.contains("secret"), "{message}");
        }
        let message = nodes("amqp://u:secret@a,b/v").err().unwrap().to_string();
        assert_eq!(
            message,
            "broker.url: `amqp://u:***@a,b/v` names several hosts; write a URL for each: amqp://…,amqp://…"
        );
        let message = nodes("amqp://u:secret@a,u:secret@b").err().unwrap().to_string();
        assert!(message.ends_with("begin each node of a cluster with amqp:// or amqps://"), "{message}");
        let found = nodes("amqp://u:p%40@a,amqp://u:p%40@b").unwrap();
        let read = found.iter().map(|node| (node.address().host, node.address().password.expose().to_owned()));
        assert_eq!(read.collect::<Vec<_>>(), ["a", "b"].map(|host| (host.to_owned(), "p@".to_owned())));
    }

    #[test]
    fn a_url_without_slashes_is_refused_without_its_password() {
        for url in ["amqp:u:secret@host", "amqp:x://u:secret@host", "u:secret@host", ""] {
            let message = nodes(url).err().unwrap().to_string();
            assert!(message.ends_with("should begin with amqp:// or amqps://"), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn a_url_that_cannot_be_used_is_said_so_without_its_password() {
        let in_query = "amqp://u:p/x?auth_mechanism=secret@host";
        for url in ["amqp://u:secret@host:port/", "amqp://u:secret@[::1]:5672/", in_query] {
            let message = nodes(url).err().unwrap().to_string();
            assert!(message.starts_with("broker.url: `amqp://u:***@"), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }
}
