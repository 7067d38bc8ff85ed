//! Decompression in steps, each of which checks the size.

use zstd::stream::raw::{DParameter, InBuffer, Operation, OutBuffer};

use crate::codec_error::DecodeError;

/// Bytes decompressed in one step.
const STEP: usize = 16 * 1024;

/// Largest window of a Zstandard frame, as a power of two: 8 MiB. The format asks every reader to
/// support that much.
const WINDOW_LOG: u32 = 23;

/// The result of one step.
pub(super) struct StreamStep {
    read: usize,
    written: usize,
    /// True if the stream ended.
    ended: bool,
}

/// A stream that is decompressed in steps.
pub(super) trait Stream {
    /// Reads a part of the input into a part of the output.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<StreamStep, String>;
}

/// Decompresses a whole stream. `name` is its format.
pub(super) fn drain(
    name: &'static str,
    stream: &mut impl Stream,
    mut input: &[u8],
    limit: usize,
) -> Result<Vec<u8>, DecodeError> {
    let malformed = |reason: String| DecodeError::Malformed { codec: name, reason };
    let mut buffer = vec![0; STEP];
    let mut body = Vec::new();
    loop {
        let step = stream.step(input, &mut buffer).map_err(malformed)?;
        let written = buffer.get(..step.written).unwrap_or_default();
        let size = body.len() + written.len();
        if size > limit {
            return Err(DecodeError::TooLarge { size, limit });
        }
        grow(&mut body, size, limit);
        body.extend_from_slice(written);
        input = input.get(step.read..).unwrap_or_default();
        if step.ended {
            break;
        }
        if step.read == 0 && step.written == 0 {
            return Err(malformed("it is cut off".to_owned()));
        }
    }
    match input.len() {
        0 => Ok(body),
        rest => Err(malformed(format!("{rest} bytes follow its end"))),
    }
}

/// Grows the buffer, doubling it each time, but never beyond the limit.
fn grow(body: &mut Vec<u8>, size: usize, limit: usize) {
    if size > body.capacity() {
        let capacity = body.capacity().saturating_mul(2).clamp(size, limit.max(size));
        body.reserve_exact(capacity - body.len());
    }
}

pub(super) struct Zlib(flate2::Decompress);

impl Zlib {
    pub(super) fn new() -> Self {
        Self(flate2::Decompress::new(true))
    }
}

impl Stream for Zlib {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<StreamStep, String> {
        let (read, written) = (self.0.total_in(), self.0.total_out());
        let status =
            self.0.decompress(input, output, flate2::FlushDecompress::None).map_err(|error| error.to_string())?;
        Ok(StreamStep {
            read: since(self.0.total_in(), read),
            written: since(self.0.total_out(), written),
            ended: status == flate2::Status::StreamEnd,
        })
    }
}

pub(super) struct Bzip2(bzip2::Decompress);

impl Bzip2 {
    pub(super) fn new() -> Self {
        Self(bzip2::Decompress::new(false))
    }
}

impl Stream for Bzip2 {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<StreamStep, String> {
        let (read, written) = (self.0.total_in(), self.0.total_out());
        let status = self.0.decompress(input, output).map_err(|error| error.to_string())?;
        Ok(StreamStep {
            read: since(self.0.total_in(), read),
            written: since(self.0.total_out(), written),
            ended: status == bzip2::Status::StreamEnd,
        })
    }
}

/// Returns the growth of a counter. A step is never larger than its buffers.
fn since(now: u64, before: u64) -> usize {
    usize::try_from(now.saturating_sub(before)).unwrap_or(usize::MAX)
}

pub(super) struct Zstd(zstd::stream::raw::Decoder<'static>);

impl Zstd {
    /// Returns a reader for frames without their size.
    pub(super) fn new() -> Result<Self, String> {
        let mut decoder = zstd::stream::raw::Decoder::new().map_err(|error| error.to_string())?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).map_err(|error| error.to_string())?;
        Ok(Self(decoder))
    }
}

impl Stream for Zstd {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<StreamStep, String> {
        let mut input = InBuffer::around(input);
        let mut output = OutBuffer::around(output);
        let missing = self.0.run(&mut input, &mut output).map_err(|error| error.to_string())?;
        Ok(StreamStep { read: input.pos(), written: output.pos(), ended: missing == 0 })
    }
}
