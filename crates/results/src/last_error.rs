//! The error of the last attempt to connect, for somebody who waits meanwhile.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

/// The error of the last attempt to connect, while further attempts follow. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct LastError(Arc<Mutex<Option<String>>>);

impl LastError {
    /// Returns the error, or `None` if no attempt has failed so far.
    pub fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, error: &impl Display) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }
}
