//! Prometheus' own checker of rules and queries.

use std::path::PathBuf;

use anyhow::{Result, anyhow};

use crate::install::find_or_install;
use crate::program::on_path;

const PROGRAM: &str = "promtool";
const PACKAGE: &str = "prometheus";

/// Returns the path of `promtool`. Installs Prometheus if it is missing and may be installed.
pub fn promtool() -> Result<PathBuf> {
    find_or_install(|| on_path(PROGRAM), PACKAGE).map_err(|error| {
        anyhow!("no promtool: {error:#}. Install it: `apt-get install {PACKAGE}`, `brew install {PACKAGE}`")
    })
}
