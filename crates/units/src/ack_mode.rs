//! The time of acknowledgement: `late` or `early`.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// The time of the acknowledgement of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AckMode {
    /// After its outcome is recorded. After a crash, the task runs again.
    #[default]
    Late,
    /// Before it runs. After a crash, the task does not run again.
    Early,
}

impl AckMode {
    /// The names of the modes.
    pub const NAMES: &'static [&'static str] = &["late", "early"];

    /// Returns the name of this mode.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Early => "early",
        }
    }
}

impl fmt::Display for AckMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for AckMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "late" => Ok(Self::Late),
            "early" => Ok(Self::Early),
            _ => Err(Error::new("late (after the task has ended) or early (before it starts)", text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_and_written() {
        for name in AckMode::NAMES {
            assert_eq!(name.parse::<AckMode>().unwrap().to_string(), *name);
        }
        let expected = "should be late (after the task has ended) or early (before it starts), found `sometimes`";
        assert_eq!("sometimes".parse::<AckMode>().unwrap_err().to_string(), expected);
    }
}
