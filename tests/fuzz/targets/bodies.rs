//! Thousands of damaged and generated bodies, headers and streams.
//!
//! `CELERIAC_FUZZ=10000000 cargo test -p celeriac-protocol --release --test fuzz -- --nocapture`
//! runs for long; `CELERIAC_FUZZ_SEED` selects another seed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Instant;

use celeriac_protocol::repr::{repr_args, repr_kwargs};
use celeriac_protocol::signature::SignatureOptions;
use celeriac_protocol::{
    Accept, Body, Codec, Compression, DecodeLimits, Embed, HeaderMap, Map, ResultMeta, TaskHeaders, Value, legacy,
};
use fastrand::Rng;
use jiff::tz::TimeZone;

const LIMITS: DecodeLimits = DecodeLimits { size: 64 << 10, depth: 64, accept: Accept::ALL };

/// Most memory for one byte of a body. A list of zeros has a value in every second byte, with room
/// for twice as many. An object has an entry every few bytes.
const COST: usize = 256;

/// Most memory for any body, however small.
const BASE: usize = 4 << 10;

const COMPRESSIONS: [Compression; 3] = [Compression::Zlib, Compression::Bzip2, Compression::Zstd];

/// Bodies from real peers, which are the base of the damaged ones.
const BODIES: [&str; 13] = [
    r#"[[1], {}, {"callbacks": [{"task": "t.a", "args": [1], "kwargs": {}, "options": {"task_id": "1", "link": {"task": "b"},
        "countdown": 1.5, "stamped_headers": ["x"], "x": 1}, "subtask_type": null, "immutable": false}], "errbacks": null,
        "chain": [{"task": "t.c"}, {"task": "celery.chain", "kwargs": {"tasks": [{"task": "d"}]}, "subtask_type": "chain"}],
        "chord": {"task": "t.sum", "options": {"group_id": "g"}}}]"#,
    r#"{"task": "t.add", "id": "1", "args": [1], "kwargs": {"y": 2}, "taskset": "g", "retries": 2, "utc": false,
        "eta": "2026-11-20T09:40:17", "expires": null, "timelimit": [9, null], "callbacks": [{"task": "t.b"}]}"#,
    r#"{"status": "FAILURE", "result": {"exc_type": "ValueError", "exc_message": ["bad", 3], "exc_module": "builtins"},
        "traceback": null, "children": [[["1", null], null]], "date_done": "2026-11-20T09:29:25.651459+00:00",
        "task_id": "9", "parent_id": "8", "group_id": "g"}"#,
    r#"[[1, 2], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]"#,
    r#"[[], {"a": {"b": [null, true, false, "x"]}}, null]"#,
    r#"[[18446744073709551616, -9223372036854775809, 1e400, -0.0, NaN, -Infinity], {}, {}]"#,
    r#"[["\u00e9\n\ud83d\ude00", "é😀"], {"": ""}, {}]"#,
    r#"[[{"__type__": "datetime", "__value__": "2026-01-02T03:04:05.000001+00:00"}], {}, {}]"#,
    r#"[[{"__type__": "date", "__value__": "2026-01-02"}, {"__type__": "time", "__value__": "01:02"}], {}, {}]"#,
    r#"[[{"__type__": "uuid", "__value__": {"hex": "00000000000000000000000000000001"}}], {}, {}]"#,
    r#"[[{"__type__": "bytes", "__value__": "ab"}, {"__type__": "base64", "__value__": "/w=="}], {}, {}]"#,
    r#"[[{"__type__": "decimal", "__value__": "-1.10E+5"}, {"__type__": "decimal", "__value__": "sNaN"}], {}, {}]"#,
    r#"[[[[[[[[[]]]]]]], {"a": {"a": {"a": {"a": {}}}}}], {"k": [0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}, {}]"#,
];

/// Headers from real peers.
const HEADERS: [(&str, &str); 14] = [
    ("group_index", "0"),
    ("timelimit", "[9, null]"),
    ("stamps", "{}"),
    ("stamped_headers", "[]"),
    ("replaced_task_nesting", "1"),
    ("task", "t.add"),
    ("id", "f233c42b-36e5-447e-8f44-050328f183eb"),
    ("retries", "3"),
    ("eta", "2026-11-20T09:40:17.122093+00:00"),
    ("expires", "2026-11-20T09:41:07"),
    ("root_id", "f233c42b-36e5-447e-8f44-050328f183eb"),
    ("parent_id", "0"),
    ("group", "g"),
    ("ignore_result", "true"),
];

