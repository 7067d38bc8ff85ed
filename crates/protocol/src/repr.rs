//! Arguments as Python would print them, for the `argsrepr` and `kwargsrepr` headers.

use std::fmt::{self, Write};

use crate::codec::{Codec, DecodeLimits};
use crate::value::{KombuValue, Map, Value};

/// Longest text, in bytes.
const LONGEST: usize = 1024;

/// Deepest nesting of lists and objects that is shown. Deeper levels are omitted.
const LEVELS: usize = 3;

/// Largest JSON text that is read, in bytes.
const LARGEST_JSON: usize = 64 * LONGEST;

/// The text for omitted parts.
const ELLIPSIS: &str = "...";

/// Returns positional arguments as a Python tuple.
pub fn repr_args(args: &[Value]) -> String {
    let mut text = Text(String::new());
    let single = if let [_] = args { ",)" } else { ")" };
    // An error only means that the text is full.
    let _full = text.items("(", single, args, 1);
    text.finish()
}

/// Returns named arguments as a Python dictionary.
pub fn repr_kwargs(kwargs: &Map) -> String {
    let mut text = Text(String::new());
    let _full = text.entries(kwargs, 1);
    text.finish()
}

/// Returns a value in JSON as Python prints it. A text that is long, or not JSON, is cut as it is.
pub fn repr_json(json: &str) -> String {
    let read =
        (json.len() <= LARGEST_JSON).then(|| Codec::Json.decode_value(json.as_bytes(), &DecodeLimits::default()));
    match read {
        Some(Ok(value)) => repr_value(&value),
        _ => {
            let mut text = Text(String::new());
            let _full = text.write_str(json);
            text.finish()
        }
    }
}

/// Returns any value as Python prints it.
pub(crate) fn repr_value(value: &Value) -> String {
    let mut text = Text(String::new());
    let _full = text.value(value, 1);
    text.finish()
}

/// A text with a limit. It accepts no more once it exceeds the limit.
struct Text(String);

impl Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        // The rest of a long part is omitted. One more byte than the limit shows that something
        // was.
        let room = (LONGEST + 1).saturating_sub(self.0.len());
        if part.len() <= room {
            self.0.push_str(part);
            return Ok(());
        }
        self.0.push_str(&part[..part.ceil_char_boundary(room)]);
        Err(fmt::Error)
    }
}

impl Text {
    fn finish(mut self) -> String {
        if self.0.len() > LONGEST {
            self.0.truncate(self.0.floor_char_boundary(LONGEST - ELLIPSIS.len()));
            self.0.push_str(ELLIPSIS);
        }
        self.0
    }

    fn value(&mut self, value: &Value, level: usize) -> fmt::Result {
        match value {
            Value::Null => self.write_str("None"),
            Value::Bool(true) => self.write_str("True"),
            Value::Bool(false) => self.write_str("False"),
            Value::Int(number) => write!(self, "{number}"),
            Value::UInt(number) => write!(self, "{number}"),
            Value::BigInt(number) => self.write_str(number.as_str()),
            Value::Float(number) => self.float(*number),
            Value::Text(text) => self.quoted(text),
            Value::Bytes(bytes) => self.bytes(bytes),
            Value::List(_) if level >= LEVELS => self.write_str("[...]"),
            Value::List(items) => self.items("[", "]", items, level + 1),
            Value::Map(_) if level >= LEVELS => self.write_str("{...}"),
            Value::Map(entries) => self.entries(entries, level + 1),
            Value::Kombu(KombuValue::Uuid(id)) => write!(self, "UUID('{id}')"),
            Value::Kombu(KombuValue::Decimal(text)) => write!(self, "Decimal('{text}')"),
            Value::Kombu(KombuValue::DateTime(text) | KombuValue::Date(text) | KombuValue::Time(text)) => {
                self.quoted(text)
            }
        }
    }

