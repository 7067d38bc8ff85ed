//! Rates: `10/s`, `100/m`, `5/h`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::NONE;
use crate::error::Error;

/// A number of times per second, minute, hour or day, evenly spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    times: u32,
    unit: RateUnit,
}

/// The unit of time of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateUnit {
    /// `s`
    Second,
    /// `m`
    Minute,
    /// `h`
    Hour,
    /// `d`
    Day,
}

/// The highest number. Clocks are not finer.
const MOST: u32 = 1_000_000;

impl RateLimit {
    /// Makes a rate per second, at least one.
    pub const fn per_second(times: u32) -> Self {
        Self { times: within(times), unit: RateUnit::Second }
    }

    /// Makes a rate per minute, at least one.
    pub const fn per_minute(times: u32) -> Self {
        Self { times: within(times), unit: RateUnit::Minute }
    }

    /// Makes a rate per hour, at least one.
    pub const fn per_hour(times: u32) -> Self {
        Self { times: within(times), unit: RateUnit::Hour }
    }

    /// Makes a rate per day, at least one.
    pub const fn per_day(times: u32) -> Self {
        Self { times: within(times), unit: RateUnit::Day }
    }

    /// Returns the time between two of them.
    pub fn interval(self) -> Duration {
        self.unit.length() / self.times
    }

    /// Returns the number of times.
    pub const fn times(self) -> u32 {
        self.times
    }

    /// Returns the unit of time.
    pub const fn unit(self) -> RateUnit {
        self.unit
    }

    /// Reads a rate as Celery writes it. A number alone counts per second. `None` for `none` and
    /// `0`, which mean no limit.
    ///
    /// # Errors
    /// Returns an error for other text, and for a rate that is not a whole number in its unit.
    pub fn parse_optional(text: &str) -> Result<Option<Self>, Error> {
        let wrong = || Error::new("a number a second, minute, hour or day, such as 10/s, 100/m, 5/h", text);
        let (times, unit) = match text.trim().split_once('/') {
            None if text.trim() == NONE => return Ok(None),
            None => (text.trim(), RateUnit::Second),
            Some((times, unit)) => (times, RateUnit::named(unit).ok_or_else(wrong)?),
        };
        match times.parse::<u32>() {
            Ok(0) => Ok(None),
            Ok(times @ ..=MOST) => Ok(Some(Self { times, unit })),
            _ => Err(match times.parse().ok().and_then(|times| Self::whole(times, unit)) {
                Some(rate) => Error::new("a whole number in its time", text).with_advice(format!(": write {rate}")),
                None => wrong(),
            }),
        }
    }

    /// Returns the same rate as a whole number in a longer unit: `0.5/s` is `30/m`.
    fn whole(times: f64, unit: RateUnit) -> Option<Self> {
        let longer = [RateUnit::Minute, RateUnit::Hour, RateUnit::Day]
            .into_iter()
            .filter(|longer| longer.length() > unit.length());
        longer.into_iter().find_map(|longer| {
            let times = times * longer.length().div_duration_f64(unit.length());
            let whole = times.round();
            let is_whole = (1.0..=f64::from(MOST)).contains(&whole) && (times - whole).abs() < 1e-6;
            let times = is_whole.then(|| whole.to_string().parse().ok())??;
            Some(Self { times, unit: longer })
        })
    }
}

const fn within(times: u32) -> u32 {
    match times {
        0 => 1,
        MOST.. => MOST,
        times => times,
    }
}

impl RateUnit {
    fn named(text: &str) -> Option<Self> {
        Some(match text {
            "s" => Self::Second,
            "m" => Self::Minute,
            "h" => Self::Hour,
            "d" => Self::Day,
            _ => return None,
        })
    }

    fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        })
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            RateUnit::Second => "s",
            RateUnit::Minute => "m",
            RateUnit::Hour => "h",
            RateUnit::Day => "d",
        };
        write!(formatter, "{}/{unit}", self.times)
    }
}

impl FromStr for RateLimit {
    type Err = Error;

    /// Reads a rate above zero.
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse_optional(text)?.ok_or_else(|| Error::new("more than zero times in its time", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_in_a_time() {
        let cases = [
            ("10/s", 100, "10/s"),
            ("100/m", 600, "100/m"),
            ("5/h", 720_000, "5/h"),
            ("1/d", 86_400_000, "1/d"),
            ("10", 100, "10/s"),
            ("1000/s", 1, "1000/s"),
        ];
        for (text, milliseconds, written) in cases {
            let rate: RateLimit = text.parse().unwrap();
            assert_eq!((rate.interval(), rate.to_string()), (Duration::from_millis(milliseconds), written.to_owned()));
        }
        for text in ["", "ten", "-1/s", "1.5/s", "100/w", "/s", "10000000/s", "1/s/s", "0/w"] {
            assert!(RateLimit::parse_optional(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_in_fractions_is_answered_with_one_that_is_whole() {
        for (text, whole) in [("0.5/s", "30/m"), ("1.5", "90/m"), ("0.1/m", "6/h"), ("0.25/h", "6/d")] {
            let expected = format!("should be a whole number in its time, found `{text}`: write {whole}");
            assert_eq!(RateLimit::parse_optional(text).unwrap_err().to_string(), expected);
        }
        for text in ["0.5/d", "0.001/s", "inf/s", "NaN", "1e300/s", "-0.5/s", "0.0000001/s"] {
            assert!(
                RateLimit::parse_optional(text)
                    .is_err_and(|error| error.to_string().starts_with("should be a number a second")),
                "{text}"
            );
        }
    }

    #[test]
    fn zero_is_no_limit_and_no_rate() {
        for text in ["0", "0/m", "none"] {
            assert_eq!(RateLimit::parse_optional(text), Ok(None));
            assert!(text.parse::<RateLimit>().is_err());
        }
        assert_eq!(RateLimit::per_second(0), RateLimit::per_second(1));
    }
}
