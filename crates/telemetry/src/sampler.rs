//! The decision to keep a trace.

use opentelemetry::trace::{Link, SpanKind, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{ParentBasedSampler, Sampler, SamplingDecision, SamplingResult, ShouldSample};

/// Returns the sampler of this share of traces.
///
/// A span follows its parent. A trace that begins with a link to a kept one is kept too, so that a
/// long delay or a replay does not separate a task from its end.
pub(crate) fn sampler(ratio: f64) -> ParentBasedSampler {
    Sampler::parent_based(ByLink { otherwise: Sampler::TraceIdRatioBased(ratio) })
}

/// Samples the root of a trace.
#[derive(Debug, Clone)]
struct ByLink {
    otherwise: Sampler,
}

impl ShouldSample for ByLink {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        match links.is_empty() {
            true => self.otherwise.should_sample(parent, trace_id, name, kind, attributes, links),
            false => {
                let is_kept = links.iter().any(|link| link.span_context.is_sampled());
                SamplingResult {
                    decision: if is_kept { SamplingDecision::RecordAndSample } else { SamplingDecision::Drop },
                    attributes: Vec::new(),
                    trace_state: TraceState::default(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags};

    use super::*;

    fn decision(ratio: f64, linked: &[TraceFlags]) -> SamplingDecision {
        let id = TraceId::from(u128::MAX / 2);
        let links = linked.iter().map(|flags| {
            Link::with_context(SpanContext::new(id, SpanId::from(1), *flags, true, TraceState::default()))
        });
        let links: Vec<_> = links.collect();
        sampler(ratio).should_sample(None, id, "process", &SpanKind::Consumer, &[], &links).decision
    }

    #[test]
    fn a_trace_follows_the_ones_that_it_links_to_and_others_follow_the_ratio() {
        use SamplingDecision::{Drop, RecordAndSample};
        let (kept, dropped) = (TraceFlags::SAMPLED, TraceFlags::default());
        let cases: [(f64, &[TraceFlags], SamplingDecision); 6] = [
            (1.0, &[], RecordAndSample),
            (0.0, &[], Drop),
            (0.0, &[kept], RecordAndSample),
            (1.0, &[dropped], Drop),
            (0.0, &[dropped, kept], RecordAndSample),
            (1.0, &[dropped, dropped], Drop),
        ];
        for (ratio, linked, expected) in cases {
            assert_eq!(decision(ratio, linked), expected, "{ratio} {linked:?}");
        }
    }
}
