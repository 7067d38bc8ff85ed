//! The problems of a configuration, one a line.

use std::fmt;

use crate::origin::ValueOrigin;

/// A problem of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The source: a file, `environment`, `command line`, or the name of the defaults.
    pub source: String,
    /// The full key, in the form of its source: `worker.prefetch`, `CELERIAC__WORKER__PREFETCH`,
    /// `--prefetch`.
    pub key: Option<String>,
    /// The message.
    pub message: String,
    /// The suggested key or value, in the form of its source.
    pub nearest: Option<String>,
}

impl Problem {
    /// Describes a problem with a source as a whole.
    pub fn of_source(source: impl fmt::Display, message: impl Into<String>) -> Self {
        Self { source: source.to_string(), key: None, message: message.into(), nearest: None }
    }

    /// Describes a problem with a key. Variables and flags go by their own names.
    pub(crate) fn of_key(origin: &ValueOrigin, key: &str, message: impl Into<String>) -> Self {
        let (source, key) = match origin {
            ValueOrigin::Defaults(name) | ValueOrigin::File(name) => (name.as_str(), key),
            ValueOrigin::Variable(name) => ("environment", name.as_str()),
            ValueOrigin::Flag(flag) => ("command line", flag.as_str()),
        };
        Self { source: source.to_owned(), key: Some(key.to_owned()), message: message.into(), nearest: None }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = format!("{}: ", self.source);
        if let Some(key) = &self.key {
            line.extend([key, ": "]);
        }
        line.push_str(&self.message);
        if let Some(nearest) = &self.nearest {
            line.extend([", did you mean ", nearest, "?"]);
        }
        // Names of files, keys and values may contain anything.
        formatter.write_str(&line.replace(|letter: char| letter.is_control(), " "))
    }
}

/// All problems of a configuration, sorted by source and key. Displayed one a line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Returns true if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns their number.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns an iterator over them, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

impl From<Vec<Problem>> for Problems {
    fn from(mut problems: Vec<Problem>) -> Self {
        problems.sort();
        problems.dedup();
        Self(problems)
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            write!(formatter, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
