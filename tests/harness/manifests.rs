//! The manifests of `deploy/kubernetes` as kubectl renders them, and the configuration of their
//! pods.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use celeriac_servers::PythonEnvironment;
use serde_json::{Map, Value};
use yaml_rust2::{Yaml, YamlLoader};

const REQUIREMENTS: &str = include_str!("../deploy/kubernetes/requirements.txt");

/// Returns a Python with the tools: kubectl, kubernetes-validate and hadolint.
///
/// # Panics
/// Panics if they cannot be installed.
pub fn tools() -> PythonEnvironment {
    PythonEnvironment::of(REQUIREMENTS).expect("the tools of Kubernetes")
}

/// Returns the folder of an overlay.
pub fn overlay(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes/overlays").join(name)
}

/// Returns the manifests of an overlay, as `kubectl apply` would send them. It blocks.
///
/// # Panics
/// Panics if kubectl complains.
pub fn rendered(name: &str) -> String {
    let output =
        Command::new(tools().program("kubectl")).arg("kustomize").arg(overlay(name)).output().expect("kubectl");
    let said = String::from_utf8_lossy(&output.stderr);
    // A warning says that a field is deprecated.
    assert!(output.status.success() && said.is_empty(), "{name}: {said}");
    String::from_utf8(output.stdout).expect("manifests are text")
}

/// Returns the objects of a text in YAML.
///
/// # Panics
/// Panics if it is no YAML.
pub fn objects(text: &str) -> Vec<Value> {
    YamlLoader::load_from_str(text).expect("YAML").iter().map(json).collect()
}

fn json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::String(text) | Yaml::Real(text) => text.clone().into(),
        Yaml::Integer(number) => (*number).into(),
        Yaml::Boolean(flag) => (*flag).into(),
        Yaml::Array(list) => list.iter().map(json).collect(),
        Yaml::Hash(entries) => {
            let entries = entries.iter().map(|(key, value)| (key.as_str().expect("a key").to_owned(), json(value)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        _ => Value::Null,
    }
}

/// Returns the kind of an object.
///
/// # Panics
/// Panics if it has none.
pub fn kind(object: &Value) -> &str {
    object["kind"].as_str().expect("a kind")
}

/// Returns the name of an object.
///
/// # Panics
/// Panics if it has none.
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().expect("a name")
}

/// Returns the objects of a kind.
pub fn of_kind<'a>(objects: &'a [Value], wanted: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| kind(object) == wanted)
}

/// Returns every pod with the kind and the name of its object, and `true` if it is Celeriac's.
pub fn pods(objects: &[Value]) -> Vec<(String, &Value, bool)> {
    let mut pods = Vec::new();
    for object in objects.iter().filter(|object| ["Deployment", "Job"].contains(&kind(object))) {
        let template = &object["spec"]["template"];
        let is_ours = template["metadata"]["labels"]["app.kubernetes.io/name"] == "celeriac";
        pods.push((format!("{} {}", kind(object), name(object)), &template["spec"], is_ours));
    }
    pods
}

/// Writes the files that a pod mounts.
///
/// # Panics
/// Panics if the folder cannot be written.
pub fn write_configuration(objects: &[Value], pod: &Value, folder: &Path) {
    fs::create_dir_all(folder).expect("a folder");
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        for (file, text) in data(objects, &volume["configMap"]["name"]) {
            fs::write(folder.join(file), text).expect("a file of the configuration");
        }
    }
}

fn data(objects: &[Value], map: &Value) -> Vec<(String, String)> {
    let found = of_kind(objects, "ConfigMap").find(|object| Some(name(object)) == map.as_str());
    let entries = found.and_then(|object| object["data"].as_object()).into_iter().flatten();
    entries.map(|(key, value)| (key.clone(), value.as_str().expect("text").to_owned())).collect()
}

/// Returns the variables of a container, with URLs in place of the secrets.
///
/// # Panics
/// Panics if a variable has no value.
pub fn variables(objects: &[Value], container: &Value) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for source in container["envFrom"].as_array().into_iter().flatten() {
        variables.extend(data(objects, &source["configMapRef"]["name"]));
    }
    for entry in container["env"].as_array().into_iter().flatten() {
        let secret = entry["valueFrom"]["secretKeyRef"]["key"].as_str();
        let value = match secret {
            Some("broker-url") => "amqp://app:secret@rabbitmq:5672/app",
            Some("results-url") => "postgres://app:secret@postgres:5432/app",
            _ => entry["value"].as_str().unwrap_or_else(|| panic!("{entry}")),
        };
        variables.push((entry["name"].as_str().expect("a name").to_owned(), value.to_owned()));
    }
    variables
}

/// Returns the arguments of a container.
///
/// # Panics
/// Panics if one is no text.
pub fn arguments(container: &Value) -> Vec<&str> {
    container["args"].as_array().into_iter().flatten().map(|argument| argument.as_str().expect("text")).collect()
}
