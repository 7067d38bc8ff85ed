//! JSON as Python writes it, and invalid JSON.

use super::*;
use crate::codec_error::DecodeError;
use crate::value::{BigInt, KombuValue, Map, Value};

fn read(text: &str) -> Result<Value, String> {
    decode(text.as_bytes(), 128).map_err(|error| match error {
        DecodeError::Malformed { reason, .. } => reason,
        other => panic!("{other}"),
    })
}

fn written(value: &Value) -> String {
    String::from_utf8(encode(value, 128).unwrap()).unwrap()
}

#[test]
fn what_python_writes_is_read_and_written_again_as_it_came() {
    let typed = Value::Kombu;
    let cases = [
        ("null", Value::Null),
        ("-9223372036854775808", Value::Int(i64::MIN)),
        ("18446744073709551615", Value::UInt(u64::MAX)),
        ("18446744073709551616", Value::BigInt(BigInt::new("18446744073709551616").unwrap())),
        ("-9223372036854775809", Value::BigInt(BigInt::new("-9223372036854775809").unwrap())),
        ("Infinity", Value::Float(f64::INFINITY)),
        ("-Infinity", Value::Float(f64::NEG_INFINITY)),
        ("5e-324", Value::Float(5e-324)),
        ("-0.0", Value::Float(-0.0)),
        (r#""é\"\n\u0000😀""#, Value::from("é\"\n\0😀")),
        (r#"{"__type__":"bytes","__value__":"ab"}"#, Value::Bytes(b"ab".to_vec())),
        (r#"{"__type__":"base64","__value__":"/w=="}"#, Value::Bytes(vec![0xff])),
        (r#"{"__type__":"decimal","__value__":"1.10"}"#, typed(KombuValue::Decimal("1.10".to_owned()))),
        (r#"{"__type__":"date","__value__":"2026-01-02"}"#, typed(KombuValue::Date("2026-01-02".to_owned()))),
        (r#"{"__type__":"time","__value__":"01:02:00"}"#, typed(KombuValue::Time("01:02:00".to_owned()))),
        (
            r#"{"__type__":"datetime","__value__":"2026-01-02T03:04:05+00:00"}"#,
            typed(KombuValue::DateTime("2026-01-02T03:04:05+00:00".to_owned())),
        ),
        (
            r#"{"__type__":"uuid","__value__":{"hex":"00000000000000000000000000000001"}}"#,
            typed(KombuValue::Uuid(uuid::Uuid::from_u128(1))),
        ),
    ];
    for (text, value) in cases {
        assert_eq!(read(text).as_ref(), Ok(&value), "{text}");
        assert_eq!(written(&value), text);
    }
    assert!(matches!(read("NaN"), Ok(Value::Float(number)) if number.is_nan()));
    assert_eq!(written(&Value::Float(f64::NAN)), "NaN");
    assert_eq!(read(r#""\ud83d\ude00""#), Ok(Value::from("😀")));
    assert_eq!(read(r#"{"a":1,"b":2,"a":3}"#).map(|value| written(&value)).as_deref(), Ok(r#"{"a":3,"b":2}"#));
}

#[test]
fn only_objects_of_exactly_the_two_keys_are_of_another_type() {
    for text in [r#"{"__type__":"uuid"}"#, r#"{"__type__":"x","__value__":1,"more":2}"#, r#"{"__value__":1,"a":2}"#] {
        assert!(matches!(read(text), Ok(Value::Map(_))), "{text}");
        assert_eq!(written(&read(text).unwrap()), text);
    }
}

#[test]
fn what_cannot_be_read_is_said() {
    let cases = [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("[1,]", "trailing comma at line 1 column 4"),
        ("{} {}", "trailing characters at line 1 column 4"),
        ("nul", "EOF while parsing a value at line 1 column 3"),
        ("-NaN", "invalid number at line 1 column 2"),
        ("nan", "expected ident at line 1 column 2"),
        ("01", "invalid number at line 1 column 2"),
        ("1.", "EOF while parsing a value at line 1 column 2"),
        ("'a'", "expected value at line 1 column 1"),
        ("{1:2}", "key must be a string at line 1 column 2"),
        (r#""\ud83d""#, "half a surrogate pair, which is no character, at line 1 column 8"),
        (r#""\ude00""#, "half a surrogate pair, which is no character, at line 1 column 7"),
        (r#"["\ud83d\u0041"]"#, "half a surrogate pair, which is no character, at line 1 column 14"),
        ("\"\n\"", "control character (\\u0000-\\u001F) found while parsing a string at line 2 column 0"),
        (r#"{"__type__":"complex","__value__":"1j"}"#, "unknown `__type__` `complex` at line 1 column 39"),
        (r#"{"__type__":1,"__value__":"1j"}"#, "`__type__` should be a string, got an integer at line 1 column 31"),
        (r#"{"__type__":"decimal","__value__":"x"}"#, "`x` is not a decimal at line 1 column 38"),
        (
            r#"{"__type__":"decimal","__value__":1}"#,
            "`__value__` of `__type__` `decimal` should be a string, got an integer at line 1 column 36",
        ),
        (
            r#"{"__type__":"uuid","__value__":"00000000000000000000000000000001"}"#,
            "a uuid should have its `hex` as `__value__` at line 1 column 66",
        ),
        (
            r#"{"__type__":"base64","__value__":"?"}"#,
            "`__value__` is not valid base64: Invalid symbol 63, offset 0. at line 1 column 37",
        ),
    ];
    for (text, reason) in cases {
        assert_eq!(read(text).map_err(|found| found.trim_end().to_owned()), Err(reason.to_owned()), "{text}");
    }
    assert_eq!(read(&"9".repeat(4301)).unwrap_err(), "a number of more than 4300 digits at line 1 column 4301");
    assert!(read(&"9".repeat(4300)).is_ok());
    assert!(decode(b"\"\xff\"", 128).is_err());
}

#[test]
fn nesting_is_counted_in_lists_and_objects() {
    assert!(decode(b"[[1]]", 2).is_ok());
    assert!(decode(b"[[[]]]", 2).is_err());
    assert!(decode(br#"{"a":{"b":[]}}"#, 2).is_err());
    assert!(decode(b"1", 0).is_ok());
    assert_eq!(
        decode(&[b'['; 1_000_000], 128).unwrap_err().to_string(),
        "the body is not valid JSON: nested too deep at line 1 column 129"
    );
}

#[test]
fn what_a_peer_would_misread_is_not_written() {
    let pair: Map = [("__value__".to_owned(), Value::Null), ("__type__".to_owned(), Value::from("uuid"))].into();
    let nested = Value::List(vec![Value::Map([("a".to_owned(), Value::Map(pair))].into())]);
    assert_eq!(
        encode(&nested, 128).unwrap_err().to_string(),
        "cannot be written as JSON: a Celery peer takes an object of `__type__` and `__value__` for another type"
    );
    let wrong = Value::Kombu(KombuValue::Decimal("ten".to_owned()));
    assert_eq!(encode(&wrong, 128).unwrap_err().to_string(), "cannot be written as JSON: `ten` is not a decimal");
}
