//! Arbitrary calls, including unlikely ones.

use std::time::Duration;

use celeriac_client::DynamicCall;
use celeriac_client::call::{CallOptions, Expiry, Follow, Relations, When};
use celeriac_protocol::{BigInt, Body, Codec, Compression, Embed, KombuValue, Map, Signature, TimeLimits, Value};
use celeriac_topology::CallRoute;
use jiff::Timestamp;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::{Value as Json, json};

use crate::spelling::spell;

/// Returns text of any characters. Half of them are special in some encoding.
fn any_text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        any::<char>(),
        prop::sample::select(vec!['\0', '\u{1b}', '"', '\\', '\'', '/', '\u{2028}', '\u{ffff}', '🌱', 'ß', 'a', '\n']),
    ];
    prop_oneof![vec(character, 0..12).prop_map(String::from_iter), "[a-z_.]{1,12}"]
}

fn any_key() -> impl Strategy<Value = String> {
    let hostile = ["__type__", "__value__", "__json__", "$map", "$float", "task", "args", "kwargs", "callbacks", ""];
    prop_oneof![any_text(), prop::sample::select(hostile.to_vec()).prop_map(str::to_owned)]
}

/// Returns a value of any kind, some levels deep.
pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    let branches = |inner: BoxedStrategy<Value>| {
        prop_oneof![
            6 => vec(inner.clone(), 0..5).prop_map(Value::List),
            6 => vec((any_key(), inner.clone()), 0..5).prop_map(|entries| Value::Map(entries.into_iter().collect())),
            // Objects that look like one of kombu's types.
            1 => (any_kind(), inner.clone(), option::weighted(0.8, inner)).prop_map(|(kind, value, more)| {
                let more = more.map(|more| ("more".to_owned(), more));
                let pair = [("__type__".to_owned(), kind.into()), ("__value__".to_owned(), value)];
                Value::Map(pair.into_iter().chain(more).collect())
            }),
        ]
    };
    let shallow = any_leaf().prop_recursive(4, 24, 5, move |inner| branches(inner.boxed()));
    let deep = (any_leaf(), 1..90_usize, any::<bool>()).prop_map(|(leaf, levels, lists)| {
        (0..levels).fold(leaf, |inner, _| match lists {
            true => Value::List(vec![inner]),
            false => Value::Map([("deeper".to_owned(), inner)].into_iter().collect()),
        })
    });
    prop_oneof![19 => shallow, 1 => deep]
}

fn any_kind() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec!["datetime", "bytes", "base64", "uuid", "decimal"]).prop_map(str::to_owned),
        any_text()
    ]
}

fn any_leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        10 => Just(Value::Null),
        10 => any::<bool>().prop_map(Value::Bool),
        10 => any::<i64>().prop_map(Value::Int),
        10 => (i64::MAX as u64 + 1..).prop_map(Value::UInt),
        1 => prop_oneof!["-?[1-9][0-9]{20,60}", "-?[1-9][0-9]{4290,4299}"]
            .prop_map(|digits| Value::BigInt(BigInt::new(digits).unwrap())),
        10 => any::<f64>().prop_map(Value::Float),
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 5e-324, 1e16, 1e22])
            .prop_map(Value::Float),
        10 => any_text().prop_map(Value::Text),
        10 => vec(any::<u8>(), 0..16).prop_map(Value::Bytes),
        10 => any_text().prop_map(|text| Value::Bytes(text.into_bytes())),
        9 => any_well_typed().prop_map(Value::Kombu),
        1 => any_typed().prop_map(Value::Kombu),
    ]
}

fn any_well_typed() -> impl Strategy<Value = KombuValue> {
    any_typed().prop_filter("one that is sent", |typed| typed.check().is_ok())
}

/// Returns a date, a time, a decimal or a UUID, or a text that is nearly one.
fn any_typed() -> impl Strategy<Value = KombuValue> {
    let date = "([0-9]{4}|[+-]00[0-9]{4}|[0-9]{3})-?[01][0-9]-?[0-3][0-9]";
    let time = "[0-2][0-9](:?[0-6][0-9](:?[0-6][0-9]([.,][0-9]{0,10})?)?)?";
    let offset = "(Z|z|[+-][0-2][0-9](:?[0-6][0-9](:[0-6][0-9](\\.[0-9]{6})?)?)?)?";
    let well = "[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])";
    let well_time = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{6})?";
    let well_offset = "([+-](0[0-9]|1[0-3]):[0-5][0-9])?";
    prop_oneof![
        (date, "[T tT]", time, offset)
            .prop_map(|(date, mid, time, at)| KombuValue::DateTime(format!("{date}{mid}{time}{at}"))),
        (well, well_time, well_offset).prop_map(|(date, time, at)| KombuValue::DateTime(format!("{date}T{time}{at}"))),
        date.prop_map(KombuValue::Date),
        well.prop_map(KombuValue::Date),
        (time, offset).prop_map(|(time, at)| KombuValue::Time(format!("{time}{at}"))),
        well_time.prop_map(KombuValue::Time),
        "[+-]?([0-9]{0,40}\\.?[0-9]{0,40}([eE][+-]?[0-9]{0,20})?|s?NaN[0-9]{0,3}|nan|Inf(inity)?)"
            .prop_map(KombuValue::Decimal),
        any::<u128>().prop_map(|id| KombuValue::Uuid(uuid::Uuid::from_u128(id))),
    ]
}

