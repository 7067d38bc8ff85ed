//! Values that cannot be written, and bodies that cannot be read.

/// A value that a codec cannot represent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot be written as {codec}: {reason}")]
pub struct EncodeError {
    /// Name of the codec.
    pub codec: &'static str,
    /// Why not.
    pub reason: String,
}

/// A body that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// An encoding that is not accepted.
    #[error("content type `{content_type}` is refused: {reason}")]
    Refused {
        /// The encoding.
        content_type: String,
        /// Why it is refused.
        reason: &'static str,
    },
    /// A compression that is not accepted.
    #[error("compression `{compression}` is refused: accepted are gzip, which is zlib, bzip2 and zstd")]
    RefusedCompression {
        /// Its name.
        compression: String,
    },
    /// More bytes than allowed.
    #[error("the body has {size} bytes, allowed are {limit}")]
    TooLarge {
        /// Its size. Of a compressed body, what was seen of it when it was given up.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// Bytes that the codec cannot read.
    #[error("the body is not valid {codec}: {reason}")]
    Malformed {
        /// Name of the codec.
        codec: &'static str,
        /// The reason that it gives.
        reason: String,
    },
    /// A readable value that is not the body of a task.
    #[error("the body should be [arguments, named arguments, embedded], got {found}")]
    NotATask {
        /// The kind of value that was found.
        found: String,
    },
}
