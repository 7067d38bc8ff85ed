//! A network namespace whose links to this machine can lose packets.

use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Read};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::install::find_or_install;
use crate::program::{on_path, run};

const TOOL: Duration = Duration::from_secs(60);

/// Hardware addresses of the two ends of a link, and one that nobody has. A packet to that one is
/// dropped by its receiver, without any answer.
const HERE: &str = "02:00:00:00:00:01";
const THERE: &str = "02:00:00:00:00:02";
const NOBODY: &str = "02:00:00:00:00:03";

/// First address of 198.18.0.0/15, which RFC 2544 reserves for tests of networks, and the number of
/// links that have four addresses each in it.
const ADDRESSES: u32 = 0xc612_0000;
const LINKS: u64 = 1 << 15;

/// Attempts to find a link that no other process has.
const ATTEMPTS: u32 = 10;

/// Names of the programs, for the errors.
const UNSHARE: &str = "unshare";
const IP: &str = "ip";

/// A network namespace, in which programs run behind [`Link`]s.
///
/// The kernel removes it, with its links, after the value was dropped or its owner was killed and
/// its last program has ended.
#[derive(Debug)]
pub struct NetworkNamespace {
    /// Ends when its input does.
    holder: Child,
}

/// A link between this machine and a namespace.
#[derive(Debug)]
pub struct Link {
    namespace: u32,
    name: String,
    here: Ipv4Addr,
    there: Ipv4Addr,
}

/// The packets that a link loses, as its namespace sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// No packet.
    Nothing,
    /// Packets to the namespace.
    Incoming,
    /// Packets from the namespace.
    Outgoing,
    /// All packets.
    Everything,
}

impl NetworkNamespace {
    /// Makes a namespace without links. Installs iproute2 if it is missing and may be installed.
    pub fn create() -> Result<Self> {
        find_or_install(|| on_path(IP), "iproute2").context("no program `ip`: install iproute2")?;
        let mut holder = Command::new(UNSHARE)
            .args(["--net", "--", "/bin/sh", "-c", "ip link set lo up && echo made && read -r _"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("no program `unshare`: install util-linux")?;
        let mut line = String::new();
        if let Some(output) = holder.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        if line.trim() == "made" {
            return Ok(Self { holder });
        }
        let mut said = String::new();
        if let Some(mut errors) = holder.stderr.take() {
            errors.read_to_string(&mut said)?;
        }
        holder.wait()?;
        bail!(
            "cannot make a network namespace: {}. Tests of partitions need CAP_SYS_ADMIN and CAP_NET_ADMIN. Do one of \
             these:\n\
             - run them as root; in a container, with `--cap-add SYS_ADMIN --cap-add NET_ADMIN`\n\
             - run them in a user namespace: `unshare --user --map-current-user --keep-caps --net sh -c \
             'ip link set lo up && cargo xtask test partition'`",
            said.trim()
        )
    }

    /// Returns the words before a command that make it run in this namespace, with the same process
    /// id.
    pub fn enter(&self) -> Result<[String; 3]> {
        enter(self.holder.id())
    }

    /// Makes a link to this namespace.
    pub fn link(&self) -> Result<Link> {
        let mut failed = None;
        for attempt in 0..ATTEMPTS {
            let number = RandomState::new().hash_one(attempt) % LINKS;
            match Link::make(self.holder.id(), u32::try_from(number)?) {
                Ok(link) => return Ok(link),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.context("no attempt")?)
    }
}

impl Drop for NetworkNamespace {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

impl Link {
    fn make(namespace: u32, number: u32) -> Result<Self> {
        let first = ADDRESSES + 4 * number;
        let link = Self {
            namespace,
            name: format!("celeriac{number}"),
            here: Ipv4Addr::from(first + 1),
            there: Ipv4Addr::from(first + 2),
        };
        let Self { name, here, there, .. } = &link;
        let peer = namespace.to_string();
        let pair = ["link", "add", name, "address", HERE, "type", "veth", "peer", "name", name, "address", THERE];
        link.ip(&[pair.as_slice(), &["netns", &peer]].concat())?;
        link.ip(&["address", "add", &format!("{here}/30"), "dev", name])?;
        link.ip(&["link", "set", name, "up"])?;
        link.ip_there(&["address", "add", &format!("{there}/30"), "dev", name])?;
        link.ip_there(&["link", "set", name, "up"])?;
        link.lose(Loss::Nothing)?;
        Ok(link)
    }

    /// Returns the address of this machine, for servers to listen on.
    pub fn here(&self) -> Ipv4Addr {
        self.here
    }

    /// Returns the address in the namespace.
    pub fn there(&self) -> Ipv4Addr {
        self.there
    }

    /// Loses these packets from now on, without FIN, RST or an ICMP error.
    pub fn lose(&self, loss: Loss) -> Result<()> {
        let incoming = matches!(loss, Loss::Incoming | Loss::Everything);
        let outgoing = matches!(loss, Loss::Outgoing | Loss::Everything);
        let (name, here, there) = (&self.name, self.here.to_string(), self.there.to_string());
        let address = |lost: bool, right: &'static str| if lost { NOBODY } else { right };
        let entry = |of, address| ["neigh", "replace", of, "lladdr", address, "nud", "permanent", "dev", name];
        self.ip(&entry(&there, address(incoming, THERE)))?;
        self.ip_there(&entry(&here, address(outgoing, HERE)))
    }

    fn ip(&self, words: &[&str]) -> Result<()> {
        run(Command::new(IP).args(words), TOOL).map(drop)
    }

    fn ip_there(&self, words: &[&str]) -> Result<()> {
        let [program, namespace, end] = enter(self.namespace)?;
        run(Command::new(program).args([&namespace, &end, IP]).args(words), TOOL).map(drop)
    }
}

fn enter(namespace: u32) -> Result<[String; 3]> {
    let nsenter = on_path("nsenter").context("no program `nsenter`: install util-linux")?;
    Ok([nsenter.to_string_lossy().into_owned(), format!("--net=/proc/{namespace}/ns/net"), "--".to_owned()])
}
