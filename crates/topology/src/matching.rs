//! Matching of messages with bindings. Pure.

use celeriac_protocol::{HeaderMap, Map, Value};

use crate::exchange::{Binding, ExchangeKind, HeaderMatch};
use crate::objects::Argument;

impl Binding {
    /// Returns true if an exchange of this kind takes a message through this binding. `None` if
    /// that depends on unknown headers.
    pub fn takes(&self, kind: ExchangeKind, routing_key: &str, headers: Option<&HeaderMap>) -> Option<bool> {
        Some(match kind {
            ExchangeKind::Direct => self.routing_key == routing_key,
            ExchangeKind::Topic => topic_matches(&self.routing_key, routing_key),
            ExchangeKind::Fanout => true,
            ExchangeKind::Headers => headers_match(&self.headers, self.header_match, headers?),
        })
    }
}

/// Returns true if all or any of the wanted headers are there, with these values. Headers that
/// begin with `x-` do not count.
fn headers_match(wanted: &Map, which: HeaderMatch, headers: &HeaderMap) -> bool {
    let has = |(name, value): (&String, &Value)| {
        headers.get(name).and_then(Argument::of_header) == Argument::of_header(value)
    };
    let mut wanted = wanted.iter().filter(|(name, _)| !name.starts_with("x-"));
    match which {
        HeaderMatch::All => wanted.all(has),
        HeaderMatch::Any => wanted.any(has),
    }
}

/// Returns true if a pattern of words matches a key. `*` is one word, `#` any number, also none.
///
/// If a word does not match, the last `#` takes one more word, and matching resumes after it.
/// Earlier `#` need no second try, because the last one can take every word that they could.
fn topic_matches(pattern: &str, key: &str) -> bool {
    let (mut pattern, mut key) = (words(pattern), words(key));
    let mut last_hash: Option<(Words<'_>, Words<'_>)> = None;
    loop {
        match (first(pattern), first(key)) {
            (None, None) => return true,
            (Some(("#", after)), _) => {
                last_hash = Some((after, key));
                pattern = after;
            }
            (Some((expected, after)), Some((found, rest))) if expected == "*" || expected == found => {
                (pattern, key) = (after, rest);
            }
            _ => {
                let Some((after_hash, Some((_, rest)))) = last_hash.map(|(after, taken)| (after, first(taken))) else {
                    return false;
                };
                last_hash = Some((after_hash, rest));
                (pattern, key) = (after_hash, rest);
            }
        }
    }
}

/// The remaining words. `None` at the end. The empty key has no words, as in RabbitMQ.
type Words<'a> = Option<&'a str>;

fn words(key: &str) -> Words<'_> {
    (!key.is_empty()).then_some(key)
}

fn first(words: Words<'_>) -> Option<(&str, Words<'_>)> {
    words.map(|words| match words.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (words, None),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_stars_and_hashes_match_as_on_rabbitmq() {
        let cases = [
            ("", "", true),
            ("", "a", false),
            ("#", "", true),
            ("#", "a.b", true),
            ("*", "", false),
            ("*", "a", true),
            ("*", "a.b", false),
            ("a.#", "a", true),
            ("a.#", "a.b.c", true),
            ("a.#", "b", false),
            ("#.c", "a.b.c", true),
            ("#.c", "c.d", false),
            ("a.*.c", "a.b.c", true),
            ("a.*.c", "a.c", false),
            ("#.a.#.b", "x.a.a.y.b", true),
            ("*.#", "a..b", true),
            ("a.", "a.", true),
            ("a.*", "a.", true),
        ];
        for (pattern, key, expected) in cases {
            assert_eq!(topic_matches(pattern, key), expected, "{pattern} {key}");
        }
    }

    /// The definition, in its simplest form.
    fn model(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((&"#", after)), _) => (0..=key.len()).any(|taken| model(after, &key[taken..])),
            (Some((&expected, after)), Some((found, rest))) => {
                (expected == "*" || expected == *found) && model(after, rest)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_equals_its_definition(
            pattern in prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "#"]), 0..7),
            key in prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 0..8),
        ) {
            let found = topic_matches(&pattern.join("."), &key.join("."));
            prop_assert_eq!(found, model(&pattern, &key));
        }
    }
}
