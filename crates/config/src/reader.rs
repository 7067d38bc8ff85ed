//! From the tree to the program's options.
//!
//! Values of a file have the type that they are written in, and no other: `"64"` is text, not a number. Bare text of
//! variables and flags has the type that is asked for: `64` is a number for a number, and text for text.

use serde::de::value::{MapDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::fault::Fault;
use crate::tree::{Kind, Node};
use crate::yaml;

/// Reads a value of the tree. What is cut out is not there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a Node);

impl<'a> Reader<'a> {
    /// The text, if it is bare.
    fn bare(self) -> Option<&'a str> {
        match &self.0.kind {
            Kind::Bare(text) => Some(text.trim()),
            _ => None,
        }
    }

    fn section<'de, V: Visitor<'de>>(self, visitor: V, values: &'a [(String, Node)]) -> Result<V::Value, Fault> {
        let kept = values.iter().filter(|(_, node)| !node.is_cut()).map(|(key, node)| (key.as_str(), Reader(node)));
        visitor.visit_map(MapDeserializer::new(kept))
    }

    fn list<'de, V: Visitor<'de>>(self, visitor: V, values: &[Node]) -> Result<V::Value, Fault> {
        let mut kept = values.iter().filter(|node| !node.is_cut()).map(Reader);
        let value = visitor.visit_seq(Elements(&mut kept))?;
        match kept.count() {
            0 => Ok(value),
            more => Err(Fault::custom(format!("has {more} values too many"))),
        }
    }

    /// Bare text that is written as YAML: `[a, b]` or `{a: 1}`. The strings in it are bare too.
    fn inline(self, text: &str) -> Result<Node, Fault> {
        let read = yaml::read(text, self.0.origin.as_ref().map(|origin| origin.encode()).as_ref());
        match (read.tree, read.defects.into_iter().next()) {
            (Some(tree), None) => Ok(Node::new(tree)),
            (_, Some(defect)) => Err(Fault::custom(match defect.key {
                Some(key) => format!("{key}: {}", defect.message),
                None => defect.message,
            })),
            (None, None) => Err(Fault::custom("is not readable")),
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.kind {
            Kind::Nothing => visitor.visit_unit(),
            Kind::Bool(value) => visitor.visit_bool(*value),
            Kind::Signed(value) => match u64::try_from(*value) {
                Ok(value) => visitor.visit_u64(value),
                Err(_) => visitor.visit_i64(*value),
            },
            Kind::Unsigned(value) => visitor.visit_u64(*value),
            Kind::Float(value) => visitor.visit_f64(*value),
            Kind::Text(text) => visitor.visit_str(text),
            Kind::List(values) => self.list(visitor, values),
            Kind::Section(values) => self.section(visitor, values),
            Kind::Bare(text) => match Node::new(config::Value::new(None, yaml::resolve(text.trim().to_owned()))).kind {
                Kind::Text(_) | Kind::Nothing => visitor.visit_str(text),
                kind => Reader(&Node::of(kind)).deserialize_any(visitor),
            },
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Some(text) = self.bare() else { return self.deserialize_any(visitor) };
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => visitor.visit_bool(true),
            "false" | "no" | "off" | "0" => visitor.visit_bool(false),
            _ => Err(Fault::invalid_type(Unexpected::Str(text), &visitor)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.kind {
            // Untrimmed: blanks may belong to a password.
            Kind::Bare(text) => visitor.visit_str(text),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match (&self.0.kind, self.bare()) {
            // Deployments set variables to nothing where they mean none.
            (Kind::Nothing, _) | (_, Some("" | "null" | "~")) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match (&self.0.kind, self.bare()) {
            (Kind::Nothing, _) | (_, Some("")) => self.list(visitor, &[]),
            (_, Some(text)) if text.starts_with('[') => Reader(&self.inline(text)?).deserialize_any(visitor),
            (_, Some(text)) => {
                let values: Vec<Node> =
                    text.split(',').map(|value| Node::of(Kind::Bare(value.trim().to_owned()))).collect();
                self.list(visitor, &values)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match (&self.0.kind, self.bare()) {
            (Kind::Nothing, _) | (_, Some("")) => self.section(visitor, &[]),
            (_, Some(text)) if text.starts_with('{') => Reader(&self.inline(text)?).deserialize_any(visitor),
            // A struct would take a list for its fields in order.
            (Kind::List(_), _) => Err(Fault::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.0.kind {
            Kind::Text(text) => visitor.visit_enum(StrDeserializer::new(text)),
            Kind::Bare(text) if text.trim().starts_with('{') => {
                Reader(&self.inline(text)?).deserialize_enum("", &[], visitor)
            }
            Kind::Bare(text) => visitor.visit_enum(StrDeserializer::new(text.trim())),
            Kind::Section(values) => {
                let mut kept = values.iter().filter(|(_, node)| !node.is_cut());
                match (kept.next(), kept.next()) {
                    (Some((name, node)), None) => visitor.visit_enum(Variant { name, node }),
                    _ => Err(Fault::custom("should be a section with one key")),
                }
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.bare() {
            Some("") => visitor.visit_unit(),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 unit_struct }
}

impl<'de> IntoDeserializer<'de, Fault> for Reader<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The values of a list.
struct Elements<'a, I>(&'a mut I);

impl<'de, 'a, I: Iterator<Item = Reader<'a>>> de::SeqAccess<'de> for Elements<'_, I> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        self.0.next().map(|reader| seed.deserialize(reader)).transpose()
    }
}

/// A choice that is written as a section with one key.
struct Variant<'a> {
    name: &'a str,
    node: &'a Node,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Fault;
    type Variant = Reader<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Reader<'a>), Fault> {
        Ok((seed.deserialize(StrDeserializer::<Fault>::new(self.name))?, Reader(self.node)))
    }
}

impl<'de> VariantAccess<'de> for Reader<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match &self.0.kind {
            Kind::Nothing => Ok(()),
            _ => Err(Fault::custom("takes no value")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }
}
