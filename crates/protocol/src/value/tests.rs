//! Values and their conversions.

use serde::{Deserialize, Serialize};

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use uuid::Uuid;

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(f64),
    Rectangle { width: u32, height: u32 },
    Line(i8, i8),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: Uuid,
    cents: i64,
    note: Option<String>,
    shapes: Vec<Shape>,
}

#[test]
fn typed_values_survive_the_way_through_a_dynamic_one() {
    let order = Order {
        id: Uuid::from_u128(7),
        cents: -1299,
        note: None,
        shapes: vec![Shape::Point, Shape::Circle(1.5), Shape::Rectangle { width: 1, height: 2 }, Shape::Line(-1, 1)],
    };
    let value = Value::from_serialize(&order).unwrap();
    assert_eq!(value.into_typed::<Order>().unwrap(), order);
}

#[test]
fn integers_keep_their_whole_range() {
    assert_eq!(Value::from_serialize(&u64::MAX).unwrap(), Value::UInt(u64::MAX));
    assert_eq!(Value::from_serialize(&i64::MIN).unwrap(), Value::Int(i64::MIN));
    assert_eq!(Value::UInt(u64::MAX).into_typed::<u64>().unwrap(), u64::MAX);
    assert!(Value::Int(-1).into_typed::<u64>().is_err());
}

fn round<T: Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    Value::from_serialize(value).unwrap().into_typed().unwrap()
}

/// Returns one value of every kind, also nested.
fn of_every_kind() -> Value {
    let kinds = [
        Value::Null,
        Value::Bool(true),
        Value::Int(-1),
        Value::UInt(u64::MAX),
        Value::from(i128::MIN),
        Value::from(u128::MAX),
        Value::BigInt(BigInt::new("9".repeat(60)).unwrap()),
        Value::Float(f64::INFINITY),
        Value::from("text"),
        Value::Bytes(vec![0, 0xff]),
        Value::List(vec![]),
        Value::Kombu(KombuValue::DateTime("2026-01-02T03:04:05.1".to_owned())),
        Value::Kombu(KombuValue::Date("2026-01-02".to_owned())),
        Value::Kombu(KombuValue::Time("03:04".to_owned())),
        Value::Kombu(KombuValue::Decimal("1.10".to_owned())),
        Value::Kombu(KombuValue::Uuid(Uuid::from_u128(7))),
    ];
    let map: Map = kinds.iter().cloned().enumerate().map(|(index, value)| (index.to_string(), value)).collect();
    Value::List(vec![Value::Map(map), Value::List(kinds.to_vec())])
}

#[test]
fn a_value_within_a_value_is_kept_exactly() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Envelope {
        inside: Value,
        maybe: Option<Value>,
        map: Map,
    }
    let value = of_every_kind();
    assert_eq!(round(&value), value);
    let envelope =
        Envelope { inside: value.clone(), maybe: Some(value.clone()), map: [("a".to_owned(), value)].into() };
    assert_eq!(round(&envelope), envelope);
}

#[test]
fn to_others_a_typed_value_is_text() {
    let json = serde_json::to_string(&of_every_kind()).err().map(|error| error.to_string());
    assert_eq!(json, None);
    let typed = [
        Value::Kombu(KombuValue::Uuid(Uuid::from_u128(7))),
        Value::Kombu(KombuValue::DateTime("2026-01-02T03:04:05+00:00".to_owned())),
        Value::Kombu(KombuValue::DateTime("2026-01-02T03:04:05".to_owned())),
        Value::Kombu(KombuValue::Date("2026-01-02".to_owned())),
        Value::Kombu(KombuValue::Time("01:02:00".to_owned())),
        Value::Kombu(KombuValue::Decimal("1.10".to_owned())),
    ];
    type Read = (Uuid, Timestamp, DateTime, Date, Time, String);
    let read: Read = Value::List(typed.to_vec()).into_typed().unwrap();
    assert_eq!(read.0, Uuid::from_u128(7));
    assert_eq!(read.1.to_string(), "2026-01-02T03:04:05Z");
    assert_eq!(read.2.to_string(), "2026-01-02T03:04:05");
    assert_eq!((read.3.to_string(), read.4.to_string()), ("2026-01-02".to_owned(), "01:02:00".to_owned()));
    assert_eq!(read.5, "1.10");
}

