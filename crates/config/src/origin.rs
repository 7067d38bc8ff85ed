//! Which source said a value.

use std::fmt;

/// The source of a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// The embedded defaults, by their name.
    Defaults(String),
    /// A file, by its path.
    File(String),
    /// An environment variable, by its name.
    Variable(String),
    /// A flag of the command line.
    Flag(String),
}

impl Origin {
    /// Whether its values are bare text, whose type nobody wrote down.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self, Self::Variable(_) | Self::Flag(_))
    }

    /// As a value of the `config` crate carries it: one line of text.
    pub(crate) fn encode(&self) -> String {
        match self {
            Self::Defaults(name) => format!("d{name}"),
            Self::File(path) => format!("f{path}"),
            Self::Variable(name) => format!("v{name}"),
            Self::Flag(flag) => format!("c{flag}"),
        }
    }

    /// What [`Origin::encode`] wrote.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let (tag, name) = text.split_at_checked(1)?;
        let name = name.to_owned();
        match tag {
            "d" => Some(Self::Defaults(name)),
            "f" => Some(Self::File(name)),
            "v" => Some(Self::Variable(name)),
            "c" => Some(Self::Flag(name)),
            _ => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults(name) | Self::File(name) => formatter.write_str(name),
            Self::Variable(name) => write!(formatter, "environment: {name}"),
            Self::Flag(flag) => write!(formatter, "command line: {flag}"),
        }
    }
}
