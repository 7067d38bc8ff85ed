//! Celery's remote control: asks and steers workers, of Celery too.
//!
//! - `mailbox`: the queue for the replies of this process.

mod mailbox;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use celeriac_broker::Broker;
use celeriac_protocol::control::{Matcher, Recipients};
use celeriac_protocol::{ControlReply, LamportClock, Map, Value};

use crate::control::mailbox::Mailbox;
use crate::error::{Error, Result};

/// Time that a broadcast waits for replies, unless it sets another one.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Remote control of workers. Cheap to clone; each clone has its own recipients.
///
/// ```no_run
/// use std::time::Duration;
///
/// use celeriac::prelude::*;
///
/// # async fn example(client: &Client) -> celeriac::Result<()> {
/// for reply in client.control().timeout(Duration::from_secs(2)).ask("ping", ()).await? {
///     println!("{}: {:?}", reply.node, reply.value);
/// }
/// client.control().to(["w1@host"]).ask("pool_grow", celeriac::value!({"n": 2})).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "nothing is sent until a command is awaited"]
pub struct RemoteControl {
    mailbox: Arc<Mailbox>,
    recipients: Recipients,
    timeout: Duration,
    limit: Option<usize>,
}

impl RemoteControl {
    /// Returns the remote control of all workers of a broker.
    #[doc(hidden)]
    pub fn new(broker: Arc<dyn Broker>, clock: Arc<LamportClock>) -> Self {
        let mailbox = Arc::new(Mailbox::new(broker, clock));
        Self { mailbox, recipients: Recipients::All, timeout: TIMEOUT, limit: None }
    }

    /// Addresses the workers of these names. It waits no longer than until all have replied.
    pub fn to(mut self, nodes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.recipients = Recipients::Nodes(nodes.into_iter().map(Into::into).collect());
        self
    }

    /// Addresses the workers whose names match a glob: `*`, `?` and `[seq]`.
    pub fn matching(mut self, glob: impl Into<String>) -> Self {
        self.recipients = Recipients::Matching { pattern: glob.into(), matcher: Matcher::Glob };
        self
    }

    /// Addresses the workers whose names begin with a match of a regular expression.
    pub fn matching_regex(mut self, regex: impl Into<String>) -> Self {
        self.recipients = Recipients::Matching { pattern: regex.into(), matcher: Matcher::Pcre };
        self
    }

    /// Waits for replies for this time. Default: a second.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }

    /// Waits for at most this many replies.
    pub fn limit(mut self, replies: usize) -> Self {
        self.limit = Some(replies);
        self
    }

    /// Sends a command, and returns the replies that arrive in time, in the order of their arrival.
    /// `arguments` are an object of named arguments, or `()`.
    ///
    /// A worker that refuses the command replies too: [`ControlReply::refusal`] has its reason.
    ///
    /// # Errors
    /// Returns an error if the broker does not take the command in time, or if the arguments are
    /// not an object.
    pub async fn ask(&self, command: &str, arguments: impl Into<Value>) -> Result<Vec<ControlReply>> {
        let arguments = read(command, arguments.into())?;
        let limit = self.limit.or(match &self.recipients {
            Recipients::Nodes(nodes) if !nodes.is_empty() => Some(nodes.len()),
            _ => None,
        });
        let asked = self.mailbox.ask(command, arguments, self.recipients.clone(), self.timeout, limit);
        asked.await.map_err(|source| Error::control(command, source))
    }

    /// Sends a command without waiting for replies. `arguments` are as those of
    /// [`ask`](Self::ask).
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn tell(&self, command: &str, arguments: impl Into<Value>) -> Result<()> {
        let arguments = read(command, arguments.into())?;
        let told = self.mailbox.tell(command, arguments, self.recipients.clone());
        told.await.map_err(|source| Error::control(command, source))
    }

    /// Stops reading replies.
    #[doc(hidden)]
    pub async fn close(&self) {
        self.mailbox.close().await;
    }
}

/// Reads the arguments of a command: an object, or nothing.
fn read(command: &str, arguments: Value) -> Result<Map> {
    match arguments {
        Value::Null => Ok(Map::new()),
        Value::Map(arguments) => Ok(arguments),
        other => {
            let reason = format!("should be an object of named arguments, got {}", other.kind());
            let source = celeriac_broker::Error::Invalid { key: "arguments".to_owned(), reason };
            Err(Error::control(command, source))
        }
    }
}

impl fmt::Debug for RemoteControl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RemoteControl").field("recipients", &self.recipients).finish_non_exhaustive()
    }
}
