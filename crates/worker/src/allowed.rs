//! The queues that messages may make the worker publish to.

use celeriac_topology::pattern::Pattern;
use celeriac_topology::route::Destination;

/// A list of allowed queues. Without a list, every queue is allowed.
#[derive(Debug, Default)]
pub(crate) struct AllowedQueues {
    patterns: Option<Vec<Pattern>>,
}

impl AllowedQueues {
    /// Reads a list of patterns. `WorkerOptions::validate` refuses an invalid one, which would
    /// match nothing.
    pub(crate) fn new(patterns: Option<&[String]>) -> Self {
        let read = |patterns: &[String]| patterns.iter().filter_map(|pattern| Pattern::read(pattern).ok()).collect();
        Self { patterns: patterns.map(read) }
    }

    /// Returns `true` if there is a list.
    pub(crate) fn is_limited(&self) -> bool {
        self.patterns.is_some()
    }

    /// Returns `true` if a queue is allowed.
    pub(crate) fn allows(&self, queue: &str) -> bool {
        self.patterns.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(queue)))
    }

    /// Allows a destination if all its queues are allowed. If only the broker knows them, the name
    /// of the exchange has to be allowed.
    pub(crate) fn check(&self, destination: &Destination) -> Result<(), NotAllowed> {
        let Destination { exchange, routing_key, queues, .. } = destination;
        let refused = match (queues.is_empty(), exchange.is_empty()) {
            (false, _) => queues.iter().find(|queue| !self.allows(queue)).map(|queue| format!("queue `{queue}`")),
            (true, true) => (!self.allows(routing_key)).then(|| format!("queue `{routing_key}`")),
            (true, false) => (!self.allows(exchange)).then(|| format!("exchange `{exchange}`")),
        };
        refused.map_or(Ok(()), |address| Err(NotAllowed { address }))
    }
}

/// A destination that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("worker.allow_follow_ups_to does not list {address}")]
pub(crate) struct NotAllowed {
    address: String,
}

impl NotAllowed {
    /// Reason of the dead letter.
    pub(crate) const REASON: &'static str = "not-allowed";

    /// Kind of the recorded error: Python's name.
    pub(crate) const KIND: &'static str = "PermissionError";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(exchange: &'static str, key: &str, queues: &[&str]) -> Destination {
        Destination {
            exchange: exchange.into(),
            routing_key: key.to_owned(),
            send_options: celeriac_topology::route::SendOptions::default(),
            queues: queues.iter().map(|queue| (*queue).into()).collect(),
        }
    }

    #[test]
    fn a_destination_is_allowed_if_all_its_queues_are() {
        let patterns = ["billing".to_owned(), "mail.*".to_owned(), "events".to_owned()];
        let allowed = AllowedQueues::new(Some(&patterns));
        assert!(allowed.is_limited());
        assert_eq!(allowed.check(&to("", "billing", &["billing"])), Ok(()));
        assert_eq!(allowed.check(&to("", "mail.eu", &[])), Ok(()));
        assert_eq!(allowed.check(&to("any", "x", &["billing", "mail.us"])), Ok(()));
        assert_eq!(allowed.check(&to("events", "x", &[])), Ok(()));
        let refused = [
            (to("any", "x", &["billing", "orders"]), "queue `orders`"),
            (to("", "orders", &[]), "queue `orders`"),
            (to("amq.topic", "billing", &[]), "exchange `amq.topic`"),
        ];
        for (destination, address) in refused {
            let error = allowed.check(&destination).unwrap_err().to_string();
            assert_eq!(error, format!("worker.allow_follow_ups_to does not list {address}"));
        }
        assert!(!AllowedQueues::new(Some(&[])).allows("billing"));
        assert!(AllowedQueues::new(None).allows("anything"));
    }
}
