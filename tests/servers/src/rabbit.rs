//! A private RabbitMQ node.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::folder;
use crate::guard::Ending;
use crate::hosted::Hosted;
use crate::install::RabbitInstallation;
use crate::ports::Lease;
use crate::process::Signal;
use crate::program::run;
use crate::release::RabbitRelease;
use crate::wait::until;

const MANAGEMENT: &str = "rabbitmq_management";
const CTL: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(60);
const PROBE: Duration = Duration::from_secs(2);

/// TLS of a node. Clients must show a certificate that the authority has signed.
#[derive(Clone, Debug)]
pub struct RabbitTls {
    /// The authority's certificate, as a PEM file.
    pub ca: PathBuf,
    /// The node's certificate.
    pub certificate: PathBuf,
    /// The key of that certificate.
    pub key: PathBuf,
}

/// Settings of a RabbitMQ node.
#[derive(Clone, Debug)]
pub struct RabbitSpec {
    /// The RabbitMQ release. Default: the one of [`RabbitRelease::chosen`].
    pub release: Option<RabbitRelease>,
    /// The enabled plugins. Default: `rabbitmq_management`.
    pub plugins: Vec<String>,
    /// Lines added to `rabbitmq.conf`, such as `consumer_timeout = 5000`. Default: none.
    pub config: Vec<String>,
    /// TLS on a port of its own, beside the plain one. Default: none.
    pub tls: Option<RabbitTls>,
    /// Longest time of a start. Default: 120 s, many times its need, for busy machines.
    pub start_within: Duration,
}

impl Default for RabbitSpec {
    fn default() -> Self {
        Self {
            plugins: vec![MANAGEMENT.to_owned()],
            config: Vec::new(),
            tls: None,
            release: None,
            start_within: Duration::from_secs(120),
        }
    }
}

impl RabbitSpec {
    /// Starts a node and waits until it answers. Installs RabbitMQ if it is missing and may be
    /// installed.
    pub fn start(self) -> Result<RabbitNode> {
        let node = self.prepare()?;
        node.launch()?;
        node.await_ready()?;
        Ok(node)
    }

    /// Makes a node that does not run yet.
    pub(crate) fn prepare(self) -> Result<RabbitNode> {
        let release = self.release.map_or_else(RabbitRelease::chosen, Ok)?;
        RabbitNode::prepare(self, RabbitInstallation::obtain(release)?)
    }
}

/// A RabbitMQ node with its own folder, ports, name and Erlang cookie folder.
///
/// User and password are `guest`. Dropping the value kills the node and removes its data.
#[derive(Debug)]
pub struct RabbitNode {
    installation: RabbitInstallation,
    spec: RabbitSpec,
    amqp: Lease,
    amqps: Lease,
    management: Lease,
    distribution: Lease,
    hosted: Hosted,
}

impl RabbitNode {
    /// Starts a node with the default [`RabbitSpec`].
    pub fn start() -> Result<Self> {
        RabbitSpec::default().start()
    }

    fn prepare(spec: RabbitSpec, installation: RabbitInstallation) -> Result<Self> {
        let node = Self {
            installation,
            spec,
            amqp: Lease::take()?,
            amqps: Lease::take()?,
            management: Lease::take()?,
            distribution: Lease::take()?,
            hosted: Hosted::new("rabbitmq", Ending::Kill)?,
        };
        node.write_files().with_context(|| format!("cannot prepare {}", node.folder().display()))?;
        Ok(node)
    }

