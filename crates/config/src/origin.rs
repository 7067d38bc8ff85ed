//! The source of a value.

use std::fmt;

/// The source of a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ValueOrigin {
    /// The embedded defaults, by their name.
    Defaults(String),
    /// A file, by its path.
    File(String),
    /// An environment variable, by its name.
    Variable(String),
    /// A flag of the command line.
    Flag(String),
}

impl ValueOrigin {
    /// Returns true if its values are bare text, without a type.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self, Self::Variable(_) | Self::Flag(_))
    }
}

impl fmt::Display for ValueOrigin {
    /// Writes it as messages do, and as a value of the `config` crate carries it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults(name) | Self::File(name) => formatter.write_str(name),
            Self::Variable(name) => write!(formatter, "environment: {name}"),
            Self::Flag(flag) => write!(formatter, "command line: {flag}"),
        }
    }
}
