//! The two purposes of connections.

/// The use of a connection.
///
/// A broker that is low on memory stops reading from connections that publish, so everything else
/// has a connection of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionPurpose {
    /// Publishes.
    Publish,
    /// Consumes and declares.
    Consume,
}

impl ConnectionPurpose {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Consume => "consume",
        }
    }
}
