//! The identity of a Postgres server: its cluster and its timeline.

use std::fmt;

/// A cluster, and a timeline of it. Each promotion of a standby begins a timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerIdentity {
    cluster: String,
    timeline: u32,
}

impl ServerIdentity {
    /// Returns the identity of the server that writes this WAL file. Its name begins with the
    /// timeline, in hexadecimal digits.
    pub(super) fn new(cluster: String, wal_file: &str) -> Option<Self> {
        let timeline = u32::from_str_radix(wal_file.get(..8)?, 16).ok()?;
        Some(Self { cluster, timeline })
    }

    /// Returns `true` for an earlier timeline of the same cluster: the server that `other` has
    /// replaced.
    pub(super) fn is_replaced_by(&self, other: &Self) -> bool {
        self.cluster == other.cluster && self.timeline < other.timeline
    }
}

impl fmt::Display for ServerIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, timeline } = self;
        write!(formatter, "cluster {cluster}, timeline {timeline}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promoted_standby_replaces_the_server_of_the_timeline_before() {
        let new = |cluster: &str, file| ServerIdentity::new(cluster.to_owned(), file).unwrap();
        let (first, second) = (new("7", "000000010000000000000003"), new("7", "000000020000000000000003"));
        assert_eq!(second.to_string(), "cluster 7, timeline 2");
        assert!(first.is_replaced_by(&second) && !second.is_replaced_by(&first));
        assert!(!first.is_replaced_by(&new("8", "000000020000000000000003")));
        assert_eq!(ServerIdentity::new("7".to_owned(), "none"), None);
    }
}
