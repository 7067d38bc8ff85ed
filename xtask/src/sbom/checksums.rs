//! The SHA-256 of each package, from `Cargo.lock`.

use std::collections::BTreeMap;

/// The SHA-256 of each package, by name and version.
pub(super) struct Checksums<'a>(BTreeMap<(&'a str, &'a str), &'a str>);

impl<'a> Checksums<'a> {
    pub(super) fn read(lock: &'a str) -> Self {
        let packages = lock.split("[[package]]").skip(1);
        let checksum = |package: &'a str| {
            let value = |key: &str| {
                let mut lines = package.lines().filter_map(|line| line.split_once(" = "));
                lines.find(|(own, _)| *own == key).map(|(_, value)| value.trim_matches('"'))
            };
            Some(((value("name")?, value("version")?), value("checksum")?))
        };
        Self(packages.filter_map(checksum).collect())
    }

    /// Returns the checksum of a package. A package of the workspace has none.
    pub(super) fn of(&self, name: &str, version: &str) -> Option<&'a str> {
        self.0.get(&(name, version)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_from_a_registry_has_a_checksum() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"registry\"\n\
            checksum = \"00ff\"\ndependencies = [\n \"b\",\n]\n\n[[package]]\nname = \"b\"\nversion = \"0.1.0\"\n";
        let checksums = Checksums::read(lock);
        assert_eq!(checksums.of("a", "1.0.0"), Some("00ff"));
        assert_eq!(checksums.of("a", "1.0.1"), None);
        assert_eq!(checksums.of("b", "0.1.0"), None);
    }
}
