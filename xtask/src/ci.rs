//! `ci`: everything that has to pass before a merge.

use anyhow::Result;

use crate::check::check;
use crate::packages::Package;
use crate::run::{cargo, has_cargo, run, step};
use crate::test::{self, test};

const FACADE: &str = "celeriac";

pub(crate) fn ci() -> Result<()> {
    step("ci", || {
        check()?;
        features()?;
        test(&test::Options::default())?;
        step("quickstart", || run(&mut cargo(&["run", "--package", FACADE, "--example", "quickstart"])))?;
        deny()
    })
}

/// Each feature alone, since together they hide what one forgot to ask for.
fn features() -> Result<()> {
    let alone = ["check", "--package", FACADE, "--no-default-features"];
    step("no features", || run(&mut cargo(&alone)))?;
    for feature in Package::named(FACADE)?.features() {
        step(&format!("feature {feature}"), || run(cargo(&alone).args(["--features", feature])))?;
    }
    Ok(())
}

fn deny() -> Result<()> {
    if has_cargo("deny") {
        return step("licences and advisories", || run(&mut cargo(&["deny", "check"])));
    }
    println!("cargo-deny is not installed: licences and advisories were not checked");
    Ok(())
}
