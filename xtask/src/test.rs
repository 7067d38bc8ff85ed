//! `test`: all tests, on private servers that end with them.

use std::process::Command;
use std::thread::available_parallelism;

use anyhow::Result;
use celeriac_servers::{Durability, PythonEnvironment, RabbitRelease, Servers};
use clap::Args;

use crate::packages::Package;
use crate::run::{cargo, has_cargo, run, step};

/// Packages with tests that run Python.
const USE_PYTHON: [&str; 2] = ["celeriac-servers", "celeriac-tests"];

#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Test only this package; can be given several times
    #[arg(short, long = "package", value_name = "NAME")]
    packages: Vec<String>,
    /// Run only the half of the delivery tests that needs no server: a broker in memory, and SQLite
    #[arg(long, conflicts_with_all = ["packages", "broker"])]
    in_process: bool,
    /// Run on this RabbitMQ: `installed` (the machine's own) or `4`
    #[arg(long, value_name = "RELEASE")]
    broker: Option<RabbitRelease>,
    /// Run only tests whose name contains one of these
    filters: Vec<String>,
}

pub(crate) fn test(options: &Options) -> Result<()> {
    if options.in_process {
        return in_process(&options.filters);
    }
    let servers = start(options.broker)?;
    if options.packages.is_empty() || options.packages.iter().any(|package| USE_PYTHON.contains(&package.as_str())) {
        // Created here, so that no test waits for downloads.
        step("python", PythonEnvironment::obtain)?;
    }
    step("tests", || {
        let scope = scope(&options.packages);
        let mut command = if has_cargo("nextest") {
            nextest()
        } else {
            // Named one by one, because without a name cargo would run doctests here and again
            // below.
            cargo(&["test", "--lib", "--bins", "--tests"])
        };
        command.args(scope);
        run(command.arg("--").args(&options.filters).envs(servers.environment()))
    })?;
    let documented = documented(&options.packages)?;
    if documented.is_empty() && !options.packages.is_empty() {
        return Ok(());
    }
    step("doctests", || {
        let mut command = cargo(&["test", "--doc"]);
        run(command.args(scope(&documented)).arg("--").args(&options.filters).envs(servers.environment()))
    })
}

/// Runs twice as many tests at once as there are processors, because most of them wait for a broker
/// most of the time. `.config/nextest.toml` names those that keep the machine busy.
fn nextest() -> Command {
    let threads = 2 * available_parallelism().map_or(1, usize::from);
    let mut command = cargo(&["nextest", "run"]);
    // All failures in one report: servers and builds cost more than the remaining tests.
    command.args(["--no-fail-fast", "--test-threads", &threads.to_string()]);
    command
}

/// Runs the tests `…::in_process` of the delivery suite, or those that match `filters`.
fn in_process(filters: &[String]) -> Result<()> {
    step("tests in process", || {
        let delivery = ["--package", "celeriac-tests", "--test", "delivery"];
        if has_cargo("nextest") {
            let mut command = nextest();
            return run(command.args(delivery).args(["-E", "test(/::in_process$/)", "--"]).args(filters));
        }
        let mut command = cargo(&["test"]);
        let names = if filters.is_empty() { vec!["::in_process".to_owned()] } else { filters.to_vec() };
        // A test on the real servers has the same name with another ending.
        run(command.args(delivery).args(["--", "--skip", "::real"]).args(names))
    })
}

/// Returns the servers named by the environment, else private ones. With `broker` the RabbitMQ is
/// private.
pub(crate) fn start(broker: Option<RabbitRelease>) -> Result<Servers> {
    step("servers", || Servers::obtain(Durability::Fast, broker))
}

fn scope(packages: &[String]) -> Vec<&str> {
    if packages.is_empty() {
        return vec!["--workspace"];
    }
    packages.iter().flat_map(|package| ["--package", package]).collect()
}

fn documented(packages: &[String]) -> Result<Vec<String>> {
    let mut documented = Vec::new();
    for name in packages {
        if Package::named(name)?.has_doctests() {
            documented.push(name.clone());
        }
    }
    Ok(documented)
}
