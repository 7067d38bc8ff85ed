//! Arbitrary values for property tests.

use celeriac_protocol::{BigInt, KombuValue, Map, Value};
use proptest::collection::vec;
use proptest::prelude::*;

/// Returns a value of any kind, a few levels deep.
pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Value::List),
            vec((any::<String>(), inner), 0..8).prop_map(|entries| Value::Map(entries.into_iter().collect::<Map>())),
        ]
    })
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (i64::MAX as u64 + 1..).prop_map(Value::UInt),
        big_int().prop_map(Value::BigInt),
        // No NaN, which is not equal to itself.
        any::<f64>().prop_filter("equal to itself", |number| !number.is_nan()).prop_map(Value::Float),
        any::<String>().prop_map(Value::Text),
        vec(any::<u8>(), 0..64).prop_map(Value::Bytes),
        "[a-z]{0,20}".prop_map(|text| Value::Bytes(text.into_bytes())),
        typed().prop_map(Value::Kombu),
    ]
}

fn big_int() -> impl Strategy<Value = BigInt> {
    "-?[1-9][0-9]{20,300}".prop_map(|digits| BigInt::new(digits).unwrap())
}

fn typed() -> impl Strategy<Value = KombuValue> {
    let date = "[0-9]{3}[1-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])";
    let time = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{6})?";
    let offset = "([+-](0[0-9]|1[0-3]):[0-5][0-9])?";
    prop_oneof![
        (date, time, offset).prop_map(|(date, time, offset)| KombuValue::DateTime(format!("{date}T{time}{offset}"))),
        date.prop_map(KombuValue::Date),
        time.prop_map(KombuValue::Time),
        "-?([0-9]{1,40}(\\.[0-9]{1,40})?(E[+-][0-9]{1,6})?|NaN|Infinity)".prop_map(KombuValue::Decimal),
        any::<u128>().prop_map(|id| KombuValue::Uuid(uuid::Uuid::from_u128(id))),
    ]
}
