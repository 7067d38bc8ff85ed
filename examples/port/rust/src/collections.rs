//! Lists and dicts.

use std::collections::BTreeMap;

use celeriac::prelude::*;
use celeriac::protocol::{Map, Value};
use serde::{Deserialize, Serialize};

const PREFIX: &str = "fleet.collections.";

pub(crate) fn tasks() -> Tasks {
    tasks![merge, group_by, pluck, invert, total]
}

#[task(prefix = PREFIX)]
async fn merge(mut left: Map, right: Map) -> TaskResult<Map> {
    left.extend(right);
    Ok(left)
}

#[task(prefix = PREFIX)]
async fn group_by(rows: Vec<Map>, key: String) -> TaskResult<BTreeMap<String, Vec<Map>>> {
    let mut groups = BTreeMap::<_, Vec<_>>::new();
    for row in rows {
        let value = row.get(&key).ok_or_else(|| TaskError::of_kind("KeyError", &key))?;
        groups.entry(text_of(value)).or_default().push(row);
    }
    Ok(groups)
}

#[task(prefix = PREFIX)]
async fn pluck(document: Value, #[rest] path: Vec<Value>) -> TaskResult<Value> {
    let mut part = &document;
    for key in &path {
        part = match key.as_u64() {
            Some(index) => part
                .get(usize::try_from(index)?)
                .ok_or_else(|| TaskError::of_kind("IndexError", "list index out of range"))?,
            None => {
                let key = text_of(key);
                part.get(&key).ok_or_else(|| TaskError::of_kind("KeyError", &key))?
            }
        };
    }
    Ok(part.clone())
}

#[task(prefix = PREFIX)]
async fn invert(mapping: BTreeMap<String, Value>) -> TaskResult<BTreeMap<String, String>> {
    Ok(mapping.into_iter().map(|(key, value)| (text_of(&value), key)).collect())
}

/// A line of an order.
#[derive(Serialize, Deserialize)]
struct Line {
    cents: i64,
    count: i64,
}

/// The total of an order.
#[derive(Serialize, Deserialize)]
struct Total {
    cents: i64,
    lines: usize,
}

#[task(prefix = PREFIX)]
async fn total(lines: Vec<Line>) -> TaskResult<Total> {
    Ok(Total { cents: lines.iter().map(|line| line.cents * line.count).sum(), lines: lines.len() })
}

/// Returns the text of a key: JSON has no others.
fn text_of(key: &Value) -> String {
    key.as_str().map_or_else(|| serde_json::json!(key).to_string(), str::to_owned)
}
