//! `sbom`: the packages in a release, as a bill of materials for programs, and as their licences
//! for people.

mod checksums;
mod cyclonedx;
mod third_party;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use celeriac_servers::PythonEnvironment;
use clap::Args;

use self::checksums::Checksums;
use crate::packages::Graph;
use crate::run::{run, step, target, workspace};

/// The package of a release, with the binary.
const PACKAGE: &str = "celeriac";

/// The platforms of a release: those of `deny.toml`.
const PLATFORMS: [&str; 6] = [
    "x86_64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
    "aarch64-unknown-linux-gnu",
    "aarch64-unknown-linux-musl",
    "x86_64-apple-darwin",
    "aarch64-apple-darwin",
];

/// The validator, and all that it needs.
const REQUIREMENTS: &str = include_str!("../requirements/cyclonedx.txt");

const VALIDATE: &str = "
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1], encoding='utf-8').read())
sys.exit(str(error) if error else 0)
";

#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Validate the bill of materials against its schema, with a validator from PyPI
    #[arg(long)]
    validate: bool,
}

pub(crate) fn sbom(options: &Options) -> Result<()> {
    let graph = Graph::for_platforms(&PLATFORMS)?;
    let parts = graph.parts(PACKAGE);
    let root = parts.iter().find(|part| part.package.name() == PACKAGE);
    let root = root.with_context(|| format!("the workspace has no package {PACKAGE}"))?;
    let lock = fs::read_to_string(workspace().join("Cargo.lock")).context("cannot read Cargo.lock")?;

    let folder = target().join("sbom");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let bill = folder.join(format!("{PACKAGE}-{}.cdx.json", root.package.version()));
    let document = cyclonedx::document(root, &parts, &Checksums::read(&lock), &time_of_commit()?)?;
    fs::write(&bill, document).with_context(|| format!("cannot write {}", bill.display()))?;
    let licences = folder.join("THIRD-PARTY.txt");
    let text = third_party::text(root.package, &parts)?;
    fs::write(&licences, text).with_context(|| format!("cannot write {}", licences.display()))?;
    println!("{} packages: {} and {}", parts.len(), bill.display(), licences.display());
    if options.validate {
        step("validation of the bill of materials", || validate(&bill))?;
    }
    Ok(())
}

/// Returns the time of the last commit, so that one commit has one bill.
fn time_of_commit() -> Result<String> {
    let mut command = Command::new("git");
    let output = command.args(["log", "-1", "--format=%cI"]).current_dir(workspace()).output();
    let output = output.context("cannot run git")?;
    ensure!(output.status.success(), "git log failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn validate(bill: &Path) -> Result<()> {
    let environment = PythonEnvironment::of(REQUIREMENTS)?;
    run(Command::new(environment.python()).args(["-c", VALIDATE]).arg(bill))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const LOCK: &str = include_str!("../../Cargo.lock");

    #[test]
    fn the_bill_has_what_runs_and_no_tests() {
        let graph = Graph::for_platforms(&PLATFORMS).unwrap();
        let parts = graph.parts(PACKAGE);
        let root = parts.iter().find(|part| part.package.name() == PACKAGE).unwrap();
        let text = cyclonedx::document(root, &parts, &Checksums::read(LOCK), "2026-11-29T12:00:00Z").unwrap();
        let bill: Value = serde_json::from_str(&text).unwrap();
        let components = bill["components"].as_array().unwrap();
        let named = |name: &str| components.iter().find(|component| component["name"] == name);
        assert_eq!(named("lapin").unwrap()["scope"], "required");
        assert_eq!(named("syn").unwrap()["scope"], "excluded");
        assert!(named("insta").is_none() && named("proptest").is_none());
        for component in
            components.iter().filter(|component| !component["name"].as_str().unwrap().starts_with("celeriac"))
        {
            let complete = ["hashes", "licenses"].iter().all(|field| component[field][0].is_object());
            assert!(complete, "{component}");
        }
        let mut references: Vec<_> = components.iter().map(|component| &component["bom-ref"]).collect();
        references.push(&bill["metadata"]["component"]["bom-ref"]);
        for edges in bill["dependencies"].as_array().unwrap() {
            let uses = edges["dependsOn"].as_array().unwrap();
            assert!(uses.iter().chain([&edges["ref"]]).all(|reference| references.contains(&reference)), "{edges}");
        }
    }

    #[test]
    fn every_package_that_runs_has_the_text_of_its_licence() {
        let graph = Graph::for_platforms(&PLATFORMS).unwrap();
        let parts = graph.parts(PACKAGE);
        let root = parts.iter().find(|part| part.package.name() == PACKAGE).unwrap();
        let text = third_party::text(root.package, &parts).unwrap();
        assert!(text.contains("\nlapin 4."), "{}", &text[..2000]);
        assert!(text.contains("Copyright (c) Geoffroy Couprie"), "cookie-factory has no text of its own");
    }
}
