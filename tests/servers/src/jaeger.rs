//! The programs that `tests/jaeger` needs.

use std::path::PathBuf;

use anyhow::{Result, anyhow};

use crate::install::find_or_install;
use crate::program::on_path;

/// Returns the path of `protoc`, the compiler of protocol buffers. Installs it if it is missing and
/// may be installed.
pub fn protoc() -> Result<PathBuf> {
    let package = "protobuf-compiler";
    find_or_install(|| on_path("protoc"), package).map_err(|error| {
        anyhow!("no protoc: {error:#}. Install it: `apt-get install {package}`, `brew install protobuf`")
    })
}

/// Returns the path of Chromium. Installs it if it is missing and may be installed.
pub fn chromium() -> Result<PathBuf> {
    let package = "chromium";
    let names = ["chromium", "chromium-browser", "google-chrome"];
    find_or_install(|| names.into_iter().find_map(on_path), package).map_err(|error| {
        anyhow!("no Chromium: {error:#}. Install it: `apt-get install {package}`, `brew install {package}`")
    })
}
