//! JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::body::DecodeError;
use crate::codec::EncodeError;

pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, EncodeError> {
    serde_json::to_vec(value).map_err(|error| EncodeError { codec: "JSON", reason: error.to_string() })
}

/// `serde_json` itself refuses what is nested deeper than 128 levels.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(bytes).map_err(|error| DecodeError::Malformed { codec: "JSON", reason: error.to_string() })
}
