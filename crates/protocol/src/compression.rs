//! Bodies made smaller: the `compression` header of a message, and what it says.

mod streams;

#[cfg(test)]
mod tests;

use std::io::Write;

use serde::{Deserialize, Serialize};

use crate::codec_error::{DecodeError, EncodeError};

/// The compression of a body. Its content type names what is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// zlib, which every Python has. Celery calls it gzip, which it is not.
    #[serde(alias = "gzip")]
    Zlib,
    /// bzip2.
    Bzip2,
    /// Zstandard: the fastest, if the peers have it.
    Zstd,
}

impl Compression {
    /// The value of the `compression` header.
    pub fn header_value(self) -> &'static str {
        match self {
            Self::Zlib => "application/x-gzip",
            Self::Bzip2 => "application/x-bz2",
            Self::Zstd => "application/zstd",
        }
    }

    /// The compression that a `compression` header names.
    ///
    /// # Errors
    /// When it is none that is read here.
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
    /// When the library reports a failure.
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
            // In one piece, so that the frame tells its size: Celery does not read one that does not.
            Self::Zstd => zstd::bulk::compress(body, zstd::DEFAULT_COMPRESSION_LEVEL),
        };
        compressed.map_err(|error| EncodeError { codec: self.name(), reason: error.to_string() })
    }

    /// Decompresses a body into at most `limit` bytes.
    ///
    /// Takes no more memory than the limit and what the format needs to be read at all, which is some 8 MiB at most.
    ///
    /// # Errors
    /// When the body is larger than the limit, cut off, followed by something else, or not of this format.
    pub fn decompress(self, compressed: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
        let malformed = |reason: String| DecodeError::Malformed { codec: self.name(), reason };
        match self {
            Self::Zlib => streams::drain(self.name(), &mut streams::Zlib::new(), compressed, limit),
            Self::Bzip2 => streams::drain(self.name(), &mut streams::Bzip2::new(), compressed, limit),
            Self::Zstd => match zstd::zstd_safe::get_frame_content_size(compressed) {
                Ok(Some(announced)) => whole_frame(compressed, announced, limit),
                // Not told, or no frame at all.
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

/// Decompresses a frame of Zstandard that tells its size, in one piece of that size.
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
