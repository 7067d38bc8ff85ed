//! Client of RabbitMQ's management API: existing objects, statistics of queues, policies.
//!
//! - `facts`: requested columns, and the overview of a broker
//! - `http`: a request, with a deadline and a bound
//!
//! The API is optional: tasks run without it. If its URL is only guessed, nothing may depend on it.

mod facts;
mod http;
#[cfg(test)]
mod https;

use celeriac_broker::{BrokerOptions, NodeAddress, nodes};
use celeriac_topology::{BindingFacts, BindingTarget, ExchangeFacts, PolicyFacts, QueueFacts, as_json};
use reqwest::Url;
use serde_json::json;

use self::http::{ApiChange, Http};
use crate::error::{Error, Result};

pub use facts::Overview;

/// A client of the management API, for one virtual host.
#[derive(Debug, Clone)]
pub struct Management {
    http: Http,
    vhost: String,
    /// True if `broker.management_url` is set. Then the API has to answer.
    configured: bool,
}

/// Returns a client of the broker's management API. Returns `None` for `memory://`, and for
/// `amqps://` without `broker.management_url`.
///
/// Does not connect. [`Management::overview`] shows whether the API answers.
pub fn management(options: &BrokerOptions) -> Option<Management> {
    if options.url.expose().starts_with("memory://") {
        return None;
    }
    let nodes = nodes(options).ok()?;
    let vhost = nodes.first()?.vhost.clone();
    let urls = match &options.management_url {
        Some(url) => vec![http::parse(url).ok()?],
        None => nodes.iter().filter_map(beside).collect(),
    };
    Some(Management { http: Http::new(urls, &options.tls)?, vhost, configured: options.management_url.is_some() })
}

/// Returns the usual URL of a node's API, or `None` for a node with TLS: the password would be sent
/// in plain text.
fn beside(node: &NodeAddress) -> Option<Url> {
    let mut url = Url::parse("http://localhost:15672").ok().filter(|_| !node.tls)?;
    url.set_host(Some(&node.host)).ok()?;
    url.set_username(&node.username).ok()?;
    url.set_password(Some(node.password.expose())).ok()?;
    Some(url)
}