fn any_signature() -> impl Strategy<Value = Signature> {
    let options = vec((any_key(), any_value()), 0..2);
    (any_text(), vec(any_value(), 0..2), vec((any_key(), any_value()), 0..2), options, any::<bool>()).prop_map(
        |(task, args, kwargs, options, immutable)| Signature {
            // A task without a name is not a task.
            task: format!("t{task}"),
            args,
            kwargs: kwargs.into_iter().collect(),
            options: options.into_iter().collect(),
            immutable,
            ..Signature::default()
        },
    )
}

fn any_moment() -> impl Strategy<Value = Timestamp> {
    let all = Timestamp::MIN.as_second()..=Timestamp::MAX.as_second();
    let year = 365 * 24 * 3600_i64;
    let seconds = prop_oneof![1 => all, 9 => 50 * year..80 * year];
    (seconds, 0..1_000_000_000_i32)
        .prop_map(|(second, nanos)| Timestamp::new(second, nanos).unwrap_or(Timestamp::UNIX_EPOCH))
}

fn any_span() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        any::<u32>().prop_map(|millis| Duration::from_millis(millis.into())),
        (0..1_u64 << 40, 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos)),
    ]
}

fn any_follow() -> impl Strategy<Value = Follow> {
    let signatures = || prop_oneof![2 => Just(Vec::new()), 1 => vec(any_signature(), 1..3)];
    (signatures(), signatures(), signatures()).prop_map(|(callbacks, errbacks, steps)| Follow {
        callbacks,
        errbacks,
        steps,
    })
}

fn any_relations() -> impl Strategy<Value = Relations> {
    let text = || option::weighted(0.2, any_text());
    (text(), text(), text(), option::of(any::<i64>()), prop_oneof![Just(0), any::<u32>()], text()).prop_map(
        |(root_id, parent_id, group, group_index, replaced_task_nesting, reply_to)| Relations {
            root_id,
            parent_id,
            group,
            group_index,
            replaced_task_nesting,
            reply_to,
        },
    )
}

fn any_options() -> impl Strategy<Value = CallOptions> {
    let id = option::weighted(0.3, prop_oneof![20 => "[a-zß🌱._-]{1,12}", 1 => any_text(), 1 => "[a-z]{250,260}"]);
    let when = prop_oneof![
        8 => Just(When::Now),
        1 => any_span().prop_map(When::After),
        1 => any_moment().prop_map(When::At),
    ];
    let expires = prop_oneof![
        8 => Just(None),
        1 => any_span().prop_map(|span| Some(Expiry::After(span))),
        1 => any_moment().prop_map(|moment| Some(Expiry::At(moment))),
    ];
    let codec = prop::sample::select(vec![None, Some(Codec::Json), Some(Codec::Msgpack)]);
    let compressions = vec![None, None, Some(Compression::Zlib), Some(Compression::Bzip2), Some(Compression::Zstd)];
    let header = (prop_oneof![40 => any_text(), 1 => "[a-z]{250,260}"], any_value());
    let limit = || option::weighted(0.2, any_span());
    let stamps = vec((any_key(), any_value()), 0..2);
    (
        (id, when, expires, codec, option::of(any::<u8>()), prop::sample::select(compressions)),
        (vec(header, 0..2), option::of(any::<bool>()), limit(), limit(), option::weighted(0.2, any_text())),
        (stamps, any_follow(), any_relations()),
    )
        .prop_map(
            |(
                (id, when, expires, codec, priority, compression),
                (headers, ignore_result, hard, soft, shadow),
                last,
            )| {
                let (stamps, follow, relations) = last;
                CallOptions {
                    id,
                    when,
                    expires,
                    route: CallRoute { codec, priority, ..CallRoute::default() },
                    headers,
                    ignore_result,
                    compression,
                    limits: TimeLimits { hard, soft },
                    shadow,
                    stamps: stamps.into_iter().collect(),
                    follow,
                    relations,
                    order_key: None,
                    idempotency_key: None,
                }
            },
        )
}

/// Returns any call.
pub(crate) fn any_request() -> impl Strategy<Value = DynamicCall> {
    let task = prop_oneof![40 => "[a-zß🌱._]{1,12}", 1 => any_text(), 1 => "[a-z]{250,260}"];
    let embed = prop_oneof![20 => Just(Value::Null), 20 => Just(Value::Map(Map::new())), 1 => any_signature().prop_map(|link| Embed { callbacks: vec![link], ..Embed::default() }.into()), 1 => any_value()];
    (task, vec(any_value(), 0..4), vec((any_key(), any_value()), 0..3), embed, any_options()).prop_map(
        |(task, args, kwargs, embed, options)| DynamicCall {
            task,
            body: Body { args, kwargs: kwargs.into_iter().collect(), embed },
            options,
        },
    )
}

