//! Counts what a task would send, before any of it is built.
//!
//! A message of a megabyte can ask for gigabytes: each step of a chain gets a copy of all its
//! errbacks, and each callback a copy of the result. The count takes one pass over what the message
//! holds, and copies nothing. Sizes are least sizes, whatever the codec, so a message that is
//! refused by its size could never be sent.

use celeriac_protocol::signature::SignatureKind;
use celeriac_protocol::{Map, Signature, Value};

/// Least size of a signature as it is written, with its six keys.
const SIGNATURE: usize = 56;

/// Size from which a message is large: large ones are built one at a time.
const LARGE: usize = 256 << 10;

/// Most that one task may send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FollowUpLimits {
    /// Number of messages.
    pub(crate) messages: usize,
    /// Size of their bodies together.
    pub(crate) bytes: usize,
    /// Size of one body.
    pub(crate) message_size: usize,
}

/// The messages that a task would send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FollowUpSize {
    messages: usize,
    bytes: usize,
    largest: usize,
}

/// More messages than allowed, or larger ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OverLimit {
    #[error("too many follow-ups: {count}, the limit is {limit} (worker.max_follow_ups)")]
    Messages { count: usize, limit: usize },
    #[error("follow-ups too large: {size} bytes, the limit is {limit} (worker.max_follow_up_size)")]
    Bytes { size: usize, limit: usize },
    #[error("follow-up too large: {size} bytes, the limit is {limit} (broker.max_message_size)")]
    Message { size: usize, limit: usize },
    #[error("too many steps in the chain: {count}, the limit is {limit} (worker.max_follow_ups)")]
    Steps { count: usize, limit: usize },
}

impl OverLimit {
    /// Reason of the dead letter.
    pub(crate) const REASON: &'static str = "over-limit";

    /// Kind of the recorded error.
    pub(crate) const KIND: &'static str = "FollowUpLimitExceeded";
}

impl FollowUpLimits {
    /// Refuses a chain whose steps could not all be ended.
    pub(crate) fn check_steps(&self, count: usize) -> Result<(), OverLimit> {
        if count > self.messages {
            return Err(OverLimit::Steps { count, limit: self.messages });
        }
        Ok(())
    }
}

impl FollowUpSize {
    /// Adds a message.
    pub(crate) fn add(&mut self, size: usize) {
        self.messages = self.messages.saturating_add(1);
        self.bytes = self.bytes.saturating_add(size);
        self.largest = self.largest.max(size);
    }

    /// Adds the messages of a signature. `first` is the size of the argument before its own, and
    /// `rest` that of the steps behind it.
    pub(crate) fn add_signature(&mut self, signature: &Signature, first: usize, rest: usize) {
        self.add_borrowed(SignatureRef::Signature(signature), first, rest);
    }

    fn add_borrowed(&mut self, signature: SignatureRef<'_>, first: usize, rest: usize) {
        let first = if signature.is_immutable() { 0 } else { first };
        match signature.kind() {
            SignatureKind::Task => self.add(signature.size().saturating_add(first).saturating_add(rest)),
            SignatureKind::Chain => {
                let Steps { count, bytes } = Steps::of(signature);
                match head(signature) {
                    Some(head) if matches!(head.kind(), SignatureKind::Group | SignatureKind::Chord) => {
                        let behind = if count > 1 { bytes.saturating_sub(head.size()) } else { 0 };
                        self.add_borrowed(head, first, rest.saturating_add(behind));
                    }
                    _ => self.add(bytes.saturating_add(first).saturating_add(rest)),
                }
            }
            // Each member carries the steps behind the group, which are the body of a chord.
            SignatureKind::Group => signature.members().for_each(|member| self.add_borrowed(member, first, rest)),
            SignatureKind::Chord => {
                let rest = rest.saturating_add(signature.body_size());
                let mut header = signature.header().peekable();
                if header.peek().is_none() {
                    self.add(rest);
                }
                header.for_each(|member| self.add_borrowed(member, first, rest));
            }
        }
    }

    /// Returns `true` if a message takes so much memory that it is built alone.
    pub(crate) fn has_large(&self) -> bool {
        self.largest > LARGE
    }

    /// Refuses more than is allowed.
    pub(crate) fn check(&self, limits: &FollowUpLimits) -> Result<(), OverLimit> {
        let Self { messages, bytes, largest } = *self;
        if messages > limits.messages {
            return Err(OverLimit::Messages { count: messages, limit: limits.messages });
        }
        if bytes > limits.bytes {
            return Err(OverLimit::Bytes { size: bytes, limit: limits.bytes });
        }
        if largest > limits.message_size {
            return Err(OverLimit::Message { size: largest, limit: limits.message_size });
        }
        Ok(())
    }
}

/// The steps of a chain and of the chains in it.
#[derive(Default)]
struct Steps {
    count: usize,
    bytes: usize,
}

