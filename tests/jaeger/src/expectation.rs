//! The spans of each trace, checked through Jaeger's API.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::jaeger::Jaeger;
use crate::stage::Traces;

/// The spans that a trace has, and its failed ones.
pub(crate) struct Expectation {
    /// Service, name and number.
    pub(crate) spans: &'static [(&'static str, &'static str, usize)],
    failed: usize,
}

pub(crate) const CHAIN: Expectation = Expectation {
    spans: &[
        ("web", "publish orders", 1),
        ("billing", "process orders", 3),
        ("billing", "publish orders", 2),
        ("billing", "charge the card", 2),
        ("billing", "write the receipt", 1),
    ],
    failed: 1,
};

const DEAD: Expectation = Expectation {
    spans: &[
        ("web", "publish orders", 1),
        ("billing", "process orders", 2),
        ("billing", "publish orders", 1),
        ("billing", "publish orders.dead", 1),
        ("billing", "load the parcel", 2),
    ],
    failed: 2,
};

pub(crate) const REPLAY: Expectation = Expectation {
    spans: &[("operator", "publish orders", 1), ("billing", "process orders", 1), ("billing", "load the parcel", 1)],
    failed: 0,
};

/// An answer of Jaeger's API.
#[derive(Deserialize)]
struct Answer {
    data: Vec<Trace>,
}

#[derive(Deserialize)]
struct Trace {
    spans: Vec<Span>,
    processes: BTreeMap<String, Service>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Service {
    service_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    operation_name: String,
    #[serde(rename = "processID")]
    process: String,
    tags: Vec<Tag>,
    references: Option<Vec<Reference>>,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    ref_type: String,
    #[serde(rename = "traceID")]
    trace: String,
}

/// Fails with the first trace that is not as expected.
pub(crate) async fn check(jaeger: &Jaeger, traces: &Traces) -> Result<()> {
    for (id, expectation) in [(&traces.chain, &CHAIN), (&traces.dead, &DEAD), (&traces.replay, &REPLAY)] {
        fetch(jaeger, id).await?.check(expectation).with_context(|| format!("the trace {}", jaeger.data(id)))?;
    }
    let replay = fetch(jaeger, &traces.replay).await?;
    ensure!(replay.follows(&traces.dead), "the replay does not link to the trace of its dead letter");
    Ok(())
}

async fn fetch(jaeger: &Jaeger, id: &str) -> Result<Trace> {
    let answer = reqwest::get(jaeger.data(id)).await?.error_for_status()?;
    let answer: Answer = answer.json().await.context("not an answer of Jaeger")?;
    answer.data.into_iter().next().context("no trace in Jaeger's answer")
}

impl Trace {
    fn check(&self, expectation: &Expectation) -> Result<()> {
        let expected: BTreeMap<_, _> =
            expectation.spans.iter().map(|(service, name, number)| ((*service, *name), *number)).collect();
        let mut found = BTreeMap::new();
        for span in &self.spans {
            *found.entry((self.service(span), span.operation_name.as_str())).or_insert(0) += 1;
        }
        if found != expected {
            bail!("has the spans {found:?} instead of {expected:?}");
        }
        let failed = self.spans.iter().filter(|span| span.tags.iter().any(|tag| tag.key == "error")).count();
        ensure!(failed == expectation.failed, "has {failed} failed spans instead of {}", expectation.failed);
        Ok(())
    }

    fn service(&self, span: &Span) -> &str {
        self.processes.get(&span.process).map_or("", |service| &service.service_name)
    }

    /// Returns `true` if a span links to a span of the other trace.
    fn follows(&self, other: &str) -> bool {
        let mut references = self.spans.iter().flat_map(|span| span.references.iter().flatten());
        references.any(|reference| reference.ref_type == "FOLLOWS_FROM" && reference.trace == other)
    }
}

impl Expectation {
    /// Returns the texts that the page of the trace has to show.
    pub(crate) fn texts(&self) -> BTreeSet<&'static str> {
        self.spans.iter().flat_map(|(service, name, _)| [*service, *name]).collect()
    }
}
