//! Arguments for people, without the values that a task redacts.
//!
//! A task needs its arguments, so a message keeps them. What is stored for people or shown to them
//! has a mark in place of each redacted value. Texts that may repeat a value, such as the error of
//! a decoder, are searched for it.

use std::borrow::Cow;

use celeriac_units::FieldPaths;

use crate::arguments::Parameter;
use crate::failure::Failure;
use crate::repr::repr_value;
use crate::value::{KombuValue, Map, Value};

/// The mark in place of a redacted value.
pub const REDACTED: &str = "[redacted]";

/// Shortest value that is searched for in texts, in bytes. A shorter one would hit other words.
const SHORTEST: usize = 4;

/// Most values that texts are searched for. Beyond them, a text is replaced as a whole.
const MOST: usize = 256;

/// The redacted values of a call, to be removed from texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedactedValues {
    /// The longest first, so that no part of one stays.
    texts: Vec<String>,
    too_many: bool,
}

/// Replaces the values of these paths by the mark. Returns the values.
///
/// `parameters` give names to positional arguments. Without them, a path finds positional arguments
/// by their position alone.
pub fn redact(
    paths: &FieldPaths,
    parameters: Option<&[Parameter]>,
    args: &mut [Value],
    kwargs: &mut Map,
) -> RedactedValues {
    let mut values = RedactedValues::default();
    for path in paths.iter() {
        let (first, rest) = split(path);
        for (index, arg) in args.iter_mut().enumerate() {
            let name = parameters.and_then(|parameters| parameters.get(index)).map(|parameter| parameter.name);
            if matches(first, index) || name == Some(first) {
                values.replace(arg, rest);
            }
        }
        for (name, value) in kwargs.iter_mut() {
            let position = parameters.and_then(|known| known.iter().position(|parameter| parameter.name == name));
            if first == "*" || first == name || position.is_some_and(|position| matches(first, position)) {
                values.replace(value, rest);
            }
        }
    }
    values.texts.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    values.texts.dedup();
    values
}

/// Returns the first part of a path, and the others.
fn split(path: &str) -> (&str, Option<&str>) {
    path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)))
}

fn matches(part: &str, position: usize) -> bool {
    part == "*" || part.parse() == Ok(position)
}

impl RedactedValues {
    fn replace(&mut self, value: &mut Value, path: Option<&str>) {
        let Some(path) = path else {
            self.keep(&std::mem::replace(value, Value::from(REDACTED)));
            return;
        };
        let (first, rest) = split(path);
        match value {
            Value::Map(entries) => {
                for (_, value) in entries.iter_mut().filter(|(key, _)| first == "*" || first == *key) {
                    self.replace(value, rest);
                }
            }
            Value::List(items) => {
                for (_, value) in items.iter_mut().enumerate().filter(|(index, _)| matches(first, *index)) {
                    self.replace(value, rest);
                }
            }
            _ => {}
        }
    }

    /// Keeps the texts by which a value may occur elsewhere.
    fn keep(&mut self, value: &Value) {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Int(number) => self.keep_text(&number.to_string()),
            Value::UInt(number) => self.keep_text(&number.to_string()),
            Value::BigInt(number) => self.keep_text(number.as_str()),
            Value::Float(number) => self.keep_text(&number.to_string()),
            Value::Text(text) => self.keep_text(text),
            Value::Bytes(bytes) => self.keep_text(&String::from_utf8_lossy(bytes)),
            Value::List(items) => items.iter().for_each(|item| self.keep(item)),
            Value::Map(entries) => entries.values().for_each(|value| self.keep(value)),
            Value::Kombu(KombuValue::Uuid(id)) => self.keep_text(&id.to_string()),
            Value::Kombu(
                KombuValue::Decimal(text)
                | KombuValue::DateTime(text)
                | KombuValue::Date(text)
                | KombuValue::Time(text),
            ) => self.keep_text(text),
        }
    }

    fn keep_text(&mut self, text: &str) {
        if text.len() < SHORTEST || text == REDACTED {
            return;
        }
        if self.texts.len() >= MOST {
            self.too_many = true;
            return;
        }
        // Errors and fields of log lines quote a text with its escapes.
        let quoted = format!("{text:?}");
        for form in [text.escape_debug().to_string(), quoted[1..quoted.len() - 1].to_owned(), in_message(text)] {
            if form != text && self.texts.last() != Some(&form) {
                self.texts.push(form);
            }
        }
        self.texts.push(text.to_owned());
    }

    /// Returns `true` if no text can contain a redacted value.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty() && !self.too_many
    }

    /// Returns a text with the mark in place of each redacted value.
    pub fn remove_from<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.too_many {
            return Cow::Borrowed(REDACTED);
        }
        let mut shown = Cow::Borrowed(text);
        for value in &self.texts {
            if shown.contains(value.as_str()) {
                shown = Cow::Owned(shown.replace(value.as_str(), REDACTED));
            }
        }
        shown
    }

    /// Returns a failure with the mark in place of each redacted value.
    #[must_use]
    pub fn remove_from_failure(&self, failure: Failure) -> Failure {
        if self.is_empty() {
            return failure;
        }
        Failure {
            message: self.remove_from(&failure.message).into_owned(),
            args: failure.args.map(|args| args.into_iter().map(|arg| self.remove_from_value(arg)).collect()),
            trace: failure.trace.as_deref().map(|trace| self.remove_from(trace).into_owned()),
            ..failure
        }
    }

    fn remove_from_value(&self, value: Value) -> Value {
        match value {
            Value::List(items) => Value::List(items.into_iter().map(|item| self.remove_from_value(item)).collect()),
            Value::Map(entries) => {
                let remove = |(name, value): (String, Value)| {
                    (self.remove_from(&name).into_owned(), self.remove_from_value(value))
                };
                Value::Map(entries.into_iter().map(remove).collect())
            }
            Value::Text(text) => Value::Text(self.remove_from(&text).into_owned()),
            other => {
                let shown = repr_value(&other);
                if *self.remove_from(&shown) == *shown { other } else { REDACTED.into() }
            }
        }
    }
}

