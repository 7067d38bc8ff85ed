//! A small file system, for a server whose disk is to be full.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::folder;
use crate::guard::{Ending, Guard};
use crate::postgres::Account;
use crate::program::run;

const MOUNT: Duration = Duration::from_secs(30);

/// The file that takes the space of the disk.
const FILLER: &str = "filler";

/// A file system of a few mebibytes, in memory. Dropping the value unmounts it.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
    _guard: Guard,
}

impl SmallDisk {
    /// Mounts a file system of this size. Only root may do so, and a user with `sudo`.
    pub fn mount(mebibytes: u32) -> Result<Self> {
        let folder = folder::private("disk")?;
        let (sudo, path) = (sudo(), folder.display());
        let options = format!("size={mebibytes}m,mode=0777");
        let mut mount = command(sudo, "mount");
        mount.args(["-t", "tmpfs", "-o", &options, "celeriac-test"]).arg(&folder);
        run(&mut mount, MOUNT).context("cannot mount a file system: run the test as root, or allow `sudo -n mount`")?;
        let prefix = if sudo { "sudo -n " } else { "" };
        // A killed server may still hold it.
        let guard = Guard::start(&Ending::Run(format!("{prefix}umount -l '{path}'")), Some(&folder))?;
        Ok(Self { folder, _guard: guard })
    }

    /// Returns a path on the disk, which does not exist.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Creates a folder on the disk, which belongs to the user that Postgres runs as.
    pub fn create_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.path(name);
        fs::create_dir(&folder)?;
        if let Some(Account { user, group }) = Account::unprivileged()? {
            chown(&folder, Some(user), Some(group))
                .context("cannot give a folder to the user that Postgres runs as")?;
        }
        Ok(folder)
    }

    /// Takes all space of the disk but this many bytes.
    pub fn fill(&self, leaving: u64) -> Result<()> {
        let free = free(&self.folder)?;
        let mut filler = File::create(self.path(FILLER))?;
        io::copy(&mut io::repeat(0).take(free.saturating_sub(leaving)), &mut filler)?;
        Ok(())
    }

    /// Frees the space again.
    pub fn empty(&self) -> Result<()> {
        Ok(fs::remove_file(self.path(FILLER))?)
    }
}

/// Returns the free bytes of the file system with this folder.
fn free(folder: &Path) -> Result<u64> {
    let found = rustix::fs::statvfs(folder)?;
    Ok(found.f_bavail * found.f_frsize)
}

fn sudo() -> bool {
    !rustix::process::getuid().is_root()
}

fn command(sudo: bool, program: &str) -> Command {
    if !sudo {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}
