//! Paths to arguments and to fields below them: `card`, `customer.email`.

use std::fmt;
use std::sync::Arc;

use crate::error::Error;

/// Paths to arguments, and to fields below them.
///
/// A path is the name of a parameter, or its position from 0, and then the keys of objects and the
/// positions in lists: `card`, `customer.email`, `0`. `*` is any name, key or position:
/// `orders.*.card`.
#[derive(Debug, Clone)]
pub struct FieldPaths(Paths);

#[derive(Debug, Clone)]
enum Paths {
    Declared(&'static [&'static str]),
    Configured(Arc<[String]>),
}

impl FieldPaths {
    /// Returns the paths of a declaration. They are not checked.
    pub const fn of(paths: &'static [&'static str]) -> Self {
        Self(Paths::Declared(paths))
    }

    /// Returns these paths.
    ///
    /// # Errors
    /// Returns an error for a path with an empty part.
    pub fn new(paths: impl IntoIterator<Item = String>) -> Result<Self, Error> {
        let paths: Vec<String> = paths.into_iter().collect();
        match paths.iter().find(|path| !Self::is_valid(path)) {
            None => Ok(Self(Paths::Configured(paths.into()))),
            Some(path) => Err(Error::new("a name such as card, or a path such as customer.email", path)),
        }
    }

    /// Returns `true` for a path without an empty part.
    pub fn is_valid(path: &str) -> bool {
        path.split('.').all(|part| !part.trim().is_empty())
    }

    /// Returns the paths.
    pub fn iter(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match &self.0 {
            Paths::Declared(paths) => Box::new(paths.iter().copied()),
            Paths::Configured(paths) => Box::new(paths.iter().map(String::as_str)),
        }
    }

    /// Returns `true` if there is no path.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl PartialEq for FieldPaths {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for FieldPaths {}

impl fmt::Display for FieldPaths {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, path) in self.iter().enumerate() {
            formatter.write_str(if index > 0 { ", " } else { "" })?;
            formatter.write_str(path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_equal_wherever_they_are_written_and_have_no_empty_part() {
        let read = FieldPaths::new(["card".to_owned(), "customer.*.email".to_owned()]).unwrap();
        assert_eq!(read, FieldPaths::of(&["card", "customer.*.email"]));
        assert_eq!(read.to_string(), "card, customer.*.email");
        for path in ["", "card.", ".card", "a..b", "a. .b"] {
            assert!(FieldPaths::new([path.to_owned()]).is_err(), "{path}");
        }
        assert!(FieldPaths::of(&[]).is_empty() && !read.is_empty());
    }
}
