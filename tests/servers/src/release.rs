//! The RabbitMQ release that tests start.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, anyhow, bail};

/// The RabbitMQ release for a [`RabbitSpec`](crate::RabbitSpec) without one: `installed` or `4`.
pub const RABBIT: &str = "CELERIAC_TEST_RABBITMQ";

/// A RabbitMQ release that can be started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RabbitRelease {
    /// The machine's own, such as Debian 12's 3.10.
    #[default]
    Installed,
    /// Debian 13's 4.0, in a folder of its own beside the machine's.
    V4,
}

impl RabbitRelease {
    /// Returns the release named by [`RABBIT`], else the machine's own.
    pub fn chosen() -> Result<Self> {
        match std::env::var_os(RABBIT).filter(|name| !name.is_empty()) {
            Some(name) => name.to_string_lossy().parse().map_err(|error| anyhow!("{RABBIT}: {error}")),
            None => Ok(Self::default()),
        }
    }
}

impl FromStr for RabbitRelease {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "installed" => Ok(Self::Installed),
            "4" => Ok(Self::V4),
            other => bail!("there is no RabbitMQ `{other}`, only `installed` and `4`"),
        }
    }
}

impl fmt::Display for RabbitRelease {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Installed => "installed",
            Self::V4 => "4",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_read_as_it_is_written() {
        for release in [RabbitRelease::Installed, RabbitRelease::V4] {
            assert_eq!(release.to_string().parse::<RabbitRelease>().unwrap(), release);
        }
        let error = "3".parse::<RabbitRelease>().unwrap_err();
        assert_eq!(error.to_string(), "there is no RabbitMQ `3`, only `installed` and `4`");
    }
}
