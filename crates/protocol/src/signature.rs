//! Signatures: tasks to be called later, and the embed of a task.
//!
//! Any peer may write a signature. Only the entries that a worker needs are read. The others are
//! kept, so that a signature leaves as it arrived.

mod canvas;
mod chord_rules;
mod embed;
mod options;

#[doc(hidden)]
pub use canvas::ChordParts;
pub use chord_rules::{ChordPolicy, ChordRules};
pub use embed::Embed;
pub use options::{Moment, SignatureOptions};

use crate::value::{Map, Value};

/// The keys of a signature.
mod keys {
    pub(super) const TASK: &str = "task";
    pub(super) const ARGS: &str = "args";
    pub(super) const KWARGS: &str = "kwargs";
    pub(super) const OPTIONS: &str = "options";
    pub(super) const SUBTASK_TYPE: &str = "subtask_type";
    pub(super) const IMMUTABLE: &str = "immutable";
    /// Number of members of the chord whose body it is, as Celery writes it.
    pub(super) const CHORD_SIZE: &str = "chord_size";
    /// The chord, if its members are counted in Celeriac's result store.
    pub(super) const JOIN: &str = "celeriac_join";
}

/// A task with some of its arguments and options: Celery's signature.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Signature {
    /// Registered name of the task.
    pub task: String,
    /// Positional arguments, after those of the caller.
    pub args: Vec<Value>,
    /// Named arguments. Those of the caller override them.
    pub kwargs: Map,
    /// Options for sending the task, by Celery's names.
    pub options: Map,
    /// The kind of the signature, if it is not a plain task.
    pub subtask_type: Option<String>,
    /// True if it ignores the arguments of its caller.
    pub immutable: bool,
    /// Other entries, kept as they arrived.
    pub other: Map,
}

/// The kind of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureKind {
    /// One task. This includes tasks that call another one for each of many values.
    Task,
    /// Tasks that run one after the other.
    Chain,
    /// Tasks that run in parallel.
    Group,
    /// A group, and a task that receives all its results.
    Chord,
}

impl SignatureKind {
    /// Returns the kind of this name: the `subtask_type` of a signature, or else its task.
    pub fn of(name: &str) -> Self {
        match name {
            "chain" | "celery.chain" => Self::Chain,
            "group" | "celery.group" => Self::Group,
            "chord" | "celery.chord" => Self::Chord,
            _ => Self::Task,
        }
    }
}

/// A value that is not a valid signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` should be {expected}, got {found}")]
pub struct SignatureError {
    /// The place in the value.
    pub key: String,
    /// The expected form.
    pub expected: &'static str,
    /// The kind of the value.
    pub found: String,
}

impl SignatureError {
    fn new(key: impl Into<String>, expected: &'static str, found: &Value) -> Self {
        Self { key: key.into(), expected, found: found.kind().to_owned() }
    }

    /// Returns the same error for a value inside another one.
    fn within(self, outer: &str) -> Self {
        Self { key: format!("{outer}.{}", self.key), ..self }
    }
}

impl Signature {
    /// Returns the signature of a task without arguments.
    pub fn new(task: impl Into<String>) -> Self {
        Self { task: task.into(), ..Self::default() }
    }

    /// Adds a positional argument.
    #[must_use]
    pub fn arg(mut self, value: impl Into<Value>) -> Self {
        self.args.push(value.into());
        self
    }

    /// Adds a named argument.
    #[must_use]
    pub fn kwarg(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.kwargs.insert(name.into(), value.into());
        self
    }

    /// Sets an option, by Celery's name.
    #[must_use]
    pub fn option(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.options.insert(name.into(), value.into());
        self
    }

    /// Ignores the arguments of its caller.
    #[must_use]
    pub fn immutable(mut self) -> Self {
        self.immutable = true;
        self
    }

    /// Sends the task to this queue.
    #[must_use]
    pub fn queue(self, queue: impl Into<String>) -> Self {
        self.option("queue", queue.into())
    }

    /// Calls another task with the result.
    #[must_use]
    pub fn link(self, callback: Self) -> Self {
        self.linked("link", callback)
    }

    /// Calls another task with the task id after a failure.
    #[must_use]
    pub fn on_error(self, errback: Self) -> Self {
        self.linked("link_error", errback)
    }

