//! Common parts of private servers: a folder, a guard, and a process that can restart.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, Result, anyhow, bail};

use crate::folder;
use crate::guard::{Ending, Guard};
use crate::process::{Process, Signal, descendants, signal_all};
use crate::wait::interruption;

/// The home of one server.
///
/// Dropping it ends the server and removes the folder. The folder stays if the server has failed,
/// if the thread panics, or if CELERIAC_TEST_KEEP is set.
#[derive(Debug)]
pub(crate) struct Hosted {
    folder: PathBuf,
    ending: Ending,
    running: Mutex<Running>,
}

#[derive(Debug)]
struct Running {
    guard: Option<Guard>,
    process: Option<Process>,
    keep: bool,
}

impl Running {
    /// Releases the guard from an ended process: after it is reaped, its id may be reused.
    fn forget_ended(&mut self) {
        if let Some(process) = &mut self.process
            && !matches!(process.exited(), Ok(None))
            && let Some(guard) = &mut self.guard
        {
            guard.forget();
        }
    }
}

impl Hosted {
    /// Creates a folder and its guard.
    pub(crate) fn new(kind: &str, ending: Ending) -> Result<Self> {
        let folder = folder::private(kind)?;
        let guard = Some(Guard::start(&ending, Some(&folder))?);
        let hosted =
            Self { folder, ending, running: Mutex::new(Running { guard, process: None, keep: folder::keep() }) };
        fs::create_dir(hosted.logs()).context("cannot make the folder of the logs")?;
        Ok(hosted)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Starts the server. Its output goes to a log.
    pub(crate) fn launch(&self, command: &mut Command) -> Result<()> {
        let mut running = self.lock();
        if let Some(process) = &mut running.process
            && process.exited()?.is_none()
        {
            bail!("the server in {} already runs", self.folder.display());
        }
        let printed = fs::OpenOptions::new().create(true).append(true).open(self.logs().join("printed.log"))?;
        let process = Process::spawn(command.stdin(Stdio::null()).stderr(printed.try_clone()?).stdout(printed))?;
        if let Some(guard) = &mut running.guard {
            guard.watch(process.id());
        }
        running.process = Some(process);
        Ok(())
    }

    /// Returns `true` if the process exists, paused or not.
    pub(crate) fn alive(&self) -> bool {
        self.with(|process| Ok(process.exited()?.is_none())).is_ok_and(|alive| alive == Some(true))
    }

    /// Calls `act` with the process, if there is one.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Process) -> Result<T>) -> Result<Option<T>> {
        let mut running = self.lock();
        let done = running.process.as_mut().map(act).transpose();
        running.forget_ended();
        done
    }

    /// Signals only the process and waits for its end. Kills a process that does not end, and
    /// fails.
    pub(crate) fn end(&self, signal: Signal, within: Duration) -> Result<()> {
        let mut running = self.lock();
        let Some(mut process) = running.process.take() else { return Ok(()) };
        process.signal(signal)?;
        let ended = process.wait(within)?;
        if ended.is_none() {
            process.signal_group(Signal::KILL)?;
            process.wait(within)?;
        }
        if let Some(guard) = &mut running.guard {
            guard.forget();
        }
        drop(running);
        ended.map(drop).ok_or_else(|| self.failure(anyhow!("the server did not stop within {within:?}")))
    }

    /// Sends SIGKILL to the process and its group.
    pub(crate) fn kill(&self) -> Result<()> {
        self.with(|process| process.signal_group(Signal::KILL))?;
        self.end(Signal::KILL, Duration::from_secs(10))
    }

    /// Fails if the process has ended by itself.
    pub(crate) fn ensure_alive(&self) -> Result<()> {
        match self.with(Process::exited)? {
            Some(None) => Ok(()),
            Some(Some(status)) => bail!("the server ended by itself ({status})"),
            None => bail!("the server does not run"),
        }
    }

    /// Adds the end of the logs and the folder to an error. The folder is kept from then on.
    pub(crate) fn failure(&self, error: anyhow::Error) -> anyhow::Error {
        if interruption().load(Ordering::Relaxed) {
            return error;
        }
        self.lock().keep = true;
        let words = folder::last_words(&self.logs());
        anyhow!("{error:#}\nThe server's folder is {}{words}", self.folder.display())
    }

    /// Leaves the server running without this process, until [`end_detached`](crate::end_detached)
    /// is called with its folder.
    pub(crate) fn detach(self) -> Result<PathBuf> {
        let mut running = self.lock();
        let group = running.process.as_ref().map(Process::id);
        if let Some(guard) = running.guard.take() {
            guard.hand_over(&self.ending, &self.folder, group)?;
        }
        running.process = None;
        drop(running);
        Ok(self.folder.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner);
        running.forget_ended();
        let Some(mut guard) = running.guard.take() else { return };
        if running.keep || thread::panicking() {
            guard.keep();
            tell_kept(&self.folder);
        }
        // A paused process cannot react.
        if let Some(process) = &mut running.process
            && matches!(process.exited(), Ok(None))
        {
            signal_all(&descendants(process.id()).unwrap_or_default(), Signal::CONT);
        }
        // The guard ends the server, after a drop as after a death of this process. Meanwhile this
        // process must reap it.
        guard.end(|| {
            if let Some(process) = &mut running.process {
                let _ = process.exited();
            }
        });
        if let Some(process) = &mut running.process {
            let _ = process.signal_group(Signal::KILL);
            let _ = process.wait(Duration::from_secs(10));
        }
    }
}

#[expect(clippy::print_stderr, reason = "a failed test is read on the terminal")]
fn tell_kept(folder: &Path) {
    eprintln!("kept: data and logs of a server in {}", folder.display());
}
