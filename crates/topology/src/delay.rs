//! Delayed messages: Celery's ladder of 28 delay levels, as pure functions.
//!
//! Level `L` is an exchange and a queue `celery_delayed_<L>`; the prefix can be configured. A delay
//! of whole seconds is written as 28 bits before the routing key, most significant first. The
//! exchange of each level looks at its own bit. 1 goes to the queue of the level, where messages
//! wait 2^L seconds and are then dead-lettered to the next level. 0 goes to the next level at once.
//! From level 0, messages come to the delivery exchange, to which every queue is bound.
//!
//! Names and arguments are Celery's, so that both fleets share one ladder.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Number of levels.
pub const LEVELS: u32 = 28;

/// The longest delay: about eight and a half years.
pub const LONGEST: Duration = Duration::from_secs((1 << LEVELS) - 1);

/// The prefix of Celery's own names.
pub const PREFIX: &str = "celery_delayed";

/// The bytes that a delay adds to a routing key: a digit and a dot for each level.
const BITS: usize = 2 * LEVELS as usize;

/// One level of the ladder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// The name of its exchange and of its queue.
    pub name: String,
    /// The time that messages wait in its queue.
    pub wait: Duration,
    /// The next exchange: of messages that have waited, and of those that do not wait here.
    pub next: String,
    /// The binding of its queue to its exchange.
    pub waits: String,
    /// The binding of the next exchange to its exchange.
    pub passes: String,
}

/// A ladder, with the prefix of its names.
#[derive(Clone, PartialEq, Eq)]
pub struct Ladder(Arc<str>);

impl Ladder {
    /// Makes a ladder whose exchanges and queues are called `<prefix>_<level>`.
    pub fn new(prefix: &str) -> Self {
        Self(Arc::from(prefix))
    }

    /// Returns the problem of a prefix, if there is one.
    pub fn problem(prefix: &str) -> Option<String> {
        /// The length that AMQP allows for a name, without the longest suffix.
        const LONGEST: usize = 255 - "_delivery".len();
        match prefix {
            "" => Some("should not be empty".to_owned()),
            _ if prefix.starts_with("amq.") => Some("names that begin with `amq.` are reserved by RabbitMQ".to_owned()),
            _ if prefix.len() > LONGEST => Some(format!("has {} bytes; at most {LONGEST} are allowed", prefix.len())),
            _ => None,
        }
    }

    /// Returns true if a name belongs to its exchanges and queues, or could.
    pub fn owns(&self, name: &str) -> bool {
        name.strip_prefix(&*self.0).is_some_and(|rest| rest.starts_with('_'))
    }

    /// Returns the name of the exchange and queue of a level.
    pub fn level_name(&self, level: u32) -> String {
        format!("{}_{level}", self.0)
    }

    /// Returns the exchange to which delayed messages are published.
    pub fn entry_exchange(&self) -> String {
        self.level_name(LEVELS - 1)
    }

    /// Returns the exchange to which messages come when their delay is over.
    pub fn delivery_exchange(&self) -> String {
        format!("{}_delivery", self.0)
    }

    /// Returns the levels in the order in which a message passes them, longest wait first.
    pub fn levels(&self) -> impl Iterator<Item = Level> {
        (0..LEVELS).rev().map(|level| {
            let passed = "*.".repeat((LEVELS - 1 - level) as usize);
            let next = level.checked_sub(1).map_or_else(|| self.delivery_exchange(), |next| self.level_name(next));
            Level {
                name: self.level_name(level),
                wait: Duration::from_secs(1 << level),
                next,
                waits: format!("{passed}1.#"),
                passes: format!("{passed}0.#"),
            }
        })
    }

