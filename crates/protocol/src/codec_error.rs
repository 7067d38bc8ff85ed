//! Errors of values that cannot be written, and of bodies that cannot be read.

/// A value that a codec cannot represent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot be written as {codec}: {reason}")]
pub struct EncodeError {
    /// Name of the codec.
    pub codec: &'static str,
    /// The reason.
    pub reason: String,
}

/// A body that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The encoding is not accepted.
    #[error("content type `{content_type}` is refused: {reason}")]
    Refused {
        /// The encoding.
        content_type: String,
        /// The reason.
        reason: &'static str,
    },
    /// The character set is not accepted.
    #[error("content encoding `{content_encoding}` is refused: accepted are utf-8, us-ascii and binary")]
    RefusedEncoding {
        /// The name.
        content_encoding: String,
    },
    /// The compression is not accepted.
    #[error("compression `{compression}` is refused: accepted are gzip (zlib), bzip2 and zstd")]
    RefusedCompression {
        /// The name.
        compression: String,
    },
    /// The body is larger than allowed.
    #[error("body too large: {size} bytes, the limit is {limit}")]
    TooLarge {
        /// The size. For a compressed body, the part that was decompressed before the limit.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The body has more values than allowed.
    #[error("too many values in the body: {count}, the limit is {limit} (worker.max_body_values)")]
    TooManyValues {
        /// The number of values, with the keys of objects.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// The codec cannot read the bytes.
    #[error("the body is not valid {codec}: {reason}")]
    Malformed {
        /// Name of the codec.
        codec: &'static str,
        /// The reason.
        reason: String,
    },
    /// The value is not the body of a task.
    #[error("the body should be [arguments, named arguments, embedded], got {found}")]
    NotATask {
        /// The kind of the value.
        found: String,
    },
}
