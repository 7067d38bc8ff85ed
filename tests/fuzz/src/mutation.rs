//! Random damages.

use fastrand::Rng;

/// Pieces of the formats that are read.
const TOKENS: &[&[u8]] = &[
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
    b"..",
    b"/",
    b"@",
    b"%2f",
    b"*",
    b"?",
    b"(",
    b")",
    b"|",
    b"{1000}",
    b"none",
    b"ms",
    b"MiB",
    b"\n  ",
    b"- ",
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!binary ",
    b"| \n",
    "\u{1f600}".as_bytes(),
    "\u{0}".as_bytes(),
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

/// Returns one damage: a flipped bit, bytes inserted, removed or repeated, a false length, or the
/// end of another input.
pub fn mutated(bytes: &[u8], other: &[u8], chance: &mut Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = chance.usize(..=bytes.len());
    let end = (at + chance.usize(1..=8)).min(bytes.len());
    match chance.u8(0..8) {
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
            let length = length(chance);
            for (byte, new) in bytes.iter_mut().skip(at).zip(length) {
                *byte = new;
            }
        }
        5 => bytes.truncate(at),
        6 => {
            let from = chance.usize(..=other.len());
            let piece = &other[from..(from + chance.usize(1..40)).min(other.len())];
            drop(bytes.splice(at..at, piece.iter().copied()));
        }
        _ => {
            bytes.truncate(at);
            bytes.extend_from_slice(&other[chance.usize(..=other.len())..]);
        }
    }
    bytes
}

/// Returns a number in two or four bytes, mostly small or the largest possible.
fn length(chance: &mut Rng) -> impl Iterator<Item = u8> {
    let length: u32 = match chance.u8(0..3) {
        0 => u32::MAX,
        1 => chance.u32(0..16),
        _ => chance.u32(..),
    };
    let width = if chance.bool() { 2 } else { 4 };
    length.to_be_bytes().into_iter().skip(4 - width)
}
