//! A Python with the Celery of the interop tests.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::folder;
use crate::install::find_or_install;
use crate::program::{is_program, on_path, run};
use crate::wait::until;

/// Path of a Python interpreter with these packages, for machines that cannot download them.
pub const PYTHON: &str = "CELERIAC_TEST_PYTHON";

const REQUIREMENTS: &str = include_str!("../../interop/python/requirements.txt");
// Packages may have to be downloaded.
const INSTALL: Duration = Duration::from_secs(15 * 60);
const BEGUN: &str = "begun-";
const ANSWER: Duration = Duration::from_secs(60);

/// A Python with the packages of `tests/interop/python/requirements.txt`.
///
/// It is a virtual environment that is made once and shared by all processes of this user. Other
/// requirements have an environment of their own.
#[derive(Clone, Debug)]
pub struct PythonEnvironment {
    python: PathBuf,
}

impl PythonEnvironment {
    /// Takes the interpreter named by [`PYTHON`], else the shared environment, which is made if it
    /// is missing. If that fails, the error says what can be done.
    pub fn obtain() -> Result<Self> {
        let environment = match std::env::var_os(PYTHON).filter(|path| !path.is_empty()) {
            Some(python) => Self { python: PathBuf::from(python) },
            None => Self::of(REQUIREMENTS).map_err(|error| {
                anyhow!(
                    "no Python with Celery: {error:#}. Do one of these:\n\
                     - install Python 3.10 or later with its venv module: `apt-get install python3-venv`, `brew install python`\n\
                     - run this as root on Debian or Ubuntu, and that is installed for you\n\
                     - give pip a way to the packages: a network, or PIP_INDEX_URL or PIP_FIND_LINKS\n\
                     - name an interpreter that has them: {PYTHON}=/path/to/python, after `pip install -r \
                     tests/interop/python/requirements.txt`"
                )
            })?,
        };
        environment.version("celery").context("no Python with Celery")?;
        Ok(environment)
    }

    /// Returns the shared environment of other requirements. Makes it if it is missing.
    pub fn of(requirements: &str) -> Result<Self> {
        let base = find_or_install(usable_python, "python3-venv")?;
        let root = folder::shared("python")?;
        // One at a time: others wait for the first one's result.
        let lock = File::create(root.join("lock"))?;
        until("another process to make the Python environment", INSTALL, || Ok(lock.try_lock().is_ok().then_some(())))?;
        let home = root.join(name_of(requirements));
        let found = Self { python: home.join("bin/python") };
        // The interpreter is a link to the system's, which may have been replaced by a later one.
        if is_program(&found.python) && found.has_first_of(requirements) {
            return Ok(found);
        }
        make(&base, &root, &home, requirements)?;
        Ok(found)
    }

    /// Returns the path of a program that a package of this environment installs. It may be
    /// missing.
    pub fn program(&self, name: &str) -> PathBuf {
        self.python.with_file_name(name)
    }

    /// Returns the interpreter.
    pub fn python(&self) -> &Path {
        &self.python
    }

    /// Returns the version of an installed package.
    pub fn version(&self, package: &str) -> Result<String> {
        let ask = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))";
        Ok(run(Command::new(&self.python).args(["-c", ask, package]), ANSWER)?.trim().to_owned())
    }

    fn has_first_of(&self, requirements: &str) -> bool {
        let mut packages = requirements.lines().filter_map(|line| line.split_once("=="));
        packages.next().is_some_and(|(package, _)| self.version(package).is_ok())
    }
}

/// Makes an environment under another name and moves it into place, so that an incomplete one is
/// never used.
#[expect(clippy::print_stderr, reason = "it takes a minute")]
fn make(base: &Path, root: &Path, home: &Path, requirements: &str) -> Result<()> {
    eprintln!("making a Python environment in {}", home.display());
    for entry in fs::read_dir(root)?.flatten() {
        // The remains of a killed process, and an environment that no longer works.
        if entry.path() == home || entry.file_name().to_string_lossy().starts_with(BEGUN) {
            fs::remove_dir_all(entry.path()).with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
    }
    let begun = root.join(format!("{BEGUN}{}", std::process::id()));
    run(Command::new(base).args(["-m", "venv"]).arg(&begun), INSTALL)?;
    let file = begun.join("requirements.txt");
    fs::write(&file, requirements)?;
    let options = ["-m", "pip", "install", "--quiet", "--no-input", "--no-deps", "--disable-pip-version-check"];
    run(Command::new(begun.join("bin/python")).args(options).arg("--requirement").arg(&file), INSTALL)?;
    fs::rename(&begun, home).with_context(|| format!("cannot move the Python environment to {}", home.display()))
}

/// Returns a Python that can make virtual environments. Debian packages the module for it
/// separately.
fn usable_python() -> Option<PathBuf> {
    let python = on_path("python3")?;
    run(Command::new(&python).args(["-c", "import ensurepip, venv"]), ANSWER).ok()?;
    Some(python)
}

fn name_of(requirements: &str) -> String {
    let mut hasher = DefaultHasher::new();
    requirements.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_requirements_have_another_environment() {
        assert_ne!(name_of("celery==5.7.0"), name_of("celery==5.7.1"));
    }

    #[test]
    fn every_requirement_is_pinned() {
        let lines = REQUIREMENTS.lines().filter(|line| !line.starts_with('#'));
        for line in lines {
            assert!(line.contains("=="), "{line}");
        }
    }
}
