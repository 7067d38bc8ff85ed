//! `traced`: traces in Jaeger's interface, and pictures of them.

use anyhow::Result;
use celeriac_servers::protoc;
use clap::Args;

use crate::run::{cargo, run, step, target, workspace};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Check the traces, take the pictures in docs/pictures again, and end
    #[arg(long)]
    pictures: bool,
}

pub(crate) fn traced(options: &Options) -> Result<()> {
    let mut command = cargo(&["run", "--quiet"]);
    // It is outside the workspace, and so is what it builds.
    command.arg("--manifest-path").arg(workspace().join("tests/jaeger/Cargo.toml"));
    command.env("CARGO_TARGET_DIR", target().join("jaeger")).env("PROTOC", protoc()?);
    if !options.pictures {
        return run(&mut command);
    }
    command.args(["--", "--pictures"]).arg(workspace().join("docs/pictures"));
    step("pictures of traces", || run(&mut command))
}
