//! Tells a service manager, such as systemd, whether the process is ready and live.
//!
//! A manager that wants to know sets NOTIFY_SOCKET, and WATCHDOG_USEC to end a process that is
//! silent for longer. Without the first, there is no thread.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use super::heartbeat::INTERVAL;
use super::{Heartbeat, LiveAnswer, ReadyAnswer};
use crate::error::{Error, Result};
use crate::events::Event;
use crate::events::telemetry::ManagerNotNotified;

/// Messages in the time after which the manager ends a silent process.
const MESSAGES: u32 = 3;

/// The thread that notifies. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct NotifyingThread {
    _stop: mpsc::Sender<Infallible>,
}

impl NotifyingThread {
    /// Starts to notify, if a manager wants to be notified.
    pub(crate) fn start(name: &str, stop: CancellationToken) -> Result<Option<Self>> {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(None);
        }
        let (running, stopped) = mpsc::channel();
        let manager = Manager {
            name: name.to_owned(),
            watchdog: sd_notify::watchdog_enabled(),
            heartbeat: Heartbeat::start(stop),
        };
        let thread = std::thread::Builder::new().name("celeriac-notify".to_owned());
        let failed = |source: io::Error| Error::Notify { source };
        thread.spawn(move || manager.notify_until(&stopped)).map_err(failed)?;
        Ok(Some(Self { _stop: running }))
    }
}

struct Manager {
    name: String,
    /// Time after which the manager ends a silent process.
    watchdog: Option<Duration>,
    heartbeat: Option<Arc<Heartbeat>>,
}

impl Manager {
    fn notify_until(&self, stopped: &mpsc::Receiver<Infallible>) {
        let interval = self.watchdog.map_or(INTERVAL, |watchdog| (watchdog / MESSAGES).min(INTERVAL));
        let (mut was_ready, mut told, mut failing) = (false, String::new(), false);
        loop {
            let ready = ReadyAnswer::now(&self.name, self.heartbeat.as_deref());
            let mut state = Vec::new();
            // A program is started once.
            if ready.ready && !was_ready {
                state.push(NotifyState::Ready);
            }
            let status = status(&ready);
            if status != told {
                state.push(NotifyState::Status(&status));
            }
            if self.watchdog.is_some() && LiveAnswer::now(&self.name, self.heartbeat.as_deref()).live {
                state.push(NotifyState::Watchdog);
            }
            let sent = if state.is_empty() { Ok(()) } else { sd_notify::notify(&state) };
            match sent {
                Ok(()) => {
                    (was_ready, failing) = (was_ready || ready.ready, false);
                    told = status;
                }
                // The next turn says the same again.
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        ManagerNotNotified { error: &error.to_string() }.emit();
                    }
                }
            }
            if let Some(heartbeat) = &self.heartbeat {
                heartbeat.ask();
            }
            match stopped.recv_timeout(interval) {
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Ok(never) => match never {},
            }
        }
    }
}

/// Returns the line that `systemctl status` shows.
fn status(ready: &ReadyAnswer) -> String {
    if ready.ready {
        return format!("{}: ready", ready.name);
    }
    let parts: Vec<_> = ready.not_ready.iter().map(|part| format!("{}: {}", part.part, part.reason)).collect();
    // A message of the manager ends with the line.
    format!("{}: not ready: {}", ready.name, parts.join("; ")).replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::UnreadyPart;

    #[test]
    fn the_status_is_one_line_with_every_part_that_is_not_ready() {
        let parts = [("broker", "connection\nrefused"), ("queue `billing`", "the broker does not deliver")];
        let not_ready = parts.map(|(part, reason)| UnreadyPart::new(part, reason)).to_vec();
        let mut answer = ReadyAnswer { ready: false, name: "w1".to_owned(), not_ready };
        let expected = "w1: not ready: broker: connection refused; queue `billing`: the broker does not deliver";
        assert_eq!(status(&answer), expected);
        answer = ReadyAnswer { ready: true, not_ready: Vec::new(), ..answer };
        assert_eq!(status(&answer), "w1: ready");
    }
}
