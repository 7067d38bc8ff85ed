//! RabbitMQ's own view, over its HTTP API.

use rustls::crypto::{CryptoProvider, ring};
use serde_json::{Value, json};

/// A client of the management API.
#[derive(Debug, Clone)]
pub struct Management {
    url: String,
    http: reqwest::Client,
}

impl Management {
    /// A client of the API at `http://user:password@host:port`.
    ///
    /// # Panics
    /// When the machine has no room for it.
    pub fn new(url: &str) -> Self {
        if CryptoProvider::get_default().is_none() {
            // A client of reqwest wants one, also where it speaks no TLS.
            let _ = ring::default_provider().install_default();
        }
        let http = reqwest::Client::builder().tls_certs_only([]).build();
        Self { url: url.trim_end_matches('/').to_owned(), http: http.expect("a client without TLS") }
    }

    pub(crate) async fn create_vhost(&self, name: &str) {
        self.ask(self.http.put(self.at(&format!("vhosts/{name}"))).json(&json!({}))).await;
    }

    pub(crate) async fn delete_vhost(&self, name: &str) {
        self.ask(self.http.delete(self.at(&format!("vhosts/{name}")))).await;
    }

    /// Makes a user of this name and password, who may do in a virtual host what the patterns allow.
    pub async fn create_user(&self, name: &str, vhost: &str, write: &str, read: &str) {
        let user = json!({ "password": name, "tags": "" });
        self.ask(self.http.put(self.at(&format!("users/{name}"))).json(&user)).await;
        let permissions = json!({ "configure": "^$", "write": write, "read": read });
        self.ask(self.http.put(self.at(&format!("permissions/{vhost}/{name}"))).json(&permissions)).await;
    }

    /// Takes a user away.
    pub async fn delete_user(&self, name: &str) {
        self.ask(self.http.delete(self.at(&format!("users/{name}")))).await;
    }

    /// Names of the connections of a virtual host.
    pub async fn connections(&self, vhost: &str) -> Vec<String> {
        let found = self.ask(self.http.get(self.at(&format!("vhosts/{vhost}/connections")))).await;
        let connections = found.as_array().cloned().unwrap_or_default();
        connections.iter().filter_map(|connection| connection["name"].as_str().map(str::to_owned)).collect()
    }

    /// The version of the broker, such as `3.10.8`.
    pub async fn version(&self) -> String {
        let overview = self.ask(self.http.get(self.at("overview"))).await;
        overview["rabbitmq_version"].as_str().unwrap_or_default().to_owned()
    }

    /// The queues of a virtual host, with the number of their consumers.
    pub async fn queues(&self, vhost: &str) -> Vec<(String, u64)> {
        let found = self.ask(self.http.get(self.at(&format!("queues/{vhost}")))).await;
        let queues = found.as_array().cloned().unwrap_or_default();
        let known =
            |queue: &Value| Some((queue["name"].as_str()?.to_owned(), queue["consumers"].as_u64().unwrap_or(0)));
        queues.iter().filter_map(known).collect()
    }

    /// Closes every connection of a virtual host that is listed now; how many there were.
    pub async fn close_connections(&self, vhost: &str) -> usize {
        let names = self.connections(vhost).await;
        for name in &names {
            let path: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let request = self.http.delete(self.at(&format!("connections/{path}"))).header("X-Reason", "a test");
            // One that has ended meanwhile is what was wanted.
            drop(request.send().await);
        }
        names.len()
    }

    /// What the API says at a path below `/api/`.
    pub async fn get(&self, path: &str) -> Value {
        self.ask(self.http.get(self.at(path))).await
    }

    /// Puts something there.
    pub async fn put(&self, path: &str, body: &Value) {
        self.ask(self.http.put(self.at(path)).json(body)).await;
    }

    /// Posts something there.
    pub async fn post(&self, path: &str, body: &Value) {
        self.ask(self.http.post(self.at(path)).json(body)).await;
    }

    /// Deletes what is there.
    pub async fn delete(&self, path: &str) {
        self.ask(self.http.delete(self.at(path))).await;
    }

    /// The prefetch of each consumer of a virtual host.
    pub async fn prefetches(&self, vhost: &str) -> Vec<u64> {
        let found = self.ask(self.http.get(self.at(&format!("consumers/{vhost}")))).await;
        let consumers = found.as_array().cloned().unwrap_or_default();
        consumers.iter().filter_map(|consumer| consumer["prefetch_count"].as_u64()).collect()
    }

    fn at(&self, path: &str) -> String {
        format!("{}/api/{path}", self.url)
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Value {
        let answer = request.send().await.expect("the management API");
        let status = answer.status();
        let text = answer.text().await.expect("the management API's answer");
        assert!(status.is_success(), "the management API answers {status}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }
}
