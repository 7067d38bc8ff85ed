//! A program in a process of its own, to be killed.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use celeriac_servers::kill_below;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::wait::PATIENCE;

/// Returns the path of the test program, which is beside the folder of the tests' own programs.
///
/// # Panics
/// Panics if it was not built.
pub fn path() -> String {
    let own = std::env::current_exe().expect("the path of this program");
    let folder = own.parent().and_then(Path::parent).expect("the folder of the build");
    let path = folder.join("celeriac-test-program");
    assert!(path.exists(), "{} was not built", path.display());
    path.to_string_lossy().into_owned()
}

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Program {
    child: Child,
    lines: watch::Receiver<Vec<String>>,
    readers: TaskTracker,
}

impl Program {
    /// Starts the test program, with these arguments and only these variables.
    ///
    /// # Panics
    /// Panics if it cannot be started.
    pub fn start(arguments: &[&str], variables: &[(&str, String)]) -> Self {
        Self::start_other(&path(), arguments, variables)
    }

    /// Starts another program, with these arguments and only these variables.
    ///
    /// # Panics
    /// Panics if it cannot be started.
    pub fn start_other(executable: &str, arguments: &[&str], variables: &[(&str, String)]) -> Self {
        Self::spawn(executable, arguments, variables, Stdio::null())
    }

    /// Starts the test program as [`start`](Self::start) does. It cannot reserve more address space
    /// than `limit` KiB: an allocation beyond it aborts the program.
    ///
    /// # Panics
    /// Panics if it cannot be started.
    pub fn start_within(limit: u64, arguments: &[&str], variables: &[(&str, String)]) -> Self {
        let limited = format!("ulimit -v {limit} && exec \"$0\" \"$@\"");
        let path = path();
        let shell: Vec<_> = ["-c", &limited, &path].into_iter().chain(arguments.iter().copied()).collect();
        Self::start_other("/bin/sh", &shell, variables)
    }

    /// Starts it as [`start_other`](Self::start_other) does, with an input to write to.
    ///
    /// # Panics
    /// Panics if it cannot be started.
    pub fn start_with_input(executable: &str, arguments: &[&str], variables: &[(&str, String)]) -> (Self, ChildStdin) {
        let mut program = Self::spawn(executable, arguments, variables, Stdio::piped());
        let input = program.child.stdin.take().expect("a pipe");
        (program, input)
    }

    fn spawn(executable: &str, arguments: &[&str], variables: &[(&str, String)], input: Stdio) -> Self {
        let mut child = Command::new(executable)
            .args(arguments)
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (*name, value.as_str())))
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{executable}: {error}"));
        let (sender, lines) = watch::channel(Vec::new());
        let tracker = TaskTracker::new();
        let output = child.stdout.take().expect("a pipe");
        let errors = child.stderr.take().expect("a pipe");
        let also = sender.clone();
        tracker.spawn(async move {
            let mut read = BufReader::new(output).lines();
            while let Ok(Some(line)) = read.next_line().await {
                sender.send_modify(|lines| lines.push(line));
            }
        });
        tracker.spawn(async move {
            let mut read = BufReader::new(errors).lines();
            while let Ok(Some(line)) = read.next_line().await {
                also.send_modify(|lines| lines.push(line));
            }
        });
        tracker.close();
        Self { child, lines, readers: tracker }
    }

    /// Waits for a line that contains `text`, and returns it.
    ///
    /// # Panics
    /// Panics if the program or the patience ends first.
    pub async fn says(&mut self, text: &str) -> String {
        self.says_within(PATIENCE, text).await
    }

    /// Does what [`says`](Self::says) does, with another patience.
    ///
    /// # Panics
    /// Panics if the program or the patience ends first.
    pub async fn says_within(&mut self, patience: Duration, text: &str) -> String {
        let mut lines = self.lines.clone();
        let said = |lines: &Vec<String>| lines.iter().any(|line| line.contains(text));
        match tokio::time::timeout(patience, lines.wait_for(said)).await {
            Ok(Ok(found)) => found.iter().find(|line| line.contains(text)).cloned().unwrap_or_default(),
            Ok(Err(_)) => panic!("the program ended and never said `{text}`:\n{}", self.output()),
            Err(_) => panic!("the program did not say `{text}` within {patience:?}:\n{}", self.output()),
        }
    }

    /// Returns everything that it has printed.
    pub fn output(&self) -> String {
        self.lines.borrow().join("\n")
    }

    /// Returns everything that it has printed, after its end, without the notice that it waits for
    /// a server: on a busy machine any verb may print that.
    pub async fn rest(&self) -> String {
        let is_notice = |line: &&str| {
            ["broker", "database"].iter().any(|server| line.starts_with(&format!("waiting for the {server} at ")))
        };
        let all = self.rest_with_notices().await;
        all.lines().filter(|line| !is_notice(line)).collect::<Vec<_>>().join("\n")
    }

    /// Returns everything that it has printed, after its end.
    pub async fn rest_with_notices(&self) -> String {
        self.readers.wait().await;
        self.output()
    }

    /// Returns the memory that it holds, in KiB.
    ///
    /// # Panics
    /// Panics if the process has ended already.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// Returns the most memory that it has held so far, in KiB.
    ///
    /// # Panics
    /// Panics if the process has ended already.
    pub fn peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> u64 {
        let id = self.id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Returns the id of its process.
    ///
    /// # Panics
    /// Panics if the process has ended already.
    pub fn id(&self) -> u32 {
        self.child.id().expect("a running process")
    }

    /// Sends a signal: `TERM`, `INT`, `KILL`, `STOP`, `CONT`.
    ///
    /// # Panics
    /// Panics if the process has ended already.
    pub fn signal(&self, signal: &str) {
        let id = self.id().to_string();
        let sent = std::process::Command::new("kill").args(["-s", signal, &id]).status().expect("kill");
        assert!(sent.success(), "kill -s {signal} {id}");
    }

    /// Kills it, as `kill -9` does, and waits until it is gone.
    pub async fn kill(mut self) {
        let _ = self.child.kill().await;
    }

    /// Kills it and every process below it, as the end of a container does.
    pub async fn kill_tree(mut self) {
        if let Some(id) = self.child.id() {
            kill_below(id);
        }
        let _ = self.child.kill().await;
    }

    /// Returns `true` while it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end, of any kind.
    pub async fn ended(&mut self) {
        let _ = self.child.wait().await;
    }

    /// Waits for its end, and returns its exit code.
    ///
    /// # Panics
    /// Panics if it does not end within `patience`, or if a signal killed it.
    pub async fn exit_code(&mut self, patience: Duration) -> i32 {
        match tokio::time::timeout(patience, self.child.wait()).await {
            Ok(ended) => {
                let status = ended.expect("its status");
                status.code().unwrap_or_else(|| panic!("ended by {status}:\n{}", self.output()))
            }
            Err(_) => panic!("still running after {patience:?}:\n{}", self.output()),
        }
    }
}
