//! The table of medians and ratios, for people and as JSON.

use std::fmt;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::messages::QueueType;
use crate::sample::{Latency, Sample};

/// All measurements.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

/// One kind of work, on one type of queue. For a round trip, the rates are those of one caller at a
/// time, from the median.
#[derive(Debug, Serialize)]
struct Row {
    work: &'static str,
    queue: String,
    rate: f64,
    yardstick_rate: f64,
    ratio: f64,
    client_us: f64,
    yardstick_client_us: f64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    latency: Option<Trips>,
}

#[derive(Debug, Serialize)]
struct Trips {
    p50_us: f64,
    yardstick_p50_us: f64,
    p50_ratio: f64,
    p99_us: f64,
    yardstick_p99_us: f64,
    p99_ratio: f64,
}

impl Report {
    pub(crate) fn rates(&mut self, work: &'static str, queue: QueueType, pairs: &[(Sample, Sample)]) {
        let of = |pick: &dyn Fn(&(Sample, Sample)) -> f64| median(pairs.iter().map(pick));
        let (rate, yardstick_rate) = (of(&|pair| pair.0.rate), of(&|pair| pair.1.rate));
        self.rows.push(Row {
            work,
            queue: queue.to_string(),
            rate,
            yardstick_rate,
            ratio: rate / yardstick_rate,
            client_us: of(&|pair| pair.0.client_us),
            yardstick_client_us: of(&|pair| pair.1.client_us),
            latency: None,
        });
    }

    pub(crate) fn latencies(&mut self, work: &'static str, queue: QueueType, pairs: &[(Latency, Latency)]) {
        let of = |pick: &dyn Fn(&(Latency, Latency)) -> f64| median(pairs.iter().map(pick));
        let microseconds = |time: std::time::Duration| time.as_secs_f64() * 1e6;
        let p50_us = of(&|pair| microseconds(pair.0.p50));
        let yardstick_p50_us = of(&|pair| microseconds(pair.1.p50));
        let p99_us = of(&|pair| microseconds(pair.0.p99));
        let yardstick_p99_us = of(&|pair| microseconds(pair.1.p99));
        self.rows.push(Row {
            work,
            queue: queue.to_string(),
            rate: 1e6 / p50_us,
            yardstick_rate: 1e6 / yardstick_p50_us,
            ratio: yardstick_p50_us / p50_us,
            client_us: of(&|pair| pair.0.client_us),
            yardstick_client_us: of(&|pair| pair.1.client_us),
            latency: Some(Trips {
                p50_us,
                yardstick_p50_us,
                p50_ratio: p50_us / yardstick_p50_us,
                p99_us,
                yardstick_p99_us,
                p99_ratio: p99_us / yardstick_p99_us,
            }),
        });
    }

    /// Writes the report as JSON.
    pub(crate) fn write(&self, path: &str) -> Result<()> {
        write_json(path, &self.rows)
    }
}

/// Writes rows as JSON.
pub(crate) fn write_json(path: &str, rows: &impl Serialize) -> Result<()> {
    let path = Path::new(path);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, serde_json::to_string_pretty(rows)?)?;
    Ok(())
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "| work | queue | rate /s | yardstick /s | ratio | client µs | yardstick µs | p50 µs (ratio) | p99 µs (ratio) |"
        )?;
        writeln!(formatter, "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")?;
        for row in &self.rows {
            let (p50, p99) = match &row.latency {
                None => (String::new(), String::new()),
                Some(trips) => (
                    format!("{:.0} ({:.2})", trips.p50_us, trips.p50_ratio),
                    format!("{:.0} ({:.2})", trips.p99_us, trips.p99_ratio),
                ),
            };
            writeln!(
                formatter,
                "| {} | {} | {:.0} | {:.0} | {:.2} | {:.1} | {:.1} | {p50} | {p99} |",
                row.work, row.queue, row.rate, row.yardstick_rate, row.ratio, row.client_us, row.yardstick_client_us
            )?;
        }
        Ok(())
    }
}

/// Returns the median.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