/// Returns a text as it stands in the message of a log line, which keeps line breaks and tabs.
fn in_message(text: &str) -> String {
    let is_kept = |letter: char| !letter.is_control() || matches!(letter, '\n' | '\t');
    let escape = |letter: char| if is_kept(letter) { letter.to_string() } else { letter.escape_default().to_string() };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::codec::{Codec, DecodeLimits};

    fn value(json: &serde_json::Value) -> Value {
        Codec::Json.decode_value(json.to_string().as_bytes(), &DecodeLimits::default()).unwrap()
    }

    fn plain(value: &Value) -> serde_json::Value {
        serde_json::from_slice(&Codec::Json.encode_value(value).unwrap()).unwrap()
    }

    const PARAMETERS: [Parameter; 2] = [Parameter::required("order"), Parameter::required("card")];

    fn redacted(
        paths: &'static [&'static str],
        parameters: Option<&[Parameter]>,
        args: &serde_json::Value,
        kwargs: &serde_json::Value,
    ) -> (serde_json::Value, serde_json::Value, RedactedValues) {
        let (Value::List(mut args), Value::Map(mut kwargs)) = (value(args), value(kwargs)) else { panic!("arguments") };
        let values = redact(&FieldPaths::of(paths), parameters, &mut args, &mut kwargs);
        (plain(&Value::List(args)), plain(&Value::Map(kwargs)), values)
    }

    #[test]
    fn a_path_finds_its_argument_by_name_by_position_and_below() {
        let card = json!({"number": "4111 1111", "holder": "Ada", "past": [{"number": 42_424_242}, {"number": "x"}]});
        let call = [
            (json!([17, card]), json!({})),
            (json!([17]), json!({"card": card})),
            (json!([]), json!({"order": 17, "card": card})),
        ];
        for (args, kwargs) in call {
            let all = |paths| {
                let (args, kwargs, _) = redacted(paths, Some(&PARAMETERS), &args, &kwargs);
                args.get(1).or(kwargs.get("card")).unwrap().clone()
            };
            assert_eq!(all(&["card"]), json!("[redacted]"));
            assert_eq!(all(&["1"]), json!("[redacted]"));
            assert_eq!(all(&["*"]), json!("[redacted]"));
            assert_eq!(all(&["order", "cards", "card.none.x", "card.holder.x"]), card);
            let mut expected = card.clone();
            expected["number"] = json!("[redacted]");
            expected["past"][0]["number"] = json!("[redacted]");
            expected["past"][1]["number"] = json!("[redacted]");
            assert_eq!(all(&["card.number", "*.past.*.number"]), expected);
            expected["past"][1]["number"] = json!("x");
            assert_eq!(all(&["card.number", "card.past.0.number"]), expected);
        }
    }

    #[test]
    fn without_parameters_a_position_finds_a_positional_argument() {
        let (args, kwargs, _) = redacted(&["card", "1"], None, &json!([1, 2, 3]), &json!({"card": 4, "other": 5}));
        assert_eq!((args, kwargs), (json!([1, "[redacted]", 3]), json!({"card": "[redacted]", "other": 5})));
    }

    #[test]
    fn texts_lose_the_values_that_were_redacted() {
        let (.., values) = redacted(
            &["card", "order"],
            Some(&PARAMETERS),
            &json!([1299, {"number": "4111-1111", "pin": "12", "note": "a \"quoted\"\nline", "prefix": "4111"}]),
            &json!({}),
        );
        for (text, expected) in [
            ("invalid type: string \"4111-1111\", expected u64", "invalid type: string \"[redacted]\", expected u64"),
            ("order 1299 is gone, 12 left", "order [redacted] is gone, 12 left"),
            ("said \"a \\\"quoted\\\"\\nline\"", "said \"[redacted]\""),
            ("said a \"quoted\"\nline", "said [redacted]"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(values.remove_from(text), expected);
        }
        let failure = Failure { trace: Some("caused by: 4111-1111".to_owned()), ..Failure::new("E", "4111-1111") };
        let failure = values.remove_from_failure(failure);
        assert_eq!((failure.message.as_str(), failure.trace.as_deref()), ("[redacted]", Some("caused by: [redacted]")));
    }

    #[test]
    fn a_value_is_found_in_the_forms_of_log_lines() {
        let key = "BEGIN\r\nit's\tall";
        let (.., values) = redacted(&["0"], None, &json!([key]), &json!({}));
        for written in [key.to_owned(), key.replace('\r', "\\r"), format!("{key:?}").trim_matches('"').to_owned()] {
            assert_eq!(values.remove_from(&format!("key={written}")), "key=[redacted]", "{written}");
        }
    }

    #[test]
    fn of_very_many_values_a_text_shows_nothing() {
        let many: Vec<_> = (10_000..10_300).collect();
        let (.., values) = redacted(&["0"], None, &json!([many]), &json!({}));
        assert_eq!(values.remove_from("10299 is wrong"), REDACTED);
        assert!(RedactedValues::default().is_empty() && !values.is_empty());
    }
}