    fn linked(mut self, option: &str, signature: Self) -> Self {
        let mut links = match self.options.swap_remove(option) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::List(links)) => links,
            Some(one) => vec![one],
        };
        links.push(signature.into());
        self.options.insert(option.to_owned(), Value::List(links));
        self
    }

    /// Returns the same signature with the arguments of its caller before its own. An immutable one
    /// ignores them.
    #[must_use]
    pub fn called_with(mut self, args: impl IntoIterator<Item = Value>) -> Self {
        if !self.immutable {
            self.args.splice(0..0, args);
        }
        self
    }

    /// Returns the same signature as the body of a chord whose members are counted in the result
    /// store.
    #[doc(hidden)]
    #[must_use]
    pub fn body_of_join(mut self, join: &str, size: usize) -> Self {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        self.other.insert(keys::CHORD_SIZE.to_owned(), size.into());
        self.other.insert(keys::JOIN.to_owned(), join.into());
        self
    }

    /// Returns the chord of a body that [`body_of_join`](Self::body_of_join) has made.
    #[doc(hidden)]
    pub fn join_in(body: &Value) -> Option<&str> {
        match body {
            Value::Map(entries) => entries.get(keys::JOIN).and_then(Value::as_str),
            _ => None,
        }
    }

    /// Returns the same signature with one task at its end: a group is followed by Celery's
    /// `celery.accumulate`, whose result is the list of the members' results.
    ///
    /// # Errors
    /// Returns an error if a step of a chain is not a signature.
    #[doc(hidden)]
    pub fn accumulated(self) -> Result<Self, SignatureError> {
        match self.kind() {
            SignatureKind::Group => {
                let accumulate = Self::new("celery.accumulate").kwarg("index", 0);
                let mut chord = Self::new("celery.chord").kwarg("header", self).kwarg("body", accumulate);
                chord.subtask_type = Some("chord".to_owned());
                Ok(chord)
            }
            SignatureKind::Chain => {
                let mut steps = self.members()?;
                if let Some(last) = steps.pop() {
                    steps.push(last.accumulated()?);
                }
                Ok(self.kwarg("tasks", Value::List(steps.into_iter().map(Value::from).collect())))
            }
            SignatureKind::Task | SignatureKind::Chord => Ok(self),
        }
    }

    /// Changes the task with which this signature ends: the last step of a chain, the body of a
    /// chord, or the task itself. Returns `false` if it ends with a group.
    #[doc(hidden)]
    pub fn change_end(&mut self, change: &mut dyn FnMut(&mut Self)) -> bool {
        let end = match self.kind() {
            SignatureKind::Task => {
                change(self);
                return true;
            }
            SignatureKind::Chain => match self.kwargs.get_mut("tasks") {
                Some(Value::List(tasks)) => tasks.last_mut(),
                _ => None,
            },
            SignatureKind::Chord => self.kwargs.get_mut("body"),
            SignatureKind::Group => None,
        };
        let Some(end) = end else { return false };
        let Ok(mut signature) = Self::read(end) else { return false };
        let is_changed = signature.change_end(change);
        *end = signature.into();
        is_changed
    }

    /// Returns the kind of the signature.
    pub fn kind(&self) -> SignatureKind {
        SignatureKind::of(self.subtask_type.as_deref().unwrap_or(&self.task))
    }

    /// Returns the members of a chain or group.
    ///
    /// # Errors
    /// Returns an error if one is not a valid signature.
    pub fn members(&self) -> Result<Vec<Self>, SignatureError> {
        match self.kwargs.get("tasks") {
            None => Ok(Vec::new()),
            Some(tasks) => Self::read_list("tasks", tasks).map_err(|error| error.within(&self.task)),
        }
    }

    /// Takes the members out of a chain or group.
    ///
    /// # Errors
    /// Returns an error if one is not a valid signature.
    pub fn into_members(mut self) -> Result<Vec<Self>, SignatureError> {
        let tasks = self.kwargs.swap_remove("tasks").unwrap_or_default();
        Self::list_from_value("tasks", tasks).map_err(|error| error.within(&self.task))
    }

    /// Reads a signature.
    ///
    /// # Errors
    /// Returns an error if the value is not a valid signature.
    pub fn read(value: &Value) -> Result<Self, SignatureError> {
        Self::from_value(value.clone())
    }

    /// Makes a signature of a value, without a copy.
    ///
    /// # Errors
    /// Returns an error if the value is not a valid signature.
    pub fn from_value(value: Value) -> Result<Self, SignatureError> {
        let entries = match value {
            Value::Map(entries) => entries,
            other => return Err(SignatureError::new("signature", "an object", &other)),
        };
        let mut read = Self::default();
        for (key, value) in entries {
            match (key.as_str(), value) {
                (keys::TASK, Value::Text(task)) => read.task = task,
                (keys::TASK, other) => return Err(SignatureError::new(keys::TASK, "a string", &other)),
                (keys::ARGS, Value::List(args)) => read.args = args,
                (keys::KWARGS, Value::Map(kwargs)) => read.kwargs = kwargs,
                (keys::OPTIONS, Value::Map(options)) => read.options = options,
                (keys::ARGS | keys::KWARGS | keys::OPTIONS | keys::SUBTASK_TYPE | keys::IMMUTABLE, Value::Null) => {}
                (keys::ARGS, other) => return Err(SignatureError::new(keys::ARGS, "a list", &other)),
                (keys::KWARGS, other) => return Err(SignatureError::new(keys::KWARGS, "an object", &other)),
                (keys::OPTIONS, other) => return Err(SignatureError::new(keys::OPTIONS, "an object", &other)),
                (keys::SUBTASK_TYPE, Value::Text(kind)) => read.subtask_type = Some(kind),
                (keys::SUBTASK_TYPE, other) => {
                    return Err(SignatureError::new(keys::SUBTASK_TYPE, "a string or null", &other));
                }
                (keys::IMMUTABLE, Value::Bool(immutable)) => read.immutable = immutable,
                (keys::IMMUTABLE, other) => return Err(SignatureError::new(keys::IMMUTABLE, "true or false", &other)),
                (_, value) => drop(read.other.insert(key, value)),
            }
        }
        if read.task.is_empty() {
            return Err(SignatureError::new(keys::TASK, "the name of a task", &Value::Null));
        }
        Ok(read)
    }

    /// Reads a list of signatures, a single one, or nothing.
    pub(crate) fn read_list(key: &str, value: &Value) -> Result<Vec<Self>, SignatureError> {
        Self::list_from_value(key, value.clone())
    }

    /// Makes signatures of a list, a single one, or nothing, without a copy.
    pub(crate) fn list_from_value(key: &str, value: Value) -> Result<Vec<Self>, SignatureError> {
        let read = |(index, value)| Self::from_value(value).map_err(|error| error.within(&format!("{key}[{index}]")));
        match value {
            Value::Null => Ok(Vec::new()),
            Value::List(items) => items.into_iter().enumerate().map(read).collect(),
            one @ Value::Map(_) => Ok(vec![Self::from_value(one).map_err(|error| error.within(key))?]),
            other => Err(SignatureError::new(key, "a list of signatures", &other)),
        }
    }
}

