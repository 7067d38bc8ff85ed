//! A private PgBouncer in front of a Postgres server.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::guard::Ending;
use crate::hosted::Hosted;
use crate::install::find_or_install;
use crate::ports::Lease;
use crate::postgres::{Account, USER};
use crate::program::on_path;
use crate::wait::until;

const START: Duration = Duration::from_secs(60);
const PACKAGE: &str = "pgbouncer";

/// The time for which a client of the pooler keeps a session of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolMode {
    /// Until the client disconnects.
    Session,
    /// Until the transaction ends.
    Transaction,
}

/// A PgBouncer with its own folder and port. Dropping the value ends it.
#[derive(Debug)]
pub struct PoolerNode {
    port: Lease,
    hosted: Hosted,
    program: PathBuf,
    configuration: PathBuf,
}

impl PoolerNode {
    /// Starts a PgBouncer in front of the Postgres server on this port of the loopback interface,
    /// and waits until it accepts connections. Installs PgBouncer if it is missing and may be
    /// installed.
    pub fn start(server: u16, mode: PoolMode) -> Result<Self> {
        Self::start_with(server, mode, 20)
    }

    /// Starts one as [`start`](Self::start) does, with at most this many sessions of the server.
    pub fn start_with(server: u16, mode: PoolMode, sessions: u32) -> Result<Self> {
        let program = find_or_install(find, PACKAGE).map_err(|error| {
            anyhow!("no PgBouncer: {error:#}. Install it: `apt-get install {PACKAGE}`, `brew install {PACKAGE}`")
        })?;
        let (port, hosted) = (Lease::take()?, Hosted::new(PACKAGE, Ending::Quit)?);
        let configuration = configure(hosted.folder(), port.port, server, mode, sessions)?;
        let node = Self { port, hosted, program, configuration };
        node.launch()?;
        Ok(node)
    }

    /// Sends SIGKILL, and starts it again on the same port. Returns when it accepts connections.
    pub fn kill_and_restart(&self) -> Result<()> {
        self.hosted.kill()?;
        self.launch()
    }

    fn launch(&self) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.arg(&self.configuration).current_dir(self.hosted.folder());
        // It refuses to run as root.
        if let Some(Account { user, group }) = Account::unprivileged()? {
            command.uid(user).gid(group);
        }
        self.hosted.launch(&mut command)?;
        until("PgBouncer to accept connections", START, || {
            self.hosted.ensure_alive()?;
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port.port)).ok().map(drop))
        })
        .map_err(|error| self.hosted.failure(error))
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port.port
    }
}

/// Writes the files of PgBouncer, and returns the path of the main one. Postgres' own drivers send
/// `extra_float_digits`, which PgBouncer refuses otherwise. After a failed login at Postgres, it
/// refuses clients for 15 seconds by default.
fn configure(folder: &Path, port: u16, server: u16, mode: PoolMode, sessions: u32) -> Result<PathBuf> {
    let users = folder.join("users.txt");
    fs::write(&users, format!("\"{USER}\" \"\"\n"))?;
    let mode = match mode {
        PoolMode::Session => "session",
        PoolMode::Transaction => "transaction",
    };
    let path = folder.join("pgbouncer.ini");
    let text = format!(
        "[databases]\n* = host=127.0.0.1 port={server}\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = trust\nauth_file = {users}\npool_mode = {mode}\n\
         ignore_startup_parameters = extra_float_digits\ndefault_pool_size = {sessions}\nserver_login_retry = 1\n",
        users = users.display(),
    );
    fs::write(&path, text)?;
    Ok(path)
}

/// Debian has it in a folder that is on the PATH of root alone.
fn find() -> Option<PathBuf> {
    on_path(PACKAGE).or_else(|| Some(Path::new("/usr/sbin").join(PACKAGE)).filter(|path| path.exists()))
}
