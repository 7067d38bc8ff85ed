//! The values of one source, and the rules of merging.
//!
//! Layers are sources of the `config` crate. `Source::collect_to` merges each into the value of the
//! layers before it, and every value carries the name of its source. Two parts of that crate are
//! not used, because they lose facts that messages need:
//!
//! - Its builder passes the merged values through its own paths once more. A key such as `a.b[7]`
//!   becomes a path then, and an empty section loses its source.
//! - Its source of variables does not know their names. Its deserializer turns any value into any
//!   type.

use config::{ConfigError, Map, Source, Value, ValueKind};

use crate::origin::ValueOrigin;

/// The values of one file, or the defaults.
#[derive(Debug, Clone)]
pub(crate) struct Layer(pub(crate) Value);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        self.0.clone().into_table()
    }

    fn collect_to(&self, below: &mut Value) -> Result<(), ConfigError> {
        merge(below, self.0.clone());
        Ok(())
    }
}

/// One variable or flag: text for one key.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) origin: ValueOrigin,
    pub(crate) key: Vec<String>,
    pub(crate) text: String,
}

impl Source for Setting {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        self.nested(&self.key).into_table()
    }

    fn collect_to(&self, below: &mut Value) -> Result<(), ConfigError> {
        let key = match self.origin {
            ValueOrigin::Variable(_) => spelled_as_below(below, &self.key),
            _ => self.key.clone(),
        };
        merge(below, self.nested(&key));
        Ok(())
    }
}

impl Setting {
    fn nested(&self, key: &[String]) -> Value {
        let origin = self.origin.to_string();
        let text = Value::new(Some(&origin), ValueKind::String(self.text.clone()));
        key.iter().rev().fold(text, |value, name| {
            Value::new(Some(&origin), ValueKind::Table(Map::from_iter([(name.clone(), value)])))
        })
    }
}

/// Returns the key of a variable, whose name is in upper case: the existing key that differs only
/// in case, or else the key in lower case.
fn spelled_as_below(below: &Value, key: &[String]) -> Vec<String> {
    let mut here = Some(below);
    key.iter()
        .map(|part| {
            let lower = part.to_lowercase();
            let section = match here.map(|value| &value.kind) {
                Some(ValueKind::Table(section)) => Some(section),
                _ => None,
            };
            let known = section.and_then(|section| match section.get_key_value(&lower) {
                Some(exact) => Some(exact),
                None => section.iter().find(|(name, _)| name.to_lowercase() == lower),
            });
            here = known.map(|(_, value)| value);
            known.map_or(lower, |(name, _)| name.clone())
        })
        .collect()
}

/// Merges sections, and replaces lists and single values. `null` does not replace a section.
fn merge(below: &mut Value, above: Value) {
    let origin = above.origin().map(str::to_owned);
    match (&mut below.kind, above.kind) {
        (ValueKind::Table(below), ValueKind::Table(above)) => {
            for (key, value) in above {
                match below.get_mut(&key) {
                    Some(existing) => merge(existing, value),
                    None => {
                        below.insert(key, value);
                    }
                }
            }
        }
        (ValueKind::Table(_), ValueKind::Nil) => {}
        (_, kind) => *below = Value::new(origin.as_ref(), kind),
    }
}
