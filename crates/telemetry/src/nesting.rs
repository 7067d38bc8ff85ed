//! Keeps a trace together when a handler spawns work outside its own future.
//!
//! A handler's spans find their parent in the current OpenTelemetry context. Work that it spawns
//! keeps, at best, the current `tracing` span, which names the task on log lines. So entering that
//! span also enters the context of the task's `process` span.

use std::cell::RefCell;

use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context as TraceContext, ContextGuard};
use tracing::Subscriber;
use tracing::span::{Attributes, Id};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

thread_local! {
    /// The spans that this thread has entered, innermost last.
    static ENTERED: RefCell<Vec<(Id, ContextGuard)>> = const { RefCell::new(Vec::new()) };
}

/// A layer for the spans that name tasks. It ignores all others.
#[derive(Debug)]
pub(crate) struct Nesting;

/// The context of a task, kept with the span that names it.
struct Nested(TraceContext);

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for Nesting {
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let current = TraceContext::current();
        if let Some(span) = context.span(id)
            && current.has_active_span()
        {
            span.extensions_mut().insert(Nested(current));
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let Some(nested) = span.extensions().get::<Nested>().map(|nested| nested.0.clone()) else { return };
        ENTERED.with_borrow_mut(|entered| entered.push((id.clone(), nested.attach())));
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        // Spans may be exited in another order than they were entered.
        let left = ENTERED.with_borrow_mut(|entered| {
            let place = entered.iter().rposition(|(entered, _)| entered == id)?;
            Some(entered.remove(place))
        });
        drop(left);
    }
}
