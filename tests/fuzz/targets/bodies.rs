//! Bodies in every serializer and compression, with what they carry: arguments, follow-ups, tasks
//! of protocol 1, and results.

use celeriac_fuzz::{Outcome, corpus, fuzz};
use celeriac_protocol::repr::{repr_args, repr_kwargs};
use celeriac_protocol::signature::SignatureOptions;
use celeriac_protocol::{
    Accept, Body, Codec, Compression, DecodeLimits, Embed, HeaderMap, ResultMeta, TaskHeaders, Value, legacy,
};
use jiff::tz::TimeZone;

pub(crate) const LIMITS: DecodeLimits =
    DecodeLimits { size: 64 << 10, depth: 64, values: 1_000_000, accept: Accept::ALL };

/// Most memory for one byte of a body. A list of zeros has a value in every second byte, with room
/// for twice as many. An object has an entry every few bytes.
const COST: usize = 256;

/// Most memory for any body, however small.
const BASE: usize = 4 << 10;

const COMPRESSIONS: [Compression; 3] = [Compression::Zlib, Compression::Bzip2, Compression::Zstd];

#[test]
fn no_json_makes_a_reader_panic_or_take_more_memory_than_it_is_worth() {
    fuzz("json", corpus("json"), |bytes, _| read_body(Codec::Json, bytes));
}

#[test]
fn no_messagepack_makes_a_reader_panic_or_take_more_memory_than_it_is_worth() {
    fuzz("messagepack", messagepack(), |bytes, _| read_body(Codec::Msgpack, bytes));
}

/// Returns the corpus of MessagePack, with the bodies of JSON.
pub(crate) fn messagepack() -> Vec<Vec<u8>> {
    let json = corpus("json");
    let values = json.iter().filter_map(|body| Codec::Json.decode_value(body, &LIMITS).ok());
    let mut samples: Vec<_> = values.filter_map(|value| Codec::Msgpack.encode_value(&value).ok()).collect();
    samples.extend(corpus("messagepack"));
    samples
}

#[test]
fn no_stream_makes_a_decompressor_panic_or_exceed_its_limit() {
    fuzz("streams", streams(), |bytes, chance| {
        let Some((which, stream)) = bytes.split_first() else { return Outcome::of(&Err::<(), _>("empty")) };
        let limit = [0, 100, 4 << 10, 64 << 10][chance.usize(..4)];
        let compression = COMPRESSIONS[usize::from(*which) % COMPRESSIONS.len()];
        let result = compression.decompress(stream, limit);
        if let Ok(body) = &result {
            assert!(body.len() <= limit && body.capacity() <= limit.max(8), "{} {limit}", body.capacity());
        }
        Outcome::of(&result).with(compression.header_value())
    });
}

/// Returns bodies in each compression. The first byte is the number of the compression.
fn streams() -> Vec<Vec<u8>> {
    let mut bodies = corpus("json");
    bodies.push(vec![0; 60_000]);
    let mut samples = corpus("streams");
    for (number, compression) in (0..).zip(COMPRESSIONS) {
        samples.extend(bodies.iter().map(|body| [vec![number], compression.compress(body).unwrap()].concat()));
    }
    samples
}

fn read_body(codec: Codec, bytes: &[u8]) -> Outcome {
    let value = codec.decode_value(bytes, &LIMITS);
    let body = Body::decode(codec, bytes, &LIMITS);
    let outcome = Outcome::of(&body);
    let Ok(value) = value else { return outcome };
    let (size, bound) = (size_of_value(&value), COST * bytes.len() + BASE);
    assert!(size <= bound, "{size} bytes of memory for {} bytes of {codec:?}: {bytes:02x?}", bytes.len());
    // An accepted input is accepted again, unless it cannot be written at all.
    if let Ok(again) = codec.encode_value(&value) {
        let limits = DecodeLimits { size: usize::MAX, ..LIMITS };
        let read = codec.decode_value(&again, &limits).map(|value| format!("{value:?}"));
        assert_eq!(read, Ok(format!("{value:?}")), "{codec:?} {bytes:02x?}");
    }
    if let Ok(Body { args, kwargs, embed }) = body {
        assert!(repr_args(&args).len() <= 1024);
        assert!(repr_kwargs(&kwargs).len() <= 1024);
        read_embed(&embed);
    }
    if let Ok((headers, _)) = legacy::read(value.clone(), &TimeZone::UTC) {
        let mut written = HeaderMap::new();
        headers.write(&mut written, None);
        assert!(TaskHeaders::read(&written).is_ok());
    }
    if let Ok(meta) = ResultMeta::read(value) {
        assert!(ResultMeta::read(meta.to_value()).is_ok());
    }
    outcome
}

/// Checks that an embed is read completely or not at all, and leaves as it arrived.
fn read_embed(embed: &Value) {
    let Ok(embed) = Embed::read(embed) else { return };
    let signatures = embed.callbacks.iter().chain(&embed.errbacks).chain(&embed.chain);
    for signature in signatures {
        let _ = signature.members();
        let _ = SignatureOptions::read(&signature.options);
    }
    let written = Value::from(embed.clone());
    assert_eq!(Embed::read(&written).map(|read| format!("{read:?}")), Ok(format!("{embed:?}")));
}

/// Returns the memory of a value, including the reserve of its collections.
fn size_of_value(value: &Value) -> usize {
    let inside = match value {
        Value::BigInt(number) => number.as_str().len(),
        Value::Text(text) => text.capacity(),
        Value::Bytes(bytes) => bytes.capacity(),
        Value::List(items) => {
            let unused = items.capacity() - items.len();
            unused * size_of::<Value>() + items.iter().map(size_of_value).sum::<usize>()
        }
        Value::Map(entries) => {
            // Each entry also has its hash and its place in the table.
            let entry = size_of::<String>() + 4 * size_of::<usize>();
            let unused = entries.capacity() - entries.len();
            entries.capacity() * entry
                + unused * size_of::<Value>()
                + entries.iter().map(|(key, value)| key.capacity() + size_of_value(value)).sum::<usize>()
        }
        Value::Kombu(typed) => typed.text().len(),
        _ => 0,
    };
    size_of::<Value>() + inside
}
