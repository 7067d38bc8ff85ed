//! Content headers, beside the parser of lapin.

use lapin::BasicProperties;
use lapin::protocol::basic::parse_properties;
use lapin::types::AMQPValue;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const LIMIT: usize = 131_064;

/// Parses a content header as lapin does.
fn parse(content: &[u8]) -> Option<BasicProperties> {
    let (rest, properties) = parse_properties(&content[BEFORE_PROPERTIES..]).ok()?;
    rest.is_empty().then_some(properties)
}

/// A content header with every property and these headers.
fn content(headers: &[u8]) -> Vec<u8> {
    let mut content = vec![0; BEFORE_PROPERTIES];
    content.extend_from_slice(&0xfffc_u16.to_be_bytes());
    for (_, form) in PROPERTIES {
        match form {
            Form::Text => content.extend_from_slice(b"\x02ok"),
            Form::Bytes(count) => content.extend_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8][..count]),
            Form::Headers => put_long(&mut content, headers),
        }
    }
    content
}

fn entry(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[u8::try_from(name.len()).unwrap()][..], name, value].concat()
}

fn nested(levels: usize, tag: u8) -> Vec<u8> {
    (0..levels).fold(b"V".to_vec(), |inner, _| {
        let mut outer = vec![tag];
        put_long(&mut outer, &if tag == b'F' { entry(b"k", &inner) } else { inner });
        outer
    })
}

/// A header of each type.
fn every_type() -> Vec<u8> {
    let fixed: [(u8, usize); 16] = [
        (b'V', 0),
        (b't', 1),
        (b'b', 1),
        (b'B', 1),
        (b's', 2),
        (b'U', 2),
        (b'u', 2),
        (b'I', 4),
        (b'i', 4),
        (b'f', 4),
        (b'D', 5),
        (b'l', 8),
        (b'L', 8),
        (b'd', 8),
        (b'T', 8),
        (b'S', 4),
    ];
    let mut headers = Vec::new();
    for (tag, count) in fixed {
        headers.extend(entry(&[tag], &[&[tag][..], &vec![0; count]].concat()));
    }
    headers.extend(entry(b"bytes", b"x\0\0\0\x02\xff\xfe"));
    headers.extend(entry(b"array", &nested(3, b'A')));
    headers.extend(entry(b"table", &nested(3, b'F')));
    headers
}

fn rewritten(content: &[u8]) -> (BasicProperties, String) {
    let rewritten = rewrite(content, ContentFaults::default(), LIMIT);
    assert!(is_readable(&rewritten) && rewritten.len() <= LIMIT);
    let properties = parse(&rewritten).unwrap();
    let headers = properties.headers().clone().unwrap();
    let Some(AMQPValue::LongString(told)) = headers.inner().get(names::UNREADABLE) else { panic!("{headers:?}") };
    let told = told.to_string();
    (properties, told)
}

#[test]
fn every_type_that_lapin_parses_is_readable() {
    let content = content(&every_type());
    assert!(is_readable(&content));
    assert_eq!(parse(&content).unwrap().headers().as_ref().unwrap().inner().len(), 19);
}

#[test]
fn nesting_has_a_limit() {
    for tag in [b'A', b'F'] {
        assert!(is_readable(&content(&entry(b"deep", &nested(DEEPEST, tag)))));
        let deep = content(&entry(b"deep", &nested(DEEPEST + 1, tag)));
        assert!(!is_readable(&deep));
        let (properties, told) = rewritten(&deep);
        assert_eq!(told, "header `deep` is nested more than 64 levels deep");
        assert!(properties.headers().as_ref().unwrap().inner().contains_key("deep"));
    }
}

#[test]
fn what_is_readable_beside_a_fault_is_kept() {
    let headers = [
        entry(b"first", b"V"),
        entry(b"caf\xe9", b"t\x01"),
        entry(b"inner", b"A\0\0\0\x01z"),
        entry(b"last", b"z"),
        entry(b"lost", b"V"),
    ];
    let (properties, told) = rewritten(&content(&headers.concat()));
    let headers = properties.headers().clone().unwrap();
    let names: Vec<_> = headers.inner().keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["caf?", names::UNREADABLE, "first", "inner", "last"]);
    assert_eq!(
        told,
        "name of a header is not UTF-8: `caf?`; header `inner` is not readable; header `last` is not readable"
    );
    assert_eq!(properties.cluster_id().as_ref().map(|text| text.as_str()), Some("ok"));
    assert_eq!(properties.timestamp(), &Some(0x0102_0304_0506_0708));
}

#[test]
fn the_headers_of_a_task_are_left_out_last() {
    let mut headers: Vec<_> = (0..40_000).flat_map(|number: u32| entry(format!("{number}").as_bytes(), b"V")).collect();
    headers.extend(entry(b"task", &[&b"S\0\0\x01\0"[..], &[b't'; 256]].concat()));
    let (properties, told) = rewritten(&content(&headers));
    assert!(properties.headers().as_ref().unwrap().inner().contains_key("task"));
    assert!(told.len() <= LONGEST_FAULTS && told.contains("was left out"), "{told}");
}

proptest! {
    #[test]
    fn what_is_called_readable_is_parsed_and_what_is_rewritten_too(
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in 0_usize..40,
    ) {
        let mut content = content(&every_type());
        for (place, byte) in changes {
            let place = place.index(content.len());
            content[place] = byte;
        }
        let length = if cut < 20 { content.len() } else { content.len() - cut };
        content.truncate(length);
        if is_readable(&content) {
            prop_assert!(parse(&content).is_some());
        }
        rewritten(&content);
    }
}
