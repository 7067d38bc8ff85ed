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
        let node = Self { port: Lease::take()?, hosted: Hosted::new(PACKAGE, Ending::Quit)? };
        let configuration = node.configure(server, mode, sessions)?;
        let mut command = Command::new(program);
        command.arg(configuration).current_dir(node.hosted.folder());
        // It refuses to run as root.
        if let Some(Account { user, group }) = Account::unprivileged()? {
            command.uid(user).gid(group);
        }
        node.hosted.launch(&mut command)?;
        until("PgBouncer to accept connections", START, || {
            node.hosted.ensure_alive()?;
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, node.port.port)).ok().map(drop))
        })
        .map_err(|error| node.hosted.failure(error))?;
        Ok(node)
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port.port
    }

    /// Writes the files of PgBouncer, and returns the path of the main one. Postgres' own drivers
    /// send `extra_float_digits`, which PgBouncer refuses otherwise.
    fn configure(&self, server: u16, mode: PoolMode, sessions: u32) -> Result<PathBuf> {
        let users = self.hosted.folder().join("users.txt");
        fs::write(&users, format!("\"{USER}\" \"\"\n"))?;
        let mode = match mode {
            PoolMode::Session => "session",
            PoolMode::Transaction => "transaction",
        };
        let path = self.hosted.folder().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={server}\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {users}\npool_mode = {mode}\n\
             ignore_startup_parameters = extra_float_digits\ndefault_pool_size = {sessions}\n",
            port = self.port.port,
            users = users.display(),
        );
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// Debian has it in a folder that is on the PATH of root alone.
fn find() -> Option<PathBuf> {
    on_path(PACKAGE).or_else(|| Some(Path::new("/usr/sbin").join(PACKAGE)).filter(|path| path.exists()))
}
