//! `services`: servers that run until they are ended.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use celeriac_servers::{
    AMQP_URL, DATABASE_URL, Durability, MANAGEMENT_URL, RABBIT, RabbitRelease, Servers, end_detached, until,
};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use crate::run::workspace;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start them, unless they run
    Up(Options),
    /// End them and remove their data
    Down,
    /// Print shell lines that make programs and tests use them: eval "$(cargo xtask services env)"
    Env,
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Use this RabbitMQ: `installed` (the machine's own) or `4`
    #[arg(long, value_name = "RELEASE")]
    broker: Option<RabbitRelease>,
}

/// The running servers, recorded for the next command.
#[derive(Debug, Serialize, Deserialize)]
struct Running {
    #[serde(default)]
    broker: String,
    amqp_url: String,
    management_url: Option<String>,
    database_url: String,
    folders: Vec<PathBuf>,
}

pub(crate) fn services(verb: &Verb) -> Result<()> {
    let folder = folder();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // Without the lock, two commands at the same time would overwrite each other's record.
    let lock = File::create(folder.join("lock"))?;
    until("another `cargo xtask services`", Duration::from_secs(600), || Ok(lock.try_lock().is_ok().then_some(())))?;
    match verb {
        Verb::Up(options) => up(options.broker),
        Verb::Down => down(),
        Verb::Env => env(),
    }
}

fn up(broker: Option<RabbitRelease>) -> Result<()> {
    if let Some(running) = Running::load()? {
        if running.answers() {
            running.ensure_is(broker)?;
            running.print();
            return Ok(());
        }
        eprintln!("what was started before no longer answers: ending the rest of it, starting anew");
        running.end()?;
    }
    let broker = broker.map_or_else(RabbitRelease::chosen, Ok)?;
    let servers = Servers::start(Durability::Real, broker)?;
    let (amqp_url, management_url, database_url) =
        (servers.amqp_url(), servers.management_url(), servers.database_url());
    let broker = broker.to_string();
    let running = Running { broker, amqp_url, management_url, database_url, folders: servers.detach()? };
    if let Err(error) = running.save() {
        running.end()?;
        return Err(error);
    }
    running.print();
    Ok(())
}

fn down() -> Result<()> {
    match Running::load()? {
        Some(running) => running.end(),
        None => {
            println!("nothing runs");
            Ok(())
        }
    }
}

fn env() -> Result<()> {
    let running = Running::load()?.filter(Running::answers);
    let running = running.context("the services are not up: run `cargo xtask services up`")?;
    for (name, value) in running.variables() {
        println!("export {name}={value}");
    }
    Ok(())
}

impl Running {
    fn load() -> Result<Option<Self>> {
        let file = state();
        match fs::read(&file) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map(Some).with_context(|| format!("cannot read {}", file.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    fn save(&self) -> Result<()> {
        let file = state();
        fs::write(&file, serde_json::to_vec_pretty(self)?).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Returns the variables with which programs and tests use these servers.
    fn variables(&self) -> Vec<(&'static str, &str)> {
        let mut variables = vec![
            ("CELERIAC__BROKER__URL", self.amqp_url.as_str()),
            ("CELERIAC__RESULTS__URL", &self.database_url),
            (RABBIT, &self.broker),
            (AMQP_URL, &self.amqp_url),
            (DATABASE_URL, &self.database_url),
        ];
        if let Some(url) = &self.management_url {
            variables.extend([("CELERIAC__BROKER__MANAGEMENT_URL", url.as_str()), (MANAGEMENT_URL, url)]);
        }
        variables
    }

    fn answers(&self) -> bool {
        [Some(&self.amqp_url), self.management_url.as_ref(), Some(&self.database_url)]
            .into_iter()
            .flatten()
            .all(|url| accepts(url))
    }

    /// Fails if the running broker is not the requested one.
    fn ensure_is(&self, asked: Option<RabbitRelease>) -> Result<()> {
        match asked.map(|broker| broker.to_string()) {
            Some(asked) if asked != self.broker => {
                bail!("RabbitMQ `{}` runs: run `cargo xtask services down` first", self.broker)
            }
            _ => Ok(()),
        }
    }

    fn end(&self) -> Result<()> {
        for folder in &self.folders {
            let found = if end_detached(folder)? { "ended" } else { "had ended before" };
            println!("{found}: {}", folder.display());
        }
        fs::remove_file(state()).context("cannot forget the services")?;
        Ok(())
    }

    fn print(&self) {
        println!("RabbitMQ    {} ({})", self.amqp_url, self.broker);
        if let Some(url) = &self.management_url {
            println!("management  {url}");
        }
        println!("Postgres    {}", self.database_url);
        for folder in &self.folders {
            println!("folder      {}", folder.display());
        }
        println!("use them:   eval \"$(cargo xtask services env)\"");
        println!("end them:   cargo xtask services down");
    }
}

fn folder() -> PathBuf {
    workspace().join("target/services")
}

fn state() -> PathBuf {
    folder().join("state.json")
}

/// Returns `true` if a server listens at the URL.
fn accepts(url: &str) -> bool {
    let address = address(url).and_then(|address| address.parse::<SocketAddr>().ok());
    address.is_some_and(|address| TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok())
}

fn address(url: &str) -> Option<&str> {
    url.split_once('@')?.1.split('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_tests_get_the_management_api_if_there_is_one() {
        let running = |management_url| Running {
            broker: "installed".to_owned(),
            amqp_url: "amqp://one".to_owned(),
            management_url,
            database_url: "postgres://one".to_owned(),
            folders: Vec::new(),
        };
        let has = |running: &Running, name| running.variables().iter().any(|(known, _)| *known == name);
        let (with, without) = (running(Some("http://one".to_owned())), running(None));
        for name in ["CELERIAC__BROKER__MANAGEMENT_URL", MANAGEMENT_URL] {
            assert_eq!((has(&with, name), has(&without, name)), (true, false), "{name}");
        }
    }

    #[test]
    fn the_address_is_between_user_and_path() {
        assert_eq!(address("amqp://guest:guest@127.0.0.1:20001/%2f"), Some("127.0.0.1:20001"));
        assert_eq!(address("http://guest:guest@127.0.0.1:20002"), Some("127.0.0.1:20002"));
        assert_eq!(address("nonsense"), None);
    }
}
