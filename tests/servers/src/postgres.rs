//! A private Postgres server.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rcgen::CertifiedKey;

use crate::guard::Ending;
use crate::hosted::Hosted;
use crate::install::PostgresInstallation;
use crate::ports::Lease;
use crate::process::{Signal, any_runs, descendants, signal_all};
use crate::program::run;
use crate::wait::{patiently, until};

const TOOL: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(60);
pub(crate) const USER: &str = "postgres";

/// Files beside the data, for TLS.
const CERTIFICATE: &str = "server.crt";
const KEY: &str = "server.key";

/// The durability of a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// No flush to disk, for tests that never kill the server.
    #[default]
    Fast,
    /// The default of Postgres: confirmed commits survive a crash.
    Real,
}

/// Settings of a Postgres server.
#[derive(Clone, Debug)]
pub struct PostgresSpec {
    /// The durability of a commit. Default: `Fast`.
    pub durability: Durability,
    /// Further settings, such as `log_statement=all`. Default: none.
    pub settings: Vec<String>,
    /// Further arguments of `initdb`, such as `--wal-segsize=1`. Default: none.
    pub initdb: Vec<String>,
    /// Longest time of a start, including recovery after a crash. Default: 60 s.
    pub start_within: Duration,
}

impl Default for PostgresSpec {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            settings: Vec::new(),
            initdb: Vec::new(),
            start_within: Duration::from_secs(60),
        }
    }
}

impl PostgresSpec {
    /// Starts a server and waits until it accepts connections. Installs Postgres if it is missing
    /// and may be installed.
    pub fn start(self) -> Result<PostgresNode> {
        let node = PostgresNode::prepare(self, PostgresInstallation::obtain()?, PostgresNode::create_data)?;
        node.launch()?;
        node.await_ready()?;
        Ok(node)
    }
}

/// A Postgres server with its own folder and port, which speaks TLS.
///
/// The superuser is `postgres`, without a password. Dropping the value shuts the server down and
/// removes its data.
#[derive(Debug)]
pub struct PostgresNode {
    installation: PostgresInstallation,
    spec: PostgresSpec,
    account: Option<Account>,
    port: Lease,
    hosted: Hosted,
}

impl PostgresNode {
    /// Starts a server with the default [`PostgresSpec`] and this durability.
    pub fn start(durability: Durability) -> Result<Self> {
        PostgresSpec { durability, ..PostgresSpec::default() }.start()
    }

