//! The corpus: one input a line, with the escapes of Rust's byte strings.

use std::fs;
use std::path::Path;

/// Returns the inputs of `corpus/<name>.txt`. An empty line and one that begins with `#` are none.
pub fn corpus(name: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(format!("{name}.txt"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(unescaped).collect()
}

fn unescaped(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'x') => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).unwrap_or_else(|_| panic!("\\x{digits} in {line}"))
            }
            Some(other) => other,
            None => panic!("a \\ ends {line}"),
        });
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_input_is_read_as_it_was() {
        let every: Vec<u8> = (0..=255).collect();
        assert_eq!(unescaped(&every.escape_ascii().to_string()), every);
        assert_eq!(unescaped("é"), "é".as_bytes());
    }
}