/// A call that was sent, to be compared with the one that arrived.
#[derive(Debug)]
pub(crate) struct Sent {
    request: DynamicCall,
    id: String,
}

impl Sent {
    pub(crate) fn of(request: &DynamicCall, id: String) -> Self {
        Self { request: request.clone(), id }
    }

    /// Checks that Python has read the same call.
    pub(crate) fn check(&self, answer: &Json) -> Result<(), TestCaseError> {
        let DynamicCall { task, body, options } = &self.request;
        prop_assert!(answer["error"].is_null(), "{}: {:?}", answer, self);
        let codec = options.route.codec.unwrap_or_default();
        let read = |value: Value| spell(&if codec == Codec::Json { value } else { as_text(value, false) });
        let expect = |what: &str, found: &Json, expected: &Json| {
            prop_assert!(is_same(found, expected), "{}: {} instead of {}, {:?}", what, found, expected, self);
            Ok(())
        };
        expect("args", &answer["args"], &read(Value::List(body.args.clone())))?;
        expect("kwargs", &answer["kwargs"], &read(Value::Map(body.kwargs.clone())))?;
        self.check_embed(&answer["embed"], &read)?;
        let headers = &answer["headers"];
        expect("task", &headers["task"], &json!(task))?;
        expect("id", &headers["id"], &json!(self.id))?;
        prop_assert!(!task.is_empty() && !self.id.is_empty(), "{:?}", self);
        expect("shadow", &headers["shadow"], &json!(options.shadow))?;
        let stamps = &headers["stamps"];
        expect(
            "stamps",
            if stamps.is_null() { &EMPTY } else { stamps },
            &spell(&as_text(Value::Map(options.stamps.clone()), true)),
        )?;
        let own: Map = options.headers.iter().cloned().collect();
        for (name, value) in own {
            expect(&name, &headers[&name], &spell(&as_text(value, true)))?;
        }
        let flag = &headers["ignore_result"];
        expect("ignore_result", flag, &json!(options.ignore_result))
    }

    fn check_embed(&self, found: &Json, read: &impl Fn(Value) -> Json) -> Result<(), TestCaseError> {
        let DynamicCall { body, options, .. } = &self.request;
        prop_assert!(found.is_object(), "{} is carried: {:?}", found, self);
        let Follow { callbacks, errbacks, steps } = options.follow.clone();
        let mut carried =
            Embed::read(&body.embed).map_err(|error| TestCaseError::fail(format!("{error}: {self:?}")))?;
        carried.callbacks.extend(callbacks);
        carried.errbacks.extend(errbacks);
        carried.chain.extend(steps);
        let expected = read(carried.into());
        prop_assert!(is_same(found, &expected), "{} is carried instead of {}", found, expected);
        Ok(())
    }
}

static EMPTY: std::sync::LazyLock<Json> = std::sync::LazyLock::new(|| json!({}));

/// Returns the value with text in place of the kinds that MessagePack lacks, or that headers lack.
fn as_text(value: Value, header: bool) -> Value {
    match value {
        Value::List(items) => Value::List(items.into_iter().map(|item| as_text(item, header)).collect()),
        Value::Map(entries) => {
            Value::Map(entries.into_iter().map(|(key, value)| (key, as_text(value, header))).collect())
        }
        Value::Kombu(typed) => Value::Text(typed.text().into_owned()),
        Value::UInt(number) if header => Value::Text(number.to_string()),
        Value::BigInt(number) => Value::Text(number.into_string()),
        other => other,
    }
}

/// Returns `true` if two spelt values are equal. Times and decimals, which Python formats anew, are
/// compared by their meaning.
pub(crate) fn is_same(found: &Json, expected: &Json) -> bool {
    match (found, expected) {
        (Json::Array(found), Json::Array(expected)) => {
            found.len() == expected.len()
                && found.iter().zip(expected).all(|(found, expected)| is_same(found, expected))
        }
        (Json::Object(found), Json::Object(expected)) if found.len() == expected.len() => {
            expected.iter().all(|(key, expected)| match (found.get(key), key.as_str()) {
                (None, _) => false,
                (Some(found), "$datetime" | "$time") => clock(found) == clock(expected),
                (Some(found), "$decimal") => decimal(found) == decimal(expected),
                (Some(found), _) => is_same(found, expected),
            })
        }
        (found, expected) => found == expected,
    }
}

/// Returns the part before the offset, without trailing zeros.
fn clock(text: &Json) -> Option<String> {
    let text = text.as_str()?;
    let text = text.split_once(['T', ' ', 't']).map_or(text, |(_, time)| time);
    let text = text.split(['+', '-', 'Z', 'z']).next()?;
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    Some(digits.trim_end_matches('0').to_owned())
}

fn decimal(text: &Json) -> Option<String> {
    let text = text.as_str()?.to_ascii_lowercase();
    if text.contains("nan") {
        return Some("nan".to_owned());
    }
    let number: f64 = text.trim_start_matches(['+', '-']).parse().ok()?;
    Some(number.to_string())
}
