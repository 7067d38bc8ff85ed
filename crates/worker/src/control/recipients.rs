//! The recipients of a request, compared with the name of a worker.

use celeriac_protocol::control::{Matcher, Recipients};
use celeriac_topology::pattern::read_regex;

/// Most bytes of a pattern. No name of a worker is longer.
const LONGEST: usize = 1024;

/// Returns `true` if a request is for the worker of this name. A pattern that cannot be read is for
/// nobody.
pub(super) fn includes(recipients: &Recipients, name: &str) -> bool {
    match recipients {
        Recipients::All => true,
        Recipients::Nodes(nodes) => nodes.iter().any(|node| node == name),
        Recipients::Matching { pattern, .. } if pattern.len() > LONGEST => false,
        Recipients::Matching { pattern, matcher } => {
            let regex = match matcher {
                Matcher::Glob => format!(r"\A(?s:{})\z", regex_of_glob(pattern)),
                Matcher::Pcre => format!(r"\A(?:{pattern})"),
            };
            read_regex(pattern, &regex).is_ok_and(|regex| regex.is_match(name))
        }
    }
}

/// Translates a glob as Python's `fnmatch` does: `*`, `?`, `[seq]` and `[!seq]`.
fn regex_of_glob(glob: &str) -> String {
    let mut regex = String::new();
    let mut rest = glob;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        match letter {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '[' => match set_of(rest) {
                Some((set, after)) => {
                    regex.push_str(&set);
                    rest = after;
                }
                None => regex.push_str(r"\["),
            },
            other => {
                if r"\.+*?()|[]{}^$#&-~".contains(other) {
                    regex.push('\\');
                }
                regex.push(other);
            }
        }
    }
    regex
}

/// Returns the set that begins after a bracket, and the text behind it.
fn set_of(rest: &str) -> Option<(String, &str)> {
    let inner = rest.strip_prefix('!').unwrap_or(rest);
    // A closing bracket in the first place is a member of the set.
    let first = inner.chars().next()?.len_utf8();
    let end = first + inner.get(first..)?.find(']')?;
    let mut set = String::from(if inner.len() < rest.len() { "[^" } else { "[" });
    for letter in inner[..end].chars() {
        if matches!(letter, '[' | ']' | '\\' | '^' | '&' | '~') {
            set.push('\\');
        }
        set.push(letter);
    }
    set.push(']');
    Some((set, &inner[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, matcher: Matcher, name: &str) -> bool {
        includes(&Recipients::Matching { pattern: pattern.to_owned(), matcher }, name)
    }

    #[test]
    fn globs_are_those_of_python() {
        for (pattern, name, expected) in [
            ("*", "w1@host", true),
            ("w?@host", "w1@host", true),
            ("w?@host", "w12@host", false),
            ("w[12]@*", "w2@host", true),
            ("w[!12]@*", "w2@host", false),
            ("w[0-9]@*", "w7@host", true),
            ("w[", "w[", true),
            ("w[]]", "w]", true),
            ("W*", "w1@host", false),
            ("w.*", "w1@host", false),
            ("w-1@h", "w-1@h", true),
            ("é*", "éa", true),
        ] {
            assert_eq!(matches(pattern, Matcher::Glob, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn an_expression_is_for_the_beginning_of_a_name() {
        for (pattern, expected) in [("w", true), ("w[0-9]@", true), ("host", false), ("(", false), ("w1|x", true)] {
            assert_eq!(matches(pattern, Matcher::Pcre, "w1@host"), expected, "{pattern}");
        }
        assert!(!matches(&"w".repeat(LONGEST + 1), Matcher::Pcre, &"w".repeat(LONGEST + 1)));
    }

    #[test]
    fn a_list_has_whole_names() {
        let nodes = Recipients::Nodes(vec!["w1@a".to_owned(), "w2@a".to_owned()]);
        assert!(includes(&nodes, "w2@a") && !includes(&nodes, "w2") && includes(&Recipients::All, "w2"));
    }
}