    /// Returns the address of a message that arrives at `key` after `delay`: exchange and routing
    /// key.
    ///
    /// The ladder counts whole seconds and drops the rest, as Celery does. The message arrives up
    /// to a second early, with its exact time in the `eta` header, and the worker waits the rest.
    /// Returns `None` for delays under a second. A delay beyond [`LONGEST`] is cut to it. The
    /// worker then delays the message again.
    pub fn address(&self, delay: Duration, key: &str) -> Option<(String, String)> {
        let seconds = delay.as_secs().min(LONGEST.as_secs());
        (seconds > 0).then(|| (self.entry_exchange(), delayed_key(seconds, strip_delay_prefix(key))))
    }

    /// Returns the delay and the queue of an address. `None` if it is not one of
    /// [`Ladder::address`].
    pub fn delay_of<'a>(&self, exchange: &str, routing_key: &'a str) -> Option<(Duration, &'a str)> {
        if exchange != self.entry_exchange() {
            return None;
        }
        let queue = strip_delay_prefix(routing_key);
        let bits = routing_key.strip_suffix(queue).filter(|bits| !bits.is_empty())?;
        let digits = bits.bytes().filter(|byte| *byte != b'.');
        Some((Duration::from_secs(digits.fold(0, |seconds, bit| 2 * seconds + u64::from(bit - b'0'))), queue))
    }

    /// Returns the address of a message that passes the whole ladder without a wait.
    pub fn undelayed_address(&self, key: &str) -> (String, String) {
        (self.entry_exchange(), delayed_key(0, key))
    }
}

impl Default for Ladder {
    /// Celery's own ladder.
    fn default() -> Self {
        Self::new(PREFIX)
    }
}

impl fmt::Debug for Ladder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}_*", self.0)
    }
}

fn delayed_key(seconds: u64, key: &str) -> String {
    let mut delayed = String::with_capacity(BITS + key.len());
    for level in (0..LEVELS).rev() {
        delayed.push(if seconds >> level & 1 == 1 { '1' } else { '0' });
        delayed.push('.');
    }
    delayed.push_str(key);
    delayed
}

/// Returns the routing key without the 28 bits of a delay.
pub fn strip_delay_prefix(key: &str) -> &str {
    let delayed = key
        .as_bytes()
        .get(..BITS)
        .is_some_and(|prefix| prefix.chunks_exact(2).all(|word| matches!(word, [b'0' | b'1', b'.'])));
    if delayed { &key[BITS..] } else { key }
}

