//! Objects of operators have the fields that their operators document.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{CUSTOM, kind, name, objects, overlays, rendered};

/// Every known field, with the kind of the object before it and the type behind it.
const FIELDS: &str = include_str!("fields.txt");

/// Lists of an object whose members have keys of their own, such as labels.
const OPEN: [&str; 4] = ["annotations", "labels", "matchLabels", "metadata"];

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
        other => drop(found.insert(format!("{path} {other}"))),
    }
}

/// Returns the unknown fields of the objects of operators, and their unknown versions.
fn unknown(objects: &[Value]) -> Vec<String> {
    let known: BTreeSet<_> = FIELDS.lines().filter(|line| !line.starts_with('#')).collect();
    let mut unknown = Vec::new();
    for object in objects.iter().filter(|object| CUSTOM.contains(&kind(object))) {
        let mut found = BTreeSet::new();
        fields(&object["spec"], &format!("{} spec", kind(object)), &mut found);
        unknown.extend(found.into_iter().filter(|field| !known.contains(field.as_str())));
        let version = if kind(object).starts_with('P') { "monitoring.coreos.com/v1" } else { "keda.sh/v1alpha1" };
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
        let planted = text.replace(right, wrong);
        assert_ne!(planted, text, "{right}");
        assert!(!unknown(&objects(&planted)).is_empty(), "{wrong}");
    }
}
