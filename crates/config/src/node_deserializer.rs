//! Reads options from the tree.
//!
//! Values of a file have the type in which they are written: `"64"` is text, not a number. Bare
//! text of variables and flags takes the type of its key: `64` is a number for a number, and text
//! for text.

use std::fmt;

use serde::de::value::{MapDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Error as _, Expected, IntoDeserializer, Unexpected, VariantAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

use crate::deserialize_error::DeserializeError;
use crate::tree::{ConfigNode, NodeKind};
use crate::yaml;

/// Reads a value of the tree. Skips removed values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodeDeserializer<'a>(pub(crate) &'a ConfigNode);

impl<'a> NodeDeserializer<'a> {
    /// Returns the text, if it is bare.
    fn bare(self) -> Option<&'a str> {
        match &self.0.kind {
            NodeKind::Bare(text) => Some(text.trim()),
            _ => None,
        }
    }

    fn section<'de, V: Visitor<'de>>(
        self,
        visitor: V,
        values: &'a [(String, ConfigNode)],
    ) -> Result<V::Value, DeserializeError> {
        let kept = values
            .iter()
            .filter(|(_, node)| !node.is_removed())
            .map(|(key, node)| (key.as_str(), NodeDeserializer(node)));
        visitor.visit_map(MapDeserializer::new(kept))
    }

    fn list<'de, V: Visitor<'de>>(self, visitor: V, values: &[ConfigNode]) -> Result<V::Value, DeserializeError> {
        let mut kept = values.iter().filter(|node| !node.is_removed()).map(NodeDeserializer);
        let value = visitor.visit_seq(Elements(&mut kept))?;
        match kept.count() {
            0 => Ok(value),
            more => Err(DeserializeError::custom(format!("has {more} values too many"))),
        }
    }

    /// Reads bare text that is written as YAML: `[a, b]` or `{a: 1}`. Its strings are bare too.
    fn inline(self, text: &str) -> Result<ConfigNode, DeserializeError> {
        let read = yaml::read(text, None);
        match (read.tree, read.defects.into_iter().next()) {
            (Some(tree), None) => Ok(ConfigNode::new(tree, &|_| self.0.origin.clone())),
            (_, Some(defect)) => Err(DeserializeError::custom(match defect.key {
                Some(key) => format!("{key}: {}", defect.message),
                None => defect.message,
            })),
            (None, None) => Err(DeserializeError::custom("cannot be read")),
        }
    }
}