#[test]
fn bytes_are_a_sequence_to_whom_asks_for_one() {
    let bytes = Value::Bytes(vec![1, 2, 3]);
    assert_eq!(bytes.clone().into_typed::<Vec<u8>>().unwrap(), [1, 2, 3]);
    assert_eq!(bytes.clone().into_typed::<[u8; 3]>().unwrap(), [1, 2, 3]);
    assert_eq!(bytes.clone().into_typed::<bytes_like::ByteBuf>().unwrap().0, [1, 2, 3]);
    assert!(bytes.clone().into_typed::<[u8; 2]>().is_err());
    assert_eq!(bytes.into_typed::<Vec<u64>>().unwrap(), [1, 2, 3]);
    assert_eq!(Value::from_serialize(&bytes_like::ByteBuf(vec![1])).unwrap(), Value::Bytes(vec![1]));
    assert_eq!(Value::Bytes(b"ab".to_vec()).into_typed::<String>().unwrap(), "ab");
}

/// A buffer that asks for bytes, as `serde_bytes` does.
mod bytes_like {
    use serde::de::{Deserialize, Deserializer, Visitor};
    use serde::{Serialize, Serializer};

    pub(super) struct ByteBuf(pub(super) Vec<u8>);

    impl Serialize for ByteBuf {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(&self.0)
        }
    }

    impl<'de> Deserialize<'de> for ByteBuf {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Bytes;
            impl Visitor<'_> for Bytes {
                type Value = ByteBuf;
                fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    formatter.write_str("bytes")
                }
                fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<ByteBuf, E> {
                    Ok(ByteBuf(bytes))
                }
            }
            deserializer.deserialize_byte_buf(Bytes)
        }
    }
}

#[test]
fn large_integers_reach_who_can_hold_them() {
    assert_eq!(round(&i128::MIN), i128::MIN);
    assert_eq!(round(&u128::MAX), u128::MAX);
    let large = Value::from(u128::MAX);
    assert!(large.clone().into_typed::<u64>().is_err());
    assert!(large.clone().into_typed::<i128>().is_err());
    assert_eq!(large.clone().into_typed::<f64>().unwrap(), u128::MAX as f64);
    assert_eq!(large.into_typed::<String>().unwrap(), u128::MAX.to_string());
    assert_eq!(Value::Int(5).into_typed::<u128>().unwrap(), 5);
}

#[test]
fn keys_are_spelt_out_and_read_back() {
    use std::collections::BTreeMap;
    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    enum Colour {
        Red,
    }
    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    struct Id(u32);
    let numbers = BTreeMap::from([(Id(1), true), (Id(2), false)]);
    assert_eq!(
        Value::from_serialize(&numbers).unwrap(),
        Value::Map([("1".to_owned(), Value::Bool(true)), ("2".to_owned(), Value::Bool(false))].into())
    );
    assert_eq!(round(&numbers), numbers);
    let flags = BTreeMap::from([(true, 'x')]);
    assert_eq!(round(&flags), flags);
    let letters = BTreeMap::from([('x', Colour::Red)]);
    assert_eq!(round(&letters), letters);
    let colours = BTreeMap::from([(Colour::Red, i128::MAX)]);
    assert_eq!(round(&colours), colours);
    let lists = BTreeMap::from([(vec![1], 1)]);
    assert_eq!(
        Value::from_serialize(&lists).unwrap_err().to_string(),
        "a key should be text, an integer, a boolean or a character, got a list"
    );
}

#[test]
fn numbers_that_are_not_finite_and_short_floats_stay_what_they_are() {
    assert!(round(&f64::NAN).is_nan());
    assert_eq!(round(&f32::NEG_INFINITY), f32::NEG_INFINITY);
    assert_eq!(Value::from_serialize(&0.1_f32).unwrap(), Value::Float(0.1));
    assert_eq!(round(&f32::MIN_POSITIVE), f32::MIN_POSITIVE);
    assert_eq!(round(&(-0.0_f32)).to_bits(), (-0.0_f32).to_bits());
}

