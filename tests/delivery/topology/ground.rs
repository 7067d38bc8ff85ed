//! A virtual host, its files, and the command line for both.

use std::time::Duration;

use celeriac_config::Environment;
use celeriac_servers::MANAGEMENT_URL;
use celeriac_tests::{Bed, Program};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

/// The place to which topologies are applied.
pub(super) struct Ground {
    bed: Bed,
    files: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Ground {
    pub(super) async fn new(bed: &Bed, routes: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("routes.yaml"), routes).unwrap();
        let api = Environment::from_process().get(MANAGEMENT_URL).unwrap().to_owned();
        let variables = bed.environment_with(&[("CELERIAC__BROKER__MANAGEMENT_URL", api)]);
        Self { bed: bed.clone(), files, variables }
    }

    /// Returns the same with another value of a variable.
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.to_owned()));
        self
    }

    /// Returns the same without the address of the management API. The servers of these tests do
    /// not have it on the usual port.
    pub(super) fn without_api(mut self) -> Self {
        self.variables.retain(|(name, _)| *name != "CELERIAC__BROKER__MANAGEMENT_URL");
        self
    }

    pub(super) fn bed(&self) -> &Bed {
        &self.bed
    }

    pub(super) fn vhost(&self) -> &str {
        self.bed.management().1
    }

    pub(super) fn start(&self, arguments: &[&str]) -> Program {
        let files = self.files.path().to_str().unwrap();
        Program::start(&[&["--config", files], arguments].concat(), &self.variables)
    }

    /// Returns exit code and output.
    pub(super) async fn run(&self, arguments: &[&str]) -> (i32, String) {
        let mut program = self.start(arguments);
        let code = program.exit_code(Duration::from_secs(60)).await;
        (code, program.rest().await)
    }

    /// Does the same with an input that is not a terminal, and stays open.
    pub(super) async fn run_with_input(&self, arguments: &[&str], input: &str) -> (i32, String) {
        let files = self.files.path().to_str().unwrap();
        let arguments = [&["--config", files], arguments].concat();
        let (mut program, mut pipe) =
            Program::start_with_input(&celeriac_tests::program::path(), &arguments, &self.variables);
        pipe.write_all(input.as_bytes()).await.unwrap();
        let code = program.exit_code(Duration::from_secs(60)).await;
        drop(pipe);
        (code, program.rest().await)
    }

    pub(super) fn api_url(&self) -> &str {
        let is_api = |(name, _): &&(&str, String)| *name == "CELERIAC__BROKER__MANAGEMENT_URL";
        self.variables.iter().find(is_api).map(|(_, url)| url.as_str()).unwrap()
    }

    /// Returns the exit code of `plan`, and its differences as sorted lines.
    pub(super) async fn plan(&self) -> (i32, Vec<String>) {
        let (code, said) = self.run(&["topology", "plan", "--json"]).await;
        let plan: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let line =
            |found: &Value| ["kind", "object", "property", "broker", "files"].map(|key| text(&found[key])).join(" ");
        let lines: Vec<_> = plan["differences"].as_array().unwrap().iter().map(line).collect();
        (code, rows(&lines))
    }

    pub(super) async fn api(&self, path: &str) -> Value {
        self.bed.management().0.get(path).await
    }

    pub(super) async fn put(&self, path: &str, body: &Value) {
        self.bed.management().0.put(path, body).await;
    }

    pub(super) async fn post(&self, path: &str, body: &Value) {
        self.bed.management().0.post(path, body).await;
    }

    pub(super) async fn delete(&self, path: &str) {
        self.bed.management().0.delete(path).await;
    }

    pub(super) async fn queue(&self, name: &str) -> Value {
        self.api(&format!("queues/{}/{name}", self.vhost())).await
    }

    /// Returns all definitions, as RabbitMQ would restore them.
    pub(super) async fn definitions(&self) -> Value {
        self.api(&format!("definitions/{}", self.vhost())).await
    }

    /// Deletes a queue and declares it differently, with its old bindings.
    pub(super) async fn redeclare_queue(&self, name: &str, definition: &Value) {
        self.redeclare("queues", "queue", name, definition).await;
    }

    /// Deletes an exchange and declares it differently, with its old bindings.
    pub(super) async fn redeclare_exchange(&self, name: &str, definition: &Value) {
        self.redeclare("exchanges", "exchange", name, definition).await;
    }

    async fn redeclare(&self, kind: &str, place: &str, name: &str, definition: &Value) {
        let bindings = self.api(&format!("bindings/{}", self.vhost())).await;
        let path = format!("{kind}/{}/{name}", self.vhost());
        self.delete(&path).await;
        self.put(&path, definition).await;
        for binding in bindings.as_array().unwrap() {
            let into = binding["destination"] == name && binding["destination_type"] == place;
            let from = place == "exchange" && binding["source"] == name;
            if binding["source"] != "" && (into || from) {
                self.bind(binding).await;
            }
        }
    }

    /// Makes a binding, in the API's form.
    pub(super) async fn bind(&self, binding: &Value) {
        let body = json!({ "routing_key": binding["routing_key"], "arguments": binding["arguments"] });
        self.post(&format!("bindings/{}", self.ends(binding)), &body).await;
    }

    /// Removes a binding, in the API's form.
    pub(super) async fn unbind(&self, binding: &Value) {
        let key = binding["properties_key"].as_str().unwrap();
        let key: String = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.delete(&format!("bindings/{}/{key}", self.ends(binding))).await;
    }

    fn ends(&self, binding: &Value) -> String {
        let [source, destination, kind] =
            ["source", "destination", "destination_type"].map(|key| binding[key].as_str().unwrap());
        let kind = &kind[..1];
        format!("{}/e/{source}/{kind}/{destination}", self.vhost())
    }
}

/// Returns the lines, sorted.
pub(super) fn rows<T: ToString>(lines: &[T]) -> Vec<String> {
    let mut lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
    lines.sort();
    lines
}
