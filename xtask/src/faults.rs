//! `faults`: the fault tests in their long form.

use anyhow::Result;
use celeriac_servers::RabbitRelease;
use clap::Args;

use crate::run::{cargo, has_cargo, run, step};
use crate::test::{nextest, start};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Run on this RabbitMQ: `installed` (the machine's own) or `4`
    #[arg(long, value_name = "RELEASE")]
    broker: Option<RabbitRelease>,
    /// Run Celery under the same faults instead, for the figures in docs/faults.md
    #[arg(long)]
    peers: bool,
    /// Run only tests whose name contains one of these
    filters: Vec<String>,
}

pub(crate) fn faults(options: &Options) -> Result<()> {
    let servers = start(options.broker)?;
    step("faults", || {
        let tests = ["--package", "celeriac-tests", "--test", "faults"];
        let mut command = if has_cargo("nextest") {
            let mut command = nextest();
            // Each test prints its figures.
            command.args(["--profile", "long", "--success-output", "immediate"]);
            command.args(tests).arg("--");
            command
        } else {
            let mut command = cargo(&["test"]);
            command.args(tests).args(["--", "--nocapture", "--test-threads=1"]);
            command
        };
        if options.peers {
            command.arg("--ignored");
        }
        run(command.args(&options.filters).env("CELERIAC_FAULTS", "long").envs(servers.environment()))
    })
}
