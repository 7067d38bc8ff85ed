//! Frames that pass, and frames that are rewritten.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap();
    [&[kind][..], &channel.to_be_bytes(), &size.to_be_bytes(), payload, &[END]].concat()
}

fn method((class, method): (u16, u16), arguments: &[u8]) -> Vec<u8> {
    [&class.to_be_bytes()[..], &method.to_be_bytes(), arguments].concat()
}

fn deliver(routing_key: &[u8]) -> Vec<u8> {
    let mut arguments = b"\x03tag\0\0\0\0\0\0\0\x07\0\x00".to_vec();
    arguments.push(u8::try_from(routing_key.len()).unwrap());
    arguments.extend_from_slice(routing_key);
    method(DELIVER, &arguments)
}

/// A content header with one header, whose value is `value`.
fn content(value: &[u8]) -> Vec<u8> {
    let table = [b"\x01h", value].concat();
    let length = u32::try_from(table.len()).unwrap().to_be_bytes();
    [&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4][..], &(1_u16 << 13).to_be_bytes(), &length, &table].concat()
}

/// Reads everything through a filter, as a stream does: into buffers of these sizes in turn.
fn filtered(mut filter: FrameFilter, bytes: &[u8], sizes: &[usize]) -> Vec<u8> {
    let (mut source, mut sizes, mut seen) = (Reader(bytes), sizes.iter().cycle(), Vec::new());
    loop {
        let mut buffer = vec![0; *sizes.next().unwrap()];
        let taken = filter.take(&mut buffer);
        seen.extend_from_slice(&buffer[..taken]);
        if taken > 0 {
            continue;
        }
        let room = filter.missing().map_or(buffer.len(), |missing| missing.min(buffer.len()));
        let Some(read) = source.take(room.min(source.0.len())).filter(|read| !read.is_empty()) else { return seen };
        let passed = filter.accept(read);
        seen.extend_from_slice(&read[..passed]);
    }
}

fn valid() -> impl Strategy<Value = Vec<u8>> {
    let one = prop_oneof![
        vec(any::<u8>(), 0..300).prop_map(|body| frame(BODY, 1, &body)),
        Just(frame(HEARTBEAT, 0, b"")),
        Just(frame(METHOD, 1, &method((60, 80), &[0; 9]))),
        Just(frame(METHOD, 1, &deliver("schlüssel".as_bytes()))),
        Just(frame(CONTENT_HEADER, 1, &content(b"S\0\0\0\x01x"))),
    ];
    vec(one, 0..20).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn readable_frames_pass_as_they_are_however_they_are_cut(bytes in valid(), sizes in vec(1_usize..80, 1..9)) {
        prop_assert_eq!(filtered(FrameFilter::new(131_072), &bytes, &sizes), bytes);
    }

    #[test]
    fn a_rewritten_frame_leaves_its_neighbours(
        before in valid(),
        after in valid(),
        sizes in vec(1_usize..2_000, 1..9),
    ) {
        let bad = frame(CONTENT_HEADER, 7, &content(b"z"));
        let seen = filtered(FrameFilter::new(131_072), &[&before[..], &bad, &after].concat(), &sizes);
        let rewritten = content::rewrite(&content(b"z"), ContentFaults::default(), 131_064);
        let expected = [&before[..], &frame(CONTENT_HEADER, 7, &rewritten), &after].concat();
        prop_assert_eq!(seen, expected);
    }
}

#[test]
fn a_routing_key_that_is_not_text_is_told_by_the_header_behind_it() {
    let bytes = [frame(METHOD, 3, &deliver(b"caf\xe9")), frame(CONTENT_HEADER, 3, &content(b"V"))].concat();
    let seen = filtered(FrameFilter::new(131_072), &bytes, &[1_000]);
    let start = frame(METHOD, 3, &deliver(b"caf?"));
    assert!(seen.starts_with(&start));
    let told = String::from_utf8_lossy(&seen[start.len()..]).into_owned();
    assert!(told.contains("celeriac-unreadable") && told.contains("routing key is not UTF-8: `caf?`"), "{told}");
    let other = frame(CONTENT_HEADER, 4, &content(b"V"));
    assert_eq!(filtered(FrameFilter::new(131_072), &other, &[1_000]), other);
}

#[test]
fn a_header_above_the_size_that_the_broker_agreed_to_is_made_smaller() {
    let tune = frame(METHOD, 0, &method(TUNE, b"\x07\xff\0\0\x20\0\0\x0a"));
    let large = frame(CONTENT_HEADER, 1, &content(&[&b"S\0\0\x20\0"[..], &[b'x'; 8_192]].concat()));
    let seen = filtered(FrameFilter::new(0), &[&tune[..], &large].concat(), &[3_000]);
    assert!(seen.starts_with(&tune));
    assert!(seen.len() - tune.len() <= 8_192, "{}", seen.len());
    let told = String::from_utf8_lossy(&seen).into_owned();
    assert!(told.contains("header `h` is too large and was left out: 8199 bytes"), "{told}");
}

#[test]
fn a_header_above_the_size_that_is_held_is_cut_and_its_rest_left_out() {
    let size = 3 * LONGEST_HELD;
    let value = [&b"S"[..], &u32::try_from(size).unwrap().to_be_bytes(), &vec![b'x'; size]].concat();
    let body = frame(BODY, 1, b"body");
    let bytes = [frame(CONTENT_HEADER, 1, &content(&value)), body.clone()].concat();
    for sizes in [[100_000, 7], [4_000_000, 7]] {
        let seen = filtered(FrameFilter::new(131_072), &bytes, &sizes);
        assert!(seen.len() < 1_000 && seen.ends_with(&body), "{}", seen.len());
    }
}

#[test]
fn what_is_not_amqp_passes() {
    let bytes = b"HTTP/1.1 400 Bad Request\r\n\r\n";
    assert_eq!(filtered(FrameFilter::new(131_072), bytes, &[5]), bytes);
}
