//! Objects of operators have the fields that their operators document.

use std::collections::BTreeSet;
use std::process::Command;

use celeriac_tests::manifests::{kind, name, objects, rendered};
use serde_json::Value;

use super::{CUSTOM, overlays};
use crate::{deploy, planted};

/// Every known field, with the kind of the object before it and the type behind it.
const FIELDS: &str = include_str!("fields.txt");

/// Lists of an object whose members have keys of their own, such as labels.
const OPEN: [&str; 6] = ["annotations", "arguments", "definition", "labels", "matchLabels", "metadata"];

/// Kinds of RabbitMQ's messaging topology operator.
const TOPOLOGY: [&str; 4] = ["Binding", "Exchange", "Policy", "Queue"];

/// Returns every field of a value in the form of `fields.txt`.
fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(entries) => {
            let is_open = OPEN.iter().any(|open| path.ends_with(&format!(".{open}")));
            for (key, value) in entries {
                let key = if is_open { "*" } else { key };
                fields(value, &format!("{path}.{key}"), found);
            }
        }
        Value::Array(members) => members.iter().for_each(|member| fields(member, &format!("{path}[]"), found)),
        Value::String(_) => drop(found.insert(format!("{path} text"))),
        Value::Number(_) => drop(found.insert(format!("{path} number"))),
        Value::Bool(_) => drop(found.insert(format!("{path} flag"))),
        Value::Null => drop(found.insert(format!("{path} null"))),
    }
}

/// Returns the unknown fields of the objects of operators, and their unknown versions.
fn unknown(objects: &[Value]) -> Vec<String> {
    let known: BTreeSet<_> = FIELDS.lines().filter(|line| !line.starts_with('#')).collect();
    let mut unknown = Vec::new();
    for object in objects {
        let version = match kind(object) {
            "PodMonitor" | "PrometheusRule" => "monitoring.coreos.com/v1",
            "ScaledObject" | "TriggerAuthentication" => "keda.sh/v1alpha1",
            other if TOPOLOGY.contains(&other) => "rabbitmq.com/v1beta1",
            _ => continue,
        };
        let mut found = BTreeSet::new();
        fields(&object["spec"], &format!("{} spec", kind(object)), &mut found);
        unknown.extend(found.into_iter().filter(|field| !known.contains(field.as_str())));
        if object["apiVersion"] != version {
            unknown.push(format!("{} {}", name(object), object["apiVersion"]));
        }
    }
    unknown
}

#[test]
fn objects_of_operators_have_known_fields() {
    let mut kinds = BTreeSet::new();
    for overlay in overlays() {
        let objects = objects(&rendered(&overlay));
        assert_eq!(unknown(&objects), Vec::<String>::new(), "{overlay}");
        kinds.extend(
            objects.iter().map(|object| kind(object).to_owned()).filter(|kind| CUSTOM.contains(&kind.as_str())),
        );
    }
    assert_eq!(kinds, CUSTOM.map(str::to_owned).into());
}

#[test]
fn a_planted_field_of_an_operator_is_found() {
    let text = rendered("production");
    let mistakes = [
        ("minReplicaCount:", "minReplicas:"),
        ("value: \"200\"", "value: 200"),
        ("podMetricsEndpoints:", "podMetricEndpoints:"),
        ("apiVersion: keda.sh/v1alpha1", "apiVersion: keda.sh/v1"),
        ("secretTargetRef:", "secretTargetRefs:"),
    ];
    for (right, wrong) in mistakes {
        let planted = planted(&text, right, wrong);
        assert!(!unknown(&objects(&planted)).is_empty(), "{wrong}");
    }
}

#[test]
fn an_exported_topology_has_known_fields() {
    let mut kinds = BTreeSet::new();
    for use_policies in ["false", "true"] {
        let mut command = Command::new(celeriac_tests::program::path());
        command.env_clear().env("CELERIAC__BROKER__USE_POLICIES", use_policies);
        command.env("CELERIAC__BROKER__URL", "amqp://app:secret@rabbitmq/app");
        command.args(["topology", "export", "--format", "manifests", "--cluster", "rabbitmq", "--config"]);
        let output = command.arg(deploy("../config")).output().unwrap();
        let objects = objects(&String::from_utf8(output.stdout).unwrap());
        assert_eq!(unknown(&objects), Vec::<String>::new());
        kinds.extend(objects.iter().map(|object| kind(object).to_owned()));
    }
    assert_eq!(kinds, TOPOLOGY.map(str::to_owned).into());
}
