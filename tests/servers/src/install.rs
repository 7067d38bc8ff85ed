//! Finds the servers' programs on this machine, and installs them on Debian and Ubuntu.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::debian::Debian;
use crate::folder;
use crate::process::Process;
use crate::program::{is_program, on_path, run};
use crate::provision::{AMQP_URL, DATABASE_URL, MANAGEMENT_URL};
use crate::release::RabbitRelease;
use crate::wait::until;

const INSTALL: Duration = Duration::from_secs(30 * 60);
const POLICY: &str = "/usr/sbin/policy-rc.d";
const RABBIT_PACKAGE: &str = "rabbitmq-server";
// Debian's scripts in sbin change to the user rabbitmq; those in lib keep the caller's user.
const DEBIAN_RABBIT: &str = "/usr/lib/rabbitmq/bin";

/// The location of RabbitMQ's programs.
#[derive(Clone, Debug)]
pub struct RabbitInstallation {
    folder: PathBuf,
    /// The system of `folder`, if it is not the machine's own.
    debian: Option<Debian>,
}

impl RabbitInstallation {
    /// Finds this RabbitMQ, or installs it if possible.
    pub fn obtain(release: RabbitRelease) -> Result<Self> {
        match release {
            RabbitRelease::Installed => Self::installed(),
            RabbitRelease::V4 => Self::of_debian(),
        }
    }

    /// Returns a command that runs one of RabbitMQ's programs, such as `rabbitmqctl`.
    pub(crate) fn command(&self, program: &str) -> Command {
        let program = self.folder.join(program);
        match &self.debian {
            Some(debian) => debian.command(&program),
            None => Command::new(program),
        }
    }

    fn installed() -> Result<Self> {
        find_or_install(Self::find, RABBIT_PACKAGE).map_err(|error| {
            anyhow!(
                "no RabbitMQ: {error:#}. Do one of these:\n\
                 - install it: `apt-get install rabbitmq-server`, `brew install rabbitmq`\n\
                 - run this as root on Debian or Ubuntu, and it is installed for you\n\
                 - start Docker (for all tests but those that break servers): deploy/compose.yaml is used then\n\
                 - name a server that tests may fill and empty: {AMQP_URL}=amqp://… and {MANAGEMENT_URL}=http://…"
            )
        })
    }

    fn of_debian() -> Result<Self> {
        let folder = Path::new(DEBIAN_RABBIT);
        let debian = Debian::with(RABBIT_PACKAGE, &folder.join("rabbitmqctl")).map_err(|error| {
            anyhow!(
                "no RabbitMQ 4: {error:#}. Do one of these:\n\
                 - run this as root on Debian or Ubuntu, and it is fetched for you with debootstrap\n\
                 - name a server of that version (for all tests but those that break servers): {AMQP_URL}=amqp://… and \
                 {MANAGEMENT_URL}=http://…"
            )
        })?;
        Ok(Self { folder: folder.to_owned(), debian: Some(debian) })
    }

    /// Searches the folders of RabbitMQ's packages, then the PATH.
    fn find() -> Option<Self> {
        [DEBIAN_RABBIT, "/opt/homebrew/opt/rabbitmq/sbin", "/usr/local/opt/rabbitmq/sbin"]
            .into_iter()
            .find_map(|folder| Self::in_folder(Path::new(folder)))
            .or_else(|| {
                let server = on_path("rabbitmq-server")?.canonicalize().ok()?;
                Self::in_folder(server.parent()?).filter(|_| !server.ends_with("rabbitmq-script-wrapper"))
            })
    }

    fn in_folder(folder: &Path) -> Option<Self> {
        let complete = ["rabbitmq-server", "rabbitmqctl"].iter().all(|name| is_program(&folder.join(name)));
        complete.then(|| Self { folder: folder.to_owned(), debian: None })
    }
}

/// The location of Postgres' programs.
#[derive(Clone, Debug)]
pub struct PostgresInstallation {
    folder: PathBuf,
}

impl PostgresInstallation {
    /// Searches the folders of Postgres' packages, then asks `pg_config`, then searches the PATH.
    /// The highest version wins.
    pub fn find() -> Option<Self> {
        let versions = |base: &str| fs::read_dir(base).into_iter().flatten().flatten().map(|entry| entry.path());
        let debian = versions("/usr/lib/postgresql").map(|folder| folder.join("bin"));
        let homebrew = ["/opt/homebrew/opt", "/usr/local/opt"].into_iter().flat_map(versions);
        let homebrew =
            homebrew.filter(|folder| version(folder, "postgresql@").is_some()).map(|folder| folder.join("bin"));
        let packaged = debian.filter(|folder| complete(folder)).max_by_key(|folder| version_above(folder, ""));
        let packaged = packaged.or_else(|| {
            homebrew.filter(|folder| complete(folder)).max_by_key(|folder| version_above(folder, "postgresql@"))
        });
        let configured = || {
            let printed = run(Command::new("pg_config").arg("--bindir"), Duration::from_secs(10)).ok()?;
            Some(PathBuf::from(printed.trim())).filter(|folder| complete(folder))
        };
        let on_path = || Some(on_path("postgres")?.parent()?.to_owned()).filter(|folder| complete(folder));
        packaged.or_else(configured).or_else(on_path).map(|folder| Self { folder })
    }

