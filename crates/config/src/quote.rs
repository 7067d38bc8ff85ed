//! Quotes of text from outside.

use std::borrow::Cow;

use crate::secret::Secret;

/// The longest text that a message quotes.
const MAX_SHOWN: usize = 60;

/// Quotes a text for a message: masks passwords in URLs, and cuts long text.
pub fn quoted(text: &str) -> String {
    if text.is_empty() {
        return "empty text".to_owned();
    }
    let masked = without_password(text);
    let one_line = masked.lines().next().unwrap_or_default();
    match one_line.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("`{}…`", &one_line[..end]),
        None => format!("`{one_line}`"),
    }
}

/// Masks passwords of URLs in text that is not declared a secret.
pub(crate) fn without_password(text: &str) -> Cow<'_, str> {
    match text.split_once("://") {
        // Passwords of URLs are before an `@` or after a `?`.
        Some((_, rest)) if rest.contains(['@', '?']) => Secret::new(text).masked().into(),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_text_that_may_hold_a_password_is_masked() {
        for (text, expected) in [
            ("amqp://a:b@one", "amqp://a:***@one"),
            ("see amqp://a:b@one", "***"),
            ("postgres://one/db?password=b", "postgres://one/db?password=***"),
            ("amqp://one", "amqp://one"),
            ("see https://one", "see https://one"),
            ("://", "://"),
            ("a@b", "a@b"),
        ] {
            assert_eq!(without_password(text), expected);
        }
    }
}
