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
    /// Repeat a failed fault test once; see docs/decisions/0049-one-repeat-of-a-fault-test.md
    #[arg(long)]
    repeat_faults: bool,
    /// Run only tests whose name contains one of these
    filters: Vec<String>,
}

pub(crate) fn test(options: &Options) -> Result<()> {
    if options.in_process {
        return in_process(&options.filters);
    }
    let servers = start(options.broker)?;
    if options.concerns(&USE_PYTHON) {
        // Created here, so that no test waits for downloads.
        step("python", PythonEnvironment::obtain)?;
    }
    if !has_cargo("nextest") {
        // Named one by one, because without a name cargo would run doctests here and again below.
        let mut command = cargo(&["test", "--lib", "--bins", "--tests"]);
        command.args(scope(&options.packages)).arg("--").args(&options.filters);
        step("tests", || on(&servers, &mut command))?;
        return doctests(options, &servers);
    }
    step("tests", || on(&servers, chosen(&mut nextest(), options, "not binary(faults)")))?;
    doctests(options, &servers)?;
    if !options.concerns(&["celeriac-tests"]) {
        return Ok(());
    }
    // Their own servers, so that what hundreds of tests did to a broker is not taken for a fault.
    drop(servers);
    let servers = start(options.broker)?;
    step("fault tests", || {
        let mut command = nextest();
        if options.repeat_faults {
            command.args(["--retries", "1"]);
        }
        on(&servers, chosen(&mut command, options, "binary(faults)"))
    })
}

impl Options {
    /// Returns the options of a run for CI: all tests.
    pub(crate) fn of_ci() -> Self {
        Self { repeat_faults: true, ..Self::default() }
    }

    /// Returns `true` if tests of one of these packages are to run.
    fn concerns(&self, packages: &[&str]) -> bool {
        self.packages.is_empty() || self.packages.iter().any(|package| packages.contains(&package.as_str()))
    }
}

/// Limits a command to those of the chosen tests that this filter of nextest selects.
fn chosen<'a>(command: &'a mut Command, options: &Options, filter: &str) -> &'a mut Command {
    command.args(scope(&options.packages)).args(["--no-tests", "pass", "-E", filter]);
    command.arg("--").args(&options.filters)
}

fn doctests(options: &Options, servers: &Servers) -> Result<()> {
    let documented = documented(&options.packages)?;
    if documented.is_empty() && !options.packages.is_empty() {
        return Ok(());
    }
    step("doctests", || {
        let mut command = cargo(&["test", "--doc"]);
        on(servers, command.args(scope(&documented)).arg("--").args(&options.filters))
    })
}

/// Runs tests on these servers. After a failure, prints what RabbitMQ wrote about errors: the tests
/// see only their half of it.
fn on(servers: &Servers, command: &mut Command) -> Result<()> {
    let done = run(command.envs(servers.environment()));
    if done.is_err()
        && let Some(node) = servers.rabbit()
    {
        eprintln!("the last errors in the log of RabbitMQ:\n{}", node.last_errors());
    }
    done
}

/// Runs three times as many tests at once as there are processors, because most of them wait for a
/// broker most of the time. `.config/nextest.toml` names those that keep the machine busy.
pub(crate) fn nextest() -> Command {
    let threads = 3 * available_parallelism().map_or(1, usize::from);
    let mut command = cargo(&["nextest", "run"]);
    // Many failures in one report, because servers and builds cost more than the remaining tests.
    // Not all, because what fails so many tests fails the others too, each after its deadline.
    command.args(["--max-fail", "20", "--test-threads", &threads.to_string()]);
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
