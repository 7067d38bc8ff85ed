//! How long a delayed message waits. The levels of the ladder are not built here: what they add up to is one time.

use std::time::Duration;

use crate::delay::{ENTRY_EXCHANGE, strip_delay_prefix};

/// How long a message waits that is published so, and the queue it is for. `None` when it is not delayed.
pub(super) fn wait<'a>(exchange: &str, routing_key: &'a str) -> Option<(Duration, &'a str)> {
    if exchange != ENTRY_EXCHANGE {
        return None;
    }
    let queue = strip_delay_prefix(routing_key);
    let bits = routing_key.strip_suffix(queue).filter(|bits| !bits.is_empty())?;
    let seconds = bits.bytes().filter(|byte| *byte != b'.').fold(0, |seconds, bit| 2 * seconds + u64::from(bit - b'0'));
    Some((Duration::from_secs(seconds), queue))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delay::{LONGEST, delayed_address};

    #[test]
    fn a_delay_is_read_back_from_its_address() {
        for delay in [Duration::from_secs(1), Duration::from_secs(30), LONGEST] {
            let (exchange, key) = delayed_address(delay, "orders.billing").unwrap();
            assert_eq!(wait(exchange, &key), Some((delay, "orders.billing")));
            assert_eq!(wait("orders", &key), None);
        }
        assert_eq!(wait(ENTRY_EXCHANGE, "orders.billing"), None);
    }
}
