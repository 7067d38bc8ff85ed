//! Runs readers on damaged inputs for a time.
//!
//! Inputs come from a corpus of valid ones, which are changed at random. An input with an outcome
//! that no other had joins the corpus of this run, so that later inputs go on from there. Runs with
//! the same seed try the same inputs.
//!
//! `CELERIAC_FUZZ_SECONDS` sets the time for each target, `CELERIAC_FUZZ_SEED` the seed:
//! `cargo xtask fuzz` sets both.
#![expect(clippy::panic, clippy::print_stdout, reason = "a test fails by panicking")]

mod corpus;
mod mutation;

use std::collections::HashSet;
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use fastrand::Rng;

pub use crate::corpus::corpus;
pub use crate::mutation::mutated;

/// Time for each target where no other is set. Every input of the corpus is tried even so.
const SECONDS: u64 = 2;

/// Longest time for one input, on a busy machine and without optimisation.
const SLOWEST: Duration = Duration::from_secs(10);

/// Most inputs that join the corpus of a run, and most bytes of one.
const MOST_LEARNT: usize = 2_000;
const LONGEST_LEARNT: usize = 8 << 10;

/// Fewest inputs after which both outcomes must have occurred.
const ENOUGH: u64 = 5_000;

/// The outcome of one input.
#[derive(Debug)]
pub struct Outcome {
    accepted: bool,
    words: String,
}

impl Outcome {
    /// Returns the outcome of a reader: its error, or success.
    pub fn of<T, E: Display>(result: &Result<T, E>) -> Self {
        match result {
            Ok(_) => Self { accepted: true, words: String::new() },
            Err(error) => Self { accepted: false, words: error.to_string() },
        }
    }

    /// Distinguishes outcomes of one kind by a word.
    #[must_use]
    pub fn with(mut self, word: &str) -> Self {
        self.words.push(' ');
        self.words.push_str(word);
        self
    }

    /// Returns its hash without what comes from the input: quoted text, and numbers.
    fn kind(&self) -> u64 {
        let fixed = self.words.split(['`', '"']).step_by(2);
        let letters = fixed.flat_map(str::chars).filter(|letter| !letter.is_ascii_digit());
        let mut hasher = DefaultHasher::new();
        (self.accepted, letters.take(200).collect::<String>()).hash(&mut hasher);
        hasher.finish()
    }
}

/// Runs a target on the samples, then on damaged ones until the time is over.
///
/// A target gets randomness that depends on its input alone. It fails by panicking. The input is
/// then printed as a line for `corpus/<target>.txt`, where every later run tries it.
pub fn fuzz(target: &str, samples: Vec<Vec<u8>>, run: impl Fn(&[u8], &mut Rng) -> Outcome) {
    let (seconds, seed) = (setting("CELERIAC_FUZZ_SECONDS", SECONDS), setting("CELERIAC_FUZZ_SEED", 1));
    let began = Instant::now();
    let mut chance = Rng::with_seed(seed);
    let mut kinds = HashSet::new();
    let [mut accepted, mut refused] = [0_u64; 2];
    let mut learnt = 0;
    let known = samples.len();
    let mut samples = samples;
    let mut next = 0;
    while next < known || began.elapsed() < Duration::from_secs(seconds) {
        let input = samples.get(next).filter(|_| next < known).cloned();
        next += 1;
        let input = input.unwrap_or_else(|| damaged(&samples, known, &mut chance));
        let outcome = attempt(target, &input, &run);
        *(if outcome.accepted { &mut accepted } else { &mut refused }) += 1;
        if kinds.insert(outcome.kind()) && learnt < MOST_LEARNT && input.len() <= LONGEST_LEARNT && next > known {
            samples.push(input);
            learnt += 1;
        }
    }
    println!("{target}: {accepted} accepted, {refused} refused, {learnt} learnt, {known} in the corpus, seed {seed}");
    if accepted + refused >= ENOUGH {
        assert!(accepted > 0 && refused > 0, "{target} has one outcome: the test says nothing");
    }
}

fn attempt(target: &str, input: &[u8], run: &impl Fn(&[u8], &mut Rng) -> Outcome) -> Outcome {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let mut own = Rng::with_seed(hasher.finish());
    let began = Instant::now();
    let ended = catch_unwind(AssertUnwindSafe(|| run(input, &mut own)));
    let took = began.elapsed();
    if ended.is_err() || took > SLOWEST {
        println!("a line for tests/fuzz/corpus/{target}.txt, which took {took:?}:\n{}", input.escape_ascii());
    }
    let outcome = ended.unwrap_or_else(|panic| resume_unwind(panic));
    assert!(took <= SLOWEST, "{target} took {took:?}");
    outcome
}

/// Returns random bytes, or a sample with a few damages. Half of the samples are of the corpus, the
/// first `known`.
fn damaged(samples: &[Vec<u8>], known: usize, chance: &mut Rng) -> Vec<u8> {
    if chance.u8(0..32) == 0 {
        return (0..chance.usize(..200)).map(|_| chance.u8(..)).collect();
    }
    let count = if chance.bool() { known } else { samples.len() };
    let mut bytes = samples[chance.usize(..count)].clone();
    let other = &samples[chance.usize(..known)];
    for _ in 0..chance.u8(1..4) {
        bytes = mutated(&bytes, other, chance);
    }
    bytes
}

#[expect(clippy::disallowed_methods, reason = "how long to try is no matter of configuration")]
fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} should be a number, got {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_that_differ_in_the_input_alone_are_of_one_kind() {
        let kind = |words: &str| Outcome::of(&Err::<(), _>(words)).kind();
        assert_eq!(kind("found `a` at 1"), kind("found `bc` at 23"));
        assert_ne!(kind("found `a`"), kind("missing `a`"));
    }

    #[test]
    #[should_panic(expected = "seven")]
    fn a_panic_of_the_target_fails_the_run() {
        fuzz("none", vec![b"1234567".to_vec()], |input, _| {
            assert!(input.len() != 7, "seven");
            Outcome::of(&Ok::<_, String>(()))
        });
    }
}
