//! The manifests for Kubernetes are rendered and read by its own tools, and fit the program.

mod canary;
mod configuration;
mod custom;
mod network;
mod pods;
mod rollout;
mod scaling;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use celeriac_tests::manifests::{objects, of_kind, rendered, tools};
use tempfile::TempDir;

use crate::deploy;

/// Versions of Kubernetes that read the manifests, from the oldest to the newest.
const VERSIONS: [&str; 4] = ["1.25", "1.29", "1.33", "1.37"];

/// Kinds of operators, which Kubernetes itself does not know.
const CUSTOM: [&str; 4] = ["PodMonitor", "PrometheusRule", "ScaledObject", "TriggerAuthentication"];

/// Runs a tool. Returns `true` if it succeeds, and its output.
pub(crate) fn run(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn overlays() -> Vec<String> {
    let entries = fs::read_dir(deploy("kubernetes/overlays")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(names.len() >= 3, "{names:?}");
    names
}

/// Returns the complaints of all versions of Kubernetes about manifests.
fn complaints(text: &str) -> Vec<String> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("manifests.yaml");
    fs::write(&file, text).unwrap();
    let mut command = Command::new(tools().python());
    command.args(["-m", "kubernetes_validate", "--strict", "--quiet"]);
    for version in VERSIONS {
        command.args(["-k", version]);
    }
    let (_, said) = run(command.arg(file));
    let of_operator = |line: &str| CUSTOM.iter().any(|kind| line.contains(&format!("schema for kind {kind} with")));
    said.lines().filter(|line| !of_operator(line)).map(str::to_owned).collect()
}

#[test]
fn every_overlay_renders_and_every_version_of_kubernetes_reads_it() {
    // Overlays share most objects.
    let mut distinct = BTreeSet::new();
    for overlay in overlays() {
        let text = rendered(&overlay);
        let objects = objects(&text);
        assert!(of_kind(&objects, "Deployment").count() >= 2 && of_kind(&objects, "Job").count() == 1, "{overlay}");
        distinct.extend(text.split("\n---\n").map(str::to_owned));
    }
    let text: Vec<_> = distinct.into_iter().collect();
    assert_eq!(complaints(&text.join("\n---\n")), Vec::<String>::new());
}

#[test]
fn a_planted_mistake_in_a_manifest_is_found() {
    let text = rendered("production");
    let mistakes = [
        ("terminationGracePeriodSeconds: 45", "terminationGracePeriod: 45"),
        ("minReadySeconds: 5", "minReadySeconds: five"),
        ("apiVersion: policy/v1\n", "apiVersion: policy/v1beta1\n"),
        ("kind: PodDisruptionBudget", "kind: PodDisruptionBudgets"),
    ];
    for (right, wrong) in mistakes {
        let object = text.split("\n---\n").find(|object| object.contains(right)).unwrap_or_else(|| panic!("{right}"));
        let complaints = complaints(&object.replace(right, wrong));
        assert!(complaints.len() >= VERSIONS.len(), "{wrong}: {complaints:?}");
    }
}