    /// Finds Postgres, or installs it if possible.
    pub fn obtain() -> Result<Self> {
        find_or_install(Self::find, "postgresql").map_err(|error| {
            anyhow!(
                "no Postgres: {error:#}. Do one of these:\n\
                 - install it: `apt-get install postgresql`, `brew install postgresql`\n\
                 - run this as root on Debian or Ubuntu, and it is installed for you\n\
                 - start Docker (for all tests but those that break servers): deploy/compose.yaml is used then\n\
                 - name a server on which tests may create databases: {DATABASE_URL}=postgres://…"
            )
        })
    }

    /// Returns the path of one of Postgres' programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Returns `true` if the server is there too. A client package has only psql.
fn complete(folder: &Path) -> bool {
    ["postgres", "initdb", "psql", "createdb", "pg_isready"].iter().all(|name| is_program(&folder.join(name)))
}

fn version_above(bin: &Path, prefix: &str) -> Option<u32> {
    version(bin.parent()?, prefix)
}

fn version(folder: &Path, prefix: &str) -> Option<u32> {
    folder.file_name()?.to_str()?.strip_prefix(prefix)?.split('.').next()?.parse().ok()
}

pub(crate) fn find_or_install<T>(find: impl Fn() -> Option<T>, package: &str) -> Result<T> {
    if let Some(found) = find() {
        return Ok(found);
    }
    if !rustix::process::getuid().is_root() || on_path("apt-get").is_none() {
        bail!("it is not on this machine, and only root can install it, with apt-get");
    }
    // One at a time: threads and other processes may lack the same or another package.
    let lock = File::create(folder::shared("install")?.join("lock"))?;
    until("another installation", INSTALL, || Ok(lock.try_lock().is_ok().then_some(())))?;
    if let Some(found) = find() {
        return Ok(found);
    }
    install(package)?;
    find().ok_or_else(|| anyhow!("{package} was installed, but its programs are not where they were expected"))
}

#[expect(clippy::print_stderr, reason = "it takes a minute and changes the machine")]
fn install(package: &str) -> Result<()> {
    eprintln!("installing {package}, which is not on this machine");
    let log = folder::shared("install")?.join(format!("{package}.log"));
    let policy = Policy::nothing_starts()?;
    let installed = apt_get(&["update"], &log).and_then(|()| {
        let options = ["install", "--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"];
        apt_get(&[options.as_slice(), &[package]].concat(), &log)
    });
    policy.restore()?;
    installed
}

fn apt_get(args: &[&str], log: &Path) -> Result<()> {
    let printed = fs::OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = Command::new("apt-get");
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
    command.stdin(Stdio::null()).stderr(printed.try_clone()?).stdout(printed);
    // In a group of its own, so that Ctrl-C does not leave half a package.
    let status = Process::spawn(&mut command)?.wait(INSTALL)?;
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => bail!("`apt-get {}` failed ({status}), see {}", args.join(" "), log.display()),
        None => bail!("`apt-get {}` still runs after {INSTALL:?}, see {}", args.join(" "), log.display()),
    }
}

/// Forbids packages to start services while they are installed.
struct Policy {
    previous: Option<(Vec<u8>, Permissions)>,
}

impl Policy {
    fn nothing_starts() -> Result<Self> {
        let previous = fs::read(POLICY).ok().zip(fs::metadata(POLICY).ok().map(|found| found.permissions()));
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("cannot write {POLICY}"))?;
        fs::set_permissions(POLICY, Permissions::from_mode(0o755))?;
        Ok(Self { previous })
    }

    fn restore(self) -> Result<()> {
        match self.previous {
            Some((content, permissions)) => {
                fs::write(POLICY, content)?;
                fs::set_permissions(POLICY, permissions)?;
            }
            None => fs::remove_file(POLICY)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        let cases = [
            ("/usr/lib/postgresql/15", "", Some(15)),
            ("/usr/lib/postgresql/9.6", "", Some(9)),
            ("/opt/homebrew/opt/postgresql@17", "postgresql@", Some(17)),
            ("/opt/homebrew/opt/rabbitmq", "postgresql@", None),
        ];
        for (folder, prefix, expected) in cases {
            assert_eq!(version(Path::new(folder), prefix), expected, "{folder}");
        }
    }
}
