//! The first and the longest wait between attempts: `1s..10m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::duration::{format_duration, parse_duration};
use crate::error::Error;

/// The form of one wait and of a range.
const FORM: &str = "one wait such as 10s, or a range such as 1s..10m";

/// The separator between the ends of a range.
const SEPARATOR: &str = "..";

/// Waits that grow from the first to the longest. A first wait of zero is the longest too, since
/// zero never grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DurationRange {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub cap: Duration,
}

impl fmt::Display for DurationRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&format_duration(self.first))?;
        if self.first != self.cap {
            write!(formatter, "{SEPARATOR}{}", format_duration(self.cap))?;
        }
        Ok(())
    }
}

impl FromStr for DurationRange {
    type Err = Error;

    /// Reads `1s..10m`, or one wait for both.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (first, cap) = match text.split_once(SEPARATOR) {
            Some((first, cap)) => (parse_duration(first)?, parse_duration(cap)?),
            None => parse_duration(text).map(|only| (only, only)).map_err(|error| in_a_range(error, text))?,
        };
        if first <= cap && (!first.is_zero() || cap.is_zero()) {
            return Ok(Self { first, cap });
        }
        let (least, most) = (first.min(cap), first.max(cap));
        let meant = match least {
            // A zero says nothing about the first wait, so the suggestion is at most a second.
            Duration::ZERO => Self { first: most.min(Duration::from_secs(1)), cap: most },
            _ => Self { first: least, cap: most },
        };
        Err(Error::new("waits that go up from more than zero, such as 1s..10m", text.trim()).with_suggestion(meant))
    }
}

/// Returns the error of a text that is no wait. A range with another separator gets a suggestion. A
/// number without a unit has an error of its own.
fn in_a_range(error: Error, text: &str) -> Error {
    if text.trim_end().ends_with(|last: char| last.is_ascii_digit()) {
        return error;
    }
    let error = error.expecting(FORM);
    match text.split_once('-').map(|(first, cap)| (parse_duration(first), parse_duration(cap))) {
        Some((Ok(first), Ok(cap))) if first <= cap => error.with_suggestion(DurationRange { first, cap }),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_range_has_two_ends_or_one() {
        for (text, first, cap, written) in [
            ("1s..10m", 1, 600, "1s..10m"),
            ("1s .. 1m 30s", 1, 90, "1s..1m 30s"),
            ("5s", 5, 5, "5s"),
            ("0s", 0, 0, "0s"),
            ("0s..0s", 0, 0, "0s"),
        ] {
            let range: DurationRange = text.parse().unwrap();
            assert_eq!((range.first.as_secs(), range.cap.as_secs()), (first, cap), "{text}");
            assert_eq!(range.to_string(), written);
        }
        assert!("1s..".parse::<DurationRange>().is_err_and(|error| error.to_string().contains("found ``")));
    }

    #[test]
    fn a_text_that_is_no_wait_is_answered_with_both_forms() {
        for (text, meant) in [("1s-10m", ", did you mean 1s..10m?"), ("soon", ""), ("10m-1s", "")] {
            let form = "should be one wait such as 10s, or a range such as 1s..10m";
            let error = text.parse::<DurationRange>().unwrap_err().to_string();
            assert_eq!(error, format!("{form}, found `{text}`{meant}"));
        }
    }

    #[test]
    fn a_range_that_does_not_go_up_is_answered_with_one_that_does() {
        for (text, meant) in
            [("10m..1s", "1s..10m"), ("0s..10m", "1s..10m"), ("1s..0s", "1s"), ("0s..1s", "1s"), ("0s..5ms", "5ms")]
        {
            let form = "should be waits that go up from more than zero, such as 1s..10m";
            let error = text.parse::<DurationRange>().unwrap_err().to_string();
            assert_eq!(error, format!("{form}, found `{text}`, did you mean {meant}?"));
        }
    }

    proptest! {
        #[test]
        fn what_is_suggested_is_read(first in 0_u64..5_000, cap in 0_u64..5_000) {
            let text = format!("{first}ms..{cap}ms");
            if let Err(error) = text.parse::<DurationRange>() {
                let error = error.to_string();
                let meant = error.split("did you mean ").nth(1).and_then(|meant| meant.strip_suffix('?')).unwrap();
                prop_assert!(meant.parse::<DurationRange>().is_ok(), "{}", error);
            }
        }

        #[test]
        fn a_range_is_read_as_it_is_written(first in 1_u64.., more in 0_u64..) {
            let range = DurationRange {
                first: Duration::from_nanos(first),
                cap: Duration::from_nanos(first.saturating_add(more)),
            };
            prop_assert_eq!(range.to_string().parse(), Ok(range));
        }
    }
}
