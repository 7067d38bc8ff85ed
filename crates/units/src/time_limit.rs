//! A time limit, or none: `30s`, `none`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::NONE;
use crate::duration::{format_duration, parse_duration};
use crate::error::Error;

/// A time limit, or none, whatever other limits say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeLimit {
    /// No limit.
    Never,
    /// A limit.
    After(Duration),
}

impl TimeLimit {
    /// Returns the limit, if there is one.
    pub const fn time(self) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::After(time) => Some(time),
        }
    }
}

impl fmt::Display for TimeLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => formatter.write_str(NONE),
            Self::After(time) => formatter.write_str(&format_duration(*time)),
        }
    }
}

impl FromStr for TimeLimit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.trim() == NONE {
            return Ok(Self::Never);
        }
        match parse_duration(text).map_err(Error::or_none)? {
            Duration::ZERO => Err(Error::new("more than zero, or none for no limit", text)),
            time => Ok(Self::After(time)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_duration_or_none() {
        for (text, limit) in [("none", TimeLimit::Never), ("30s", TimeLimit::After(Duration::from_secs(30)))] {
            assert_eq!(text.parse(), Ok(limit));
            assert_eq!(limit.to_string(), text);
        }
        let zero = "0s".parse::<TimeLimit>().unwrap_err().to_string();
        assert_eq!(zero, "should be more than zero, or none for no limit, found `0s`");
        let word = "off".parse::<TimeLimit>().unwrap_err().to_string();
        assert_eq!(word, "should be a duration such as 10s or 1m 30s, or none, found `off`");
        assert!("30".parse::<TimeLimit>().is_err());
    }
}
