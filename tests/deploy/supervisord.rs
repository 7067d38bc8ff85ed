//! A real supervisord runs the section for it.

use std::fs;
use std::time::Duration;

use celeriac_servers::PythonEnvironment;
use celeriac_tests::{Bed, Program, eventually};
use tempfile::TempDir;

use crate::with_test_program;

const SECTION: &str = "supervisord/celeriac.conf";

/// Longest time for both workers to stop.
const STOPPED: Duration = Duration::from_secs(30);

#[celeriac_tests::test(real)]
async fn supervisord_starts_two_workers_of_a_queue_and_stops_them_in_order(bed: Bed) {
    let python = tokio::task::spawn_blocking(|| PythonEnvironment::of(include_str!("requirements.txt")).unwrap());
    let python = python.await.unwrap();
    let folder = TempDir::new().unwrap();
    let place = folder.path().display();
    // Neither the user nor the folders of an installation exist here.
    let section = with_test_program(SECTION)
        .replace("user=celeriac\n", "")
        .replace(" --config /etc/celeriac", "")
        .replace("/var/log/celeriac", &place.to_string());
    let configuration = folder.path().join("supervisord.conf");
    fs::write(
        &configuration,
        format!("[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={place}/pid\n{section}"),
    )
    .unwrap();
    let configuration = configuration.display().to_string();
    let variables = bed.environment_with(&[("CELERIAC__DEFAULT_QUEUE", "billing".to_owned())]);
    let arguments = ["-m", "supervisor.supervisord", "-c", &configuration];
    let mut supervisor = Program::start_other(python.python().to_str().unwrap(), &arguments, &variables);

    let logs = async || {
        let read =
            |number| fs::read_to_string(folder.path().join(format!("billing-0{number}.log"))).unwrap_or_default();
        [read(0), read(1)]
    };
    let both = |said: &'static str| move |logs: &[String; 2]| logs.iter().all(|log| log.contains(said));
    eventually("both workers are ready", logs, both("worker ready")).await;
    supervisor.signal("TERM");
    assert_eq!(supervisor.exit_code(STOPPED).await, 0, "{}", supervisor.output());
    let logs = logs().await;
    assert!(both("worker stopped")(&logs), "{logs:?}");
    assert!(logs[0].contains("name=billing-00@") && logs[1].contains("name=billing-01@"), "{logs:?}");
}

#[test]
fn supervisord_waits_for_longer_than_a_drain() {
    let text = with_test_program(SECTION);
    let waits: u64 = text.lines().find_map(|line| line.strip_prefix("stopwaitsecs=")).unwrap().parse().unwrap();
    let program = celeriac::Celeriac::builder().environment(celeriac_config::Environment::default()).build().unwrap();
    assert!(waits >= program.settings().worker.drain_timeout.as_secs() + 2);
}