    fn prepare(
        spec: PostgresSpec,
        installation: PostgresInstallation,
        create_data: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<Self> {
        let account = Account::unprivileged()?;
        let hosted = Hosted::new("postgres", Ending::Quit)?;
        let node = Self { installation, spec, account, port: Lease::take()?, hosted };
        create_data(&node).map_err(|error| node.hosted.failure(error))?;
        Ok(node)
    }

    /// Starts a replica of this server with this [`PostgresSpec`], and waits until it accepts
    /// connections. It streams from this server, and is read-only until its promotion.
    pub fn start_replica(&self, spec: PostgresSpec) -> Result<Self> {
        let node = Self::prepare(spec, self.installation.clone(), |node| node.copy_data(self))?;
        node.launch()?;
        node.await_ready()?;
        Ok(node)
    }

    /// Makes a primary of this replica. Returns after it accepts writes.
    pub fn promote(&self) -> Result<()> {
        let promoted = self.sql("SELECT pg_promote(true, 60)")?;
        ensure!(promoted == "t", "the replica was not promoted");
        Ok(())
    }

    /// Ends the stream to this replica, as a partition between the servers does.
    pub fn stop_streaming(&self) -> Result<()> {
        self.sql("ALTER SYSTEM SET primary_conninfo = ''")?;
        self.sql("SELECT pg_reload_conf()")?;
        until("the stream to end", TOOL, || {
            Ok((self.sql("SELECT count(*) FROM pg_stat_wal_receiver")? == "0").then_some(()))
        })
    }

    /// Waits until this replica has everything that `primary` has written so far.
    pub fn catch_up(&self, primary: &Self) -> Result<()> {
        let written = primary.sql("SELECT pg_current_wal_lsn()")?;
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        until("the replica to catch up", TOOL, || Ok((self.sql(&replayed)? == "t").then_some(())))
    }

    /// Returns the URL of the database `postgres`.
    pub fn url(&self) -> String {
        self.database_url(USER)
    }

    /// Returns the URL of a database on this server. It need not exist.
    pub fn database_url(&self, name: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{name}", self.port.port)
    }

    /// Creates an empty database and returns its URL.
    pub fn create_database(&self, name: &str) -> Result<String> {
        run(self.client("createdb").arg(name), TOOL)?;
        Ok(self.database_url(name))
    }

    /// Runs one SQL statement as the superuser and returns the rows, one in each line, with columns
    /// separated by `|`.
    pub fn sql(&self, statement: &str) -> Result<String> {
        let options = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--command"];
        let rows = run(self.client("psql").args(["--dbname", USER]).args(options).arg(statement), TOOL)?;
        Ok(rows.trim_end().to_owned())
    }

    /// Returns the port. It stays the same over restarts.
    pub fn port(&self) -> u16 {
        self.port.port
    }

    /// Returns the folder with the server's data and logs.
    pub fn folder(&self) -> &Path {
        self.hosted.folder()
    }

    /// Returns the certificate of the server, which is its own authority.
    pub fn certificate(&self) -> PathBuf {
        self.data().join(CERTIFICATE)
    }

    /// Returns the version of the server, such as `15.18`.
    pub fn version(&self) -> Result<String> {
        let line = run(Command::new(self.installation.program("postgres")).arg("--version"), TOOL)?;
        line.split_whitespace().nth(2).map(str::to_owned).with_context(|| format!("no version in {line:?}"))
    }

    /// Returns `true` if the main process exists, paused or not.
    pub fn alive(&self) -> bool {
        self.hosted.alive()
    }

    /// Shuts the server down fast: open transactions are rolled back, clients are disconnected.
    pub fn stop(&self) -> Result<()> {
        self.hosted.end(Signal::INT, STOP)
    }

    /// Sends SIGKILL to all processes of the server at once, like a crash of the machine except for
    /// the disk cache. Returns after they have ended.
    pub fn kill(&self) -> Result<()> {
        let backends = self.freeze()?;
        signal_all(&backends, Signal::KILL);
        self.hosted.kill()?;
        // The next start refuses to run beside a process that still holds the shared memory.
        let gone = patiently(STOP, || any_runs(&backends).is_ok_and(|runs| !runs));
        ensure!(gone, "a backend of Postgres survived SIGKILL");
        Ok(())
    }

    /// Sends SIGSTOP to all processes: connections stay open and nothing answers.
    pub fn pause(&self) -> Result<()> {
        self.freeze().map(drop)
    }

    /// Sends SIGCONT: undoes [`pause`](Self::pause).
    pub fn resume(&self) -> Result<()> {
        self.hosted.with(|process| {
            signal_all(&descendants(process.id())?, Signal::CONT);
            process.signal(Signal::CONT)
        })?;
        Ok(())
    }

    /// Starts the server again on the same data and port, and waits until it accepts connections.
    /// Stops it first if it runs.
    pub fn restart(&self) -> Result<()> {
        if self.alive() {
            self.stop()?;
        }
        self.launch()?;
        self.await_ready()
    }

    /// Starts the stopped server without waiting.
    pub fn launch(&self) -> Result<()> {
        let mut command = self.server("postgres");
        command.arg("-D").arg(self.data());
        for setting in self.settings() {
            command.arg("-c").arg(setting);
        }
        self.hosted.launch(&mut command)
    }

    /// Waits until the server accepts connections.
    pub fn await_ready(&self) -> Result<()> {
        until("Postgres to accept connections", self.spec.start_within, || {
            self.hosted.ensure_alive()?;
            Ok(run(&mut self.client("pg_isready"), TOOL).ok().map(drop))
        })
        .map_err(|error| self.hosted.failure(error))
    }

    /// Leaves the server running after this process. [`end_detached`](crate::end_detached) with the
    /// returned folder ends it.
    pub fn detach(self) -> Result<PathBuf> {
        self.hosted.detach()
    }

    /// Stops the main process first, which then starts no others, and all others after it.
    fn freeze(&self) -> Result<Vec<i32>> {
        let backends = self.hosted.with(|process| {
            process.signal(Signal::STOP)?;
            let backends = descendants(process.id())?;
            signal_all(&backends, Signal::STOP);
            Ok(backends)
        })?;
        Ok(backends.unwrap_or_default())
    }

    fn create_folder(&self) -> Result<PathBuf> {
        let data = self.data();
        fs::create_dir(&data)?;
        fs::set_permissions(&data, Permissions::from_mode(0o700))?;
        if let Some(Account { user, group }) = self.account {
            chown(&data, Some(user), Some(group)).context("cannot give the data to the user that Postgres runs as")?;
        }
        Ok(data)
    }

    fn copy_data(&self, primary: &Self) -> Result<()> {
        let data = self.create_folder()?;
        let mut command = self.server("pg_basebackup");
        command.arg("-D").arg(data).args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--dbname"]);
        command.arg(format!("host=127.0.0.1 port={} user={USER} application_name=replica", primary.port()));
        run(&mut command, TOOL).map(drop)
    }

    fn create_data(&self) -> Result<()> {
        let data = self.create_folder()?;
        let mut command = self.server("initdb");
        command.arg("-D").arg(&data).args(&self.spec.initdb).args([
            "-U",
            USER,
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-instructions",
        ]);
        if self.spec.durability == Durability::Fast {
            command.arg("--no-sync");
        }
        run(&mut command, TOOL)?;
        self.create_certificate()
    }

    /// Makes a certificate without a known authority, as Debian's packages do: with
    /// `sslmode=prefer` every client uses TLS. `0.0.0.0` leads to this server too, and is no
    /// loopback address.
    fn create_certificate(&self) -> Result<()> {
        let names = ["localhost", "127.0.0.1", "0.0.0.0"].map(str::to_owned);
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names)?;
        for (name, pem) in [(CERTIFICATE, cert.pem()), (KEY, signing_key.serialize_pem())] {
            let file = self.data().join(name);
            fs::write(&file, pem)?;
            // The server refuses a key that others can read.
            fs::set_permissions(&file, Permissions::from_mode(0o600))?;
            if let Some(Account { user, group }) = self.account {
                chown(&file, Some(user), Some(group))
                    .context("cannot give the certificate to the user that Postgres runs as")?;
            }
        }
        Ok(())
    }

