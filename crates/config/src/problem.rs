//! The problems of a configuration, a line each.

use std::fmt;

use crate::origin::ValueOrigin;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The source that said it: a file, `environment`, `command line`, or the name of the defaults.
    pub source: String,
    /// The full key as that source writes it: `worker.prefetch`, `CELERIAC__WORKER__PREFETCH`, `--prefetch`.
    pub key: Option<String>,
    /// The problem, in words.
    pub message: String,
    /// The key or value that was probably meant, as that source writes it.
    pub nearest: Option<String>,
}

impl Problem {
    /// A problem with a source as a whole.
    pub fn of_source(source: impl fmt::Display, message: impl Into<String>) -> Self {
        Self { source: source.to_string(), key: None, message: message.into(), nearest: None }
    }

    /// A problem with the value of a key. Variables and flags go by their own names, which is what people look for.
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
        write!(formatter, "{}: ", self.source)?;
        if let Some(key) = &self.key {
            write!(formatter, "{key}: ")?;
        }
        formatter.write_str(&self.message)?;
        match &self.nearest {
            Some(nearest) => write!(formatter, ", did you mean {nearest}?"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a configuration, sorted by source and key; a line each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of them.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Them, in order.
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
