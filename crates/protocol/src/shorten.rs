//! Texts that are cut, with a mark that says so.

use std::borrow::Cow;

/// Longest mark, in bytes.
const LONGEST_MARK: usize = "… (18,446,744,073,709,551,615 bytes left out)".len();

/// Returns a text of at most `most` bytes. A longer text is cut, and ends with the number of bytes
/// that were left out.
pub fn shorten(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(most.saturating_sub(LONGEST_MARK));
    Cow::Owned(format!("{}… ({} bytes left out)", &text[..end], grouped(text.len() - end)))
}

/// Returns a number with a comma between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_marked_once_and_within_the_limit() {
        assert_eq!(shorten("short", 5), "short");
        for (text, expected) in [
            ("x".repeat(12_445), "xxx… (12,442 bytes left out)"),
            ("é".repeat(50), "é… (98 bytes left out)"),
            ("x".repeat(1_000_003), "xxx… (1,000,000 bytes left out)"),
        ] {
            let most = LONGEST_MARK + 3;
            let cut = shorten(&text, most);
            assert_eq!(cut, expected);
            assert_eq!(shorten(&cut, most), cut);
        }
    }
}
