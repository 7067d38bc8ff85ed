//! `soak`: hours of mixed work, and a verdict on what grows.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::run::{cargo, run, step, target};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Length of the run; at least 1 for a verdict that means something
    #[arg(long, default_value_t = 1.1)]
    hours: f64,
    /// Tasks sent in a second
    #[arg(long, default_value_t = 50)]
    rate: u32,
}

const PROGRAMS: [&str; 2] = ["celeriac-soak", "celeriac-test-program"];

pub(crate) fn soak(options: &Options) -> Result<()> {
    step("build", || run(&mut cargo(&["build", "--release", "--package", "celeriac-tests", "--bins"])))?;
    let folder = target().join("soak");
    fs::create_dir_all(&folder)?;
    for name in PROGRAMS {
        // Copies, because a build during the run would replace the programs.
        let built = target().join("release").join(name);
        fs::copy(&built, folder.join(name)).with_context(|| format!("cannot copy {}", built.display()))?;
    }
    step("soak", || {
        let mut command = Command::new(folder.join("celeriac-soak"));
        command.current_dir(&folder).arg("--folder").arg(&folder);
        command.args(["--hours", &options.hours.to_string(), "--rate", &options.rate.to_string()]);
        run(&mut command)
    })
}