/// The input of one reader, and the results.
#[derive(Debug, Default)]
struct Tally {
    accepted: u64,
    refused: u64,
}

impl Tally {
    fn count<T, E>(&mut self, result: &Result<T, E>) {
        match result {
            Ok(_) => self.accepted += 1,
            Err(_) => self.refused += 1,
        }
    }
}

#[test]
fn no_input_makes_a_reader_panic_or_take_more_memory_than_it_is_worth() {
    let iterations = setting("CELERIAC_FUZZ", 20_000);
    let seed = setting("CELERIAC_FUZZ_SEED", 1);
    let mut chance = Rng::with_seed(seed);
    let corpus = Corpus::new();
    let [mut json, mut msgpack, mut streams, mut headers] = [(); 4].map(|()| Tally::default());
    let began = Instant::now();
    for _ in 0..iterations {
        match chance.u8(0..8) {
            0..3 => read_body(Codec::Json, &corpus.json.input(&mut chance), &mut json),
            3..6 => read_body(Codec::Msgpack, &corpus.msgpack.input(&mut chance), &mut msgpack),
            6 => decompress(&corpus.streams, &mut chance, &mut streams),
            _ => read_headers(&corpus, &mut chance, &mut headers),
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{iterations} iterations from seed {seed} in {seconds:.1} s");
    println!("JSON {json:?}, MessagePack {msgpack:?}, streams {streams:?}, headers {headers:?}");
    // Both results of every reader must occur, or this test says nothing.
    if iterations >= 10_000 {
        for tally in [json, msgpack, streams, headers] {
            assert!(tally.accepted > 0 && tally.refused > 0);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "how long to try is no matter of configuration")]
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

fn read_body(codec: Codec, bytes: &[u8], tally: &mut Tally) {
    let value = codec.decode_value(bytes, &LIMITS);
    let body = Body::decode(codec, bytes, &LIMITS);
    tally.count(&body);
    let Ok(value) = value else { return };
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

fn decompress(streams: &[Samples; 3], chance: &mut Rng, tally: &mut Tally) {
    let which = chance.usize(..COMPRESSIONS.len());
    let limit = [0, 100, 4 << 10, 64 << 10][chance.usize(..4)];
    let result = COMPRESSIONS[which].decompress(&streams[which].input(chance), limit);
    tally.count(&result);
    if let Ok(body) = result {
        assert!(body.len() <= limit && body.capacity() <= limit.max(8), "{} {limit}", body.capacity());
    }
}

fn read_headers(corpus: &Corpus, chance: &mut Rng, tally: &mut Tally) {
    let mut headers = HeaderMap::new();
    for (name, text) in HEADERS {
        let value = match chance.u8(0..12) {
            0 => continue,
            1 => Value::from(chance.i64(..)),
            2 => Value::from(chance.bool()),
            3 => Value::Null,
            4 => {
                let bytes = mutated(text.as_bytes(), b"", chance);
                Value::from(String::from_utf8_lossy(&bytes).into_owned())
            }
            5 => Codec::Msgpack.decode_value(&corpus.msgpack.input(chance), &LIMITS).unwrap_or_default(),
            _ => match name {
                "retries" | "group_index" | "replaced_task_nesting" => Value::Int(3),
                "timelimit" => Value::List(vec![Value::Float(chance.f64()), Value::Null]),
                "stamps" => Value::Map(Map::new()),
                "stamped_headers" => Value::List(vec![Value::from("team")]),
                "ignore_result" => Value::Bool(true),
                _ => Value::from(text),
            },
        };
        headers.insert(name, value);
    }
    let result = TaskHeaders::read(&headers);
    tally.count(&result);
    if let Ok(read) = result {
        // Times are written in microseconds, so the first writing may change them, and no later
        // one.
        let written = |headers: TaskHeaders| {
            let mut map = HeaderMap::new();
            headers.write(&mut map, None);
            map
        };
        let once = written(read);
        assert_eq!(TaskHeaders::read(&once).map(written), Ok(once));
    }
    TaskHeaders::next_attempt(&mut headers, 1, None);
}

/// Valid inputs of one kind.
struct Samples(Vec<Vec<u8>>);

impl Samples {
    /// Returns random bytes, a valid input, or a damaged one.
    fn input(&self, chance: &mut Rng) -> Vec<u8> {
        let sample = &self.0[chance.usize(..self.0.len())];
        match chance.u8(0..16) {
            0 => (0..chance.usize(..200)).map(|_| chance.u8(..)).collect(),
            1 => sample.clone(),
            _ => {
                let other = &self.0[chance.usize(..self.0.len())];
                let mut bytes = sample.clone();
                for _ in 0..chance.u8(1..4) {
                    bytes = mutated(&bytes, other, chance);
                }
                bytes
            }
        }
    }
}

struct Corpus {
    json: Samples,
    msgpack: Samples,
    streams: [Samples; 3],
}

impl Corpus {
    fn new() -> Self {
        let json: Vec<Vec<u8>> = BODIES.iter().map(|body| body.as_bytes().to_vec()).collect();
        let values = json.iter().map(|body| Codec::Json.decode_value(body, &LIMITS).unwrap());
        let mut msgpack: Vec<Vec<u8>> = values.filter_map(|value| Codec::Msgpack.encode_value(&value).ok()).collect();
        // Keys of other kinds, an extension type, and lengths in every width.
        msgpack.push(vec![0x93, 0x90, 0x82, 0x01, 0xc0, 0xc3, 0x02, 0xc0]);
        msgpack.push(vec![0x93, 0x91, 0xd6, 0xff, 0, 0, 0, 0, 0x80, 0x80]);
        msgpack.push(vec![
            0xdd, 0, 0, 0, 3, 0xdc, 0, 1, 0xd9, 1, b'a', 0xdf, 0, 0, 0, 1, 0xda, 0, 1, b'k', 0xc6, 0, 0, 0, 1, 9, 0xde,
            0, 0,
        ]);
        let streams = COMPRESSIONS.map(|compression| {
            let zeros = vec![0; 60_000];
            let bodies = json.iter().chain([&zeros]);
            Samples(bodies.map(|body| compression.compress(body).unwrap()).collect())
        });
        Self { json: Samples(json), msgpack: Samples(msgpack), streams }
    }
}

/// Returns one damage: a flipped bit, bytes inserted, removed or repeated, a false length, or the
/// end of another input.
fn mutated(bytes: &[u8], other: &[u8], chance: &mut Rng) -> Vec<u8> {
    const TOKENS: [&[u8]; 24] = [
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b":",
        b"\"",
        b"\\u",
        b"\\ud800",
        b"1e9999",
        b"NaN",
        b"-",
        b"99999999999999999999",
        b"{\"__type__\":\"uuid\",\"__value__\":",
        b"\"__type__\"",
        &[0xff],
        &[0xc1],
        &[0xdd, 0xff, 0xff, 0xff, 0xff],
        &[0xdf, 0xff, 0xff, 0xff, 0xff],
        &[0xc6, 0xff, 0xff, 0xff, 0xff],
        &[0xdb, 0x7f, 0xff, 0xff, 0xff],
        &[0xc9],
        &[0x91; 70],
        &[b'['; 70],
    ];
    let mut bytes = bytes.to_vec();
    let at = chance.usize(..=bytes.len());
    let end = (at + chance.usize(1..=8)).min(bytes.len());
    match chance.u8(0..7) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << chance.u8(0..8);
            }
        }
        1 => drop(bytes.splice(at..at, TOKENS[chance.usize(..TOKENS.len())].iter().copied())),
        2 => drop(bytes.drain(at..end)),
        3 => {
            let repeated = bytes[at..end].repeat(chance.usize(1..20));
            drop(bytes.splice(at..at, repeated));
        }
        4 => {
            // A number in two or four bytes, mostly small or the largest possible.
            let length: u32 = match chance.u8(0..3) {
                0 => u32::MAX,
                1 => chance.u32(0..16),
                _ => chance.u32(..),
            };
            let width = if chance.bool() { 2 } else { 4 };
            let field = length.to_be_bytes();
            for (byte, new) in bytes.iter_mut().skip(at).zip(&field[4 - width..]) {
                *byte = *new;
            }
        }
        5 => bytes.truncate(at),
        _ => {
            bytes.truncate(at);
            bytes.extend_from_slice(&other[chance.usize(..=other.len())..]);
        }
    }
    bytes
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