    fn items(&mut self, open: &str, close: &str, items: &[Value], level: usize) -> fmt::Result {
        self.write_str(open)?;
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.write_str(", ")?;
            }
            self.value(item, level)?;
        }
        self.write_str(close)
    }

    fn entries(&mut self, entries: &Map, level: usize) -> fmt::Result {
        self.write_str("{")?;
        for (index, (key, value)) in entries.iter().enumerate() {
            if index > 0 {
                self.write_str(", ")?;
            }
            self.quoted(key)?;
            self.write_str(": ")?;
            self.value(value, level)?;
        }
        self.write_str("}")
    }

    /// Writes a float as Python does: with an exponent from 1e16 on and below 1e-4, and always with
    /// a point or an exponent.
    fn float(&mut self, number: f64) -> fmt::Result {
        if number.is_nan() {
            return self.write_str("nan");
        }
        if number.is_infinite() {
            return self.write_str(if number > 0.0 { "inf" } else { "-inf" });
        }
        let scientific = format!("{number:e}");
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        match exponent.parse::<i32>() {
            Ok(power @ (..-4 | 16..)) => {
                let sign = if power < 0 { '-' } else { '+' };
                write!(self, "{digits}e{sign}{:02}", power.unsigned_abs())
            }
            _ => write!(self, "{number:?}"),
        }
    }

    fn quoted(&mut self, text: &str) -> fmt::Result {
        let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
        self.write_char(quote)?;
        for character in text.chars() {
            match character {
                '\\' => self.write_str("\\\\")?,
                '\n' => self.write_str("\\n")?,
                '\r' => self.write_str("\\r")?,
                '\t' => self.write_str("\\t")?,
                _ if character == quote => write!(self, "\\{character}")?,
                _ if is_shown(character) => self.write_char(character)?,
                _ => match u32::from(character) {
                    code @ ..=0xff => write!(self, "\\x{code:02x}")?,
                    code @ ..=0xffff => write!(self, "\\u{code:04x}")?,
                    code => write!(self, "\\U{code:08x}")?,
                },
            }
        }
        self.write_char(quote)
    }

    fn bytes(&mut self, bytes: &[u8]) -> fmt::Result {
        let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' };
        write!(self, "b{quote}")?;
        for byte in bytes {
            match byte {
                b'\\' => self.write_str("\\\\")?,
                b'\n' => self.write_str("\\n")?,
                b'\r' => self.write_str("\\r")?,
                b'\t' => self.write_str("\\t")?,
                _ if char::from(*byte) == quote => write!(self, "\\{quote}")?,
                b' '..=b'~' => self.write_char(char::from(*byte))?,
                _ => write!(self, "\\x{byte:02x}")?,
            }
        }
        self.write_char(quote)
    }
}

