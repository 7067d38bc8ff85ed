//! Reading a dynamic value: its parts, and comparisons with plain values.

use std::ops::Index;

use super::dynamic::{Map, Value};

/// A key of a map, or a position in a list.
pub trait ValueIndex {
    /// Returns the part of a value at this place.
    #[doc(hidden)]
    fn of<'a>(&self, value: &'a Value) -> Option<&'a Value>;

    /// Returns the part of a value at this place, to change it.
    #[doc(hidden)]
    fn of_mut<'a>(&self, value: &'a mut Value) -> Option<&'a mut Value>;
}

impl ValueIndex for str {
    fn of<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        value.as_map()?.get(self)
    }

    fn of_mut<'a>(&self, value: &'a mut Value) -> Option<&'a mut Value> {
        value.as_map_mut()?.get_mut(self)
    }
}

impl ValueIndex for String {
    fn of<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.as_str().of(value)
    }

    fn of_mut<'a>(&self, value: &'a mut Value) -> Option<&'a mut Value> {
        self.as_str().of_mut(value)
    }
}

impl ValueIndex for usize {
    fn of<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        value.as_list()?.get(*self)
    }

    fn of_mut<'a>(&self, value: &'a mut Value) -> Option<&'a mut Value> {
        value.as_list_mut()?.get_mut(*self)
    }
}

impl<T: ValueIndex + ?Sized> ValueIndex for &T {
    fn of<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        (**self).of(value)
    }

    fn of_mut<'a>(&self, value: &'a mut Value) -> Option<&'a mut Value> {
        (**self).of_mut(value)
    }
}

impl Value {
    /// Returns `true` for [`Value::Null`].
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Returns the boolean, if this is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the integer, if this is one that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns the integer, if this is one that fits.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Int(number) => u64::try_from(*number).ok(),
            Self::UInt(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns the number, if this is one. An integer beyond 53 bits loses digits.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::UInt(number) => Some(*number as f64),
            Self::BigInt(number) => number.as_str().parse().ok(),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns the text, if this is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the bytes, if these are bytes.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Returns the items, if this is a list.
    pub fn as_list(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the items to change them, if this is a list.
    pub fn as_list_mut(&mut self) -> Option<&mut Vec<Self>> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the entries, if this is a map.
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// Returns the entries to change them, if this is a map.
    pub fn as_map_mut(&mut self) -> Option<&mut Map> {
        match self {
            Self::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// Returns the entry of a map by its key, or the item of a list by its position.
    pub fn get(&self, place: impl ValueIndex) -> Option<&Self> {
        place.of(self)
    }

    /// Returns the entry of a map by its key, or the item of a list by its position, to change it.
    pub fn get_mut(&mut self, place: impl ValueIndex) -> Option<&mut Self> {
        place.of_mut(self)
    }
}

/// Returns [`Value::Null`] in place of a part that does not exist.
impl<I: ValueIndex> Index<I> for Value {
    type Output = Self;

    fn index(&self, place: I) -> &Self {
        const NOTHING: &Value = &Value::Null;
        place.of(self).unwrap_or(NOTHING)
    }
}

impl PartialEq<str> for Value {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<&str> for Value {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<String> for Value {
    fn eq(&self, other: &String) -> bool {
        self.as_str() == Some(other)
    }
}

macro_rules! equal_by_conversion {
    ($($plain:ty)*) => {
        $(impl PartialEq<$plain> for Value {
            fn eq(&self, other: &$plain) -> bool {
                let other = Self::from(*other);
                *self == other
            }
        })*
    };
}

equal_by_conversion!(bool i8 i16 i32 i64 isize u8 u16 u32 u64 usize f32 f64);
