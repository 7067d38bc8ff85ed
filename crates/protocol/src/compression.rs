//! Compressed bodies, and the `compression` header of a message.

mod streams;

#[cfg(test)]
mod tests;

use std::io::Write;

use serde::{Deserialize, Serialize};

use crate::codec_error::{DecodeError, EncodeError};

/// The compression of a body. The content type describes the decompressed body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// zlib, which every Python has. Celery calls it gzip, which is another format.
    #[serde(alias = "gzip")]
    Zlib,
    /// bzip2.
    Bzip2,
    /// Zstandard, the fastest, if the peers have it.
    Zstd,
}

impl Compression {
    /// Returns the value of the `compression` header.
    pub fn header_value(self) -> &'static str {
        match self {
            Self::Zlib => "application/x-gzip",
            Self::Bzip2 => "application/x-bz2",
            Self::Zstd => "application/zstd",
        }
    }

    /// Returns the compression of a `compression` header.
    ///
    /// # Errors
    /// Returns an error if it is not supported.
    pub fn from_header(name: &str) -> Result<Self, DecodeError> {
        match name {
            "application/x-gzip" | "gzip" | "zlib" => Ok(Self::Zlib),
            "application/x-bz2" | "bzip2" | "bzip" => Ok(Self::Bzip2),
            "application/zstd" | "zstd" | "zstandard" => Ok(Self::Zstd),
            other => Err(DecodeError::RefusedCompression { compression: other.chars().take(80).collect() }),
        }
    }

    /// Compresses a body.
    ///
    /// # Errors
    /// Returns an error if the library fails.
    pub fn compress(self, body: &[u8]) -> Result<Vec<u8>, EncodeError> {
        let compressed = match self {
            Self::Zlib => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(body).and_then(|()| encoder.finish())
            }
            Self::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
                encoder.write_all(body).and_then(|()| encoder.finish())
            }
            // In one piece, so that the frame contains its size. Celery reads no other frame.
            Self::Zstd => zstd::bulk::compress(body, zstd::DEFAULT_COMPRESSION_LEVEL),
        };
        compressed.map_err(|error| EncodeError { codec: self.name(), reason: error.to_string() })
    }

    /// Decompresses a body into at most `limit` bytes.
    ///
    /// The memory is bounded by the limit, and by the needs of the format, which are at most about
    /// 8 MiB.
    ///
    /// # Errors
    /// Returns an error if the body is larger than the limit, cut off, followed by other bytes, or
    /// not of this format.
    pub fn decompress(self, compressed: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
        let malformed = |reason: String| DecodeError::Malformed { codec: self.name(), reason };
        match self {
            Self::Zlib => streams::drain(self.name(), &mut streams::Zlib::new(), compressed, limit),
            Self::Bzip2 => streams::drain(self.name(), &mut streams::Bzip2::new(), compressed, limit),
            Self::Zstd => match zstd::zstd_safe::get_frame_content_size(compressed) {
                Ok(Some(announced)) => whole_frame(compressed, announced, limit),
                // A frame without its size, or not a frame at all.
                _ => streams::drain(self.name(), &mut streams::Zstd::new().map_err(malformed)?, compressed, limit),
            },
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Zlib => "zlib",
            Self::Bzip2 => "bzip2",
            Self::Zstd => "Zstandard",
        }
    }
}

/// Decompresses a Zstandard frame with its size, in one buffer of that size.
fn whole_frame(frame: &[u8], announced: u64, limit: usize) -> Result<Vec<u8>, DecodeError> {
    let malformed = |reason: String| DecodeError::Malformed { codec: Compression::Zstd.name(), reason };
    let size = usize::try_from(announced).unwrap_or(usize::MAX);
    if size > limit {
        return Err(DecodeError::TooLarge { size, limit });
    }
    let length = zstd::zstd_safe::find_frame_compressed_size(frame)
        .map_err(|code| malformed(zstd::zstd_safe::get_error_name(code).to_owned()))?;
    if let rest @ 1.. = frame.len().saturating_sub(length) {
        return Err(malformed(format!("{rest} bytes follow its end")));
    }
    zstd::bulk::decompress(frame, size).map_err(|error| malformed(error.to_string()))
}
