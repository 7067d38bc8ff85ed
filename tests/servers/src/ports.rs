//! Ports for servers that may be killed and must return on the same one.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result, bail};

use crate::folder;

// Below the range of outgoing connections. A client that reconnects to a dead server on a port of
// that range can get the same port itself and talk to itself, and the server cannot return.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port that no other process with this crate takes, with or without a server on it.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) port: u16,
    // The lock on this file is the lease. It ends with the process.
    _file: File,
}

impl Lease {
    /// Takes a free port on loopback.
    pub(crate) fn take() -> Result<Self> {
        let folder = folder::shared("ports")?;
        let start = RandomState::new().hash_one(std::process::id()) % u64::from(COUNT);
        for step in 0..u64::from(COUNT) {
            let port = FIRST + u16::try_from((start + step) % u64::from(COUNT)).unwrap_or_default();
            let name = folder.join(port.to_string());
            let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&name);
            let file = file.with_context(|| format!("cannot open {}", name.display()))?;
            if file.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(Self { port, _file: file });
            }
        }
        bail!("no free port between {FIRST} and {}", FIRST + COUNT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_leased_once() {
        let leases: Vec<_> = (0..50).map(|_| Lease::take().unwrap()).collect();
        let mut ports: Vec<_> = leases.iter().map(|lease| lease.port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 50);
    }
}
