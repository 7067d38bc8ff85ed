//! MessagePack.

use rmp_serde::encode::Serializer;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::body::DecodeError;
use crate::codec::EncodeError;

const NAME: &str = "MessagePack";

/// Structs as maps and ids as text: what a Python peer expects to read.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::with_capacity(128);
    let mut serializer = Serializer::new(&mut bytes).with_struct_map().with_human_readable();
    value.serialize(&mut serializer).map_err(|error| EncodeError { codec: NAME, reason: error.to_string() })?;
    Ok(bytes)
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], depth: usize) -> Result<T, DecodeError> {
    let malformed = |reason: String| DecodeError::Malformed { codec: NAME, reason };
    let mut unread = bytes;
    let mut deserializer = rmp_serde::Deserializer::new(&mut unread).with_human_readable();
    deserializer.set_max_depth(depth);
    let value = T::deserialize(&mut deserializer).map_err(|error| malformed(error.to_string()))?;
    let rest = unread.len();
    if rest > 0 {
        return Err(malformed(format!("{rest} bytes follow the body")));
    }
    Ok(value)
}
