//! The arguments of an exception, in a column of their own.

use celeriac_protocol::{Codec, DecodeLimits, Failure, Value};

/// Returns the arguments of an exception as JSON, if the message is not the only one. Its escapes
/// keep U+0000.
pub(crate) fn to_text(failure: &Failure) -> Option<String> {
    let args = Value::List(failure.args.clone()?.into_vec());
    Codec::Json.encode_value(&args).ok().and_then(|text| String::from_utf8(text).ok())
}

/// The inverse of [`to_text`].
pub(crate) fn read(text: &str) -> Option<Box<[Value]>> {
    let limits = DecodeLimits { size: usize::MAX, values: usize::MAX, ..DecodeLimits::default() };
    match Codec::Json.decode_value(text.as_bytes(), &limits) {
        Ok(Value::List(args)) => Some(args.into()),
        _ => None,
    }
}
