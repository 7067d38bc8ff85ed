//! `fuzz`: millions of damaged and generated messages.

use anyhow::Result;
use clap::Args;

use crate::run::{cargo, run, step};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Number of inputs to try
    #[arg(default_value_t = 10_000_000)]
    iterations: u64,
    /// Seed of the random inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn fuzz(options: &Options) -> Result<()> {
    step("fuzz", || {
        let mut command =
            cargo(&["test", "--release", "--package", "celeriac-protocol", "--test", "fuzz", "--", "--nocapture"]);
        command.env("CELERIAC_FUZZ", options.iterations.to_string());
        run(command.env("CELERIAC_FUZZ_SEED", options.seed.to_string()))
    })
}
