//! The objects of a topology in the formats of RabbitMQ's own tools: its definitions, and manifests
//! of the messaging topology operator. Pure.
//!
//! `external` objects are left out, because another program declares them.

use serde_json::{Map, Value, json};

use crate::difference::policies;
use crate::existing::{PolicyFacts, as_json};
use crate::objects::{Arguments, BindingObject, BindingTarget, ExchangeObject, QueueObject, TopologyObject};

/// The cluster of manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its name in Kubernetes.
    pub name: String,
    /// The namespace of the cluster and of the manifests. `None`: the namespace in which they are
    /// applied.
    pub namespace: Option<String>,
}

/// Returns RabbitMQ's `definitions.json` for these objects, as `rabbitmqctl import_definitions`
/// reads it.
pub fn definitions(objects: &[TopologyObject], vhost: &str) -> Value {
    let mut all = [("queues", Vec::new()), ("exchanges", Vec::new()), ("bindings", Vec::new())];
    for object in objects.iter().filter(|object| !object.is_foreign()) {
        let (place, definition) = match object {
            TopologyObject::Queue(QueueObject { name, durable, arguments, .. }) => (
                0,
                json!({
                    "name": name, "vhost": vhost, "durable": durable, "auto_delete": false,
                    "arguments": as_json(arguments),
                }),
            ),
            TopologyObject::Exchange(ExchangeObject { name, kind, arguments, .. }) => (
                1,
                json!({
                    "name": name, "vhost": vhost, "type": kind.name(), "durable": true, "auto_delete": false,
                    "internal": false, "arguments": as_json(arguments),
                }),
            ),
            TopologyObject::Binding(BindingObject { source, destination, routing_key: key, arguments }) => (
                2,
                json!({
                    "source": source, "vhost": vhost, "destination": destination.name(),
                    "destination_type": destination.kind(), "routing_key": key, "arguments": as_json(arguments),
                }),
            ),
        };
        all[place].1.push(definition);
    }
    let mut definitions: Map<_, _> = all.into_iter().map(|(key, all)| (key.to_owned(), Value::Array(all))).collect();
    let policy = |policy: PolicyFacts| {
        json!({
            "name": policy.name, "vhost": vhost, "pattern": policy.pattern, "apply-to": policy.apply_to,
            "priority": policy.priority, "definition": as_json(&policy.definition),
        })
    };
    definitions.insert("policies".to_owned(), policies(objects).into_iter().map(policy).collect());
    Value::Object(definitions)
}

/// Returns manifests for these objects, in the order of their dependencies, each with its
/// `apiVersion`.
pub fn manifests(objects: &[TopologyObject], vhost: &str, cluster: &Cluster) -> Vec<Value> {
    let mut manifests: Vec<_> = objects
        .iter()
        .filter(|object| !object.is_foreign())
        .map(|object| {
            let (kind, name, spec) = manifest(object, vhost);
            with_frame(kind, &name, spec, cluster)
        })
        .collect();
    for policy in policies(objects) {
        let spec = json!({
            "name": policy.name, "vhost": vhost, "pattern": policy.pattern, "applyTo": policy.apply_to,
            "priority": policy.priority, "definition": as_json(&policy.definition),
        });
        manifests.push(with_frame("Policy", &safe(&policy.name, &policy.name), spec, cluster));
    }
    manifests
}

fn manifest(object: &TopologyObject, vhost: &str) -> (&'static str, String, Value) {
    match object {
        TopologyObject::Queue(QueueObject { name, durable, arguments, .. }) => {
            let mut spec = json!({ "name": name, "vhost": vhost, "durable": durable, "autoDelete": false });
            // The operator has a field for the type, and adds the argument itself.
            let mut arguments = arguments.clone();
            if let Some(kind) = arguments.remove("x-queue-type") {
                spec["type"] = kind.to_string().into();
            }
            add(&mut spec, &arguments);
            ("Queue", safe(name, name), spec)
        }
        TopologyObject::Exchange(ExchangeObject { name, kind, arguments, .. }) => {
            let mut spec =
                json!({ "name": name, "vhost": vhost, "type": kind.name(), "durable": true, "autoDelete": false });
            add(&mut spec, arguments);
            ("Exchange", safe(name, name), spec)
        }
        TopologyObject::Binding(BindingObject { source, destination, routing_key: key, arguments }) => {
            let mut spec = json!({
                "source": source, "vhost": vhost, "destination": destination.name(),
                "destinationType": destination.kind(), "routingKey": key,
            });
            add(&mut spec, arguments);
            ("Binding", safe(&format!("{source}-{}", destination.name()), &object.to_string()), spec)
        }
    }
}

fn add(spec: &mut Value, arguments: &Arguments) {
    if !arguments.is_empty() {
        spec["arguments"] = json!(as_json(arguments));
    }
}

fn with_frame(kind: &str, name: &str, mut spec: Value, cluster: &Cluster) -> Value {
    spec["rabbitmqClusterReference"] = json!({ "name": cluster.name });
    let mut metadata = json!({ "name": name });
    if let Some(namespace) = &cluster.namespace {
        metadata["namespace"] = json!(namespace);
        spec["rabbitmqClusterReference"]["namespace"] = json!(namespace);
    }
    json!({ "apiVersion": "rabbitmq.com/v1beta1", "kind": kind, "metadata": metadata, "spec": spec })
}

/// The longest name for labels and references in Kubernetes.
const LONGEST: usize = 63;

/// Returns a valid name for Kubernetes: lower case letters, digits, and hyphens and dots between
/// them.
///
/// It depends on `name` and `identity` alone, not on other objects. Under a new name, the operator
/// would delete the object of the old name.
fn safe(name: &str, identity: &str) -> String {
    let plain = |letter: char| match letter {
        'a'..='z' | '0'..='9' | '.' => letter,
        'A'..='Z' => letter.to_ascii_lowercase(),
        _ => '-',
    };
    let words: String = name.chars().map(plain).collect();
    let between = |text: &str, separator: char| {
        text.split(separator).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(&separator.to_string())
    };
    let labels: Vec<_> = words.split('.').map(|label| between(label, '-')).collect();
    let safe = between(&labels.join("."), '.');
    if safe == identity && safe.len() <= LONGEST {
        return safe;
    }
    let mark = format!("{:08x}", hash(identity));
    let kept: String = safe.chars().take(LONGEST - 1 - mark.len()).collect();
    let kept = kept.trim_end_matches(['-', '.']);
    if kept.is_empty() { format!("x-{mark}") } else { format!("{kept}-{mark}") }
}

/// Hashes with FNV-1a, which is the same in every version.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

impl BindingTarget {
    fn name(&self) -> &str {
        let (Self::Queue(name) | Self::Exchange(name)) = self;
        name
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Queue(_) => "queue",
            Self::Exchange(_) => "exchange",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_and_stay_what_they_are() {
        let long = "x".repeat(80);
        let cases = [
            ("orders.eu", "orders.eu"),
            ("Orders_EU", "orders-eu-f5c09f03"),
            ("orders-eu", "orders-eu"),
            ("a..b.-c-", "a.b.c-918e1143"),
            ("#", "x-260c9112"),
            (&long, &format!("{}-67b9d905", "x".repeat(54))),
        ];
        for (name, expected) in cases {
            let found = safe(name, name);
            assert_eq!(found, expected);
            assert!(found.len() <= LONGEST);
        }
    }
}
