//! `worker`: runs tasks until told to stop.

use std::time::Duration;

use celeriac_telemetry::Telemetry;
use celeriac_worker::{Farewell, on_signals};
use tokio_util::task::TaskTracker;

use crate::application::Program;
use crate::error::Error;
use crate::output;

/// How long the last traces may take on their way out.
const FLUSH: Duration = Duration::from_secs(5);

pub(crate) async fn run<P: Program>(program: &P) -> Result<(), Error> {
    let telemetry = Telemetry::start(program.telemetry(), &program.instance()).map_err(Error::Telemetry)?;
    let listeners = TaskTracker::new();
    // From the first moment: a signal during a slow start must not be lost.
    let shutdown = on_signals(&listeners);
    let outcome: Result<Farewell, Error> = async {
        let client = tokio::select! {
            client = program.client() => client?,
            () = shutdown.requested() => return Ok(Farewell { abandoned: 0 }),
        };
        let worker = program.worker(client.clone())?;
        output::notice(&worker.banner());
        let farewell = worker.run_until(shutdown.clone()).await?;
        client.close().await;
        Ok(farewell)
    }
    .await;
    if let Err(error) = telemetry.shutdown(FLUSH).await {
        // Traces are not worth the exit code of a worker that did its work.
        tracing::warn!(error = &error as &dyn std::error::Error, "not all traces were sent");
    }
    let Farewell { abandoned } = outcome?;
    if abandoned > 0 {
        tracing::warn!("{abandoned} blocking tasks have not ended; the process ends without them");
        end_process();
    }
    Ok(())
}

/// Everything is settled, recorded and flushed; the runtime would wait for its threads, for as long as they like.
#[expect(clippy::exit, reason = "threads that block cannot be ended otherwise")]
fn end_process() -> ! {
    std::process::exit(0)
}
