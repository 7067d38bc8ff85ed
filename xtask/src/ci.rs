//! `ci`: everything that must pass before a merge.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use celeriac_servers::PythonEnvironment;

use crate::check::check;
use crate::dependencies::deny;
use crate::packages::Package;
use crate::run::{cargo, run, step, workspace};
use crate::sbom::{self, sbom};
use crate::test::{self, start, test};

const FACADE: &str = "celeriac";

pub(crate) fn ci() -> Result<()> {
    step("ci", || {
        check()?;
        step("dependencies", deny)?;
        features()?;
        test(&test::Options::of_ci())?;
        step("quickstart", || run(&mut cargo(&["run", "--package", FACADE, "--example", "quickstart"])))?;
        example()?;
        step("bill of materials", || sbom(&sbom::Options::default()))
    })
}

/// Runs the example shop with its Python and Rust halves, as its README does.
fn example() -> Result<()> {
    let servers = start(None)?;
    let python = PythonEnvironment::obtain()?;
    step("example", || {
        let mut command = Command::new(workspace().join("examples/celery/run.sh"));
        command.current_dir(workspace());
        command.env("CELERIAC__BROKER__URL", servers.amqp_url());
        command.env("CELERIAC__RESULTS__URL", servers.database_url());
        // The tests' own environment has everything that the example needs.
        if let Some(environment) = python.python().parent().and_then(Path::parent) {
            command.env("SHOP_VENV", environment);
        }
        run(&mut command)
    })
}

/// Checks each feature alone, because together they hide a missing dependency.
fn features() -> Result<()> {
    let alone = ["check", "--package", FACADE, "--no-default-features"];
    step("no features", || run(&mut cargo(&alone)))?;
    for feature in Package::named(FACADE)?.features() {
        step(&format!("feature {feature}"), || run(cargo(&alone).args(["--features", feature])))?;
    }
    Ok(())
}
