//! Sizes as people write them: `8MiB`, `64 KB`, `512`.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(u64);

/// Units: name in lower case, name, and bytes. A binary unit comes before the decimal one of its
/// rank, so that it is preferred.
const UNITS: [(&str, &str, u64); 8] = [
    ("tib", "TiB", 1 << 40),
    ("tb", "TB", 1_000_000_000_000),
    ("gib", "GiB", 1 << 30),
    ("gb", "GB", 1_000_000_000),
    ("mib", "MiB", 1 << 20),
    ("mb", "MB", 1_000_000),
    ("kib", "KiB", 1 << 10),
    ("kb", "KB", 1_000),
];

impl ByteSize {
    /// Makes a size of this many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Makes a size of this many times 1,048,576 bytes.
    pub const fn mib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 20))
    }

    /// Returns the number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    /// Writes it in the largest unit of which it is a whole number.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, _, factor)| self.0 > 0 && self.0.is_multiple_of(*factor));
        match unit {
            Some((_, name, factor)) => write!(formatter, "{}{name}", self.0 / factor),
            None => write!(formatter, "{}", self.0),
        }
    }
}

impl FromStr for ByteSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Error::new("a size such as 8MiB or 64KB", text);
        let unknown_unit = || invalid().with_advice(", the units are B, KB, MB, GB, TB, KiB, MiB, GiB and TiB");
        let too_large = || invalid().with_advice(", which is too large");
        let trimmed = text.trim();
        let digits = trimmed.find(|character: char| !character.is_ascii_digit()).unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(digits);
        let number: u64 = number.parse().map_err(|_| if number.is_empty() { invalid() } else { too_large() })?;
        let factor = match unit.trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            unit if unit.starts_with('.') => {
                return Err(invalid().with_advice(", write a whole number of a smaller unit"));
            }
            unit => UNITS.iter().find(|(name, ..)| *name == unit).ok_or_else(unknown_unit)?.2,
        };
        number.checked_mul(factor).map(Self).ok_or_else(too_large)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_as_people_do() {
        for (text, bytes, written) in [
            ("0", 0, "0"),
            ("512", 512, "512"),
            ("512 b", 512, "512"),
            ("64 KB", 64_000, "64KB"),
            ("64kib", 65_536, "64KiB"),
            ("1024KiB", 1 << 20, "1MiB"),
            ("8MiB", 8 << 20, "8MiB"),
            ("3 GB", 3_000_000_000, "3GB"),
            ("1TiB", 1 << 40, "1TiB"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, written), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        let (units, large) = (", the units are B, KB, MB, GB, TB, KiB, MiB, GiB and TiB", ", which is too large");
        for (text, advice) in [
            ("", ""),
            ("MiB", ""),
            ("-1", ""),
            ("8 miles", units),
            ("8M", units),
            ("1.5MiB", ", write a whole number of a smaller unit"),
            ("99999999999999999999", large),
            ("18446744073709551615KB", large),
        ] {
            assert_eq!(
                text.parse::<ByteSize>().unwrap_err().to_string(),
                format!("should be a size such as 8MiB or 64KB, found `{text}`{advice}")
            );
        }
    }
}