    /// Returns the URL of the default virtual host.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.amqp.port)
    }

    /// Returns the URL of the management plugin's HTTP API, without a path. `None` if the plugin is
    /// off.
    pub fn management_url(&self) -> Option<String> {
        self.has_management().then(|| format!("http://guest:guest@127.0.0.1:{}", self.management.port))
    }

    /// Returns the AMQP port. It stays the same over restarts.
    pub fn port(&self) -> u16 {
        self.amqp.port
    }

    /// Returns the TLS port, if the node has one. It stays the same over restarts.
    pub fn tls_port(&self) -> u16 {
        self.amqps.port
    }

    /// Returns the Erlang name of the node, for `rabbitmqctl -n`.
    pub fn name(&self) -> String {
        // Unique on the machine for as long as the port is.
        format!("celeriac{}@localhost", self.amqp.port)
    }

    /// Returns the last errors in the node's log.
    pub fn last_errors(&self) -> String {
        folder::last_lines_with(&self.hosted.logs().join(format!("{}.log", self.name())), "[error]")
    }

    /// Returns the folder with the node's configuration, data and logs.
    pub fn folder(&self) -> &Path {
        self.hosted.folder()
    }

    /// Returns the version of the server, such as `3.10.8`.
    pub fn version(&self) -> Result<String> {
        Ok(run(self.ctl_command().arg("version"), CTL)?.trim().to_owned())
    }

    /// Returns `true` if the process exists, paused or not.
    pub fn alive(&self) -> bool {
        self.hosted.alive()
    }

    /// Runs `rabbitmqctl` for this node and returns its output.
    pub fn ctl(&self, args: &[&str]) -> Result<String> {
        run(self.ctl_command().args(["-q", "-n"]).arg(self.name()).args(args), CTL)
    }

    /// Sends SIGKILL. Returns after the node has ended and its ports are closed.
    pub fn kill(&self) -> Result<()> {
        self.hosted.kill()
    }

    /// Stops the node in order.
    pub fn stop(&self) -> Result<()> {
        self.hosted.end(Signal::TERM, STOP)
    }

    /// Sends SIGSTOP: connections stay open and nothing answers.
    pub fn pause(&self) -> Result<()> {
        self.hosted.with(|process| process.signal_group(Signal::STOP)).map(drop)
    }

    /// Sends SIGCONT: undoes [`pause`](Self::pause).
    pub fn resume(&self) -> Result<()> {
        self.hosted.with(|process| process.signal_group(Signal::CONT)).map(drop)
    }

    /// Starts the node again on the same data and ports, and waits until it answers. Stops it first
    /// if it runs.
    pub fn restart(&self) -> Result<()> {
        if self.alive() {
            self.stop()?;
        }
        self.launch()?;
        self.await_ready()
    }

    /// Starts the stopped node without waiting.
    ///
    /// After a cluster was stopped as a whole, its nodes wait for each other, so all of them are
    /// launched before the first is awaited.
    pub fn launch(&self) -> Result<()> {
        let mut command = self.installation.command("rabbitmq-server");
        self.configure(&mut command);
        self.hosted.launch(&mut command)
    }

    /// Waits until the node answers on AMQP, to `rabbitmqctl`, and on HTTP if the management plugin
    /// is on.
    pub fn await_ready(&self) -> Result<()> {
        self.reach_ready().map_err(|error| self.hosted.failure(error))
    }

    /// Makes this node a member of the other's cluster. Its own queues, users and virtual hosts are
    /// lost.
    ///
    /// This process must have started both nodes, because they need the same Erlang cookie.
    pub(crate) fn join_cluster(&self, other: &Self) -> Result<()> {
        self.ctl(&["stop_app"])?;
        self.ctl(&["join_cluster", &other.name()])?;
        self.ctl(&["start_app"])?;
        self.await_ready()
    }

    /// Leaves the node running after this process. [`end_detached`](crate::end_detached) with the
    /// returned folder ends it.
    pub fn detach(self) -> Result<PathBuf> {
        self.hosted.detach()
    }

    fn reach_ready(&self) -> Result<()> {
        let within = self.spec.start_within;
        let answers = |what: &str, port: u16, question: &[u8], expected: &[u8]| {
            until(what, within, || {
                self.hosted.ensure_alive()?;
                Ok(answers(port, question, expected).then_some(()))
            })
        };
        // A server that speaks AMQP sends the method frame of Connection.Start.
        answers("RabbitMQ to speak AMQP", self.amqp.port, b"AMQP\x00\x00\x09\x01", b"\x01\x00\x00")?;
        self.ctl(&["await_startup", "--timeout", &within.as_secs().to_string()])?;
        if self.has_management() {
            let question = b"GET /api/whoami HTTP/1.0\r\nAuthorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\n\r\n";
            answers("RabbitMQ's management plugin to answer", self.management.port, question, b"HTTP/1.1 200 ")?;
        }
        Ok(())
    }

    fn has_management(&self) -> bool {
        self.spec.plugins.iter().any(|plugin| plugin == MANAGEMENT)
    }

    fn write_files(&self) -> Result<()> {
        let folder = self.folder();
        for name in ["data", "conf.d"] {
            fs::create_dir(folder.join(name))?;
        }
        fs::write(folder.join("rabbitmq.conf"), self.configuration())?;
        fs::write(folder.join("enabled_plugins"), format!("[{}].\n", self.spec.plugins.join(",")))?;
        // Empty, so that the machine's files do not apply.
        fs::write(folder.join("advanced.config"), "[].\n")?;
        fs::write(folder.join("rabbitmq-env.conf"), "")?;
        let cookie = folder.join(".erlang.cookie");
        fs::write(&cookie, common_cookie())?;
        fs::set_permissions(&cookie, fs::Permissions::from_mode(0o400))?;
        Ok(())
    }

    fn configuration(&self) -> String {
        let mut lines = vec![
            format!("listeners.tcp.default = 127.0.0.1:{}", self.amqp.port),
            "loopback_users = none".to_owned(),
            // The default blocks publishers on a disk that is full for other reasons.
            "disk_free_limit.absolute = 50MB".to_owned(),
        ];
        if self.has_management() {
            lines.push("management.tcp.ip = 127.0.0.1".to_owned());
            lines.push(format!("management.tcp.port = {}", self.management.port));
        }
        if let Some(RabbitTls { ca, certificate, key }) = &self.spec.tls {
            lines.push(format!("listeners.ssl.default = 127.0.0.1:{}", self.amqps.port));
            lines.push(format!("ssl_options.cacertfile = {}", ca.display()));
            lines.push(format!("ssl_options.certfile = {}", certificate.display()));
            lines.push(format!("ssl_options.keyfile = {}", key.display()));
            lines.push("ssl_options.verify = verify_peer".to_owned());
            lines.push("ssl_options.fail_if_no_peer_cert = true".to_owned());
        }
        lines.extend(self.spec.config.iter().cloned());
        lines.join("\n") + "\n"
    }

    fn ctl_command(&self) -> Command {
        let mut command = self.installation.command("rabbitmqctl");
        self.configure(&mut command);
        command
    }

    fn configure(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("RABBITMQ_") || name.starts_with("ERL_") {
                command.env_remove(&*name);
            }
        }
        let folder = self.folder();
        let loopback = "-kernel inet_dist_use_interface {127,0,0,1}";
        command
            .current_dir(folder)
            .env("HOME", folder)
            .env("RABBITMQ_NODENAME", self.name())
            .env("RABBITMQ_MNESIA_BASE", folder.join("data"))
            .env("RABBITMQ_LOG_BASE", self.hosted.logs())
            .env("RABBITMQ_PID_FILE", folder.join("pid"))
            .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq.conf"))
            .env("RABBITMQ_CONFIG_FILES", folder.join("conf.d"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", folder.join("advanced.config"))
            .env("RABBITMQ_CONF_ENV_FILE", folder.join("rabbitmq-env.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("enabled_plugins"))
            .env("RABBITMQ_DIST_PORT", self.distribution.port.to_string())
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", loopback)
            .env("RABBITMQ_CTL_ERL_ARGS", loopback)
            // Each running rabbitmqctl takes one of these. The default range of eleven is small for
            // parallel tests.
            .env("RABBITMQ_CTL_DIST_PORT_MIN", "32100")
            .env("RABBITMQ_CTL_DIST_PORT_MAX", "32700")
            // The first node of the machine starts epmd, which outlives it and serves all others.
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            // Makes the start script become the server and not stay its parent.
            .env("RUNNING_UNDER_SYSTEMD", "true");
    }
}

/// Returns `true` if a server on this port gives the expected answer.
fn answers(port: u16, question: &[u8], expected: &[u8]) -> bool {
    let ask = || -> std::io::Result<Vec<u8>> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, PROBE)?;
        stream.set_read_timeout(Some(PROBE))?;
        stream.set_write_timeout(Some(PROBE))?;
        stream.write_all(question)?;
        let mut answer = vec![0; expected.len()];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer == expected)
}

/// Returns the secret of all nodes of this process. They can form a cluster, and no other node can
/// join it.
fn common_cookie() -> &'static str {
    use std::hash::BuildHasher;
    static COOKIE: OnceLock<String> = OnceLock::new();
    COOKIE.get_or_init(|| {
        let random = || std::collections::hash_map::RandomState::new().hash_one("cookie");
        format!("{:016x}{:016x}", random(), random())
    })
}
