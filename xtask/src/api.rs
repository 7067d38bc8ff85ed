//! `api`: the public API of the façade as text. A reviewer approves each change of it.
//!
//! The crate `public-api` lists rustdoc's JSON of each crate. `surface` makes one text of the
//! lists, in which every item has the path that users write.

mod surface;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use self::surface::{Export, surface};
use crate::run::{cargo, run, target, workspace};

/// File of the approved text.
const APPROVED: &str = "docs/public-api.txt";

/// Crates whose items the façade may export.
const CRATES: [&str; 11] =
    ["broker", "cli", "client", "config", "macros", "protocol", "results", "telemetry", "topology", "units", "worker"];

/// Set for processes that cargo runs as rustdoc.
const AS_RUSTDOC: &str = "CELERIAC_XTASK_RUSTDOC";

/// Version of rustdoc's JSON that `public-api` reads. A toolchain with another version needs
/// another `public-api`.
const FORMAT: u64 = 57;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Compare with the approved text, and write nothing
    #[arg(long)]
    check: bool,
}

/// Writes the approved text, or compares with it.
pub(crate) fn api(options: &Options) -> Result<()> {
    if options.check {
        return check();
    }
    let text = current()?.context("this toolchain's rustdoc writes another format")?;
    std::fs::write(workspace().join(APPROVED), text)?;
    println!("{APPROVED} is written: read its difference before you commit it");
    Ok(())
}

/// Compares the public API with the approved text.
pub(crate) fn check() -> Result<()> {
    let Some(text) = current()? else { return Ok(()) };
    let approved = std::fs::read_to_string(workspace().join(APPROVED)).unwrap_or_default();
    let changes = changes(&approved, &text);
    ensure!(
        changes.is_empty(),
        "the public API is not that of {APPROVED}:\n{}\nif that is meant: cargo xtask api",
        changes.join("\n")
    );
    Ok(())
}

/// Returns the lines that only one of the texts has.
fn changes(approved: &str, current: &str) -> Vec<String> {
    let only = |mark: char, lines: &str, other: &str| {
        let other: Vec<_> = other.lines().collect();
        lines.lines().filter(|line| !other.contains(line)).map(|line| format!("{mark} {line}")).collect::<Vec<_>>()
    };
    let mut changes = only('-', approved, current);
    changes.extend(only('+', current, approved));
    changes
}

/// Returns the present text, or `None` if the toolchain's rustdoc writes another format.
fn current() -> Result<Option<String>> {
    document()?;
    let facade: Value = serde_json::from_slice(&std::fs::read(json_of("celeriac"))?)?;
    let format = facade["format_version"].as_u64().unwrap_or_default();
    if format != FORMAT {
        println!("rustdoc writes format {format}, and {FORMAT} is read: the public API was not compared");
        return Ok(None);
    }
    let mut exports = Vec::new();
    exports_of(&facade, &facade["root"], "celeriac", &mut exports)?;
    let mut lists = BTreeMap::from([("celeriac".to_owned(), list(Path::new(&json_of("celeriac")))?)]);
    for name in CRATES {
        lists.insert(format!("celeriac_{name}"), list(&json_of(&format!("celeriac_{name}")))?);
    }
    surface(&exports, &lists).map(Some)
}

fn json_of(library: &str) -> PathBuf {
    target().join("doc").join(format!("{library}.json"))
}

/// Runs rustdoc with JSON output. Cargo runs this program as rustdoc, because only rustdoc may see
/// `RUSTC_BOOTSTRAP`: build scripts that read it would rebuild all dependencies.
fn document() -> Result<()> {
    let mut command = cargo(&["doc", "--no-deps", "--quiet", "--package", "celeriac"]);
    for name in CRATES {
        command.arg("--package").arg(format!("celeriac-{name}"));
    }
    let flags = "-Z unstable-options --output-format json --cap-lints allow";
    let own = std::env::current_exe()?;
    run(command.arg("--lib").env("RUSTDOC", own).env("RUSTDOCFLAGS", flags).env(AS_RUSTDOC, "1"))
}

/// Runs rustdoc if cargo runs this process as rustdoc. Returns its exit code.
pub(crate) fn as_rustdoc() -> Option<Result<i32>> {
    std::env::var_os(AS_RUSTDOC)?;
    let mut command = Command::new("rustdoc");
    command.args(std::env::args_os().skip(1)).env("RUSTC_BOOTSTRAP", "1").env_remove(AS_RUSTDOC);
    let ended = command.status().context("cannot run rustdoc");
    Some(ended.map(|status| status.code().unwrap_or(1)))
}

fn list(json: &Path) -> Result<Vec<String>> {
    let api = public_api::Builder::from_rustdoc_json(json).omit_blanket_impls(true).omit_auto_trait_impls(true).build();
    let api = api.with_context(|| format!("cannot read {}", json.display()))?;
    Ok(api.items().map(ToString::to_string).collect())
}

/// Collects the items of other crates that a module exports, each with its path there.
fn exports_of(facade: &Value, module: &Value, path: &str, exports: &mut Vec<Export>) -> Result<()> {
    let item = |id: &Value| &facade["index"][id.to_string()];
    let members = item(module)["inner"]["module"]["items"].as_array().context("a module has no items")?;
    for id in members {
        let member = item(id);
        let inner = &member["inner"];
        if inner["module"].is_object() {
            let name = member["name"].as_str().context("a module has no name")?;
            exports_of(facade, id, &format!("{path}::{name}"), exports)?;
        } else if inner["use"].is_object() {
            let used = &inner["use"];
            let name = used["name"].as_str().unwrap_or_default();
            if used["is_glob"] == true {
                bail!("{path} exports all of {}: name what it exports", used["source"]);
            }
            let target = &facade["paths"][used["id"].to_string()];
            let segments: Vec<String> = target["path"]
                .as_array()
                .map(|path| path.iter().filter_map(Value::as_str).map(str::to_owned).collect())
                .unwrap_or_default();
            if segments.first().is_some_and(|library| library.starts_with("celeriac_")) {
                let is_module = target["kind"] == "module";
                exports.push(Export { target: segments, path: format!("{path}::{name}"), is_module });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_gone_and_one_that_is_new_are_changes() {
        let changes = changes("pub fn a()\npub fn b()\n", "pub fn b()\npub fn c()\n");
        assert_eq!(changes, ["- pub fn a()", "+ pub fn c()"]);
    }
}
