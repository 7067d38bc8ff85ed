//! `bench`: the benchmarks, on servers that flush to disk.

use anyhow::Result;
use celeriac_servers::{Durability, Servers};
use clap::Args;

use crate::run::{cargo, run, step};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Arguments for the benchmarks
    #[arg(last = true)]
    args: Vec<String>,
}

pub(crate) fn bench(options: &Options) -> Result<()> {
    let servers = step("servers", || Servers::obtain(Durability::Real, None))?;
    let mut command = cargo(&["run", "--release", "--package", "celeriac-benches", "--"]);
    command.args(&options.args).envs(servers.environment());
    command.env("CELERIAC__BROKER__URL", servers.amqp_url());
    command.env("CELERIAC__RESULTS__URL", servers.database_url());
    run(&mut command)
}
