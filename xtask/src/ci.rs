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
        examples()?;
        step("bill of materials", || sbom(&sbom::Options::default()))
    })
}

/// Runs the examples with Python and Rust halves, as their READMEs do.
fn examples() -> Result<()> {
    let servers = start(None)?;
    let python = PythonEnvironment::obtain()?;
    for (example, variable) in [("celery", "SHOP_VENV"), ("port", "FLEET_VENV")] {
        step(&format!("example {example}"), || {
            let mut command = Command::new(workspace().join("examples").join(example).join("run.sh"));
            command.current_dir(workspace());
            command.env("CELERIAC__BROKER__URL", servers.amqp_url());
            command.env("CELERIAC__RESULTS__URL", servers.database_url());
            // The tests' own environment has everything that the examples need.
            if let Some(environment) = python.python().parent().and_then(Path::parent) {
                command.env(variable, environment);
            }
            run(&mut command)
        })?;
    }
    Ok(())
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
