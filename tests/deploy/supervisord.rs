//! A real supervisord runs the section for it, and a real logrotate renames its log files.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use celeriac_servers::{PythonEnvironment, logrotate};
use celeriac_tests::{Bed, Program, eventually};
use tempfile::TempDir;

use crate::kubernetes::run;
use crate::{deploy, with_test_program};

const ROTATION: &str = "logrotate/celeriac";

const SECTION: &str = "supervisord/celeriac.conf";

/// Longest time for both workers to stop.
const STOPPED: Duration = Duration::from_secs(30);

/// Runs logrotate for the log files of a folder. Returns `true` if it succeeds, and its output.
fn rotate(text: &str, folder: &Path, flag: &str) -> (bool, String) {
    let place = folder.display();
    let text = text
        .replace("/var/log/celeriac", &place.to_string())
        .replace("$(supervisorctl pid)", &format!("$(cat {place}/pid)"));
    let file = folder.join("logrotate");
    fs::write(&file, text).unwrap();
    let state = folder.join("state");
    run(Command::new(logrotate().unwrap()).args([flag, "--verbose", "--state"]).args([state, file]))
}

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

    let rotation = fs::read_to_string(deploy(ROTATION)).unwrap();
    let (succeeds, said) = rotate(&rotation, folder.path(), "--force");
    assert!(succeeds, "{said}");
    let renamed =
        async || folder.path().join("billing-00.log").exists() && folder.path().join("billing-01.log").exists();
    eventually("supervisord writes new files", renamed, |exist| *exist).await;
    let old = fs::read_to_string(folder.path().join("billing-00.log.1")).unwrap();
    assert!(old.contains("worker ready"), "{old}");

    supervisor.signal("TERM");
    assert_eq!(supervisor.exit_code(STOPPED).await, 0, "{}", supervisor.output());
    let logs = logs().await;
    assert!(both("worker stopped")(&logs) && !logs[0].contains("worker ready"), "{logs:?}");
    assert!(logs[0].contains("name=billing-00@") && logs[1].contains("name=billing-01@"), "{logs:?}");
}

#[test]
fn logrotate_reads_its_file_and_finds_a_planted_mistake() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("billing-00.log"), "line\n").unwrap();
    let text = fs::read_to_string(deploy(ROTATION)).unwrap();
    let said = |text: &str| rotate(text, folder.path(), "--debug");
    let (succeeds, right) = said(&text);
    assert!(succeeds && !right.contains("error:") && right.contains("billing-00.log"), "{right}");
    for (right, wrong) in [("rotate 14", "rotates 14"), ("maxsize 50M", "maxsize fifty"), ("    endscript\n", "")] {
        let planted = text.replace(right, wrong);
        assert_ne!(planted, text);
        let (succeeds, said) = said(&planted);
        assert!(!succeeds || said.contains("error:"), "{wrong}: {said}");
    }
}

#[test]
fn supervisord_waits_for_longer_than_a_drain() {
    let text = with_test_program(SECTION);
    let waits: u64 = text.lines().find_map(|line| line.strip_prefix("stopwaitsecs=")).unwrap().parse().unwrap();
    let program = celeriac::Celeriac::builder().environment(celeriac_config::Environment::default()).build().unwrap();
    assert!(waits >= program.settings().worker.drain_timeout.as_secs() + 2);
}
