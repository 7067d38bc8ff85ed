//! Manifests and configuration agree.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use celeriac::settings::{Origins, Settings};
use celeriac_config::Environment;
use celeriac_tests::manifests::{arguments, objects, pods, rendered, variables, write_configuration};
use serde_json::Value;
use tempfile::TempDir;

use super::pods::containers;
use super::{overlays, run};
use crate::planted;

/// Time that a pod has beside the drain of its worker: docs/kubernetes.md.
const MARGIN: Duration = Duration::from_secs(15);

/// Memory of a worker beside the bodies that it has decoded.
const PROGRAM: u64 = 256 << 20;

/// A Deployment of workers with the configuration of its pods.
pub(super) struct Worker {
    pub(super) name: String,
    pub(super) class: String,
    pub(super) queues: Vec<String>,
    pub(super) grace: Duration,
    drain: Duration,
}

/// Returns the workers of a rendered overlay, and adds what does not fit.
pub(super) fn workers(objects: &[Value], offences: &mut Vec<String>) -> Vec<Worker> {
    let mut workers = Vec::new();
    let mut consumed = BTreeSet::new();
    let mut declared = BTreeSet::new();
    let mut checked = BTreeSet::new();
    for (name, pod, is_ours) in pods(objects) {
        if !is_ours {
            continue;
        }
        let folder = TempDir::new().unwrap();
        write_configuration(objects, pod, folder.path());
        for container in containers(pod) {
            let variables = variables(objects, container);
            let offence = |what: String| format!("{name}, {}: {what}", container["name"]);
            let is_new = checked.insert((pod["volumes"].to_string(), variables.clone()));
            let check =
                is_new.then(|| run(program(&variables).args(["config", "check", "--config"]).arg(folder.path())));
            // Every flag is read before the help is printed.
            let flags = run(program(&variables).args(arguments(container)).arg("--help"));
            let refused = check.into_iter().chain([flags]).filter(|(succeeds, _)| !succeeds);
            offences.extend(refused.map(|(_, said)| offence(said)));
            if container["volumeMounts"][0]["mountPath"] != "/etc/celeriac" {
                offences.push(offence("the configuration is mounted elsewhere".to_owned()));
            }
            if container["args"][0] != "worker" {
                continue;
            }
            let environment = Environment::new(variables);
            let origins = Origins { directory: Some(folder.path().into()), environment, ..Origins::default() };
            // The program has said why.
            let Ok(loaded) = Settings::load(&origins) else { continue };
            let worker = worker(&name, pod, container, &loaded.options);
            offences.extend(misfits(&worker, container, &loaded.options).into_iter().map(offence));
            consumed.extend(worker.queues.clone());
            declared.extend(loaded.options.routes().topology().work_queues().map(str::to_owned));
            workers.push(worker);
        }
    }
    if consumed != declared {
        offences.push(format!("workers consume {consumed:?}, the files declare {declared:?}"));
    }
    workers
}

/// Returns a command that runs the program with these variables and no others.
fn program(variables: &[(String, String)]) -> Command {
    let mut command = Command::new(celeriac_tests::program::path());
    command.env_clear().envs(variables.iter().map(|(name, value)| (name, value)));
    command
}

fn worker(name: &str, pod: &Value, container: &Value, settings: &Settings) -> Worker {
    let flag = |flag: &str| arguments(container).into_iter().find_map(|argument| argument.strip_prefix(flag));
    let queues = match flag("--queues=") {
        Some(queues) => queues.split(',').map(str::to_owned).collect(),
        None => settings.worker.queues.clone(),
    };
    let drain = flag("--drain-timeout=").map(|text| celeriac_config::duration::parse(text).unwrap());
    let name = name.trim_start_matches("Deployment ").to_owned();
    Worker {
        class: name.trim_start_matches("worker-").to_owned(),
        name,
        queues,
        grace: Duration::from_secs(pod["terminationGracePeriodSeconds"].as_u64().unwrap_or(30)),
        drain: drain.unwrap_or(settings.worker.drain_timeout),
    }
}

/// Returns the numbers of a worker's manifest that do not fit its settings.
fn misfits(worker: &Worker, container: &Value, settings: &Settings) -> Vec<String> {
    let mut misfits = Vec::new();
    if worker.grace < worker.drain + MARGIN {
        misfits.push(format!("a grace of {:?} for a drain of {:?}", worker.grace, worker.drain));
    }
    // On all addresses, because the kubelet and Prometheus are outside the pod.
    let listen = settings.telemetry.listen.as_deref().and_then(|listen| listen.strip_prefix("0.0.0.0:"));
    let port = listen.and_then(|port| port.parse::<u64>().ok());
    if port.is_none() || container["ports"][0]["containerPort"].as_u64() != port {
        misfits.push(format!("port {}, telemetry.listen {:?}", container["ports"][0], settings.telemetry.listen));
    }
    for (probe, path) in [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
        if container[probe]["httpGet"] != serde_json::json!({"path": path, "port": container["ports"][0]["name"]}) {
            misfits.push(format!("{probe} {}", container[probe]["httpGet"]));
        }
    }
    let limit = container["resources"]["limits"]["memory"].as_str().map(bytes);
    let least = settings.worker.max_decoded_size.bytes() + PROGRAM;
    if limit.is_none_or(|limit| limit < least) {
        misfits.push(format!("a memory limit of {limit:?} bytes, at least {least}"));
    }
    misfits
}

/// Returns the bytes of a quantity such as `512Mi`.
fn bytes(quantity: &str) -> u64 {
    let (number, shift) = [("Gi", 30), ("Mi", 20)]
        .into_iter()
        .find_map(|(unit, shift)| Some((quantity.strip_suffix(unit)?, shift)))
        .unwrap_or((quantity, 0));
    number.parse::<u64>().unwrap() << shift
}

fn offences(text: &str) -> Vec<String> {
    let mut offences = Vec::new();
    workers(&objects(text), &mut offences);
    offences
}

#[test]
fn manifests_and_configuration_agree() {
    for overlay in overlays() {
        assert_eq!(offences(&rendered(&overlay)), Vec::<String>::new(), "{overlay}");
    }
}

#[test]
fn a_planted_disagreement_is_found() {
    let text = rendered("production");
    let mistakes = [
        ("terminationGracePeriodSeconds: 555", "terminationGracePeriodSeconds: 540"),
        ("terminationGracePeriodSeconds: 45", "terminationGracePeriodSeconds: 30"),
        ("drain_timeout: 30s", "drain_timeout: 31s"),
        ("--drain-timeout=9m", "--drain-timeout=10m"),
        ("containerPort: 9464", "containerPort: 9090"),
        ("CELERIAC__TELEMETRY__LISTEN:", "CELERIAC__TELEMETRY__LISTENS:"),
        ("sample_ratio: 0.1", "sample_ration: 0.1"),
        ("CELERIAC_ENV: production", "CELERIAC_ENV: prod"),
        ("--queues=reports,reload", "--queues=report,reload"),
        ("- --queues=reports,reload", "- --queue=reports,reload"),
        ("path: /readyz", "path: /livez"),
        ("memory: 1Gi", "memory: 512Mi"),
        ("mountPath: /etc/celeriac\n", "mountPath: /etc/other\n"),
    ];
    for (right, wrong) in mistakes {
        let planted = planted(&text, right, wrong);
        assert!(!offences(&planted).is_empty(), "{wrong}");
    }
}
