//! Counts the values of encoded bytes, before any is built.
//!
//! A value takes far more memory than its bytes: a list of `0` has two bytes for each number, and
//! a list of `{"":0}` seven for each object.

/// Returns the number of values in JSON, with the keys of objects.
pub(crate) fn in_json(bytes: &[u8]) -> usize {
    let mut count = 1;
    let mut is_first = false;
    let mut rest = bytes.iter();
    while let Some(&byte) = rest.next() {
        if byte.is_ascii_whitespace() {
            continue;
        }
        // The first item of a list, or the first key of an object, follows no comma.
        count += usize::from(std::mem::take(&mut is_first) && !matches!(byte, b']' | b'}'));
        match byte {
            b'[' | b'{' => is_first = true,
            b',' | b':' => count += 1,
            b'"' => skip_text(&mut rest),
            _ => {}
        }
    }
    count
}

/// Skips the rest of a text, up to its closing quote.
fn skip_text(rest: &mut std::slice::Iter<'_, u8>) {
    while let Some(&byte) = rest.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(rest.next()),
            _ => {}
        }
    }
}

/// Returns the number of values in MessagePack, with the keys of maps.
pub(crate) fn in_msgpack(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some((&marker, rest)) = bytes.split_first() {
        count += 1;
        let length = match marker {
            0xa0..=0xbf => usize::from(marker & 0x1f),
            0xc4 | 0xd9 => announced(rest, 1, 0),
            0xc5 | 0xda => announced(rest, 2, 0),
            0xc6 | 0xdb => announced(rest, 4, 0),
            // An extension has a byte for its type.
            0xc7 => announced(rest, 1, 1),
            0xc8 => announced(rest, 2, 1),
            0xc9 => announced(rest, 4, 1),
            0xcc | 0xd0 => 1,
            0xcd | 0xd1 | 0xd4 | 0xdc | 0xde => 2,
            0xd5 => 3,
            0xca | 0xce | 0xd2 | 0xdd | 0xdf => 4,
            0xd6 => 5,
            0xcb | 0xcf | 0xd3 => 8,
            0xd7 => 9,
            0xd8 => 17,
            // Small numbers, nil, booleans, and lists and maps with a short length.
            _ => 0,
        };
        bytes = rest.get(length..).unwrap_or_default();
    }
    count
}

/// Returns the size of a length of `width` bytes, and of the content that it announces with `more`
/// bytes before it.
fn announced(bytes: &[u8], width: usize, more: usize) -> usize {
    let length = bytes.iter().take(width).fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
    length.saturating_add(width + more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;
    use crate::value::Value;

    /// Returns the number of values in a tree, with the keys of objects.
    fn count(value: &Value) -> usize {
        match value {
            Value::List(items) => 1 + items.iter().map(count).sum::<usize>(),
            Value::Map(entries) => 1 + entries.values().map(|value| 1 + count(value)).sum::<usize>(),
            _ => 1,
        }
    }

    #[test]
    fn every_value_and_every_key_counts_once() {
        let texts = [
            "null",
            "[]",
            "{}",
            " [ ] ",
            "[0]",
            "[0,0, 0]",
            r#"[{"":0},{"":0}]"#,
            r#"{"a":[1,2,{"b":null}],"c":{},"d":[[],[]]}"#,
            r#"["a,b:c[d{","\\\"",",\\","]",[],"é"]"#,
            r#"[-1,1.5,127,128,255,256,65536,4294967296,-129,-40000,true,"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]"#,
        ];
        for text in texts {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(in_json(text.as_bytes()), count(&value), "{text}");
            let packed = Codec::Msgpack.encode_value(&value).unwrap();
            assert_eq!(in_msgpack(&packed), count(&value), "{text}");
        }
        let long = Value::List(vec![Value::Text("x".repeat(70_000)), Value::Bytes(vec![0; 300]), Value::Int(1)]);
        let packed = Codec::Msgpack.encode_value(&long).unwrap();
        assert_eq!(in_msgpack(&packed), 4);
    }

    #[test]
    fn garbage_is_counted_to_its_end() {
        assert_eq!(in_json(b"\"never ends, [[["), 1);
        assert_eq!(in_msgpack(&[0xdb, 0xff, 0xff, 0xff, 0xff, 0, 0]), 1);
        assert_eq!(in_msgpack(&[0xdd, 0xff, 0xff, 0xff, 0xff]), 1);
        assert_eq!(in_msgpack(&[0xc6]), 1);
    }
}
