//! Durations as people write them: `10s`, `250ms`, `1m 30s`. The same form as in the configuration.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a duration.
///
/// # Errors
/// A sentence that says how to write it.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(unreadable(text));
    }
    let mut sum: u64 = 0;
    while !rest.is_empty() {
        let (count, after) = split_where(rest, |letter| !letter.is_ascii_digit());
        let (unit, after) = split_where(after.trim_start(), |letter| !letter.is_ascii_alphabetic());
        if !count.is_empty() && unit.is_empty() && after.is_empty() {
            return Err(format!("`{text}` has no unit: write `{count}s` or `{count}ms`"));
        }
        let millis = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, millis)| *millis);
        let (false, Some(millis)) = (count.is_empty(), millis) else { return Err(unreadable(text)) };
        let part = count.parse::<u64>().ok().and_then(|count| count.checked_mul(millis));
        sum = part.and_then(|part| sum.checked_add(part)).ok_or_else(|| format!("`{text}` is too long"))?;
        rest = after.trim_start();
    }
    Ok(Duration::from_millis(sum))
}

/// Reads two durations with `..` between them, or one that counts as both.
///
/// # Errors
/// A sentence that says how to write it.
pub(crate) fn parse_range(text: &str) -> Result<(Duration, Duration), String> {
    let Some((first, last)) = text.split_once("..") else {
        return parse(text).map(|only| (only, only));
    };
    let (from, to) = (parse(first)?, parse(last)?);
    if from.is_zero() {
        return Err(format!("`{text}` starts at zero, and zero never grows: write `1s..{}`", last.trim()));
    }
    if from > to {
        return Err(format!("`{text}` goes down: write `{}..{}`", last.trim(), first.trim()));
    }
    Ok((from, to))
}

fn split_where(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

fn unreadable(text: &str) -> String {
    format!("`{text}` is no duration: write numbers with the units d, h, m, s or ms, such as `1m 30s`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in [
            ("0s", 0),
            ("250ms", 250),
            ("10s", 10_000),
            ("1m 30s", 90_000),
            ("1m30s", 90_000),
            (" 2 h ", 7_200_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_answered_with_the_form() {
        for text in ["", "soon", "s", "10x", "-1s", "1.5s", "10 minutes", "1s, 2s"] {
            let form = "is no duration: write numbers with the units d, h, m, s or ms, such as `1m 30s`";
            assert_eq!(parse(text), Err(format!("`{text}` {form}")));
        }
        assert_eq!(parse("1s 2"), Err("`1s 2` has no unit: write `2s` or `2ms`".to_owned()));
        assert_eq!(parse("10"), Err("`10` has no unit: write `10s` or `10ms`".to_owned()));
        assert_eq!(parse("99999999999999999999d"), Err("`99999999999999999999d` is too long".to_owned()));
        assert_eq!(parse("18446744073709551615d"), Err("`18446744073709551615d` is too long".to_owned()));
    }

    #[test]
    fn a_range_has_two_ends_or_one() {
        let seconds = Duration::from_secs;
        assert_eq!(parse_range("1s..10m"), Ok((seconds(1), seconds(600))));
        assert_eq!(parse_range("1s .. 1m 30s"), Ok((seconds(1), seconds(90))));
        assert_eq!(parse_range("5s"), Ok((seconds(5), seconds(5))));
        assert_eq!(parse_range("0s"), Ok((seconds(0), seconds(0))));
        assert_eq!(parse_range("10m..1s"), Err("`10m..1s` goes down: write `1s..10m`".to_owned()));
        let zero = "`0s..10m` starts at zero, and zero never grows: write `1s..10m`";
        assert_eq!(parse_range("0s..10m"), Err(zero.to_owned()));
        assert!(parse_range("1s..").is_err_and(|message| message.starts_with("`` is no duration")));
    }
}