/// Returns `true` for a character that is printed unchanged. Invisible characters, and those that
/// turn the direction of text, are escaped.
fn is_shown(character: char) -> bool {
    let hidden = character.is_control()
        || (character.is_whitespace() && character != ' ')
        || matches!(
            character,
            '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{e000}'..='\u{f8ff}' | '\u{fff9}'..='\u{ffff}' | '\u{e0000}'..
        );
    // The replacement character is a special, but is meant to be visible.
    !hidden || character == '\u{fffd}'
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::BigInt;

    fn list(items: Vec<Value>) -> Value {
        Value::List(items)
    }

    fn map(entries: &[(&str, Value)]) -> Map {
        entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    }

    #[test]
    fn arguments_look_as_python_prints_them() {
        let ints = |numbers: &[i64]| numbers.iter().copied().map(Value::Int).collect::<Vec<_>>();
        assert_eq!(repr_args(&[]), "()");
        assert_eq!(repr_args(&ints(&[1])), "(1,)");
        assert_eq!(repr_args(&ints(&[1, 2])), "(1, 2)");
        let kwargs = map(&[("a", Value::Int(1)), ("b", Value::Null), ("c", Value::Bool(true)), ("it's", list(vec![]))]);
        assert_eq!(repr_kwargs(&kwargs), r#"{'a': 1, 'b': None, 'c': True, "it's": []}"#);
        assert_eq!(repr_kwargs(&Map::new()), "{}");
        let typed = [
            Value::Kombu(KombuValue::Uuid(uuid::Uuid::from_u128(1))),
            Value::Kombu(KombuValue::Decimal("1.10".to_owned())),
            Value::Null,
            Value::Bool(true),
            Value::BigInt(BigInt::new("100000000000000000000").unwrap()),
            Value::UInt(u64::MAX),
        ];
        assert_eq!(
            repr_args(&typed),
            "(UUID('00000000-0000-0000-0000-000000000001'), Decimal('1.10'), None, True, 100000000000000000000, \
             18446744073709551615)"
        );
        assert_eq!(repr_args(&[Value::Kombu(KombuValue::Date("2026-01-02".to_owned()))]), "('2026-01-02',)");
    }

    #[test]
    fn json_is_printed_as_python_prints_its_value() {
        assert_eq!(repr_json(r#"{"a": [1, null, true, "it's"]}"#), r#"{'a': [1, None, True, "it's"]}"#);
        assert_eq!(repr_json("not json"), "not json");
        let long = repr_json(&format!("\"{}\"", "x".repeat(LARGEST_JSON)));
        assert_eq!((long.len(), &long[..2], &long[1021..]), (LONGEST, "\"x", "..."));
    }

    #[test]
    fn text_and_bytes_are_quoted_as_python_quotes_them() {
        let texts = [
            "it's",
            "say \"x\"",
            "b\"o'th",
            "tab\t\n\r\0\x7f\x1b\\ é 😀 \u{a0} \u{80} \u{200b} \u{2028} \u{feff} \u{e000} \u{ad} \u{3000}",
        ];
        assert_eq!(
            repr_args(&texts.map(Value::from)),
            r#"("it's", 'say "x"', 'b"o\'th', 'tab\t\n\r\x00\x7f\x1b\\ é 😀 \xa0 \x80 \u200b \u2028 \ufeff \ue000 \xad \u3000')"#
        );
        let bytes = [&b"ab\xff\n'\t\\"[..], b"\"'", b"", b"it's"];
        assert_eq!(
            repr_args(&bytes.map(|bytes| Value::Bytes(bytes.to_vec()))),
            r#"(b"ab\xff\n'\t\\", b'"\'', b'', b"it's")"#
        );
    }

    #[test]
    fn numbers_are_printed_as_python_prints_them() {
        let numbers = [
            1.0,
            1e16,
            9_999_999_999_999_998.0,
            1e15,
            1e-5,
            0.0001,
            1.5e-7,
            1e22,
            -0.0,
            5e-324,
            f64::MAX,
            123_456.789,
            0.1,
            -2.5e-10,
            100.0,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ];
        assert_eq!(
            repr_args(&numbers.map(Value::Float)),
            "(1.0, 1e+16, 9999999999999998.0, 1000000000000000.0, 1e-05, 0.0001, 1.5e-07, 1e+22, -0.0, 5e-324, \
             1.7976931348623157e+308, 123456.789, 0.1, -2.5e-10, 100.0, nan, inf, -inf)"
        );
    }

    /// As `celery.utils.saferepr` prints the same values.
    #[test]
    fn the_fourth_level_is_left_out() {
        let nested = |levels: usize| (1..levels).fold(list(vec![]), |inner, _| list(vec![inner]));
        assert_eq!(repr_args(&[nested(2)]), "([[]],)");
        assert_eq!(repr_args(&[nested(3)]), "([[[...]]],)");
        assert_eq!(repr_args(&[list(vec![list(vec![Value::Map(Map::new())])])]), "([[{...}]],)");
        let c = Value::Map(map(&[("c", Value::Map(map(&[("d", Value::Int(1))])))]));
        let a = Value::Map(map(&[("a", Value::Map(map(&[("b", c)])))]));
        assert_eq!(repr_args(&[a]), "({'a': {'b': {...}}},)");
        assert_eq!(repr_kwargs(&map(&[("a", list(vec![list(vec![nested(1)])]))])), "{'a': [[[...]]]}");
    }

    #[test]
    fn what_is_long_is_cut_between_characters() {
        for text in ["a".repeat(1020), "a".repeat(1021), "é".repeat(5000), "a".to_owned() + &"😀".repeat(5000)] {
            let whole = format!("('{text}',)");
            let printed = repr_args(&[Value::from(text)]);
            if whole.len() <= 1024 {
                assert_eq!(printed, whole);
            } else {
                assert!((1018..=1024).contains(&printed.len()), "{}", printed.len());
                assert!(whole.starts_with(printed.strip_suffix("...").unwrap()));
            }
        }
        let many = vec![Value::Int(7); 100_000];
        assert_eq!(repr_args(&many).len(), 1024);
    }
}