impl Steps {
    fn of(chain: SignatureRef<'_>) -> Self {
        let mut steps = Self::default();
        for member in chain.members() {
            let Self { count, bytes } = match member.kind() {
                SignatureKind::Chain => Self::of(member),
                _ => Self { count: 1, bytes: member.size() },
            };
            steps.count = steps.count.saturating_add(count);
            steps.bytes = steps.bytes.saturating_add(bytes);
        }
        // The last step gets the callbacks, and each step all errbacks.
        let errbacks = chain.option_size("link_error").saturating_mul(steps.count);
        steps.bytes = steps.bytes.saturating_add(chain.option_size("link")).saturating_add(errbacks);
        steps
    }
}

/// Returns the first step of a chain.
fn head(chain: SignatureRef<'_>) -> Option<SignatureRef<'_>> {
    let first = chain.members().next()?;
    if first.kind() == SignatureKind::Chain { head(first) } else { Some(first) }
}

/// A signature where it stands. Entries of another type are left out: they are refused later.
#[derive(Clone, Copy)]
enum SignatureRef<'a> {
    Signature(&'a Signature),
    Map(&'a Map),
}

impl<'a> SignatureRef<'a> {
    fn kind(self) -> SignatureKind {
        match self {
            Self::Signature(signature) => signature.kind(),
            Self::Map(entries) => {
                let text = |key| entries.get(key).and_then(Value::as_str);
                text("subtask_type").or_else(|| text("task")).map_or(SignatureKind::Task, SignatureKind::of)
            }
        }
    }

    fn is_immutable(self) -> bool {
        match self {
            Self::Signature(signature) => signature.immutable,
            Self::Map(entries) => entries.get("immutable") == Some(&Value::Bool(true)),
        }
    }

    fn kwarg(self, name: &str) -> Option<&'a Value> {
        let kwargs = match self {
            Self::Signature(signature) => Some(&signature.kwargs),
            Self::Map(entries) => map(entries, "kwargs"),
        };
        kwargs.and_then(|kwargs| kwargs.get(name))
    }

    fn members(self) -> impl Iterator<Item = Self> {
        maps(self.kwarg("tasks"))
    }

    /// Returns the members of the header of a chord, which is a group or a list.
    fn header(self) -> impl Iterator<Item = Self> {
        match self.kwarg("header") {
            Some(Value::Map(group)) => maps(map(group, "kwargs").and_then(|kwargs| kwargs.get("tasks"))),
            list => maps(list),
        }
    }

    /// Returns the size of the body of a chord with the links of the chord: its last step gets the
    /// callbacks, and each step all errbacks.
    fn body_size(self) -> usize {
        let Steps { count, bytes } = match maps(self.kwarg("body")).next() {
            Some(body) if body.kind() == SignatureKind::Chain => Steps::of(body),
            Some(body) => Steps { count: 1, bytes: body.size() },
            None => Steps::default(),
        };
        let errbacks = self.option_size("link_error").saturating_mul(count);
        bytes.saturating_add(self.option_size("link")).saturating_add(errbacks)
    }

    /// Returns the size of the signatures in an option.
    fn option_size(self, name: &str) -> usize {
        let options = match self {
            Self::Signature(signature) => Some(&signature.options),
            Self::Map(entries) => map(entries, "options"),
        };
        sum(items(options.and_then(|options| options.get(name))).map(|item| least_size(item).max(SIGNATURE)))
    }

    fn size(self) -> usize {
        match self {
            Self::Signature(signature) => signature_size(signature),
            Self::Map(entries) => entries_size(entries).max(SIGNATURE),
        }
    }
}

fn map<'a>(entries: &'a Map, key: &str) -> Option<&'a Map> {
    match entries.get(key) {
        Some(Value::Map(entries)) => Some(entries),
        _ => None,
    }
}

/// Returns the signatures of a list, or a single one.
fn maps(value: Option<&Value>) -> impl Iterator<Item = SignatureRef<'_>> {
    items(value).filter_map(|item| match item {
        Value::Map(entries) => Some(SignatureRef::Map(entries)),
        _ => None,
    })
}

/// Returns the items of a list, or a single one.
fn items(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    match value {
        Some(Value::List(items)) => items.as_slice(),
        Some(one @ Value::Map(_)) => std::slice::from_ref(one),
        _ => &[],
    }
    .iter()
}

/// Returns the least size of a signature as it is written.
pub(crate) fn signature_size(signature: &Signature) -> usize {
    let Signature { task, args, kwargs, options, other, .. } = signature;
    let parts = [task.len(), list_size(args), entries_size(kwargs), entries_size(options), entries_size(other)];
    sum(parts.into_iter()).saturating_add(SIGNATURE)
}

/// Returns the least size of a list as it is written, in either codec.
pub(crate) fn list_size(items: &[Value]) -> usize {
    sum(items.iter().map(least_size)).saturating_add(1)
}

/// Returns the least size of a value as it is written, in either codec.
pub(crate) fn least_size(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len() + 1,
        Value::Bytes(bytes) => bytes.len() + 1,
        Value::BigInt(number) => number.as_str().len(),
        Value::List(items) => list_size(items),
        Value::Map(entries) => entries_size(entries),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::UInt(_) | Value::Float(_) | Value::Kombu(_) => 1,
    }
}

