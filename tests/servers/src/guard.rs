//! A watchdog that ends its owner's processes when the owner has ended in any way.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::folder;
use crate::wait::{patiently, until};

// The shell reads a pipe whose other end only the owner holds. When the owner ends, even by
// SIGKILL, the pipe ends. A named pipe makes the shell wait for a process that opens it. A process
// that has ended without being reaped, as in a container without an init, counts as ended.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
folder=$1 keep=$2 pid=$3
if [ -n "$4" ]; then exec <"$4"; fi
while read -r word value; do
    case $word in
        pid) pid=$value ;;
        keep) keep=yes ;;
        release) exit 0 ;;
    esac
done
runs() {
    kill -s 0 -- "-$pid" && ! grep -q ') Z ' "/proc/$pid/stat"
}
end() {
    [ -n "$pid" ] || return 0
    kill -s CONT -- "-$pid"
    kill -s "$1" -- "-$pid"
    left=100
    while [ "$left" -gt 0 ] && runs; do
        sleep 0.1
        left=$((left - 1))
    done
    kill -s KILL -- "-$pid"
}
"#;
const AFTERWARDS: &str = r#"
if [ -n "$folder" ] && [ -z "$keep" ]; then rm -rf "$folder" || { sleep 1; rm -rf "$folder"; }; fi
"#;

/// The named pipe of a detached server's guard.
const PIPE: &str = "stop";

/// Longer than the guard's own patience with a process that does not end.
const PATIENCE: Duration = Duration::from_secs(30);

/// The way in which a guard ends its process group.
#[derive(Clone, Debug)]
pub enum Ending {
    /// SIGKILL.
    Kill,
    /// SIGQUIT, the immediate shutdown of Postgres, which removes its shared memory. SIGKILL after
    /// ten seconds.
    Quit,
    /// SIGTERM. SIGKILL after ten seconds.
    Terminate,
    /// This shell command, for servers without a process to signal.
    Run(String),
}

impl Ending {
    fn script(&self) -> String {
        let ending = match self {
            Self::Kill => "end KILL",
            Self::Quit => "end QUIT",
            Self::Terminate => "end TERM",
            Self::Run(command) => command,
        };
        format!("{SCRIPT}{ending}\n{AFTERWARDS}")
    }
}

/// A small shell process in a group of its own.
///
/// When this value is dropped, or this process ends in any way, it ends its process group and
/// removes its folder. Only [`release`](Self::release) ends it without an effect.
#[derive(Debug)]
pub struct Guard {
    shell: Child,
}

impl Guard {
    /// Starts a guard. It removes `folder` at the end, unless CELERIAC_TEST_KEEP is set.
    pub fn start(ending: &Ending, folder: Option<&Path>) -> Result<Self> {
        let keep = if folder::keep() { "yes" } else { "" };
        let mut shell = shell(ending);
        shell.arg(folder.unwrap_or(Path::new(""))).arg(keep).stdin(Stdio::piped());
        Ok(Self { shell: shell.spawn().context("cannot start the shell that guards a server")? })
    }

    /// Makes the guard responsible for the process group with this id.
    pub fn watch(&mut self, group: u32) {
        self.tell(&format!("pid {group}"));
    }

    /// Ends that responsibility: the process group has ended, and its id may be reused.
    pub fn forget(&mut self) {
        self.tell("pid");
    }

    /// Keeps the folder.
    pub(crate) fn keep(&mut self) {
        self.tell("keep");
    }

    /// Ends only the guard.
    pub fn release(mut self) {
        self.tell("release");
    }

    /// Hands the process group to a guard that outlives this process and acts when [`end_detached`]
    /// is called.
    pub(crate) fn hand_over(self, ending: &Ending, folder: &Path, group: Option<u32>) -> Result<()> {
        let pipe = folder.join(PIPE);
        let made = Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status().context("cannot run mkfifo")?;
        ensure!(made.success(), "cannot make the pipe {}", pipe.display());
        let group = group.map(|group| group.to_string()).unwrap_or_default();
        let mut successor = shell(ending);
        successor.arg(folder).args(["", &group]).arg(pipe).stdin(Stdio::null());
        successor.spawn().context("cannot start the shell that guards a server")?;
        self.release();
        Ok(())
    }

    /// Closes the pipe, and calls `meanwhile` while the guard works.
    pub(crate) fn end(&mut self, mut meanwhile: impl FnMut()) {
        drop(self.shell.stdin.take());
        patiently(PATIENCE, || {
            meanwhile();
            !matches!(self.shell.try_wait(), Ok(None))
        });
    }

    fn tell(&mut self, words: &str) {
        // A killed guard cannot read; the owner still ends its own processes.
        if let Some(pipe) = &mut self.shell.stdin {
            let _ = writeln!(pipe, "{words}");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.end(|| {});
    }
}

fn shell(ending: &Ending) -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(ending.script()).arg("celeriac-guard");
    command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).current_dir("/");
    command
}

/// Ends the detached server of this folder and removes the folder. Returns `false` if it did not
/// run any more.
pub fn end_detached(folder: &Path) -> Result<bool> {
    if !folder.exists() {
        return Ok(false);
    }
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    // Opening fails without a reader: with a guard that has only just started, or none since the
    // machine was restarted.
    let opened = patiently(Duration::from_secs(2), || {
        fs::OpenOptions::new().write(true).custom_flags(nonblocking).open(folder.join(PIPE)).is_ok()
    });
    if opened {
        let what = format!("the server in {} to end", folder.display());
        until(&what, PATIENCE, || Ok((!folder.exists()).then_some(())))?;
        return Ok(true);
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Process;

    const SOON: Duration = Duration::from_secs(10);

    fn sleeper() -> Process {
        Process::spawn(Command::new("sleep").arg("600")).unwrap()
    }

    #[test]
    fn the_end_of_the_pipe_ends_the_group_and_removes_the_folder() {
        for ending in [Ending::Kill, Ending::Quit, Ending::Terminate] {
            let folder = folder::private("guard").unwrap();
            let mut process = sleeper();
            let mut guard = Guard::start(&ending, Some(&folder)).unwrap();
            guard.watch(process.id());
            guard.end(|| {
                let _ = process.exited();
            });
            assert!(process.exited().unwrap().is_some(), "{ending:?}");
            assert!(!folder.exists(), "{ending:?}");
        }
    }

    #[test]
    fn a_released_guard_leaves_everything_alone() {
        let folder = folder::private("guard").unwrap();
        let mut process = sleeper();
        let mut guard = Guard::start(&Ending::Kill, Some(&folder)).unwrap();
        guard.watch(process.id());
        guard.release();
        assert!(process.exited().unwrap().is_none());
        assert!(folder.exists());

        process.signal_group(crate::Signal::KILL).unwrap();
        process.wait(SOON).unwrap();
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_was_handed_over_ends_when_it_is_told_to() {
        let folder = folder::private("guard").unwrap();
        let mut process = sleeper();
        let guard = Guard::start(&Ending::Kill, Some(&folder)).unwrap();
        guard.hand_over(&Ending::Kill, &folder, Some(process.id())).unwrap();
        assert!(process.exited().unwrap().is_none());

        let ended = std::thread::scope(|scope| {
            let ended = scope.spawn(|| end_detached(&folder).unwrap());
            assert!(process.wait(SOON).unwrap().is_some());
            ended.join().unwrap()
        });
        assert!(ended && !folder.exists());
        assert!(!end_detached(&folder).unwrap());
    }
}
