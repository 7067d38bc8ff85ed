//! Writes JSON.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

use super::{NAME, TYPE, VALUE};
use crate::codec_error::EncodeError;
use crate::value::{KombuValue, Map, Value};

/// Size that suffices for most bodies.
const USUAL: usize = 128;

pub(crate) fn encode(value: &Value, depth: usize) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::with_capacity(USUAL);
    write(value, depth, &mut out)?;
    Ok(out)
}

fn write(value: &Value, depth: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(number) => plain(number, out)?,
        Value::UInt(number) => plain(number, out)?,
        Value::BigInt(number) => out.extend_from_slice(number.as_str().as_bytes()),
        Value::Float(number) => float(*number, out)?,
        Value::Text(value) => text(value, out)?,
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(value) => extended("bytes", value, out)?,
            Err(_) => extended("base64", &BASE64_STANDARD.encode(bytes), out)?,
        },
        Value::List(items) => list(items, deeper(depth)?, out)?,
        Value::Map(entries) => object(entries, deeper(depth)?, out)?,
        Value::Kombu(typed) => {
            typed.check().map_err(|error| refused(error.to_string()))?;
            match typed {
                KombuValue::Uuid(id) => {
                    opening("uuid", out);
                    out.extend_from_slice(b"{\"hex\":\"");
                    out.extend_from_slice(id.simple().encode_lower(&mut uuid::Uuid::encode_buffer()).as_bytes());
                    out.extend_from_slice(b"\"}}");
                }
                other => extended(other.name(), &other.text(), out)?,
            }
        }
    }
    Ok(())
}

/// Writes a text. Most texts need no escapes and are copied in one piece.
fn text(text: &str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if text.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        return plain(text, out);
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
    Ok(())
}

/// Writes a number or a text, which are the same in every JSON.
fn plain<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    serde_json::to_writer(out, value).map_err(|error| refused(error.to_string()))
}

/// Writes a float. JSON has no names for infinity and NaN; Python writes and reads these.
fn float(number: f64, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if number.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if number.is_infinite() {
        out.extend_from_slice(if number > 0.0 { b"Infinity" } else { b"-Infinity" });
    } else {
        plain(&number, out)?;
    }
    Ok(())
}

fn deeper(depth: usize) -> Result<usize, EncodeError> {
    depth.checked_sub(1).ok_or_else(|| refused("nested too deep".to_owned()))
}

fn list(items: &[Value], depth: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, depth, out)?;
    }
    out.push(b']');
    Ok(())
}

fn object(entries: &Map, depth: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if entries.len() == 2 && entries.contains_key(TYPE) && entries.contains_key(VALUE) {
        return Err(refused(format!("a Celery peer takes an object of `{TYPE}` and `{VALUE}` for another type")));
    }
    out.push(b'{');
    for (index, (key, value)) in entries.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        text(key, out)?;
        out.push(b':');
        write(value, depth, out)?;
    }
    out.push(b'}');
    Ok(())
}

fn extended(name: &str, value: &str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    opening(name, out);
    text(value, out)?;
    out.push(b'}');
    Ok(())
}

fn opening(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"__type__\":\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\",\"__value__\":");
}

fn refused(reason: String) -> EncodeError {
    EncodeError { codec: NAME, reason }
}
