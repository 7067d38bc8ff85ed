//! Patterns for task names, in routes and overrides: exact name, glob or regular expression.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use regex::Regex;

/// A pattern for whole task names.
#[derive(Debug)]
pub enum Pattern {
    /// This name.
    Exact(String),
    /// Names that match. A glob becomes one too.
    Regex(Regex),
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Returns the problem of an invalid pattern.
    pub fn read(pattern: &str) -> Result<Self, String> {
        if let Some(regex) = pattern.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
            // Compiled as written first. The anchors below could turn an invalid expression into a
            // valid one.
            read_regex(pattern, regex)?;
            return compile(pattern, &format!(r"\A(?:{regex})\z"));
        }
        if pattern.contains(['*', '?']) {
            return compile(pattern, &format!(r"\A(?s:{})\z", regex_of_glob(pattern)));
        }
        Ok(Self::Exact(pattern.to_owned()))
    }

    /// Returns true if it matches a task.
    pub fn matches(&self, task: &str) -> bool {
        match self {
            Self::Exact(name) => name == task,
            Self::Regex(regex) => regex.is_match(task),
        }
    }
}

fn compile(pattern: &str, regex: &str) -> Result<Pattern, String> {
    Regex::new(regex).map(Pattern::Regex).map_err(|error| format!("`{pattern}` cannot be used: {}", reason(&error)))
}

/// Compiles a regular expression as written. `pattern` is for the message.
///
/// # Errors
/// Returns the problem of an invalid expression, in one line.
pub fn read_regex(pattern: &str, regex: &str) -> Result<Regex, String> {
    Regex::new(regex).map_err(|error| format!("`{pattern}` is not a regular expression: {}", reason(&error)))
}

/// The columns in front of the expression that the library draws.
const INDENT: usize = 4;

/// Returns the reason alone. The library draws the expression above it, with a mark below the
/// mistake.
fn reason(error: &regex::Error) -> String {
    let drawn = error.to_string();
    let lines: Vec<&str> = drawn.lines().collect();
    let reason = lines.last().copied().unwrap_or_default();
    let reason = reason.strip_prefix("error: ").unwrap_or(reason);
    match lines[..] {
        [_, _, mark, _] => {
            let place = mark.find('^').and_then(|place| place.checked_sub(INDENT));
            place.map_or_else(|| reason.to_owned(), |place| format!("{reason}, at character {}", place + 1))
        }
        _ => reason.to_owned(),
    }
}

fn regex_of_glob(glob: &str) -> String {
    let mut regex = String::new();
    for part in glob.split_inclusive(['*', '?']) {
        let literal = part.trim_end_matches(['*', '?']);
        regex.push_str(&regex::escape(literal));
        regex.push_str(match &part[literal.len()..] {
            "*" => ".*",
            "?" => ".",
            _ => "",
        });
    }
    regex
}

/// Ordered patterns, with a cache of the values of names.
#[derive(Debug)]
pub struct PatternTable<T> {
    patterns: Vec<Pattern>,
    known: RwLock<HashMap<String, T>>,
}

/// Most cached names. Callers can send any number of names, so the cache is bounded.
pub(crate) const MAX_KNOWN: usize = 4096;

impl<T: Clone> PatternTable<T> {
    /// Makes a table of patterns, with an empty cache.
    pub fn new(patterns: Vec<Pattern>) -> Self {
        Self { patterns, known: RwLock::default() }
    }

    /// Returns the patterns.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Returns the indexes of the patterns that match a name, in order.
    pub fn matches<'a>(&'a self, name: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.patterns.iter().enumerate().filter(|(_, pattern)| pattern.matches(name)).map(|(place, _)| place)
    }

    /// Returns the value of a name: from the cache, or from `find`, which gets the indexes of its
    /// patterns.
    pub fn get(&self, name: &str, find: impl FnOnce(&mut dyn Iterator<Item = usize>) -> T) -> T {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        known.unwrap_or_else(|| {
            let found = find(&mut self.matches(name));
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            if known.len() < MAX_KNOWN {
                known.insert(name.to_owned(), found.clone());
            }
            found
        })
    }
}

