//! The codecs, one file each.

pub(crate) mod json;
pub(crate) mod msgpack;
