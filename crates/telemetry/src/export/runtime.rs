//! The runtime of exports over gRPC.
//!
//! The SDK polls an export on a thread of its own, and a program may flush on a thread of its
//! runtime. tonic makes progress on the runtime in which its channel was made. If that were the
//! program's runtime, and each of its threads waited for the flush, the flush would never end: a
//! program with one thread would hang at its end. So gRPC has a runtime with a thread of its own.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;

use tokio::runtime::{Builder, Handle, Runtime};

/// A runtime with one thread, which ends with the last exporter.
#[derive(Debug, Clone)]
pub(crate) struct ExportRuntime(Arc<Owned>);

#[derive(Debug)]
struct Owned {
    handle: Handle,
    /// `None` after the end.
    runtime: Option<Runtime>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime that waits for its threads cannot be dropped on a thread of another one.
            runtime.shutdown_background();
        }
    }
}

impl ExportRuntime {
    pub(crate) fn start() -> io::Result<Self> {
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name("celeriac-otlp").enable_all().build()?;
        Ok(Self(Arc::new(Owned { handle: runtime.handle().clone(), runtime: Some(runtime) })))
    }

    /// Runs `work` with this runtime as the current one.
    pub(crate) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.0.handle.enter();
        work()
    }
}

/// Runs an export with the runtime as the current one, if there is one. The caller polls it.
pub(super) async fn within<T>(runtime: Option<&ExportRuntime>, export: impl Future<Output = T>) -> T {
    let mut export = pin!(export);
    poll_fn(|context| match runtime {
        Some(runtime) => runtime.enter(|| export.as_mut().poll(context)),
        None => export.as_mut().poll(context),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_export_has_timers_where_there_are_none() {
        let runtime = ExportRuntime::start().unwrap();
        let export = within(Some(&runtime), async { tokio::time::sleep(Duration::from_millis(1)).await });
        let without_timers = Builder::new_current_thread().build().unwrap();
        without_timers.block_on(export);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn it_ends_on_a_thread_of_another_runtime() {
        drop(ExportRuntime::start().unwrap());
    }
}