impl Management {
    /// Returns version, node and cluster. Returns `None` if the API does not answer this user and
    /// `broker.management_url` is not set.
    ///
    /// # Errors
    /// Returns an error if the API does not answer and `broker.management_url` is set.
    pub async fn overview(&self) -> Result<Option<Overview>> {
        match self.http.get(&["overview"], &[], "get the overview").await {
            Ok(overview) => Ok(Some(overview)),
            Err(Error::Management { .. } | Error::Denied { .. }) if !self.configured => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the virtual host.
    pub fn vhost(&self) -> &str {
        &self.vhost
    }

    /// Returns the URLs, without passwords.
    pub fn shown(&self) -> String {
        self.http.shown()
    }

    /// Returns every queue.
    ///
    /// # Errors
    /// Returns an error if the API does not answer.
    pub async fn queues(&self) -> Result<Vec<QueueFacts>> {
        let columns = [("columns", facts::QUEUE_COLUMNS), ("disable_stats", "false")];
        self.http.get(&["queues", &self.vhost], &columns, "list queues").await
    }

    /// Returns every exchange, including RabbitMQ's own.
    ///
    /// # Errors
    /// Returns an error if the API does not answer.
    pub async fn exchanges(&self) -> Result<Vec<ExchangeFacts>> {
        let columns = [("columns", facts::EXCHANGE_COLUMNS)];
        self.http.get(&["exchanges", &self.vhost], &columns, "list exchanges").await
    }

    /// Returns every binding, except those of the default exchange.
    ///
    /// # Errors
    /// Returns an error if the API does not answer.
    pub async fn bindings(&self) -> Result<Vec<BindingFacts>> {
        let mut bindings: Vec<BindingFacts> = self.http.get(&["bindings", &self.vhost], &[], "list bindings").await?;
        bindings.retain(|binding| !binding.source.is_empty());
        Ok(bindings)
    }

    /// Returns every policy.
    ///
    /// # Errors
    /// Returns an error if the API does not answer.
    pub async fn policies(&self) -> Result<Vec<PolicyFacts>> {
        self.http.get(&["policies", &self.vhost], &[], "list policies").await
    }

    /// Creates or changes a policy.
    ///
    /// # Errors
    /// Returns an error if the API does not answer, or if the user lacks the tag `policymaker`.
    pub async fn put_policy(&self, policy: &PolicyFacts) -> Result<()> {
        let body = json!({
            "pattern": policy.pattern,
            "apply-to": policy.apply_to,
            "priority": policy.priority,
            "definition": as_json(&policy.definition),
        });
        let doing = format!("set policy `{}`", policy.name);
        self.http.change(ApiChange::Put(body), &["policies", &self.vhost, &policy.name], &[], &doing).await
    }

    /// Deletes a policy.
    ///
    /// # Errors
    /// Returns an error if the API does not answer, or if the user lacks the tag `policymaker`.
    pub async fn delete_policy(&self, name: &str) -> Result<()> {
        let doing = format!("delete policy `{name}`");
        self.http.change(ApiChange::Deleted, &["policies", &self.vhost, name], &[], &doing).await
    }

    /// Deletes a queue that is empty and has no consumers.
    ///
    /// RabbitMQ checks that for classic queues only. Check quorum queues and streams just before.
    ///
    /// # Errors
    /// Returns an error if the API does not answer, or if RabbitMQ refuses.
    pub async fn delete_queue(&self, queue: &QueueFacts) -> Result<()> {
        let only = if queue.kind == "classic" { &[("if-empty", "true"), ("if-unused", "true")][..] } else { &[] };
        let doing = format!("delete queue `{}`", queue.name);
        self.http.change(ApiChange::Deleted, &["queues", &self.vhost, &queue.name], only, &doing).await
    }

    /// Deletes a binding.
    ///
    /// # Errors
    /// Returns an error if the API does not answer, or if RabbitMQ refuses.
    pub async fn delete_binding(&self, binding: &BindingFacts) -> Result<()> {
        let (kind, name) = match &binding.destination {
            BindingTarget::Queue(name) => ("q", name),
            BindingTarget::Exchange(name) => ("e", name),
        };
        let path = ["bindings", &self.vhost, "e", &binding.source, kind, name, &binding.properties_key];
        let doing = format!("unbind {} from exchange `{}`", binding.destination, binding.source);
        self.http.change(ApiChange::Deleted, &path, &[], &doing).await
    }
}

#[cfg(test)]
mod tests {
    use celeriac_config::Secret;

    use super::*;

    fn found(url: &str, management: Option<&str>) -> Option<String> {
        let options = BrokerOptions {
            url: Secret::new(url),
            management_url: management.map(Secret::new),
            ..BrokerOptions::default()
        };
        super::management(&options).map(|management| format!("{} {}", management.shown(), management.vhost()))
    }

    #[test]
    fn the_api_is_beside_the_broker_unless_said_otherwise() {
        let cases = [
            ("amqp://u:p@host:1/%2f", None, Some("http://u:***@host:15672/ /")),
            ("amqp://u:p@a/v, amqp://b/v", None, Some("http://u:***@a:15672/, http://guest:***@b:15672/ v")),
            ("amqps://u:p@host/v", None, None),
            ("amqps://u:p@host/v", Some("http://m:n@other:8080/rabbit"), Some("http://m:***@other:8080/rabbit v")),
            ("memory://", Some("http://host:15672"), None),
        ];
        for (url, management, expected) in cases {
            assert_eq!(found(url, management).as_deref(), expected, "{url} {management:?}");
        }
    }
}