fn entries_size(entries: &Map) -> usize {
    sum(entries.iter().map(|(key, value)| key.len().saturating_add(1).saturating_add(least_size(value))))
        .saturating_add(1)
}

fn sum(sizes: impl Iterator<Item = usize>) -> usize {
    sizes.fold(0, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::Codec;

    use super::*;

    const LIMITS: FollowUpLimits = FollowUpLimits { messages: 10, bytes: 10_000, message_size: 5_000 };

    fn signature(text: &str) -> Signature {
        let value = Codec::Json.decode_value(text.as_bytes(), &celeriac_protocol::DecodeLimits::default()).unwrap();
        Signature::from_value(value).unwrap()
    }

    fn size_of(text: &str) -> FollowUpSize {
        let mut size = FollowUpSize::default();
        size.add_signature(&signature(text), 100, 0);
        size
    }

    #[test]
    fn a_task_is_one_message_with_its_first_argument_unless_it_is_immutable() {
        assert_eq!(size_of(r#"{"task":"t"}"#).messages, 1);
        assert!(size_of(r#"{"task":"t"}"#).bytes > 100);
        assert!(size_of(r#"{"task":"t","immutable":true}"#).bytes < 100);
    }

    #[test]
    fn each_step_of_a_chain_and_of_the_chains_in_it_has_all_errbacks() {
        let size = size_of(
            r#"{"task":"celery.chain","kwargs":{"tasks":[{"task":"a"},{"task":"celery.chain","kwargs":{"tasks":
                [{"task":"b"},{"task":"c"}]},"options":{"link_error":{"task":"inner"}}}]},
                "options":{"link_error":[{"task":"x"},{"task":"y"}]}}"#,
        );
        assert_eq!(size.messages, 1);
        // Three steps, six copies of the outer errbacks, two of the inner one, and the argument.
        assert_eq!(size.bytes, 11 * SIGNATURE + 100);
    }

    #[test]
    fn each_member_of_a_group_is_a_message() {
        let group = r#"{"task":"celery.group","kwargs":{"tasks":[{"task":"a"},{"task":"b"}]}}"#;
        assert_eq!(size_of(group).messages, 2);
        let alone = format!(r#"{{"task":"celery.chain","kwargs":{{"tasks":[{group}]}}}}"#);
        assert_eq!(size_of(&alone).messages, 2);
    }

    #[test]
    fn each_member_of_a_chord_carries_the_body_with_the_links_of_the_chord() {
        let size = size_of(
            r#"{"task":"celery.chord","kwargs":{"header":[{"task":"a"},{"task":"b"}],"body":{"task":"celery.chain",
                "kwargs":{"tasks":[{"task":"c"},{"task":"d"}]}}},
                "options":{"link":{"task":"x"},"link_error":[{"task":"y"}]}}"#,
        );
        assert_eq!(size.messages, 2);
        // A member, two steps, a callback, an errback of each step, and the argument; twice.
        assert_eq!(size.bytes, 2 * (6 * SIGNATURE + 100));
        let empty = size_of(r#"{"task":"celery.chord","kwargs":{"header":[],"body":{"task":"c"}}}"#);
        assert_eq!((empty.messages, empty.bytes), (1, SIGNATURE));
    }

    #[test]
    fn sizes_are_never_larger_than_what_is_written() {
        let written = r#"{"task":"t.add","args":[4,"x",null,1.5,[],{}],"kwargs":{"a":[true]},"options":{"link":null}}"#;
        let value = Value::from(signature(written));
        for codec in [Codec::Json, Codec::Msgpack] {
            let bytes = codec.encode_value(&value).unwrap().len();
            assert!(least_size(&value) <= bytes && signature_size(&signature(written)) <= bytes, "{bytes}");
            let bare = codec.encode_value(&Value::from(Signature::new("t"))).unwrap().len();
            assert!(SIGNATURE <= bare, "{bare}");
        }
    }

    #[test]
    fn the_first_limit_that_is_exceeded_is_named_with_its_key() {
        let mut size = FollowUpSize::default();
        size.add(5_000);
        size.add(5_000);
        assert_eq!(size.check(&LIMITS), Ok(()));
        size.add(1);
        let error = size.check(&LIMITS).unwrap_err().to_string();
        assert_eq!(error, "follow-ups too large: 10001 bytes, the limit is 10000 (worker.max_follow_up_size)");
        let mut large = FollowUpSize::default();
        large.add(5_001);
        let error = large.check(&LIMITS).unwrap_err().to_string();
        assert_eq!(error, "follow-up too large: 5001 bytes, the limit is 5000 (broker.max_message_size)");
        (0..11).for_each(|_| large.add(0));
        let error = large.check(&LIMITS).unwrap_err().to_string();
        assert_eq!(error, "too many follow-ups: 12, the limit is 10 (worker.max_follow_ups)");
    }
}
