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

/// The candidate that `word` misses by a slip or two of the finger. For names that may well be somebody else's: that they
/// begin alike means nothing then.
pub fn slip_of<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|(slips, candidate)| *slips <= SLIPS && slips * 3 <= candidate.chars().count())
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

const ALIKE: f64 = 0.75;

const SLIPS: usize = 2;

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
    fn a_name_of_somebody_else_is_no_slip() {
        for (word, expected) in [
            ("shop.payy", Some("shop.pay")),
            ("shpo.pay", Some("shop.pay")),
            ("shop.chrage", Some("shop.charge")),
            ("shop.pack", Some("shop.pay")),
            ("shop.mail", None),
            ("python.charge", None),
            ("ab", None),
            ("", None),
        ] {
            assert_eq!(slip_of(word, ["shop.pay", "shop.charge", "a"]), expected, "{word}");
        }
    }

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
