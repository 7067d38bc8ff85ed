//! The word that was probably meant.

/// The candidate most like `word`, if any is like it enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (likeness(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

const ALIKE: f64 = 0.75;

/// Words that begin alike are alike, and so are words that a slip or two of the finger lie between: `ulr` and `url`.
fn likeness(word: &str, candidate: &str) -> f64 {
    let likeness = strsim::jaro_winkler(word, candidate);
    let (shorter, longer) = match (word.chars().count(), candidate.chars().count()) {
        (one, other) if one < other => (one, other),
        (one, other) => (other, one),
    };
    let slips = strsim::osa_distance(word, candidate);
    if slips < shorter && slips <= (longer / 3).max(1) { likeness.max(ALIKE) } else { likeness }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        for (word, expected) in [
            ("prefetchh", Some("prefetch")),
            ("prefecth", Some("prefetch")),
            ("concurency", Some("concurrency")),
            ("concur", Some("concurrency")),
            ("qeue", Some("queue")),
            ("ulr", Some("url")),
            ("xyzzy", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, ["queue", "url", "prefetch", "concurrency", "drain"]), expected, "{word}");
        }
    }
}
