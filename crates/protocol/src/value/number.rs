//! Integers beyond 64 bits.

use std::fmt;

use super::error::ValueError;

/// Most digits of an integer, which is Python's own limit. The time to read one grows with the
/// square of its digits.
pub(crate) const MOST_DIGITS: usize = 4300;

/// An integer that fits neither [`i64`] nor [`u64`], as its decimal digits.
///
/// It is not used for arithmetic, and is kept as it arrived.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BigInt(String);

impl BigInt {
    /// Returns an integer from its digits: an optional `-`, and 19 to 4300 digits without a leading
    /// zero.
    ///
    /// # Errors
    /// Returns an error if the text is not such an integer, or if it fits in 64 bits.
    pub fn new(text: impl Into<String>) -> Result<Self, ValueError> {
        let text = text.into();
        let digits = text.strip_prefix('-').unwrap_or(&text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) || digits.starts_with('0') {
            return Err(ValueError::new(format_args!("`{}` is not an integer in digits", shortened(&text))));
        }
        if digits.len() > MOST_DIGITS {
            return Err(ValueError::new(format_args!(
                "an integer of {} digits, allowed are {MOST_DIGITS}",
                digits.len()
            )));
        }
        if text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok() {
            return Err(ValueError::new(format_args!("{text} fits 64 bits")));
        }
        Ok(Self(text))
    }

    /// Returns a number that fits neither.
    pub(super) fn beyond_64_bits(number: impl fmt::Display) -> Self {
        Self(number.to_string())
    }

    /// Returns the digits, after a `-` if the number is negative.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the digits as an owned text.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Display for BigInt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn shortened(text: &str) -> String {
    const SHOWN: usize = 40;
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Value;
    use super::*;

    #[test]
    fn an_integer_is_of_the_smallest_kind_that_holds_it() {
        assert_eq!(Value::from(i128::from(i64::MIN)), Value::Int(i64::MIN));
        assert_eq!(Value::from(u128::from(u64::MAX)), Value::UInt(u64::MAX));
        assert_eq!(Value::from(1_u128 << 64), Value::BigInt(BigInt::new("18446744073709551616").unwrap()));
        assert_eq!(Value::from_digits("-9223372036854775809").unwrap().kind(), "an integer");
        assert_eq!(Value::from_digits("-0").unwrap(), Value::Int(0));
    }

    #[test]
    fn what_is_no_large_integer_is_refused() {
        for text in ["", "-", "1", "-1", "18446744073709551615", "1e30", "+99999999999999999999", "٣", "0x"] {
            assert!(BigInt::new(text).is_err(), "{text}");
        }
        assert!(BigInt::new("099999999999999999999").is_err());
        assert!(BigInt::new("9".repeat(MOST_DIGITS)).is_ok());
        assert_eq!(
            BigInt::new("9".repeat(MOST_DIGITS + 1)).unwrap_err().to_string(),
            "an integer of 4301 digits, allowed are 4300"
        );
    }
}