    fn settings(&self) -> Vec<String> {
        let mut settings = vec![
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={}", self.port.port),
            "unix_socket_directories=".to_owned(),
            "max_connections=300".to_owned(),
            "timezone=UTC".to_owned(),
            "log_timezone=UTC".to_owned(),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={CERTIFICATE}"),
            format!("ssl_key_file={KEY}"),
        ];
        if self.spec.durability == Durability::Fast {
            settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"].map(str::to_owned));
        }
        settings.extend(self.spec.settings.iter().cloned());
        settings
    }

    fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// Returns a command for a program that refuses to run as root.
    fn server(&self, name: &str) -> Command {
        let mut command = self.program(name);
        if let Some(Account { user, group }) = self.account {
            command.uid(user).gid(group);
        }
        command
    }

    fn client(&self, name: &str) -> Command {
        let mut command = self.program(name);
        command.args(["--host=127.0.0.1", "--username", USER, "--port"]).arg(self.port.port.to_string());
        command
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.installation.program(name));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command.current_dir(self.folder()).env("LC_ALL", "C");
        command
    }
}

/// The user for Postgres and PgBouncer if this process is root, because they refuse to run as root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

impl Account {
    pub(crate) fn unprivileged() -> Result<Option<Self>> {
        if !rustix::process::getuid().is_root() {
            return Ok(None);
        }
        let id = |option: &str, name: &str| -> Result<u32> {
            Ok(run(Command::new("id").args([option, name]), TOOL)?.trim().parse()?)
        };
        let account = |name: &str| -> Result<Self> { Ok(Self { user: id("-u", name)?, group: id("-g", name)? }) };
        account(USER).or_else(|_| account("nobody")).map(Some)
    }
}
