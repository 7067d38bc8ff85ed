//! How many a second.

use std::str::FromStr;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

/// How many messages are replayed in a time, evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace(Duration);

impl Pace {
    /// The first tick comes at once.
    pub(super) fn ticks(self) -> Interval {
        let mut ticks = tokio::time::interval(self.0);
        // One that took long is no reason to hurry with the next.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    }
}

impl FromStr for Pace {
    type Err = String;

    /// Reads `100/s`, `30/m` or `5/h`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("should be a number a second, minute or hour, such as 100/s, 30/m or 5/h, got `{text}`");
        let (number, unit) = text.split_once('/').ok_or_else(wrong)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            _ => return Err(wrong()),
        };
        let number = number.parse::<u32>().ok().filter(|number| (1..=1_000_000).contains(number)).ok_or_else(wrong)?;
        Ok(Self(Duration::from_secs(seconds) / number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_a_number_in_a_time() {
        let cases = [("100/s", 10), ("30/m", 2_000), ("5/h", 720_000), ("1000/s", 1)];
        for (text, milliseconds) in cases {
            assert_eq!(text.parse(), Ok(Pace(Duration::from_millis(milliseconds))), "{text}");
        }
        for text in ["", "100", "0/s", "-1/s", "1.5/s", "100/d", "/s", "10000000/s"] {
            assert!(text.parse::<Pace>().is_err(), "{text}");
        }
    }
}
