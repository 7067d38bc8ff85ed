//! Servers from deploy/compose.yaml, for machines with Docker and without servers.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::guard::Ending;
use crate::hosted::Hosted;
use crate::ports::Lease;
use crate::program::run;

const FILE: &str = include_str!("../../../deploy/compose.yaml");
// Images may have to be downloaded.
const UP: Duration = Duration::from_secs(15 * 60);

/// One server in a container. It can neither be killed nor restarted.
#[derive(Debug)]
pub(crate) struct Container {
    hosted: Hosted,
    leases: Vec<Lease>,
}

impl Container {
    /// Starts a service of the compose file, with a free port for each of these variables.
    pub(crate) fn start(service: &str, ports: &[&str]) -> Result<Self> {
        let leases = ports.iter().map(|_| Lease::take()).collect::<Result<Vec<_>>>()?;
        let project = format!("celeriac-{}", leases.first().map_or(0, |lease| lease.port));
        let compose = format!("docker compose --project-name {project} --file \"$folder/compose.yaml\"");
        let hosted = Hosted::new(service, Ending::Run(format!("{compose} down --volumes --timeout 5")))?;
        std::fs::write(hosted.folder().join("compose.yaml"), FILE)?;

        let mut command = Command::new("sh");
        command.args(["-c", &format!("{compose} up --detach --wait {service}")]).env("folder", hosted.folder());
        for (variable, lease) in ports.iter().zip(&leases) {
            command.env(variable, lease.port.to_string());
        }
        match run(&mut command, UP) {
            Ok(_) => Ok(Self { hosted, leases }),
            Err(error) => Err(hosted.failure(error)),
        }
    }

    /// Returns the port on loopback for the n-th variable.
    pub(crate) fn port(&self, n: usize) -> u16 {
        self.leases.get(n).map_or(0, |lease| lease.port)
    }

    pub(crate) fn detach(self) -> Result<PathBuf> {
        self.hosted.detach()
    }
}

/// Returns `true` if a Docker engine answers and has compose.
pub(crate) fn answers() -> bool {
    let asks = |args: &[&str]| run(Command::new("docker").args(args), Duration::from_secs(20)).is_ok();
    asks(&["compose", "version"]) && asks(&["info"])
}
