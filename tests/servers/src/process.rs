//! Child processes that lead a process group of their own, and the tree of processes below them.

use std::collections::HashSet;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, kill_process, kill_process_group};

pub use rustix::process::Signal;

use crate::wait::patiently;

/// A child process that leads a process group. Ctrl-C in the terminal does not reach it, and one
/// signal reaches everything that it started.
///
/// Dropping it neither ends nor awaits it: that is the part of [`Guard`](crate::Guard).
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts the command in a process group of its own.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self { child })
    }

    /// Returns the process id, which is also the id of its group.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns its exit status, if it has ended.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("cannot ask whether a child has ended")
    }

    /// Waits for the end without requesting it. Returns `None` if it still runs after `within`.
    pub fn wait(&mut self, within: Duration) -> Result<Option<ExitStatus>> {
        patiently(within, || !matches!(self.exited(), Ok(None)));
        self.exited()
    }

    /// Signals only the process. Does nothing if it has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        // A reaped id may belong to another process by now.
        match (self.exited()?, self.pid()) {
            (None, Some(pid)) => kill_process(pid, signal).context("cannot signal a child"),
            _ => Ok(()),
        }
    }

    /// Signals the process and its group. Does nothing if it has ended.
    pub fn signal_group(&mut self, signal: Signal) -> Result<()> {
        match (self.exited()?, self.pid()) {
            (None, Some(pid)) => kill_process_group(pid, signal).context("cannot signal a process group"),
            _ => Ok(()),
        }
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }
}

/// A line of the process table.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Entry {
    pid: i32,
    parent: i32,
    zombie: bool,
}

/// Signals processes from the process table. They may have ended, which is not a failure.
pub(crate) fn signal_all(pids: &[i32], signal: Signal) {
    for pid in pids.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        let _ = kill_process(pid, signal);
    }
}

/// Sends SIGKILL to a process and all below it. Stops it first, so that it starts no others
/// meanwhile.
pub fn kill_below(root: u32) {
    let Ok(own) = i32::try_from(root) else { return };
    signal_all(&[own], Signal::STOP);
    let below = descendants(root).unwrap_or_default();
    signal_all(&below, Signal::KILL);
    signal_all(&[own], Signal::KILL);
}

/// Returns all processes below `root`, without `root`.
pub(crate) fn descendants(root: u32) -> Result<Vec<i32>> {
    let Ok(root) = i32::try_from(root) else { return Ok(Vec::new()) };
    Ok(below(root, &table()?))
}

/// Returns `true` if one of these still executes. A zombie has closed its files and left its
/// memory.
pub(crate) fn any_runs(pids: &[i32]) -> Result<bool> {
    Ok(table()?.iter().any(|entry| !entry.zombie && pids.contains(&entry.pid)))
}

fn below(root: i32, table: &[Entry]) -> Vec<i32> {
    let mut found = vec![root];
    let mut seen = HashSet::from([root]);
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(
            table.iter().filter(|entry| entry.parent == parent && seen.insert(entry.pid)).map(|entry| entry.pid),
        );
        next += 1;
    }
    found.remove(0);
    found
}

fn table() -> Result<Vec<Entry>> {
    // Minimal systems have /proc and no ps; others have ps and no /proc.
    if Path::new("/proc/self/stat").exists() { from_proc() } else { from_ps() }
}

fn from_proc() -> Result<Vec<Entry>> {
    let mut table = Vec::new();
    for entry in std::fs::read_dir("/proc").context("cannot read /proc")?.flatten() {
        if let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) {
            table.extend(parse_stat(&stat));
        }
    }
    Ok(table)
}

/// Parses `pid (name) state parent …`. The name may contain spaces and parentheses.
fn parse_stat(stat: &str) -> Option<Entry> {
    let (pid, rest) = stat.split_once(" (")?;
    let mut fields = rest.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    Some(Entry { pid: pid.parse().ok()?, parent: fields.next()?.parse().ok()?, zombie: state == "Z" || state == "X" })
}

fn from_ps() -> Result<Vec<Entry>> {
    let output = Command::new("ps").args(["-A", "-o", "pid=,ppid=,stat="]).output().context("cannot run ps")?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(parse_ps).collect())
}

fn parse_ps(line: &str) -> Option<Entry> {
    let mut fields = line.split_whitespace();
    let (pid, parent, state) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Entry { pid: pid.parse().ok()?, parent: parent.parse().ok()?, zombie: state.starts_with('Z') })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn entry(pid: i32, parent: i32) -> Entry {
        Entry { pid, parent, zombie: false }
    }

    #[test]
    fn reads_a_line_of_proc() {
        assert_eq!(parse_stat("42 (a) b (c) S 7 42 42 0"), Some(entry(42, 7)));
        assert_eq!(parse_stat("43 (sh) Z 42 42 42 0"), Some(Entry { pid: 43, parent: 42, zombie: true }));
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn reads_a_line_of_ps() {
        assert_eq!(parse_ps("   42     7 Ss+"), Some(entry(42, 7)));
        assert_eq!(parse_ps("43 42 Z"), Some(Entry { pid: 43, parent: 42, zombie: true }));
    }

    #[test]
    fn finds_children_of_children_and_nobody_else() {
        let table = [entry(2, 1), entry(3, 2), entry(9, 1), entry(4, 3), entry(5, 2)];
        assert_eq!(below(2, &table), [3, 5, 4]);
        assert_eq!(below(9, &table), [] as [i32; 0]);
    }

    #[test]
    fn a_signal_to_the_group_reaches_what_the_child_started() {
        let mut child = Process::spawn(Command::new("sh").args(["-c", "sleep 600 & wait"])).unwrap();
        let below = crate::until("the grandchild", Duration::from_secs(10), || {
            Ok(Some(descendants(child.id())?).filter(|found| !found.is_empty()))
        })
        .unwrap();
        assert!(any_runs(&below).unwrap());
        child.signal_group(Signal::KILL).unwrap();
        assert!(child.wait(Duration::from_secs(10)).unwrap().is_some());
        assert!(patiently(Duration::from_secs(10), || !any_runs(&below).unwrap()));
    }
}
