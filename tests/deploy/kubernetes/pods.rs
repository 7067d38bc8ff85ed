//! Pods keep to the profile `restricted` of Pod Security, and ours have what a worker needs.

use celeriac_tests::manifests::{objects, pods, rendered};
use serde_json::{Value, json};

use super::overlays;

/// Volumes that the profile allows.
const VOLUMES: [&str; 6] = ["configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"];

pub(super) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"].into_iter().filter_map(|key| pod[key].as_array()).flatten()
}

/// Returns the offences of a pod against the profile `restricted`.
fn unrestricted(pod: &Value) -> Vec<String> {
    let mut offences = Vec::new();
    let mut demand = |holds: bool, offence: String| {
        if !holds {
            offences.push(offence);
        }
    };
    for key in ["hostNetwork", "hostPID", "hostIPC"] {
        demand(pod[key] != true, key.to_owned());
    }
    demand(pod["securityContext"]["sysctls"].is_null(), "sysctls".to_owned());
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        let is_allowed = volume.as_object().unwrap().keys().all(|key| key == "name" || VOLUMES.contains(&key.as_str()));
        demand(is_allowed, format!("volume {volume}"));
    }
    for container in containers(pod) {
        let name = container["name"].as_str().unwrap();
        // A container's value beats the pod's.
        let context = |key: &str| match &container["securityContext"][key] {
            Value::Null => &pod["securityContext"][key],
            own => own,
        };
        demand(context("runAsNonRoot") == true, format!("{name}: runAsNonRoot"));
        demand(context("runAsUser") != 0, format!("{name}: runAsUser"));
        let profile = context("seccompProfile")["type"].as_str();
        demand(matches!(profile, Some("RuntimeDefault" | "Localhost")), format!("{name}: seccompProfile"));
        let own = &container["securityContext"];
        demand(own["allowPrivilegeEscalation"] == false, format!("{name}: allowPrivilegeEscalation"));
        demand(own["privileged"] != true, format!("{name}: privileged"));
        demand(own["capabilities"] == json!({"drop": ["ALL"]}), format!("{name}: capabilities"));
        let ports = container["ports"].as_array().into_iter().flatten();
        demand(ports.into_iter().all(|port| port["hostPort"].is_null()), format!("{name}: hostPort"));
    }
    offences
}

/// Returns the offences of a pod of ours against our own rules.
fn careless(pod: &Value) -> Vec<String> {
    let mut offences = Vec::new();
    let mut demand = |holds: bool, offence: String| {
        if !holds {
            offences.push(offence);
        }
    };
    demand(pod["automountServiceAccountToken"] == false, "token".to_owned());
    demand(pod["serviceAccountName"] == "celeriac", "service account".to_owned());
    demand(pod["enableServiceLinks"] == false, "variables of services".to_owned());
    demand(pod["securityContext"]["runAsUser"].as_u64().is_some(), "a user without a number".to_owned());
    for container in containers(pod) {
        let name = container["name"].as_str().unwrap();
        demand(container["securityContext"]["readOnlyRootFilesystem"] == true, format!("{name}: root"));
        for (class, resource) in [("requests", "cpu"), ("requests", "memory"), ("limits", "cpu"), ("limits", "memory")]
        {
            demand(container["resources"][class][resource].is_string(), format!("{name}: {class} of {resource}"));
        }
        let tag = container["image"].as_str().unwrap().rsplit_once(':').map(|(_, tag)| tag);
        demand(tag.is_some_and(|tag| tag != "latest"), format!("{name}: image without a version"));
    }
    offences
}

fn offences(pod: &Value, is_ours: bool) -> Vec<String> {
    let own = if is_ours { careless(pod) } else { Vec::new() };
    unrestricted(pod).into_iter().chain(own).collect()
}

#[test]
fn every_pod_keeps_to_the_restricted_profile() {
    for overlay in overlays() {
        let objects = objects(&rendered(&overlay));
        for (name, pod, is_ours) in pods(&objects) {
            assert_eq!(offences(pod, is_ours), Vec::<String>::new(), "{overlay}: {name}");
        }
    }
}

#[test]
fn a_planted_offence_of_a_pod_is_found() {
    let objects = objects(&rendered("production"));
    let (_, worker, _) = pods(&objects).into_iter().find(|(name, ..)| name == "Deployment worker-default").unwrap();
    let mistakes = [
        ("/securityContext", Value::Null),
        ("/securityContext/runAsNonRoot", false.into()),
        ("/securityContext/runAsUser", 0.into()),
        ("/securityContext/runAsUser", Value::Null),
        ("/securityContext/seccompProfile/type", "Unconfined".into()),
        ("/containers/0/securityContext", Value::Null),
        ("/initContainers/0/securityContext/allowPrivilegeEscalation", true.into()),
        ("/containers/0/securityContext/capabilities", json!({"drop": ["ALL"], "add": ["SYS_ADMIN"]})),
        ("/containers/0/securityContext/readOnlyRootFilesystem", false.into()),
        ("/containers/0/ports/0", json!({"containerPort": 9464, "hostPort": 9464})),
        ("/volumes/0", json!({"name": "config", "hostPath": {"path": "/"}})),
        ("/automountServiceAccountToken", true.into()),
        ("/enableServiceLinks", Value::Null),
        ("/containers/0/resources/limits/memory", Value::Null),
        ("/containers/0/image", "my-app".into()),
    ];
    for (place, wrong) in mistakes {
        let mut planted = worker.clone();
        *planted.pointer_mut(place).unwrap() = wrong.clone();
        assert!(!offences(&planted, true).is_empty(), "{place}: {wrong}");
    }
}
