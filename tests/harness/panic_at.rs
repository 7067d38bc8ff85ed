//! A panic inside a service, at a log line that it writes.

use std::fmt::Debug;

use tracing::field::Field;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// A subscriber that panics at the log line with this phrase, on the thread that writes it.
#[derive(Debug)]
pub struct PanicAt(String);

impl PanicAt {
    /// Makes it the subscriber of this process.
    ///
    /// # Panics
    /// Panics if the process has a subscriber.
    pub fn install(phrase: &str) {
        tracing::subscriber::set_global_default(Self(phrase.to_owned())).expect("a process without a subscriber");
    }
}

impl Subscriber for PanicAt {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut is_found = false;
        event.record(&mut |field: &Field, value: &dyn Debug| {
            is_found |= field.name() == "message" && format!("{value:?}") == self.0;
        });
        assert!(!is_found, "panics at `{}`", self.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
