//! What was told of attempts that fail: each one would fill a log with what is known.

use std::time::{Duration, Instant};

/// How often the same reason is told.
const REMINDER: Duration = Duration::from_secs(30);

/// The reason that was told last, and when.
#[derive(Debug, Default)]
pub(super) struct Told(Option<(String, Instant)>);

impl Told {
    /// Whether this reason is to be told: it is another one, or was told a while ago. Then it is noted as told.
    pub(super) fn is_news(&mut self, reason: &str, now: Instant) -> bool {
        let known = self.0.as_ref().is_some_and(|(told, at)| told == reason && now.duration_since(*at) < REMINDER);
        if !known {
            self.0 = Some((reason.to_owned(), now));
        }
        !known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_reason_is_told_now_and_then() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut told = Told::default();
        let failures =
            [(0, "refused"), (1, "refused"), (2, "no such host"), (3, "refused"), (20, "refused"), (33, "refused")];
        let news = failures.into_iter().filter(|(second, reason)| told.is_news(reason, at(*second)));
        assert_eq!(news.map(|(second, _)| second).collect::<Vec<_>>(), [0, 2, 3, 33]);
    }
}
