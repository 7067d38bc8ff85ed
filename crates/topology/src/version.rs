//! Options that a version of RabbitMQ accepts and ignores. Pure.

use crate::topology::Topology;

/// Since this version, every classic queue keeps its messages on disk, and `lazy` has no effect.
const ALL_ARE_LAZY: (u32, u32) = (3, 12);

impl Topology {
    /// Returns true if some versions ignore an option here.
    pub fn depends_on_version(&self) -> bool {
        self.queues.values().any(|queue| queue.lazy)
    }

    /// Returns the options that this version accepts and ignores, each with its key and the reason.
    pub fn unheeded(&self, version: &str) -> Vec<(String, String)> {
        let Some(number) = major_minor(version).filter(|number| *number >= ALL_ARE_LAZY) else { return Vec::new() };
        let (major, minor) = number;
        let lazy = self.queues.iter().filter(|(_, queue)| queue.lazy);
        let reason =
            format!("RabbitMQ {major}.{minor} keeps the messages of every classic queue on disk: leave it out");
        lazy.map(|(name, _)| (format!("queues.{name}.lazy"), reason.clone())).collect()
    }
}

fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{QueueKind, QueueOptions};

    #[test]
    fn what_a_version_does_not_heed_is_named() {
        let lazy = QueueOptions { kind: QueueKind::Classic, lazy: true, ..QueueOptions::default() };
        let queues = [("mail".to_owned(), QueueOptions::default()), ("reports".to_owned(), lazy)].into();
        let topology = Topology { queues, ..Topology::default() };
        assert!(topology.depends_on_version());
        for version in ["3.10.8", "3.11.0", "", "new"] {
            assert_eq!(topology.unheeded(version), [], "{version}");
        }
        for version in ["3.12.0", "4.0.5"] {
            let named = topology.unheeded(version);
            assert_eq!(named.len(), 1, "{version}");
            assert_eq!(named[0].0, "queues.reports.lazy");
        }
    }
}
