//! Cargo's data about the packages of the workspace.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::run::cargo;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// A package of the workspace.
#[derive(Deserialize)]
pub(crate) struct Package {
    name: String,
    features: std::collections::BTreeMap<String, Vec<String>>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    doctest: bool,
}

impl Package {
    /// Returns the package of this name.
    pub(crate) fn named(name: &str) -> Result<Self> {
        let output = cargo(&["metadata", "--no-deps", "--format-version", "1"]).output().context("cannot run cargo")?;
        ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
        let metadata: Metadata = serde_json::from_slice(&output.stdout).context("cannot read cargo metadata")?;
        let found = metadata.packages.into_iter().find(|package| package.name == name);
        found.with_context(|| format!("the workspace has no package {name}"))
    }

    /// Returns its features except `default`.
    pub(crate) fn features(&self) -> impl Iterator<Item = &str> {
        self.features.keys().map(String::as_str).filter(|name| *name != "default")
    }

    /// Returns `true` if it has a library with examples to test. Cargo refuses to look for them
    /// elsewhere.
    pub(crate) fn has_doctests(&self) -> bool {
        self.targets.iter().any(|target| target.doctest)
    }
}
