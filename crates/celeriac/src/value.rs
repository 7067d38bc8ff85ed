//! Literals of dynamic values.

/// Makes a [`Value`](crate::protocol::Value) of a literal in the form of JSON.
///
/// ```
/// use celeriac::value;
///
/// let sku = "a1";
/// let order = value!({
///     "lines": [{"sku": sku, "count": 1 + 1}],
///     "note": null,
/// });
/// assert_eq!(order["lines"][0]["count"], 2);
/// assert!(order["note"].is_null());
/// ```
///
/// An expression in it becomes a value with `Value::from`. A key is a text literal, or an
/// expression in parentheses.
#[macro_export]
macro_rules! value {
    // The parts of a list or map, one at a time, because a part may be a literal of this form.
    (@list $list:ident) => {};
    (@list $list:ident null $(, $($rest:tt)*)?) => {
        $list.push($crate::value!(null));
        $crate::value!(@list $list $($($rest)*)?);
    };
    (@list $list:ident [$($inner:tt)*] $(, $($rest:tt)*)?) => {
        $list.push($crate::value!([$($inner)*]));
        $crate::value!(@list $list $($($rest)*)?);
    };
    (@list $list:ident {$($inner:tt)*} $(, $($rest:tt)*)?) => {
        $list.push($crate::value!({$($inner)*}));
        $crate::value!(@list $list $($($rest)*)?);
    };
    (@list $list:ident $item:expr $(, $($rest:tt)*)?) => {
        $list.push($crate::protocol::Value::from($item));
        $crate::value!(@list $list $($($rest)*)?);
    };
    (@map $map:ident) => {};
    (@map $map:ident $key:tt : null $(, $($rest:tt)*)?) => {
        $map.insert(::std::string::String::from($key), $crate::value!(null));
        $crate::value!(@map $map $($($rest)*)?);
    };
    (@map $map:ident $key:tt : [$($inner:tt)*] $(, $($rest:tt)*)?) => {
        $map.insert(::std::string::String::from($key), $crate::value!([$($inner)*]));
        $crate::value!(@map $map $($($rest)*)?);
    };
    (@map $map:ident $key:tt : {$($inner:tt)*} $(, $($rest:tt)*)?) => {
        $map.insert(::std::string::String::from($key), $crate::value!({$($inner)*}));
        $crate::value!(@map $map $($($rest)*)?);
    };
    (@map $map:ident $key:tt : $value:expr $(, $($rest:tt)*)?) => {
        $map.insert(::std::string::String::from($key), $crate::protocol::Value::from($value));
        $crate::value!(@map $map $($($rest)*)?);
    };
    (null) => {
        $crate::protocol::Value::Null
    };
    ([]) => {
        $crate::protocol::Value::List(::std::vec::Vec::new())
    };
    ([$($items:tt)+]) => {{
        let mut list: ::std::vec::Vec<$crate::protocol::Value> = ::std::vec::Vec::from([]);
        $crate::value!(@list list $($items)+);
        $crate::protocol::Value::List(list)
    }};
    ({}) => {
        $crate::protocol::Value::Map($crate::protocol::Map::new())
    };
    ({$($entries:tt)+}) => {{
        let mut map = $crate::protocol::Map::new();
        $crate::value!(@map map $($entries)+);
        $crate::protocol::Value::Map(map)
    }};
    ($value:expr) => {
        $crate::protocol::Value::from($value)
    };
}

#[cfg(test)]
mod tests {
    use crate::protocol::Value;

    #[test]
    fn a_literal_is_the_value_that_json_has_for_it() {
        let (name, none) = ("total", None::<i64>);
        let value = value!({
            "list": [1, -2, 2.5, "x", null, true, [], {}, [[null]], vec![1, 2].len(),],
            "map": {"deep": {"er": null}, (name): 1 + 2},
            "none": none,
            (format!("{name}s")): [1, 2].len(),
        });
        let json = serde_json::json!({
            "list": [1, -2, 2.5, "x", null, true, [], {}, [[null]], 2],
            "map": {"deep": {"er": null}, "total": 3},
            "none": null,
            "totals": 2,
        });
        assert_eq!(value, Value::from(json));
        assert_eq!(
            (value!(null), value!(3), value!([]), value!({})),
            (Value::Null, Value::Int(3), Value::List(Vec::new()), Value::Map(crate::protocol::Map::new()))
        );
    }
}
