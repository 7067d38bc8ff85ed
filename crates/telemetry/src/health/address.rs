//! The address of the health server: a TCP address with its port, or the path of a Unix socket.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Scheme of a Unix socket.
const UNIX: &str = "unix:";

/// The address of the health server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP address with its port.
    Tcp(SocketAddr),
    /// The absolute path of a Unix socket.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Returns the address at which a process on the same machine reaches the server.
    #[must_use]
    pub fn local(&self) -> Self {
        match self {
            Self::Tcp(address) if address.ip().is_unspecified() => {
                let ip = match address.ip() {
                    IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                    IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
                };
                Self::Tcp(SocketAddr::new(ip, address.port()))
            }
            other => other.clone(),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix(UNIX) {
            let path = PathBuf::from(path);
            return match path.is_absolute() {
                true if cfg!(unix) => Ok(Self::Unix(path)),
                true => Err("should be an IP address and a port: this system has no Unix sockets".to_owned()),
                false => Err(format!("should have an absolute path, such as unix:/run/celeriac.sock, found `{text}`")),
            };
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            format!(
                "should be an IP address and a port, such as 127.0.0.1:9464, or a Unix socket, such as \
                 unix:/run/celeriac.sock, found `{text}`"
            )
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "{UNIX}{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for text in ["127.0.0.1:9464", "[::1]:9464", "0.0.0.0:0", "unix:/run/celeriac.sock"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        for text in ["", "9464", "localhost:9464", ":9464", "unix:", "unix:celeriac.sock", "127.0.0.1"] {
            let error = text.parse::<ListenAddress>().unwrap_err();
            assert!(error.starts_with("should "), "{text}: {error}");
        }
    }

    #[test]
    fn a_server_on_every_address_is_reached_on_loopback() {
        let cases = [("0.0.0.0:9464", "127.0.0.1:9464"), ("[::]:1", "[::1]:1"), ("10.0.0.1:9", "10.0.0.1:9")];
        for (text, local) in cases {
            assert_eq!(text.parse::<ListenAddress>().unwrap().local().to_string(), local);
        }
    }
}
