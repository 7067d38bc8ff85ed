//! Every written value is read back unchanged.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod values;

use celeriac_protocol::{Accept, Body, Codec, Compression, DecodeLimits, HeaderMap, Map, TaskHeaders, Value};
use proptest::collection::vec;
use proptest::prelude::*;
use values::any_value;

/// Deeper and larger than any value in these tests.
const LIMITS: DecodeLimits = DecodeLimits { size: 8 << 20, depth: 64, values: 1_000_000, accept: Accept::ALL };

const COMPRESSIONS: [Compression; 3] = [Compression::Zlib, Compression::Bzip2, Compression::Zstd];

/// Returns the value as MessagePack stores it: text for types that it lacks. Returns `None` for a
/// value that it refuses.
fn as_msgpack(value: Value) -> Option<Value> {
    Some(match value {
        Value::BigInt(_) => return None,
        Value::Kombu(typed) => Value::Text(typed.text().into_owned()),
        Value::List(items) => Value::List(items.into_iter().map(as_msgpack).collect::<Option<_>>()?),
        Value::Map(entries) => Value::Map(
            entries.into_iter().map(|(key, value)| Some((key, as_msgpack(value)?))).collect::<Option<Map>>()?,
        ),
        other => other,
    })
}

proptest! {
    #[test]
    fn json_gives_back_what_it_was_given(value in any_value()) {
        let bytes = Codec::Json.encode_value(&value).unwrap();
        prop_assert_eq!(Codec::Json.decode_value(&bytes, &LIMITS), Ok(value.clone()));
        prop_assert_eq!(Codec::Json.encode(&value).unwrap(), bytes);
    }

    #[test]
    fn json_is_what_other_readers_read(value in any_value()) {
        let bytes = Codec::Json.encode_value(&value).unwrap();
        // Infinity is Python's own extension; everything else is standard JSON.
        let text = String::from_utf8(bytes).unwrap();
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&text) {
            prop_assert!(text.contains("Infinity"), "{} in {}", error, text);
        }
    }

    #[test]
    fn msgpack_gives_back_what_it_can_hold(value in any_value()) {
        match (as_msgpack(value.clone()), Codec::Msgpack.encode(&value)) {
            (Some(expected), Ok(bytes)) => {
                prop_assert_eq!(Codec::Msgpack.decode_value(&bytes, &LIMITS), Ok(expected));
            }
            (expected, written) => prop_assert!(expected.is_none() && written.is_err()),
        }
    }

    #[test]
    fn a_value_within_a_value_is_kept_exactly(value in any_value()) {
        prop_assert_eq!(&Value::from_serialize(&value).unwrap(), &value);
        prop_assert_eq!(&value.clone().into_typed::<Value>().unwrap(), &value);
    }

    #[test]
    fn a_body_is_read_as_it_was_written(args in vec(any_value(), 0..4), kwargs in vec((any::<String>(), any_value()), 0..3)) {
        let body = Body { args, kwargs: kwargs.into_iter().collect(), embed: Value::Map(Map::new()) };
        // A plain object that looks like one of kombu's is refused, at any depth.
        if let Ok(bytes) = Codec::Json.encode(&body) {
            prop_assert_eq!(Body::decode(Codec::Json, &bytes, &LIMITS), Ok(body));
        }
    }

    #[test]
    fn what_is_compressed_comes_back(body in vec(any::<u8>(), 0..4096), repeated in 1_usize..8) {
        let body = body.repeat(repeated);
        for compression in COMPRESSIONS {
            let compressed = compression.compress(&body).unwrap();
            let read = compression.decompress(&compressed, body.len());
            prop_assert_eq!(read.as_ref(), Ok(&body));
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in vec(any::<u8>(), 0..512)) {
        for codec in [Codec::Json, Codec::Msgpack] {
            let _read = Body::decode(codec, &bytes, &LIMITS);
            let _read = codec.decode_value(&bytes, &LIMITS);
        }
        for compression in COMPRESSIONS {
            let _read = compression.decompress(&bytes, 1024);
        }
    }

    #[test]
    fn no_change_to_a_body_makes_a_reader_panic(
        value in any_value(),
        at in any::<prop::sample::Index>(),
        replacement in vec(any::<u8>(), 0..6),
        removed in 0_usize..6,
    ) {
        for codec in [Codec::Json, Codec::Msgpack] {
            let Ok(mut bytes) = codec.encode(&Value::List(vec![value.clone(), Value::Map(Map::new())])) else { continue };
            let from = at.index(bytes.len());
            let to = (from + removed).min(bytes.len());
            bytes.splice(from..to, replacement.iter().copied());
            let _read = Body::decode(codec, &bytes, &LIMITS);
            let _read = codec.decode_value(&bytes, &LIMITS);
        }
    }

    #[test]
    fn no_headers_make_their_reader_panic(values in vec(any_value(), 9)) {
        let names = ["task", "id", "retries", "eta", "expires", "root_id", "parent_id", "group", "ignore_result"];
        let headers: HeaderMap = names.into_iter().zip(values).collect();
        let _read = TaskHeaders::read(&headers);
    }
}
