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

// Packages have to be downloaded.
const INSTALL: Duration = Duration::from_secs(30 * 60);
const BEGUN: &str = "begun-";
const SUITE: &str = "trixie";
// Ubuntu has Debian's keys only in a package.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

// The mounts are in a namespace that ends with its last process, so none has to be removed, even if
// everything is killed. `exec` throughout, so that the started process is the program itself.
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
    /// Returns Debian 13 with this package. Its `program` proves that it is complete. Root makes it
    /// once, and all processes share it.
    pub(crate) fn with(package: &str, program: &Path) -> Result<Self> {
        if !rustix::process::getuid().is_root() {
            bail!("only root can run programs of another Debian");
        }
        let root = folder::shared(package)?;
        // One at a time: others wait for the first one's result.
        let lock = File::create(root.join("lock"))?;
        until("another process to fetch Debian 13", INSTALL, || Ok(lock.try_lock().is_ok().then_some(())))?;
        let found = Self { system: root.join(SUITE) };
        if !is_program(&found.system.join(program.strip_prefix("/").unwrap_or(program))) {
            make(package, &root, &found.system)?;
        }
        Ok(found)
    }

    /// Returns a command that runs a program of this Debian. It sees the folders of all servers at
    /// their usual paths.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "/bin/sh", "-c", ENTER, "celeriac-debian"]);
        command.arg(&self.system).arg(folder::root()).arg(program);
        command
    }
}

/// Makes a system under another name and moves it into place, so that an incomplete one is never
/// used.
#[expect(clippy::print_stderr, reason = "it takes a minute")]
fn make(package: &str, root: &Path, system: &Path) -> Result<()> {
    eprintln!("fetching {package} of Debian 13 to {}", system.display());
    for entry in fs::read_dir(root)?.flatten() {
        // The remains of a killed process, and an incomplete system.
        if entry.path() == system || entry.file_name().to_string_lossy().starts_with(BEGUN) {
            fs::remove_dir_all(entry.path()).with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
    }
    let debootstrap = find_or_install(|| on_path("debootstrap"), "debootstrap")?;
    find_or_install(|| Some(KEYS).filter(|keys| Path::new(keys).exists()), "debian-archive-keyring")?;
    let begun = root.join(format!("{BEGUN}{}", std::process::id()));
    let log = root.join("debootstrap.log");
    let printed = File::create(&log)?;
    // In a namespace too, for mounts that a killed process cannot remove.
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
