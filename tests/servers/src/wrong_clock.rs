//! The time of day of one process, by libfaketime.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use tempfile::TempDir;

use crate::install::find_or_install;

const PACKAGE: &str = "libfaketime";
const LIBRARY: &str = "libfaketimeMT.so.1";

/// A wrong time of day, for the processes that start with its variables. It can be set while they
/// run. Monotonic clocks stay right.
#[derive(Debug)]
pub struct WrongClock {
    library: PathBuf,
    folder: TempDir,
}

impl WrongClock {
    /// Returns a clock that is this many seconds ahead, or behind if the number is negative.
    /// Installs libfaketime if it is missing and may be installed.
    pub fn new(ahead: i64) -> Result<Self> {
        let library = find_or_install(find, PACKAGE)
            .map_err(|error| anyhow!("no libfaketime: {error:#}. Install it: `apt-get install {PACKAGE}`"))?;
        let clock = Self { library, folder: tempfile::tempdir()? };
        clock.set(ahead)?;
        Ok(clock)
    }

    /// Sets the clock, also for the processes that run.
    pub fn set(&self, ahead: i64) -> Result<()> {
        let new = self.folder.path().join("new");
        fs::write(&new, format!("{ahead:+}\n"))?;
        // A process never reads half of the file.
        fs::rename(&new, self.file()).with_context(|| format!("cannot set {}", self.file().display()))
    }

    /// Returns the variables of a process that is to have this clock.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", self.library.to_string_lossy().into_owned()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().to_string_lossy().into_owned()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("FAKETIME_DONT_RESET", "1".to_owned()),
        ]
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("time")
    }
}

/// Debian has it below a folder for each architecture.
fn find() -> Option<PathBuf> {
    let folders = fs::read_dir(Path::new("/usr/lib")).ok()?.flatten().map(|entry| entry.path());
    folders.map(|folder| folder.join("faketime").join(LIBRARY)).find(|library| library.exists())
}
