//! Compressed bodies are read back, and bodies that are too large are refused.

use super::*;

const ALL: [Compression; 3] = [Compression::Zlib, Compression::Bzip2, Compression::Zstd];

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn reason(result: Result<Vec<u8>, DecodeError>) -> String {
    match result {
        Err(DecodeError::Malformed { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_compressed_comes_back() {
    let large: Vec<u8> = (0..200_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for compression in ALL {
        for body in [&b""[..], b"[[1, 2], {}, {}]", &[b'x'; 100_000], &large] {
            let compressed = compression.compress(body).unwrap();
            assert_eq!(compression.decompress(&compressed, body.len()).unwrap(), body, "{compression:?}");
        }
    }
}

#[test]
fn what_python_compressed_is_read() {
    let zlib = hex("789c8b8e36d451308ad551a8ae05e15800244204a8");
    let bzip2 =
        hex("425a6839314159265359884c6f440000049a8040043000000a000a2000310c081a68c21cd7633d121478bb9229c2848442637a20");
    assert_eq!(Compression::Zlib.decompress(&zlib, 100).unwrap(), b"[[1, 2], {}, {}]");
    assert_eq!(Compression::Bzip2.decompress(&bzip2, 100).unwrap(), b"[[1, 2], {}, {}]");
}

/// The output of a compressor that does not know the size in advance.
#[test]
fn a_frame_that_does_not_tell_its_size_is_read_within_the_limit() {
    let body = vec![b'x'; 1_000_000];
    let frame = zstd::stream::encode_all(&body[..], 3).unwrap();
    assert!(matches!(zstd::zstd_safe::get_frame_content_size(&frame), Ok(None)));
    assert_eq!(Compression::Zstd.decompress(&frame, body.len()).unwrap(), body);
    let refused = Compression::Zstd.decompress(&frame, body.len() - 1);
    assert!(matches!(refused, Err(DecodeError::TooLarge { limit: 999_999, .. })), "{refused:?}");
    assert_eq!(reason(Compression::Zstd.decompress(&frame[..frame.len() - 1], body.len())), "it is cut off");
    let followed = [&frame[..], b"more"].concat();
    assert_eq!(reason(Compression::Zstd.decompress(&followed, body.len())), "4 bytes follow its end");
}

#[test]
fn a_bomb_is_refused_when_it_passes_the_limit() {
    let bomb = vec![0; 32 << 20];
    for compression in ALL {
        let compressed = compression.compress(&bomb).unwrap();
        assert!(compressed.len() < 64 << 10, "{compression:?}");
        match compression.decompress(&compressed, 1 << 20) {
            Err(DecodeError::TooLarge { size, limit }) => {
                assert_eq!(limit, 1 << 20);
                assert!(size > limit, "{compression:?}");
            }
            other => panic!("{compression:?}: {:?}", other.map(|body| body.len())),
        }
    }
}

#[test]
fn what_is_cut_off_or_followed_by_more_is_refused() {
    for compression in ALL {
        let whole = compression.compress(b"[[1, 2], {}, {}]").unwrap();
        for length in 0..whole.len() {
            let cut = compression.decompress(&whole[..length], 100);
            assert!(matches!(cut, Err(DecodeError::Malformed { .. })), "{compression:?} {length}: {cut:?}");
        }
        for more in [&b"\0"[..], &whole] {
            let followed = [&whole[..], more].concat();
            assert_eq!(
                reason(compression.decompress(&followed, 100)),
                format!("{} bytes follow its end", more.len()),
                "{compression:?}"
            );
        }
        assert!(compression.decompress(b"[[1, 2], {}, {}]", 100).is_err());
    }
}

#[test]
fn headers_and_settings_name_a_compression() {
    for compression in ALL {
        assert_eq!(Compression::from_header(compression.header_value()), Ok(compression));
        let name = serde_json::to_string(&compression).unwrap();
        assert_eq!(serde_json::from_str::<Compression>(&name).unwrap(), compression);
        assert_eq!(Compression::from_header(name.trim_matches('"')), Ok(compression));
    }
    assert_eq!(serde_json::from_str::<Compression>("\"gzip\"").unwrap(), Compression::Zlib);
    for alias in ["gzip", "bzip", "zstandard"] {
        assert!(Compression::from_header(alias).is_ok(), "{alias}");
    }
    assert_eq!(
        Compression::from_header("application/x-lzma").unwrap_err().to_string(),
        "compression `application/x-lzma` is refused: accepted are gzip (zlib), bzip2 and zstd"
    );
    for name in ["xz", "lzma", "brotli", "application/x-brotli", "", "identity"] {
        assert!(Compression::from_header(name).is_err(), "{name}");
    }
}