#[cfg(test)]
impl<T> PatternTable<T> {
    pub(crate) fn known_names(&self) -> usize {
        self.known.read().unwrap().len()
    }
}

impl<T: Clone> Default for PatternTable<T> {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, task: &str) -> bool {
        Pattern::read(pattern).unwrap().matches(task)
    }

    #[test]
    fn patterns_match_the_whole_name() {
        let cases = [
            ("orders.charge", "orders.charge", true),
            ("orders.charge", "ordersxcharge", false),
            ("orders.charge", "orders.charge.late", false),
            ("orders.*", "orders.charge", true),
            ("orders.*", "orders.charge.late", true),
            ("orders.*", "orders", false),
            ("*.charge", "orders.charge", true),
            ("order?.charge", "orders.charge", true),
            ("order?.charge", "order.charge", false),
            ("*", "", true),
            ("a(b*", "a(b)c", true),
            (r"/orders\.(charge|refund)/", "orders.refund", true),
            (r"/orders\.(charge|refund)/", "my.orders.refund", false),
            ("/a|bc/", "bc", true),
            ("/a|bc/", "abc", false),
            ("/", "/", true),
        ];
        for (pattern, task, expected) in cases {
            assert_eq!(matches(pattern, task), expected, "{pattern} {task}");
        }
    }

    #[test]
    fn what_is_no_regular_expression_is_refused() {
        for pattern in ["/(/", "/a)(?:b/", "/[/"] {
            let reason = Pattern::read(pattern).unwrap_err();
            assert!(reason.starts_with(&format!("`{pattern}` is not a regular expression: ")), "{reason}");
        }
        for (pattern, expected) in [
            ("/orders.(a|b/", "unclosed group, at character 8"),
            ("/a(?=b)/", "look-around, including look-ahead and look-behind, is not supported, at character 2"),
            ("/a\n(/", "unclosed group"),
            ("/(?:a{1000}){1000}/", "Compiled regex exceeds size limit of 10485760 bytes."),
        ] {
            let reason = Pattern::read(pattern).unwrap_err();
            assert_eq!(reason, format!("`{pattern}` is not a regular expression: {expected}"));
        }
    }

    /// The definition, in its simplest form.
    fn model(glob: &[char], name: &[char]) -> bool {
        match (glob.split_first(), name.split_first()) {
            (None, None) => true,
            (Some(('*', after)), _) => (0..=name.len()).any(|taken| model(after, &name[taken..])),
            (Some((expected, after)), Some((found, rest))) => {
                (*expected == '?' || expected == found) && model(after, rest)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn globs_equal_their_definition(glob in "[ab.*?+]{0,6}", name in "[ab.+\n]{0,8}") {
            let characters = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&glob, &name), model(&characters(&glob), &characters(&name)));
        }

        #[test]
        fn a_name_without_wildcards_matches_itself_alone(name in "[a-z_.:+()]{1,12}", other in "[a-z_.:+()]{1,12}") {
            prop_assert!(matches(&name, &name));
            prop_assert_eq!(matches(&name, &other), name == other);
        }
    }

    #[test]
    fn a_table_tries_its_patterns_once_a_name_and_keeps_a_bounded_number_of_names() {
        let table = PatternTable::new(["orders.*", "/.*charge/", "*"].map(|text| Pattern::read(text).unwrap()).into());
        let all = |places: &mut dyn Iterator<Item = usize>| places.collect::<Vec<_>>();
        assert_eq!(table.get("orders.charge", all), [0, 1, 2]);
        assert_eq!(table.get("orders.charge", |_| Vec::new()), [0, 1, 2], "found before");
        assert_eq!(table.get("mail", all), [2]);
        for name in 0..2 * MAX_KNOWN {
            table.get(&name.to_string(), all);
        }
        assert_eq!(table.known_names(), MAX_KNOWN);
    }
}
