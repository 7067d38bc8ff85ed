//! The two purposes of connections.

/// The use that a connection is put to.
///
/// A broker that is short of memory stops reading from connections that publish, so everything else has a connection of its
/// own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionPurpose {
    /// To publish.
    Publish,
    /// To consume, and to declare.
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
