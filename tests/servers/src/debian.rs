//! Programs of a later Debian than the machine's, in a folder of their own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::folder;
use crate::install::find_or_install;
use crate::process::Process;
use crate::program::{is_program, on_path};
use crate::wait::until;

// Packages have to be fetched.
const INSTALL: Duration = Duration::from_secs(30 * 60);
const BEGUN: &str = "begun-";
const SUITE: &str = "trixie";
// Ubuntu knows Debian's keys only from a package.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

// The mounts are those of a namespace that ends with the last process in it: nothing of them is left to take away, not
// even when everything is killed. `exec` all the way, so that the process started is the program itself.
const ENTER: &str = r#"
system=$1 folders=$2
shift 2
mount --rbind /proc "$system/proc" && mount --rbind /dev "$system/dev" && mount --bind "$folders" "$system$folders" &&
exec chroot "$system" "$@"
"#;

/// The folder of a minimal Debian 13.
#[derive(Clone, Debug)]
pub(crate) struct Debian {
    system: PathBuf,
}

impl Debian {
    /// Debian 13 with this package, whose `program` proves that it is whole. It is made once, by root, and then shared by
    /// all processes.
    pub(crate) fn with(package: &str, program: &Path) -> Result<Self> {
        if !rustix::process::getuid().is_root() {
            bail!("only root can run programs of another Debian");
        }
        let root = folder::shared(package)?;
        // One at a time: others wait for what the first one makes.
        let lock = File::create(root.join("lock"))?;
        until("another process to fetch Debian 13", INSTALL, || Ok(lock.try_lock().is_ok().then_some(())))?;
        let found = Self { system: root.join(SUITE) };
        if !is_program(&found.system.join(program.strip_prefix("/").unwrap_or(program))) {
            make(package, &root, &found.system)?;
        }
        Ok(found)
    }

    /// A command that runs a program of this Debian. It sees the folders of all servers where everybody sees them.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "/bin/sh", "-c", ENTER, "celeriac-debian"]);
        command.arg(&self.system).arg(folder::root()).arg(program);
        command
    }
}

/// Makes a system under another name and moves it into place, so that half of one is never taken for a whole.
#[expect(clippy::print_stderr, reason = "it takes a minute")]
fn make(package: &str, root: &Path, system: &Path) -> Result<()> {
    eprintln!("fetching {package} of Debian 13 to {}", system.display());
    for entry in fs::read_dir(root)?.flatten() {
        // What a process left that was killed here, and a system that is not whole.
        if entry.path() == system || entry.file_name().to_string_lossy().starts_with(BEGUN) {
            fs::remove_dir_all(entry.path()).with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
    }
    let debootstrap = find_or_install(|| on_path("debootstrap"), "debootstrap")?;
    find_or_install(|| Some(KEYS).filter(|keys| Path::new(keys).exists()), "debian-archive-keyring")?;
    let begun = root.join(format!("{BEGUN}{}", std::process::id()));
    let log = root.join("debootstrap.log");
    let printed = File::create(&log)?;
    // In a namespace as well, for what it mounts and is killed before it can take away.
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]).arg(debootstrap);
    command.args(["--variant=minbase", "--keyring", KEYS, &format!("--include={package},procps"), SUITE]).arg(&begun);
    command.stdin(Stdio::null()).stderr(printed.try_clone()?).stdout(printed);
    match Process::spawn(&mut command)?.wait(INSTALL)? {
        Some(status) if status.success() => {}
        Some(status) => bail!("`debootstrap {SUITE}` failed ({status}), see {}", log.display()),
        None => bail!("`debootstrap {SUITE}` still runs after {INSTALL:?}, see {}", log.display()),
    }
    // Servers listen on this name.
    fs::write(begun.join("etc/hosts"), "127.0.0.1 localhost\n::1 localhost\n")?;
    fs::rename(&begun, system).with_context(|| format!("cannot move Debian 13 to {}", system.display()))
}
