//! The checkers that other systems bring for their own files.

use std::path::PathBuf;

use anyhow::{Result, anyhow};

use crate::install::find_or_install;
use crate::program::on_path;

/// Returns the path of `promtool`, Prometheus' checker of rules and queries. Installs Prometheus if
/// it is missing and may be installed.
pub fn promtool() -> Result<PathBuf> {
    let package = "prometheus";
    find_or_install(|| on_path("promtool"), package).map_err(|error| {
        anyhow!("no promtool: {error:#}. Install it: `apt-get install {package}`, `brew install {package}`")
    })
}

/// Returns the path of `logrotate`. Installs it if it is missing and may be installed.
pub fn logrotate() -> Result<PathBuf> {
    let package = "logrotate";
    // Debian's folder for programs of the administrator is not on every path.
    let own = || Some(PathBuf::from("/usr/sbin/logrotate")).filter(|path| path.exists());
    find_or_install(|| on_path("logrotate").or_else(own), package)
        .map_err(|error| anyhow!("no logrotate: {error:#}. Install it: `apt-get install {package}`"))
}

/// Returns the path of `systemd-analyze`, systemd's checker of units. Installs systemd if it is
/// missing and may be installed, which starts nothing.
pub fn systemd_analyze() -> Result<PathBuf> {
    let package = "systemd";
    find_or_install(|| on_path("systemd-analyze"), package)
        .map_err(|error| anyhow!("no systemd-analyze: {error:#}. Install it: `apt-get install {package}`"))
}
