//! `fuzz`: the fuzz tests in their long form.

use anyhow::Result;
use clap::Args;

use crate::run::{cargo, run, step};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seed of the random inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run only targets whose name contains one of these
    filters: Vec<String>,
}

pub(crate) fn fuzz(options: &Options) -> Result<()> {
    step("fuzz", || {
        let mut command = cargo(&["test", "--release", "--package", "celeriac-fuzz", "--test", "fuzz", "--"]);
        command.arg("--nocapture").args(&options.filters);
        command.env("CELERIAC_FUZZ_SECONDS", options.seconds.to_string());
        run(command.env("CELERIAC_FUZZ_SEED", options.seed.to_string()))
    })
}
