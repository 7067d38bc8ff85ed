//! RabbitMQ's management API.

use rustls::crypto::{CryptoProvider, ring};
use serde_json::{Value, json};

/// A client of the management API.
#[derive(Debug, Clone)]
pub struct Management {
    url: String,
    http: reqwest::Client,
}

impl Management {
    /// Returns a client of the API at `http://user:password@host:port`.
    ///
    /// # Panics
    /// Panics if the machine has no room for it.
    pub fn new(url: &str) -> Self {
        if CryptoProvider::get_default().is_none() {
            // A client of reqwest needs a provider, even without TLS.
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

    /// Creates a user with this name and password. In a virtual host the user may configure, write
    /// and read what the patterns allow.
    pub async fn create_user(&self, name: &str, vhost: &str, [configure, write, read]: [&str; 3]) {
        let user = json!({ "password": name, "tags": "" });
        self.ask(self.http.put(self.at(&format!("users/{name}"))).json(&user)).await;
        let permissions = json!({ "configure": configure, "write": write, "read": read });
        self.ask(self.http.put(self.at(&format!("permissions/{vhost}/{name}"))).json(&permissions)).await;
    }

    /// Deletes a user.
    pub async fn delete_user(&self, name: &str) {
        self.ask(self.http.delete(self.at(&format!("users/{name}")))).await;
    }

    /// Returns the names of the connections of a virtual host.
    pub async fn connections(&self, vhost: &str) -> Vec<String> {
        let found = self.ask(self.http.get(self.at(&format!("vhosts/{vhost}/connections")))).await;
        let connections = found.as_array().cloned().unwrap_or_default();
        connections.iter().filter_map(|connection| connection["name"].as_str().map(str::to_owned)).collect()
    }

    /// Returns the version of the broker, such as `3.10.8`.
    pub async fn version(&self) -> String {
        let overview = self.ask(self.http.get(self.at("overview"))).await;
        overview["rabbitmq_version"].as_str().unwrap_or_default().to_owned()
    }

    /// Returns the queues of a virtual host, with the number of their consumers.
    pub async fn queues(&self, vhost: &str) -> Vec<(String, u64)> {
        let found = self.ask(self.http.get(self.at(&format!("queues/{vhost}")))).await;
        let queues = found.as_array().cloned().unwrap_or_default();
        let known =
            |queue: &Value| Some((queue["name"].as_str()?.to_owned(), queue["consumers"].as_u64().unwrap_or(0)));
        queues.iter().filter_map(known).collect()
    }

    /// Closes every listed connection of a virtual host. Returns their number.
    pub async fn close_connections(&self, vhost: &str) -> usize {
        let names = self.connections(vhost).await;
        for name in &names {
            let path: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let request = self.http.delete(self.at(&format!("connections/{path}"))).header("X-Reason", "a test");
            // A connection that has ended meanwhile is fine.
            drop(request.send().await);
        }
        names.len()
    }

    /// Returns the API's answer at a path below `/api/`.
    pub async fn get(&self, path: &str) -> Value {
        self.ask(self.http.get(self.at(path))).await
    }

    /// Puts a value there.
    pub async fn put(&self, path: &str, body: &Value) {
        self.ask(self.http.put(self.at(path)).json(body)).await;
    }

    /// Posts a value there.
    pub async fn post(&self, path: &str, body: &Value) {
        self.ask(self.http.post(self.at(path)).json(body)).await;
    }

    /// Deletes the value there.
    pub async fn delete(&self, path: &str) {
        self.ask(self.http.delete(self.at(path))).await;
    }

    /// Returns the prefetch of each consumer of a virtual host, without those of remote control.
    pub async fn prefetches(&self, vhost: &str) -> Vec<u64> {
        let found = self.ask(self.http.get(self.at(&format!("consumers/{vhost}")))).await;
        let consumers = found.as_array().cloned().unwrap_or_default();
        let is_of_tasks = |consumer: &&Value| {
            !consumer["queue"]["name"].as_str().is_some_and(|queue| queue.ends_with(".celery.pidbox"))
        };
        consumers.iter().filter(is_of_tasks).filter_map(|consumer| consumer["prefetch_count"].as_u64()).collect()
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
