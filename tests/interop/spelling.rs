//! Values as `python/spelling.py` spells them, so that both sides can be compared.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use celeriac_protocol::{HeaderMap, KombuValue, Map, Value};
use serde_json::{Value as Json, json};

/// Returns a value in a form that JSON can hold.
pub(crate) fn spell(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(flag) => json!(flag),
        Value::Int(number) => json!(number),
        Value::UInt(number) => json!(number),
        Value::BigInt(number) => json!({"$bigint": number.as_str()}),
        Value::Float(number) if number.is_nan() => json!({"$float": "nan"}),
        Value::Float(number) if number.is_infinite() => json!({"$float": if *number > 0.0 { "inf" } else { "-inf" }}),
        Value::Float(number) => json!(number),
        Value::Text(text) => json!(text),
        Value::Bytes(bytes) => json!({"$bytes": BASE64_STANDARD.encode(bytes)}),
        Value::List(items) => items.iter().map(spell).collect(),
        Value::Map(entries) => spell_map(entries),
        Value::Kombu(typed) => {
            let tag = match typed {
                KombuValue::DateTime(_) => "$datetime",
                KombuValue::Date(_) => "$date",
                KombuValue::Time(_) => "$time",
                KombuValue::Decimal(_) => "$decimal",
                KombuValue::Uuid(_) => "$uuid",
            };
            json!({tag: typed.text()})
        }
    }
}

/// Returns an object in a form that JSON can hold.
pub(crate) fn spell_map(entries: &Map) -> Json {
    match entries.first() {
        Some((key, value)) if entries.len() == 1 && key.starts_with('$') => json!({"$map": [[key, spell(value)]]}),
        _ => entries.iter().map(|(key, value)| (key.clone(), spell(value))).collect(),
    }
}

/// Returns headers in a form that JSON can hold.
pub(crate) fn spell_headers(headers: &HeaderMap) -> Json {
    spell_map(&headers.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect())
}
