//! Text of settings and options: durations, sizes, rates, patterns and addresses.

use std::fmt::Display;
use std::str::FromStr;

use celeriac_broker::{BrokerOptions, nodes};
use celeriac_config::Secret;
use celeriac_fuzz::{Outcome, corpus, fuzz};
use celeriac_topology::Pattern;
use celeriac_units::{
    ByteSize, DurationRange, RateLimit, TimeLimit, approximate_duration, format_duration, parse_duration,
};

/// The password of the corpus.
const PASSWORD: &str = "s3cr3t";

#[test]
fn no_text_makes_a_reader_of_units_panic() {
    fuzz("units", corpus("units"), |bytes, _| {
        let text = String::from_utf8_lossy(bytes);
        let duration = parse_duration(&text);
        if let Ok(duration) = duration {
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
            assert!(!approximate_duration(duration).is_empty());
        }
        let read = [
            is_read_as_written::<ByteSize>(&text),
            is_read_as_written::<RateLimit>(&text),
            is_read_as_written::<TimeLimit>(&text),
            is_read_as_written::<DurationRange>(&text),
        ];
        let kinds: String = read.map(|read| if read { '+' } else { '-' }).iter().collect();
        Outcome::of(&duration).with(&kinds)
    });
}

/// Returns `true` if the text is a value. Checks that the value is read again as it is written.
fn is_read_as_written<T: FromStr + Display + PartialEq>(text: &str) -> bool {
    let Ok(value) = text.parse::<T>() else { return false };
    let written = value.to_string();
    assert!(written.parse().is_ok_and(|again: T| again == value), "{text:?} is written as {written:?}");
    true
}

#[test]
fn no_pattern_makes_a_reader_panic_or_match_for_long() {
    fuzz("patterns", corpus("patterns"), |bytes, _| {
        let text = String::from_utf8_lossy(bytes);
        let (pattern, name) = text.split_once('\n').unwrap_or((&text, ""));
        let read = Pattern::read(pattern);
        let outcome = Outcome::of(&read);
        match read {
            Ok(read) if read.matches(name) => outcome.with("matches"),
            _ => outcome,
        }
    });
}

#[test]
fn no_address_makes_a_reader_panic_or_show_its_password() {
    fuzz("urls", corpus("urls"), |bytes, _| {
        let text = String::from_utf8_lossy(bytes);
        let url = Secret::new(text.clone());
        let as_broker = BrokerOptions { url: url.clone(), ..BrokerOptions::default() };
        let as_management = BrokerOptions { management_url: Some(url), ..BrokerOptions::default() };
        let read = nodes(&as_broker);
        let mut said: Vec<_> = [as_broker, as_management].iter().flat_map(BrokerOptions::validate).collect();
        said.push(("error".to_owned(), read.as_ref().err().map(ToString::to_string).unwrap_or_default()));
        if has_password(&text) {
            for (key, message) in &said {
                assert!(!message.contains(PASSWORD), "{text:?}: {key}: {message}");
            }
        }
        Outcome::of(&read)
    });
}

/// Returns `true` if the password of the corpus stands in its place, and nowhere else.
fn has_password(text: &str) -> bool {
    text.matches(PASSWORD).count() == 1 && text.contains(&format!("u:{PASSWORD}@"))
}
