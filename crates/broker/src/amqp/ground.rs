//! The thread that connections stand on.
//!
//! The broker ends a connection from which it hears nothing for two heartbeats. Sockets and heartbeats therefore do not
//! share a runtime with tasks, which may keep all its threads for longer.

use std::io;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::{Builder, Handle, Runtime};

/// A runtime of one thread, made for the first connection.
#[derive(Debug, Default)]
pub(super) struct Ground(Mutex<Option<Runtime>>);

impl Ground {
    /// The runtime.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn handle(&self) -> io::Result<Handle> {
        let mut runtime = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*runtime {
            return Ok(runtime.handle().clone());
        }
        let made = Builder::new_multi_thread().worker_threads(1).thread_name("celeriac-amqp").enable_all().build()?;
        Ok(runtime.insert(made).handle().clone())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // Waiting for its thread is not allowed where tasks run, and nothing is left on it to wait for.
        if let Some(runtime) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            runtime.shutdown_background();
        }
    }
}
