//! The codecs, one in each file.

pub(crate) mod count;
pub(crate) mod json;
pub(crate) mod msgpack;