impl<'de> Deserializer<'de> for NodeDeserializer<'_> {
    type Error = DeserializeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeserializeError> {
        match &self.0.kind {
            NodeKind::Nothing => visitor.visit_unit(),
            NodeKind::Bool(value) => visitor.visit_bool(*value),
            NodeKind::Signed(value) => match u64::try_from(*value) {
                Ok(value) => visitor.visit_u64(value),
                Err(_) => visitor.visit_i64(*value),
            },
            NodeKind::Unsigned(value) => visitor.visit_u64(*value),
            NodeKind::Float(value) => visitor.visit_f64(*value),
            NodeKind::Text(text) => visitor.visit_str(text),
            NodeKind::List(values) => self.list(visitor, values),
            NodeKind::Section(values) => self.section(visitor, values),
            NodeKind::Bare(text) => {
                match ConfigNode::new(config::Value::new(None, yaml::resolve(text.trim().to_owned())), &|_| None).kind {
                    NodeKind::Text(_) | NodeKind::Nothing => visitor.visit_str(text),
                    kind => NodeDeserializer(&ConfigNode::of(kind)).deserialize_any(visitor),
                }
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeserializeError> {
        let Some(text) = self.bare() else { return self.deserialize_any(visitor) };
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => visitor.visit_bool(true),
            "false" | "no" | "off" | "0" => visitor.visit_bool(false),
            _ => Err(DeserializeError::invalid_type(Unexpected::Str(text), &visitor)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeserializeError> {
        match &self.0.kind {
            // Untrimmed: blanks may be part of a password.
            NodeKind::Bare(text) => visitor.visit_str(text),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeserializeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeserializeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeserializeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeserializeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeserializeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeserializeError> {
        match (&self.0.kind, self.bare()) {
            // Deployments set a variable to an empty text to unset it.
            (NodeKind::Nothing, _) | (_, Some("" | "null" | "~")) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DeserializeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeserializeError> {
        match (&self.0.kind, self.bare()) {
            (NodeKind::Nothing, _) | (_, Some("")) => self.list(visitor, &[]),
            (_, Some(text)) if text.starts_with('[') => NodeDeserializer(&self.inline(text)?).deserialize_any(visitor),
            (_, Some(text)) => {
                let values: Vec<ConfigNode> =
                    text.split(',').map(|value| ConfigNode::of(NodeKind::Bare(value.trim().to_owned()))).collect();
                self.list(visitor, &values)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, DeserializeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DeserializeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeserializeError> {
        match (&self.0.kind, self.bare()) {
            (NodeKind::Nothing, _) | (_, Some("")) => self.section(visitor, &[]),
            (_, Some(text)) if text.starts_with('{') => NodeDeserializer(&self.inline(text)?).deserialize_any(visitor),
            // Serde would read a list as the fields of a struct, in order.
            (NodeKind::List(_), _) => Err(DeserializeError::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeserializeError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeserializeError> {
        match &self.0.kind {
            NodeKind::Text(text) => visitor.visit_enum(StrDeserializer::new(text)),
            NodeKind::Bare(text) if text.trim().starts_with('{') => {
                NodeDeserializer(&self.inline(text)?).deserialize_enum("", names, visitor)
            }
            NodeKind::Bare(text) => visitor.visit_enum(StrDeserializer::new(text.trim())),
            NodeKind::Section(values) => {
                let mut kept = values.iter().filter(|(_, node)| !node.is_removed());
                match (kept.next(), kept.next()) {
                    (Some((name, node)), None) => visitor.visit_enum(SectionVariant { name, node }),
                    _ => Err(DeserializeError::custom("should be a section with one key")),
                }
            }
            kind => Err(DeserializeError::invalid_type(unexpected(kind), &OneOf(names))),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeserializeError> {
        match self.bare() {
            Some("") => visitor.visit_unit(),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeserializeError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 unit_struct }
}

impl<'de> IntoDeserializer<'de, DeserializeError> for NodeDeserializer<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Names of which one is expected.
struct OneOf(&'static [&'static str]);

impl Expected for OneOf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "one of {}", self.0.join(", "))
    }
}

fn unexpected(kind: &NodeKind) -> Unexpected<'_> {
    match kind {
        NodeKind::Nothing => Unexpected::Unit,
        NodeKind::Bool(value) => Unexpected::Bool(*value),
        NodeKind::Signed(value) => Unexpected::Signed(*value),
        NodeKind::Unsigned(value) => Unexpected::Unsigned(*value),
        NodeKind::Float(value) => Unexpected::Float(*value),
        NodeKind::Text(text) | NodeKind::Bare(text) => Unexpected::Str(text),
        NodeKind::List(_) => Unexpected::Seq,
        NodeKind::Section(_) => Unexpected::Map,
    }
}

/// The values of a list.
struct Elements<'a, I>(&'a mut I);

impl<'de, 'a, I: Iterator<Item = NodeDeserializer<'a>>> de::SeqAccess<'de> for Elements<'_, I> {
    type Error = DeserializeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DeserializeError> {
        self.0.next().map(|reader| seed.deserialize(reader)).transpose()
    }
}

/// A choice that is written as a section with one key.
struct SectionVariant<'a> {
    name: &'a str,
    node: &'a ConfigNode,
}

impl<'de, 'a> EnumAccess<'de> for SectionVariant<'a> {
    type Error = DeserializeError;
    type Variant = NodeDeserializer<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, NodeDeserializer<'a>), DeserializeError> {
        Ok((seed.deserialize(StrDeserializer::<DeserializeError>::new(self.name))?, NodeDeserializer(self.node)))
    }
}

impl<'de> VariantAccess<'de> for NodeDeserializer<'_> {
    type Error = DeserializeError;

    fn unit_variant(self) -> Result<(), DeserializeError> {
        match &self.0.kind {
            NodeKind::Nothing => Ok(()),
            _ => Err(DeserializeError::custom("should have no value")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, DeserializeError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, DeserializeError> {
        self.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeserializeError> {
        self.deserialize_map(visitor)
    }
}
