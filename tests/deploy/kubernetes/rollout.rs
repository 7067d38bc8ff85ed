//! The containers of the manifests run in the order of a rollout, with a program of tests in place
//! of the image.

use std::path::Path;
use std::time::Duration;

use celeriac_tests::{Bed, Program, eventually, probe};
use serde_json::Value;
use tempfile::TempDir;

use super::configuration::{arguments, configuration, variables};
use super::pods::pods;
use super::{objects, rendered};

/// Longest time of a container that ends by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a container, with the servers of the test and a socket in place of its port.
fn start(bed: &Bed, objects: &[Value], pod: &Value, container: &Value, place: &Path) -> Program {
    let folder = place.join("configuration");
    configuration(objects, pod, &folder);
    let socket = ("CELERIAC__TELEMETRY__LISTEN", format!("unix:{}/health", place.display()));
    let overridden = bed.environment_with(&[socket]);
    let own = variables(objects, container);
    let kept = own.iter().filter(|(name, _)| overridden.iter().all(|(other, _)| other != name));
    let variables: Vec<_> =
        kept.map(|(name, value)| (name.as_str(), value.clone())).chain(overridden.clone()).collect();
    let folder = folder.display().to_string();
    let given = arguments(container);
    let arguments: Vec<_> =
        given.into_iter().map(|word| if word == "/etc/celeriac" { &folder } else { word }).collect();
    Program::start(&arguments, &variables)
}

#[celeriac_tests::test(real)]
async fn a_worker_waits_for_the_setup_and_ends_within_its_grace(bed: Bed) {
    let objects = tokio::task::spawn_blocking(|| objects(&rendered("production"))).await.unwrap();
    let pod = |wanted: &str| pods(&objects).into_iter().find(|(name, ..)| name == wanted).unwrap().1;
    let (setup, worker) = (pod("Job setup"), pod("Deployment worker-default"));
    let folder = TempDir::new().unwrap();
    let start = |pod, container| start(&bed, &objects, pod, container, folder.path());
    let ends_with = async |mut program: Program, code| {
        assert_eq!(program.exit_code(PATIENCE).await, code, "{}", program.output());
    };

    // Something is missing: the kubelet starts the init container again.
    let check = &worker["initContainers"][0];
    ends_with(start(worker, check), 3).await;
    ends_with(start(setup, &setup["containers"][0]), 0).await;
    ends_with(start(worker, check), 0).await;

    let container = &worker["containers"][0];
    let mut program = start(worker, container);
    for probe in ["livenessProbe", "readinessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().unwrap();
        let status = async || probe::page(&folder.path().join("health"), path).await.map(|(status, _)| status);
        eventually(probe, status, |status| *status == Some(200)).await;
    }
    program.signal("TERM");
    let grace = Duration::from_secs(worker["terminationGracePeriodSeconds"].as_u64().unwrap());
    assert_eq!(program.exit_code(grace).await, 0, "{}", program.output());
}