impl From<Signature> for Value {
    fn from(signature: Signature) -> Self {
        let Signature { task, args, kwargs, options, subtask_type, immutable, other } = signature;
        let own = [
            (keys::TASK, Self::Text(task)),
            (keys::ARGS, Self::List(args)),
            (keys::KWARGS, Self::Map(kwargs)),
            (keys::OPTIONS, Self::Map(options)),
            (keys::SUBTASK_TYPE, subtask_type.map_or(Self::Null, Self::Text)),
            (keys::IMMUTABLE, Self::Bool(immutable)),
        ];
        Self::Map(own.into_iter().map(|(key, value)| (key.to_owned(), value)).chain(other).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    const ADD: &str = r#"{"task":"t.add","args":[4],"kwargs":{},"options":{"task_id":"5ea3","reply_to":"b8ba"},
        "subtask_type":null,"immutable":false,"chord_size":null}"#;

    #[test]
    fn a_signature_leaves_as_it_came() {
        let value = from_json(ADD);
        let signature = Signature::read(&value).unwrap();
        assert_eq!((signature.task.as_str(), signature.kind()), ("t.add", SignatureKind::Task));
        assert_eq!(Value::from(signature), value);
    }

    #[test]
    fn arguments_of_the_caller_come_first_unless_there_are_to_be_none() {
        let signature = Signature::read(&from_json(ADD)).unwrap();
        assert_eq!(signature.clone().called_with([Value::Int(3)]).args, [Value::Int(3), Value::Int(4)]);
        assert_eq!(signature.immutable().called_with([Value::Int(3)]).args, [Value::Int(4)]);
    }

    #[test]
    fn links_are_added_to_those_that_are_there() {
        let one = from_json(r#"{"task":"t.a","options":{"link":{"task":"t.b"}}}"#);
        let both = Signature::read(&one).unwrap().link(Signature::new("t.c"));
        let links = Signature::read_list("link", &both.options["link"]).unwrap();
        assert_eq!(links.iter().map(|link| link.task.as_str()).collect::<Vec<_>>(), ["t.b", "t.c"]);
    }

    #[test]
    fn the_members_of_a_chain_are_signatures_themselves() {
        let chain = from_json(
            r#"{"task":"celery.chain","subtask_type":"chain","kwargs":{"tasks":[{"task":"a"},{"task":"b"}]}}"#,
        );
        let chain = Signature::read(&chain).unwrap();
        assert_eq!(chain.kind(), SignatureKind::Chain);
        assert_eq!(chain.members().unwrap(), [Signature::new("a"), Signature::new("b")]);
    }

    #[test]
    fn what_is_no_signature_is_said_so() {
        let cases = [
            ("7", "`signature` should be an object, got an integer"),
            ("{}", "`task` should be the name of a task, got null"),
            (r#"{"task":[]}"#, "`task` should be a string, got a list"),
            (r#"{"task":"a","args":{}}"#, "`args` should be a list, got an object"),
            (r#"{"task":"a","immutable":1}"#, "`immutable` should be true or false, got an integer"),
        ];
        for (text, message) in cases {
            assert_eq!(Signature::read(&from_json(text)).unwrap_err().to_string(), message);
        }
        let nested = from_json(r#"{"task":"celery.group","kwargs":{"tasks":[{"task":"a"},{"task":7}]}}"#);
        assert_eq!(
            Signature::read(&nested).unwrap().members().unwrap_err().to_string(),
            "`celery.group.tasks[1].task` should be a string, got an integer"
        );
    }
}
