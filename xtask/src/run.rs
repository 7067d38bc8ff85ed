//! Runs programs that end with this process, and ends this process on a signal.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use celeriac_servers::{Ending, Guard, Process, Signal, interruption, until};
use signal_hook::consts::{SIGINT, SIGTERM};

/// Time that a test runner may take to end its tests.
const GRACE: Duration = Duration::from_secs(20);

/// The signal that this process received; zero for none.
static RECEIVED: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// A program that failed.
#[derive(Debug)]
struct Failed {
    what: String,
    code: u8,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "`{}` failed with exit code {}", self.what, self.code)
    }
}

impl std::error::Error for Failed {}

/// Makes SIGINT and SIGTERM end waits and running programs, so that servers are ended in order.
pub(crate) fn heed_signals() -> Result<()> {
    let received = RECEIVED.get_or_init(Arc::default);
    for (signal, number) in [(SIGINT, 2), (SIGTERM, 15)] {
        signal_hook::flag::register_usize(signal, Arc::clone(received), number)?;
        signal_hook::flag::register(signal, Arc::clone(interruption()))?;
    }
    Ok(())
}

/// Returns the exit code for an error: that of the failed program, 128 and the signal after a
/// signal, else 1.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    let signal = RECEIVED.get().map_or(0, |received| received.load(Ordering::Relaxed));
    match (signal, error.downcast_ref::<Failed>()) {
        (0, Some(failed)) => failed.code,
        (0, None) => 1,
        (signal, _) => u8::try_from(128 + signal).unwrap_or(1),
    }
}

/// Returns a command for `cargo` with these arguments, in the folder of the workspace.
pub(crate) fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(words).current_dir(workspace());
    // `cargo xtask` describes xtask in these variables. Build scripts that read them, such as
    // ring's, would run again, and build half of the workspace again, after each change between
    // `cargo` and `cargo xtask`.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    command
}

/// Returns the folder of the workspace.
pub(crate) fn workspace() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// Returns the folder that cargo builds into.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Returns `true` if this subcommand of cargo is installed.
pub(crate) fn has_cargo(subcommand: &str) -> bool {
    let mut command = cargo(&[subcommand, "--version"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs a program to its end. It has a process group of its own, which ends with this process, even
/// a killed one.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    run_within(command, Duration::MAX)
}

/// Runs a program as [`run`] does, and ends it after this time.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let what = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");

    let mut process = Process::spawn(command.stdin(Stdio::null()))?;
    let mut guard = Guard::start(&Ending::Terminate, None)?;
    guard.watch(process.id());
    let ended = until(&format!("`{what}`"), limit, || process.exited());
    if ended.is_err() {
        // Test runners end their tests in order. The guard ends the rest of the group.
        process.signal_group(Signal::INT)?;
        process.wait(GRACE)?;
        drop(guard);
        process.exited()?;
    } else {
        guard.release();
    }
    let status = ended?;
    if status.success() {
        return Ok(());
    }
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) => Err(Failed { what, code }.into()),
        None => bail!("`{what}` failed: {status}"),
    }
}

/// Runs one step of several and prints its duration.
pub(crate) fn step<T>(name: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("── {name}");
    let begun = Instant::now();
    let done = act();
    let outcome = if done.is_ok() { "ok" } else { "FAILED" };
    eprintln!("── {name}: {outcome} in {:.1} s", begun.elapsed().as_secs_f64());
    done
}
