//! The states of a task that are written: `finished`, `started` or `sent`.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// The states of a task that are written, each with those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TrackedStates {
    /// The end of each attempt.
    #[default]
    Finished,
    /// The start of each attempt too, as `STARTED`.
    Started,
    /// The confirmed message too, as `SENT`.
    Sent,
}

impl TrackedStates {
    /// The names of the values.
    pub const NAMES: &'static [&'static str] = &["finished", "started", "sent"];

    /// Returns the name of this value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Started => "started",
            Self::Sent => "sent",
        }
    }
}

impl fmt::Display for TrackedStates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for TrackedStates {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "finished" => Ok(Self::Finished),
            "started" => Ok(Self::Started),
            "sent" => Ok(Self::Sent),
            _ => Err(Error::new("finished, started or sent", text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_and_written_and_includes_those_before() {
        let read: Vec<TrackedStates> = TrackedStates::NAMES.iter().map(|name| name.parse().unwrap()).collect();
        assert_eq!(read.iter().map(ToString::to_string).collect::<Vec<_>>(), TrackedStates::NAMES);
        assert!(read.is_sorted());
        let expected = "should be finished, started or sent, found `all`";
        assert_eq!("all".parse::<TrackedStates>().unwrap_err().to_string(), expected);
    }
}
