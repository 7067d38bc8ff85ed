//! Headers of a dead-lettered message, as RabbitMQ writes them.

use celeriac_protocol::{HeaderMap, Map, Value};

const DEATHS: &str = "x-death";

/// Reason for dead-lettering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeathReason {
    Rejected,
    Expired,
    DeliveryLimit,
    MaxLen,
}

impl DeathReason {
    fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::DeliveryLimit => "delivery_limit",
            Self::MaxLen => "maxlen",
        }
    }
}

/// Records one dead-lettering.
///
/// A repeated reason in the same queue increases a count. The latest entry comes first.
pub(super) fn record(headers: &mut HeaderMap, reason: DeathReason, queue: &str, exchange: &str, routing_key: &str) {
    let mut deaths = match headers.remove(DEATHS) {
        Some(Value::List(deaths)) => deaths,
        _ => Vec::new(),
    };
    if headers.get("x-first-death-reason").is_none() {
        headers.insert("x-first-death-reason", reason.name());
        headers.insert("x-first-death-queue", queue);
        headers.insert("x-first-death-exchange", exchange);
    }
    let same = |death: &Value| text(death, "queue") == Some(queue) && text(death, "reason") == Some(reason.name());
    let mut death = match deaths.iter().position(same).map(|index| deaths.remove(index)) {
        Some(Value::Map(death)) => death,
        _ => first(reason, queue, exchange, routing_key),
    };
    if let Some(Value::Int(count)) = death.get_mut("count") {
        *count += 1;
    }
    deaths.insert(0, Value::Map(death));
    headers.insert(DEATHS, Value::List(deaths));
}

fn text<'a>(death: &'a Value, field: &str) -> Option<&'a str> {
    match death {
        Value::Map(death) => death.get(field).and_then(Value::as_str),
        _ => None,
    }
}

fn first(reason: DeathReason, queue: &str, exchange: &str, routing_key: &str) -> Map {
    [
        ("count".to_owned(), Value::Int(0)),
        ("reason".to_owned(), reason.name().into()),
        ("queue".to_owned(), queue.into()),
        ("exchange".to_owned(), exchange.into()),
        ("routing-keys".to_owned(), Value::List(vec![routing_key.into()])),
    ]
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_are_counted_by_queue_and_reason_and_the_first_is_kept() {
        let mut headers = HeaderMap::new();
        record(&mut headers, DeathReason::Expired, "a", "orders", "k");
        record(&mut headers, DeathReason::Rejected, "b", "", "b");
        record(&mut headers, DeathReason::Expired, "a", "orders", "k");
        let Some(Value::List(deaths)) = headers.get(DEATHS) else { panic!("no deaths") };
        let told: Vec<_> = deaths
            .iter()
            .map(|death| {
                let Value::Map(entries) = death else { panic!("no map") };
                (text(death, "queue"), text(death, "reason"), entries["count"].as_i64())
            })
            .collect();
        assert_eq!(told, [(Some("a"), Some("expired"), Some(2)), (Some("b"), Some("rejected"), Some(1))]);
        assert_eq!(headers.text("x-first-death-queue"), Some("a"));
        assert_eq!(headers.text("x-first-death-exchange"), Some("orders"));
        assert_eq!(headers.text("x-first-death-reason"), Some("expired"));
    }
}
