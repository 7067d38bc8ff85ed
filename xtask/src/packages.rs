//! Cargo's data about packages: those of the workspace, and all that they use.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::run::cargo;

/// Every package, and the edges between them.
#[derive(Deserialize)]
pub(crate) struct Graph {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Option<Resolve>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

impl Edge {
    /// Returns `true` for an edge of this kind. `None` is a plain dependency.
    fn is_of(&self, kind: Option<&str>) -> bool {
        self.dep_kinds.iter().any(|own| own.kind.as_deref() == kind)
    }
}

/// A package in a program.
pub(crate) struct Part<'a> {
    pub(crate) package: &'a Package,
    /// `false` for a macro, and for what only macros and build scripts use.
    pub(crate) at_run_time: bool,
    /// The packages that it is made from.
    pub(crate) uses: Vec<&'a Package>,
}

/// A package.
#[derive(Deserialize)]
pub(crate) struct Package {
    id: String,
    name: String,
    version: String,
    source: Option<String>,
    license: Option<String>,
    license_file: Option<PathBuf>,
    repository: Option<String>,
    authors: Vec<String>,
    manifest_path: PathBuf,
    features: BTreeMap<String, Vec<String>>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
    doctest: bool,
}

impl Graph {
    /// Returns the packages of the workspace and all that they use, with every feature.
    pub(crate) fn locked() -> Result<Self> {
        metadata(&["--all-features", "--locked"])
    }

    /// Returns the same, without what only other platforms than these use.
    pub(crate) fn for_platforms(platforms: &[&str]) -> Result<Self> {
        let platforms = platforms.iter().flat_map(|platform| ["--filter-platform", platform]);
        metadata(&["--all-features", "--locked"].into_iter().chain(platforms).collect::<Vec<_>>())
    }

    /// Returns the packages of others that packages of the workspace name, tests included.
    pub(crate) fn direct(&self) -> Vec<&Package> {
        let members = self.nodes().filter(|node| self.workspace_members.contains(&node.id));
        let used: Vec<_> = members.flat_map(|node| node.deps.iter().map(|edge| &edge.pkg)).collect();
        let external = self.packages.iter().filter(|package| !self.workspace_members.contains(&package.id));
        external.filter(|package| used.contains(&&package.id)).collect()
    }

    /// Returns the packages from which the package of this name is made, itself included, without
    /// what only its tests use.
    pub(crate) fn parts(&self, name: &str) -> Vec<Part<'_>> {
        let Some(root) = self.packages.iter().find(|package| package.name == name) else { return Vec::new() };
        let all = self.reachable(root, |edge| edge.is_of(None) || edge.is_of(Some("build")));
        let is_macro = |id: &str| self.package(id).is_some_and(|package| package.has_target("proc-macro"));
        let at_run_time = self.reachable(root, |edge| edge.is_of(None) && !is_macro(&edge.pkg));
        let parts = self.packages.iter().filter(|package| all.contains(package.id.as_str()));
        let part = |package| Part {
            package,
            at_run_time: at_run_time.contains(package.id.as_str()),
            uses: self.uses(package, &all),
        };
        parts.map(part).collect()
    }

    /// Returns the ids of the packages that edges of one kind lead to.
    fn reachable<'a>(&'a self, root: &'a Package, along: impl Fn(&Edge) -> bool) -> BTreeSet<&'a str> {
        let nodes: BTreeMap<_, _> = self.nodes().map(|node| (node.id.as_str(), node)).collect();
        let mut found = BTreeSet::new();
        let mut next = vec![root.id.as_str()];
        while let Some(id) = next.pop() {
            if found.insert(id) {
                let edges = nodes.get(id).into_iter().flat_map(|node| &node.deps);
                next.extend(edges.filter(|edge| along(edge)).map(|edge| edge.pkg.as_str()));
            }
        }
        found
    }

    fn uses(&self, package: &Package, all: &BTreeSet<&str>) -> Vec<&Package> {
        let node = self.nodes().find(|node| node.id == package.id);
        let edges = node.into_iter().flat_map(|node| &node.deps);
        let built = edges.filter(|edge| edge.is_of(None) || edge.is_of(Some("build")));
        built.filter(|edge| all.contains(edge.pkg.as_str())).filter_map(|edge| self.package(&edge.pkg)).collect()
    }

    fn package(&self, id: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.id == id)
    }

    fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.resolve.iter().flat_map(|resolve| &resolve.nodes)
    }
}

impl Package {
    /// Returns the package of this name.
    pub(crate) fn named(name: &str) -> Result<Self> {
        let found = metadata(&["--no-deps"])?.packages.into_iter().find(|package| package.name == name);
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

    /// Returns `true` for a package of this project.
    pub(crate) fn is_own(&self) -> bool {
        self.source.is_none()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    pub(crate) fn repository(&self) -> Option<&str> {
        self.repository.as_deref()
    }

    /// Returns its licence as an SPDX expression.
    pub(crate) fn licence(&self) -> Option<String> {
        // The older form of a choice.
        self.license.as_ref().map(|licence| licence.replace('/', " OR "))
    }

    /// Returns the file with its licence, if that has no usual name.
    pub(crate) fn licence_file(&self) -> Option<PathBuf> {
        self.license_file.as_ref().map(|file| self.folder().join(file))
    }

    pub(crate) fn authors(&self) -> &[String] {
        &self.authors
    }

    /// Returns the folder of its source.
    pub(crate) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }

    /// Returns `true` if it has a target of this kind, as `proc-macro` or `custom-build`.
    pub(crate) fn has_target(&self, kind: &str) -> bool {
        self.targets.iter().any(|target| target.kind.iter().any(|own| own == kind))
    }
}

fn metadata(options: &[&str]) -> Result<Graph> {
    let mut command = cargo(&["metadata", "--format-version", "1"]);
    let output = command.args(options).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("cannot read cargo metadata")
}
