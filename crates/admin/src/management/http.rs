//! Requests to the management API, each with a deadline and a bound for the answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use celeriac_broker::TlsOptions;
use celeriac_config::Secret;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Identity, Method, Response, StatusCode, Url};
use rustls::crypto::{CryptoProvider, ring};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};

/// Longest time to connect. Then the next node is tried.
const CONNECT: Duration = Duration::from_secs(3);
/// Longest time of a request. RabbitMQ asks every queue for some answers.
const ANSWER: Duration = Duration::from_secs(30);
/// Longest answer: about 50,000 queues.
const LONGEST: usize = 64 << 20;

/// A client of the API of one or more nodes. Any node can answer.
#[derive(Clone)]
pub(super) struct Http {
    node: Url,
    /// Nodes that are asked if the first is unreachable.
    others: Vec<Url>,
    client: Result<Client, Cause>,
}

/// The reason why there is no client.
type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// A change by a request.
pub(super) enum ApiChange {
    Put(Value),
    Deleted,
}

/// The URL of an API.
pub(super) fn parse(url: &Secret) -> Result<Url, String> {
    let url = url.expose();
    Url::parse(url).map_err(|reason| format!("is no URL: {reason}"))
}

impl Http {
    /// Returns `None` without a node. If the client cannot be created, each request is an error.
    pub(super) fn new(nodes: Vec<Url>, tls: &TlsOptions) -> Option<Self> {
        let client = client(&nodes, tls);
        let mut nodes = nodes.into_iter();
        let node = nodes.next()?;
        Some(Self { node, others: nodes.collect(), client })
    }

    pub(super) fn shown(&self) -> String {
        let shown: Vec<_> = std::iter::once(&self.node).chain(&self.others).map(shown).collect();
        shown.join(", ")
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        doing: &str,
    ) -> Result<T> {
        let (node, answer) = self.ask(&Method::GET, path, query, None, doing).await?;
        serde_json::from_slice(&answer).map_err(|error| failed(node, doing, error))
    }

    pub(super) async fn change(
        &self,
        wanted: ApiChange,
        path: &[&str],
        query: &[(&str, &str)],
        doing: &str,
    ) -> Result<()> {
        let (method, body) = match wanted {
            ApiChange::Put(body) => (Method::PUT, Some(body)),
            ApiChange::Deleted => (Method::DELETE, None),
        };
        self.ask(&method, path, query, body.as_ref(), doing).await.map(drop)
    }

    /// Asks the nodes in order, until one is reachable.
    async fn ask(
        &self,
        method: &Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
        doing: &str,
    ) -> Result<(&Url, Vec<u8>)> {
        let (mut node, mut left) = (&self.node, self.others.iter());
        let client = self.client.as_ref().map_err(|cause| failed(node, doing, Arc::clone(cause)))?;
        loop {
            let mut request = client.request(method.clone(), at(node, path, query));
            if let Some(body) = body {
                request = request.json(body);
            }
            match request.send().await {
                Ok(answer) => return Ok((node, taken(node, answer, doing).await?)),
                Err(error) => match left.next().filter(|_| error.is_connect()) {
                    Some(next) => node = next,
                    None => return Err(failed(node, doing, error.without_url())),
                },
            }
        }
    }
}

/// Returns a client that verifies certificates as AMQP connections do.
fn client(nodes: &[Url], tls: &TlsOptions) -> Result<Client, Cause> {
    if CryptoProvider::get_default().is_none() {
        // The provider of AMQP connections, unless the program has installed its own.
        let _ = ring::default_provider().install_default();
    }
    // No proxy from variables, which only `config` reads. No redirection, which would send the
    // password elsewhere.
    let mut client = Client::builder().no_proxy().redirect(Policy::none()).connect_timeout(CONNECT).timeout(ANSWER);
    if nodes.iter().all(|node| node.scheme() != "https") {
        // Without a node that uses TLS, authorities are not needed. The machine may have none.
        return client.tls_certs_only([]).build().map_err(cause);
    }
    if let Some(ca) = &tls.cacertfile {
        let authorities = std::fs::read(ca).map_err(cause)?;
        client = client.tls_certs_only(Certificate::from_pem_bundle(&authorities).map_err(cause)?);
    }
    if let (Some(certificate), Some(key)) = (&tls.certfile, &tls.keyfile) {
        let pair = [std::fs::read(key).map_err(cause)?, std::fs::read(certificate).map_err(cause)?].join(&b'\n');
        client = client.identity(Identity::from_pem(&pair).map_err(cause)?);
    }
    client.build().map_err(cause)
}

fn cause(error: impl std::error::Error + Send + Sync + 'static) -> Cause {
    Arc::new(error)
}

async fn taken(node: &Url, answer: Response, doing: &str) -> Result<Vec<u8>> {
    let status = answer.status();
    let body = whole(node, answer, doing).await?;
    if status.is_success() {
        return Ok(body);
    }
    let reason = reason(status, &body);
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Error::Denied { url: shown(node), reason }),
        _ => Err(failed(node, doing, reason)),
    }
}

async fn whole(node: &Url, mut answer: Response, doing: &str) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| failed(node, doing, error.without_url()))? {
        if body.len() + chunk.len() > LONGEST {
            return Err(failed(node, doing, format!("the answer is longer than {} MiB", LONGEST >> 20)));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Returns the reason that RabbitMQ gives, or the status.
fn reason(status: StatusCode, body: &[u8]) -> String {
    let said: Option<Value> = serde_json::from_slice(body).ok();
    let reason = said.as_ref().and_then(|said| said["reason"].as_str());
    match reason {
        Some(reason) => format!("{status}: {reason}"),
        None => status.to_string(),
    }
}

fn at(node: &Url, path: &[&str], query: &[(&str, &str)]) -> Url {
    let mut url = node.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        // The virtual host `/` is one segment.
        segments.pop_if_empty().push("api").extend(path);
    }
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    url
}

fn shown(node: &Url) -> String {
    Secret::new(node.as_str()).masked()
}

fn failed(node: &Url, doing: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Management { doing: doing.to_owned(), url: shown(node), source: source.into() }
}

impl fmt::Debug for Http {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown())
    }
}