/// Returns the key that binds a queue to the delivery exchange.
///
/// It has a `*` for each bit. Celery binds `#.billing`, which would also match messages for
/// `orders.billing`.
pub fn delivery_binding(key: &str) -> String {
    "*.".repeat(LEVELS as usize) + key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delayed_address(delay: Duration, key: &str) -> Option<(String, String)> {
        Ladder::default().address(delay, key)
    }

    #[test]
    fn a_delay_is_written_as_celery_writes_it() {
        let (exchange, key) = delayed_address(Duration::from_secs(30), "celery").unwrap();
        assert_eq!(exchange, "celery_delayed_27");
        assert_eq!(key, "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.1.1.1.0.celery");
    }

    #[test]
    fn delays_are_cut_to_whole_seconds_within_the_ladder() {
        let seconds = |delay| {
            let (_, key) = delayed_address(delay, "q")?;
            let bits: String = key.chars().filter(|bit| matches!(bit, '0' | '1')).collect();
            u64::from_str_radix(&bits, 2).ok()
        };
        let cases = [
            (Duration::ZERO, None),
            (Duration::from_millis(999), None),
            (Duration::from_millis(1999), Some(1)),
            (Duration::from_secs(86_400), Some(86_400)),
            (LONGEST, Some((1 << 28) - 1)),
            (Duration::MAX, Some((1 << 28) - 1)),
        ];
        for (delay, expected) in cases {
            assert_eq!(seconds(delay), expected, "{delay:?}");
        }
    }

    #[test]
    fn a_delay_is_read_back_from_its_address() {
        for ladder in [Ladder::default(), Ladder::new("wait")] {
            for delay in [Duration::from_secs(1), Duration::from_secs(30), LONGEST] {
                let (exchange, key) = ladder.address(delay, "orders.billing").unwrap();
                assert_eq!(ladder.delay_of(&exchange, &key), Some((delay, "orders.billing")));
                assert_eq!(ladder.delay_of("orders", &key), None);
            }
            assert_eq!(ladder.delay_of(&ladder.entry_exchange(), "orders.billing"), None);
        }
    }

    #[test]
    fn only_a_whole_prefix_is_stripped_and_only_once() {
        let (_, delayed) = delayed_address(Duration::from_secs(5), "orders.charge").unwrap();
        let (_, again) = delayed_address(Duration::from_secs(9), &delayed).unwrap();
        assert_eq!(strip_delay_prefix(&delayed), "orders.charge");
        assert_eq!(strip_delay_prefix(&again), "orders.charge");
        let (_, nameless) = delayed_address(Duration::from_secs(5), "").unwrap();
        assert_eq!(strip_delay_prefix(&nameless), "");
        let short = "0.".repeat(27);
        for key in
            ["", "celery", "0.1.celery", &short, "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.celery"]
        {
            assert_eq!(strip_delay_prefix(key), key);
        }
        assert_eq!(strip_delay_prefix("ä".repeat(40).as_str()), "ä".repeat(40));
    }

    #[test]
    fn a_prefix_is_in_all_names_and_nothing_else_is() {
        let ladder = Ladder::new("team.wait");
        let names: Vec<_> = ladder.levels().flat_map(|level| [level.name, level.next]).collect();
        assert!(names.iter().all(|name| ladder.owns(name) && name.starts_with("team.wait_")), "{names:?}");
        let (exchange, key) = ladder.address(Duration::from_secs(3), "team.wait").unwrap();
        assert_eq!((exchange.as_str(), strip_delay_prefix(&key)), ("team.wait_27", "team.wait"));
        assert!(!ladder.owns("team.wait") && !ladder.owns("team.waiting") && !ladder.owns("celery_delayed_3"));
        for prefix in ["", "amq.wait", &"x".repeat(247)] {
            assert!(Ladder::problem(prefix).is_some(), "{prefix}");
        }
        assert_eq!(Ladder::problem(&"x".repeat(246)), None);
    }

    #[test]
    fn every_level_waits_twice_as_long_as_the_next() {
        let ladder = Ladder::default();
        let levels: Vec<_> = ladder.levels().collect();
        assert_eq!(levels.len(), 28);
        assert_eq!(levels[0].name, ladder.entry_exchange());
        assert_eq!(levels[0].waits, "1.#");
        assert_eq!(levels[0].passes, "0.#");
        for pair in levels.windows(2) {
            assert_eq!(pair[0].next, pair[1].name);
            assert_eq!(pair[0].wait, 2 * pair[1].wait);
        }
        let last = &levels[27];
        assert_eq!((last.wait, last.next.as_str()), (Duration::from_secs(1), "celery_delayed_delivery"));
        assert_eq!(last.waits, format!("{}1.#", "*.".repeat(27)));
        let total: Duration = levels.iter().map(|level| level.wait).sum();
        assert_eq!(total, LONGEST);
    }

    #[test]
    fn a_queue_takes_exactly_what_is_delayed_to_it() {
        let (_, key) = delayed_address(Duration::from_secs(5), "billing").unwrap();
        let binding = delivery_binding("billing");
        let words = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        let fits = |key: &str| {
            let (binding, key) = (words(&binding), words(key));
            binding.len() == key.len() && binding.iter().zip(&key).all(|(want, word)| want == "*" || want == word)
        };
        assert!(fits(&key));
        let (_, other) = delayed_address(Duration::from_secs(5), "orders.billing").unwrap();
        assert!(!fits(&other));
    }
}
