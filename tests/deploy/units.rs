//! The units of systemd are read by its own checker, and their numbers fit the program.

use std::fs;
use std::path::Path;
use std::process::Command;

use celeriac_config::Environment;
use celeriac_servers::systemd_analyze;
use tempfile::TempDir;

use crate::{deploy, with_test_program};

const UNITS: [&str; 2] = ["celeriac-worker@.service", "celeriac-relay.service"];

/// Highest exposure that `systemd-analyze security` may print, of 10.
const EXPOSURE: f64 = 2.0;

/// Writes a unit as it would be installed. Returns its path.
fn install(folder: &Path, unit: &str, text: &str) -> String {
    let name = unit.replace('@', "@billing");
    let path = folder.join(name);
    // No such user exists on the machine of the test.
    let text = text.replace("User=celeriac\nGroup=celeriac\n", "");
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn analyze(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(systemd_analyze().unwrap()).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Returns the complaints of `systemd-analyze verify` about this unit.
fn complaints(folder: &Path, unit: &str, text: &str) -> Vec<String> {
    let path = install(folder, unit, text);
    let (_, said) = analyze(&["verify", "--man=no", &path]);
    // It reads the units of the machine too.
    let name = Path::new(&path).file_name().unwrap().to_str().unwrap().to_owned();
    said.lines().filter(|line| line.contains(&name) || line.contains(&path)).map(str::to_owned).collect()
}

/// Returns the seconds of a setting such as `TimeoutStopSec=40s`.
fn seconds(text: &str, setting: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(&format!("{setting}="))).unwrap();
    value.strip_suffix('s').unwrap().parse().unwrap()
}

#[test]
fn systemd_has_no_complaint_about_the_units() {
    let folder = TempDir::new().unwrap();
    for unit in UNITS {
        let text = with_test_program(&format!("systemd/{unit}"));
        assert_eq!(complaints(folder.path(), unit, &text), Vec::<String>::new(), "{unit}");
    }
}

#[test]
fn a_planted_mistake_in_a_unit_is_found() {
    let folder = TempDir::new().unwrap();
    let text = with_test_program("systemd/celeriac-relay.service");
    for (right, wrong) in [("TimeoutStopSec=10s", "TimeoutStopSecs=10s"), ("KillMode=mixed", "KillMode=gently")] {
        let planted = text.replace(right, wrong);
        assert_ne!(planted, text);
        assert!(!complaints(folder.path(), "celeriac-relay.service", &planted).is_empty(), "{wrong}");
    }
}

#[test]
fn the_units_leave_a_program_little_that_it_does_not_need() {
    let folder = TempDir::new().unwrap();
    for unit in UNITS {
        let path = install(folder.path(), unit, &with_test_program(&format!("systemd/{unit}")));
        let (_, said) = analyze(&["security", "--offline=true", "--no-pager", &path]);
        let overall =
            said.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_else(|| panic!("{said}"));
        let exposure: f64 = overall.rsplit(": ").next().unwrap().split(' ').next().unwrap().parse().unwrap();
        println!("{unit}: exposure {exposure} of 10");
        assert!(exposure <= EXPOSURE, "{unit}: {said}");
    }
}

#[test]
fn a_unit_gives_the_program_the_time_to_stop_and_the_watchdog_time_to_be_wrong() {
    let program = celeriac::Celeriac::builder().environment(Environment::default()).build().unwrap();
    let drain = program.settings().worker.drain_timeout.as_secs();
    let worker = fs::read_to_string(deploy("systemd/celeriac-worker@.service")).unwrap();
    assert!(seconds(&worker, "TimeoutStopSec") >= drain + 2, "the drain takes {drain} s");
    let relay = fs::read_to_string(deploy("systemd/celeriac-relay.service")).unwrap();
    assert!(seconds(&relay, "TimeoutStopSec") >= 7, "five seconds for confirms, and one for the end");
    for text in [worker, relay] {
        // A program is silent once it has not run for 15 seconds.
        assert!(seconds(&text, "WatchdogSec") >= 10);
    }
}

#[test]
fn the_settings_of_the_examples_exist() {
    let text = fs::read_to_string(deploy("systemd/env.example")).unwrap();
    let variables = text.lines().filter(|line| !line.starts_with('#'));
    let variables: Vec<_> = variables.map(|line| line.split_once('=').unwrap()).collect();
    assert!(variables.len() > 2);
    let environment = Environment::new(variables);
    celeriac::Celeriac::builder().environment(environment).build().unwrap();
}
