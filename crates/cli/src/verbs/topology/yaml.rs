//! JSON values as YAML: maps in blocks, all text in double quotes, which YAML reads as JSON does.

use std::fmt::Write;

use serde_json::Value;

/// Several documents in one text.
pub(super) fn documents(documents: &[Value]) -> String {
    documents.iter().fold(String::new(), |mut text, document| {
        text.push_str("---\n");
        block(document, 0, &mut text);
        text
    })
}

fn block(value: &Value, depth: usize, text: &mut String) {
    let Value::Object(map) = value else { return };
    for (key, value) in map {
        let is_plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let key = if is_plain { key.clone() } else { Value::from(key.as_str()).to_string() };
        let _ = write!(text, "{:1$}{key}:", "", depth * 2);
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                text.push('\n');
                block(value, depth + 1, text);
            }
            value => {
                let _ = writeln!(text, " {value}");
            }
        }
    }
}
