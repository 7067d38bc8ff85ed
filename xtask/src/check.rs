//! `check`: checks that run nothing of the project.

use anyhow::Result;

use crate::run::{cargo, run, step};

pub(crate) fn check() -> Result<()> {
    step("formatting", || run(&mut cargo(&["fmt", "--all", "--check"])))?;
    step("lints", || run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])))?;
    step("documentation", || run(cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings")))?;
    step("public API", crate::api::check)?;
    step("record of dependencies", crate::dependencies::record)
}