#[test]
fn what_is_ignored_may_be_of_any_kind() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Nothing {}
    let map: Map = [("unknown".to_owned(), of_every_kind())].into();
    assert_eq!(Value::Map(map).into_typed::<Nothing>().unwrap(), Nothing {});
}

#[test]
fn every_number_becomes_a_value() {
    let whole = [
        Value::from(7_i8),
        7_i16.into(),
        7_i32.into(),
        7_i64.into(),
        7_isize.into(),
        7_i128.into(),
        7_u8.into(),
        7_u16.into(),
        7_u32.into(),
        7_u64.into(),
        7_usize.into(),
        7_u128.into(),
    ];
    assert!(whole.iter().all(|value| *value == Value::Int(7)), "{whole:?}");
    assert_eq!([Value::from(0.5_f32), 0.5_f64.into()], [Value::Float(0.5), Value::Float(0.5)]);
    assert_eq!(Value::from(u64::MAX), Value::UInt(u64::MAX));
    assert_eq!(Value::from(usize::MAX), Value::UInt(u64::MAX));
    assert_eq!(Value::from(i128::MIN), Value::BigInt(BigInt::new(i128::MIN.to_string()).unwrap()));
}

#[test]
fn a_value_is_read_by_keys_and_positions() {
    let mut value: Value = serde_json::json!({"lines": [{"sku": "a1", "count": 2}], "paid": true, "sum": 2.5}).into();
    assert_eq!(value["lines"][0]["sku"], "a1");
    assert_eq!(value["lines"][0]["count"], 2);
    assert_eq!((value["paid"].as_bool(), value["sum"].as_f64()), (Some(true), Some(2.5)));
    assert_eq!(value["lines"][1]["sku"], Value::Null, "what is missing is null");
    assert_eq!(value.get("lines").and_then(|lines| lines.get(1)), None);
    assert_eq!(value["paid"].get("lines"), None, "a boolean has no parts");
    *value.get_mut("lines").unwrap().get_mut(0).unwrap().get_mut("count").unwrap() = 3.into();
    value.as_map_mut().unwrap().insert("note".to_owned(), Value::Null);
    assert_eq!(value["lines"][0]["count"].as_u64(), Some(3));
    assert!(value.as_map().unwrap().contains_key("note"));
}

#[test]
fn integers_of_json_are_kept_whatever_their_size() {
    let json: serde_json::Value = serde_json::from_str("[18446744073709551615, -3, 1.5, null]").unwrap();
    assert_eq!(
        Value::from(json),
        Value::List(vec![Value::UInt(u64::MAX), Value::Int(-3), Value::Float(1.5), Value::Null])
    );
}

#[test]
fn iterators_become_lists_and_maps() {
    assert_eq!((1..3).collect::<Value>(), Value::from([1, 2]));
    let map: Value = [("a", 1), ("b", 2)].into_iter().collect();
    assert_eq!(map["b"], 2);
}

#[test]
fn times_without_a_zone_are_written_as_python_writes_them() {
    let kombu = |value: Value| match value {
        Value::Kombu(kombu) => {
            kombu.check().unwrap();
            (kombu.name(), kombu.text().into_owned())
        }
        other => panic!("{other:?}"),
    };
    for (time, text) in [
        ("2026-12-31T23:00:00", "2026-12-31T23:00:00"),
        ("2026-12-31T23:00:00.5", "2026-12-31T23:00:00.500000"),
        ("2026-12-31T23:00:00.123456789", "2026-12-31T23:00:00.123456"),
        ("2026-12-31T23:00:00.000000999", "2026-12-31T23:00:00"),
    ] {
        let time: DateTime = time.parse().unwrap();
        assert_eq!(kombu(time.into()), ("datetime", text.to_owned()));
        assert_eq!(kombu(time.time().into()), ("time", text[11..].to_owned()));
        assert_eq!(kombu(time.date().into()), ("date", text[..10].to_owned()));
        assert_eq!(Value::from(time.date()).into_typed::<Date>().unwrap(), time.date());
    }
}
