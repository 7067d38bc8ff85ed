//! How long a delayed message waits. The levels of the ladder are not built here: what they add up to is one time.

use std::time::Duration;

use crate::delay::{Ladder, strip_delay_prefix};

impl Ladder {
    /// How long a message waits that is published so, and the queue it is for. `None` when it is not delayed.
    pub(super) fn wait<'a>(&self, exchange: &str, routing_key: &'a str) -> Option<(Duration, &'a str)> {
        if exchange != self.entry_exchange() {
            return None;
        }
        let queue = strip_delay_prefix(routing_key);
        let bits = routing_key.strip_suffix(queue).filter(|bits| !bits.is_empty())?;
        let digits = bits.bytes().filter(|byte| *byte != b'.');
        Some((Duration::from_secs(digits.fold(0, |seconds, bit| 2 * seconds + u64::from(bit - b'0'))), queue))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delay::LONGEST;

    #[test]
    fn a_delay_is_read_back_from_its_address() {
        for ladder in [Ladder::default(), Ladder::new("wait")] {
            for delay in [Duration::from_secs(1), Duration::from_secs(30), LONGEST] {
                let (exchange, key) = ladder.address(delay, "orders.billing").unwrap();
                assert_eq!(ladder.wait(&exchange, &key), Some((delay, "orders.billing")));
                assert_eq!(ladder.wait("orders", &key), None);
            }
            assert_eq!(ladder.wait(&ladder.entry_exchange(), "orders.billing"), None);
        }
    }
}
