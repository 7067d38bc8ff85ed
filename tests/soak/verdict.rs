//! The verdict on each figure: flat, or not.

use std::fmt;

/// Most that a figure of one kind may grow over the run, and most that its highest value may be of
/// its lowest.
struct Bound {
    prefix: &'static str,
    /// As a share of the mean.
    growth: f64,
    /// Growth that counts for nothing, however small the mean.
    floor: f64,
    /// Highest value by lowest. Not judged if the lowest is below the floor.
    spread: Option<f64>,
}

const fn bound(prefix: &'static str, growth: f64, floor: f64, spread: Option<f64>) -> Bound {
    Bound { prefix, growth, floor, spread }
}

/// Figures with another name only inform.
const BOUNDS: [Bound; 9] = [
    bound("rss_kib_", 0.05, 4_096.0, Some(1.5)),
    bound("files_", 0.05, 1.0, Some(1.5)),
    bound("broker_connections", 0.05, 1.0, Some(1.5)),
    bound("broker_channels", 0.05, 1.0, Some(1.5)),
    bound("broker_queues", 0.05, 1.0, Some(1.5)),
    bound("sessions", 0.05, 1.0, Some(1.5)),
    bound("table_bytes_", 0.1, 262_144.0, Some(2.0)),
    bound("dead_tuples_", 0.5, 4_000.0, None),
    bound("queued", 0.5, 100.0, None),
];

/// Figures that are exempt from the bound of their prefix: the audit log keeps its rows for months.
const EXEMPT: [&str; 2] = ["table_bytes_audit", "dead_tuples_audit"];

/// The course of one figure after the warm-up.
pub(crate) struct Judgement {
    name: String,
    mean: f64,
    lowest: f64,
    highest: f64,
    /// Growth from the first to the last reading, on the line that fits best.
    growth: f64,
    growth_allowed: f64,
    /// `None` if the spread is not judged.
    spread_allowed: Option<f64>,
    an_hour: f64,
}

impl Judgement {
    /// Judges a figure, without the first tenth of its readings. Returns `None` for one that may
    /// grow.
    pub(crate) fn of(name: &str, seconds: &[f64], values: &[f64]) -> Option<Self> {
        let bound = BOUNDS.iter().find(|bound| name.starts_with(bound.prefix) && !EXEMPT.contains(&name))?;
        let warm = values.len().div_ceil(10);
        let (seconds, values) = (seconds.get(warm..)?, values.get(warm..)?);
        let (first, last) = (seconds.first()?, seconds.last()?);
        let (slope, mean) = slope(seconds, values);
        let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some(Self {
            name: name.to_owned(),
            mean,
            lowest,
            highest,
            growth: slope * (last - first),
            growth_allowed: (bound.growth * mean).max(bound.floor),
            spread_allowed: bound.spread.filter(|_| lowest >= bound.floor),
            an_hour: slope * 3_600.0,
        })
    }

    fn is_flat(&self) -> bool {
        let within = self.spread_allowed.is_none_or(|spread| self.highest <= self.lowest * spread);
        within && self.growth <= self.growth_allowed
    }
}

/// Returns the slope of the line with the least squares, and the mean.
fn slope(at: &[f64], values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let (middle, mean) = (at.iter().sum::<f64>() / count, values.iter().sum::<f64>() / count);
    let pairs = || at.iter().zip(values);
    let common: f64 = pairs().map(|(at, value)| (at - middle) * (value - mean)).sum();
    let width: f64 = at.iter().map(|at| (at - middle).powi(2)).sum();
    (if width > 0.0 { common / width } else { 0.0 }, mean)
}

/// The judgements of all figures.
pub(crate) struct Verdict(Vec<Judgement>);

impl Verdict {
    pub(crate) const fn new(judgements: Vec<Judgement>) -> Self {
        Self(judgements)
    }

    pub(crate) fn is_flat(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(Judgement::is_flat)
    }

    /// Returns the verdict in a few words.
    pub(crate) fn line(&self) -> String {
        let grown: Vec<_> = self.0.iter().filter(|judgement| !judgement.is_flat()).map(|it| it.name.as_str()).collect();
        match grown.is_empty() {
            true => format!("{} figures flat", self.0.len()),
            false => format!("not flat: {}", grown.join(", ")),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "| figure | mean | lowest | highest | per hour | growth | allowed | |")?;
        writeln!(formatter, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |")?;
        for it in &self.0 {
            let Judgement { name, mean, lowest, highest, an_hour, growth, growth_allowed, .. } = it;
            write!(formatter, "| {name} | {mean:.1} | {lowest} | {highest} | {an_hour:+.1} | {growth:+.1} ")?;
            let word = if it.is_flat() { "flat" } else { "NOT FLAT" };
            writeln!(formatter, "| {growth_allowed:.1} | {word} |")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Judgement, Verdict};

    fn judge(name: &str, value: impl Fn(u32) -> f64) -> bool {
        let seconds: Vec<_> = (0..100).map(|number| f64::from(number) * 30.0).collect();
        let values: Vec<_> = (0..100).map(value).collect();
        Verdict::new(Judgement::of(name, &seconds, &values).into_iter().collect()).is_flat()
    }

    #[test]
    fn a_figure_that_grows_is_not_flat() {
        assert!(!judge("rss_kib_w1", |number| 50_000.0 + 100.0 * f64::from(number)));
        assert!(!judge("files_w1", |number| f64::from(30 + number / 10)));
        assert!(!judge("table_bytes_tasks", |number| f64::from(number) * 80_000.0));
    }

    #[test]
    fn a_figure_that_swings_is_flat_within_its_bound() {
        assert!(judge("table_bytes_tasks", |number| 8e6 + 1e6 * f64::from(number % 7)));
        assert!(!judge("table_bytes_tasks", |number| 8e6 + 2e6 * f64::from(number % 7)));
        assert!(judge("dead_tuples_tasks", |number| f64::from(number % 7) * 1_000.0));
        assert!(judge("dead_tuples_runs", |_| 0.0));
    }

    #[test]
    fn the_first_tenth_is_not_judged() {
        assert!(judge("rss_kib_w1", |number| if number < 10 { 10_000.0 } else { 60_000.0 }));
    }

    #[test]
    fn the_audit_log_may_grow() {
        let seconds = [0.0, 30.0];
        assert!(Judgement::of("table_bytes_audit", &seconds, &[1.0, 2.0]).is_none());
        assert!(Judgement::of("recorded", &seconds, &[1.0, 2.0]).is_none());
    }
}
