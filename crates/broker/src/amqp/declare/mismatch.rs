//! RabbitMQ's message about an object that differs from its declaration. Pure.

use celeriac_topology::{Argument, Arguments};

use crate::error::Error;

/// A differing argument, from RabbitMQ's message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Inequivalent {
    /// The object with the argument, such as ``queue `mail` ``.
    pub(crate) object: String,
    pub(crate) argument: String,
    /// The value that was declared.
    pub(crate) received: ReportedValue,
    /// The value on the broker.
    pub(crate) current: ReportedValue,
}

/// A value, in RabbitMQ's notation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ReportedValue {
    Nothing,
    Value {
        text: String,
        kind: String,
    },
    /// The message was cut off at AMQP's limit of 255 bytes.
    CutOff,
}

impl Inequivalent {
    /// Reads RabbitMQ's text,
    /// `inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received … but current is …`.
    pub(crate) fn read(said: &str) -> Option<Self> {
        let (_, said) = said.split_once("inequivalent arg '")?;
        let (argument, said) = said.split_once("' for ")?;
        let (object, said) = said.split_once("' in vhost '").unwrap_or((said, ""));
        let (what, name) = object.split_once(" '").unwrap_or((object, "?"));
        let said = said.split_once("': received ").map_or("", |(_, said)| said);
        let (received, current) = said.split_once(" but current is ").unwrap_or((said, ""));
        Some(Self {
            object: format!("{what} `{name}`"),
            argument: argument.to_owned(),
            received: ReportedValue::read(received),
            current: ReportedValue::read(current),
        })
    }

    /// Sets an argument to the broker's value. Returns `false` if that cannot be read.
    pub(crate) fn take_over(&self, name: &str, arguments: &mut Arguments) -> bool {
        match (&self.current, self.current.argument()) {
            (_, Some(value)) => drop(arguments.insert(name.to_owned(), value)),
            (ReportedValue::Nothing, None) => drop(arguments.remove(name)),
            _ => return false,
        }
        true
    }

    /// Returns the error for the user. It has `expected`, or else the value that RabbitMQ received.
    pub(crate) fn into_error(self, expected: Option<&str>) -> Error {
        let show = |said: &ReportedValue| match said {
            // RabbitMQ makes a classic queue if no type is declared.
            ReportedValue::Nothing if self.argument == "x-queue-type" => "`classic`".to_owned(),
            said => said.show(),
        };
        Error::Mismatch {
            found: show(&self.current),
            expected: expected.map_or_else(|| show(&self.received), |expected| format!("`{expected}`")),
            object: self.object,
            argument: self.argument,
        }
    }
}

impl ReportedValue {
    fn read(text: &str) -> Self {
        if text == "none" {
            return Self::Nothing;
        }
        let whole = || {
            if let Some(text) = text.strip_prefix("the value '") {
                let (value, kind) = text.rsplit_once("' of type '")?;
                return Some((value, kind.strip_suffix('\'')?));
            }
            Some((text.strip_prefix('\'')?.strip_suffix('\'')?, ""))
        };
        match whole() {
            Some((value, kind)) => Self::Value { text: value.to_owned(), kind: kind.to_owned() },
            None => Self::CutOff,
        }
    }

    /// Returns the value, or `None` if nothing is set.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Value { text, .. } => Some(text.clone()),
            Self::CutOff => Some("another".to_owned()),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Nothing => "not set".to_owned(),
            Self::Value { text, .. } => format!("`{text}`"),
            Self::CutOff => "another".to_owned(),
        }
    }

    /// Returns the value as an argument that RabbitMQ considers equal.
    pub(crate) fn argument(&self) -> Option<Argument> {
        let Self::Value { text, kind } = self else { return None };
        match kind.as_str() {
            "longstr" => Some(Argument::Text(text.clone())),
            "bool" => text.parse().ok().map(Argument::Flag),
            _ => text.parse().ok().map(Argument::Number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, kind: &str) -> ReportedValue {
        ReportedValue::Value { text: text.to_owned(), kind: kind.to_owned() }
    }

    #[test]
    fn a_difference_is_understood() {
        let cases = [
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'mail' in vhost '/': received the value \
                 'quorum' of type 'longstr' but current is none",
                ("queue `mail`", "x-queue-type", value("quorum", "longstr"), ReportedValue::Nothing),
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-max-priority' for queue 'it's' in vhost '/': received none but \
                 current is the value '10' of type 'signedint'",
                ("queue `it's`", "x-max-priority", ReportedValue::Nothing, value("10", "signedint")),
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost 'v': received 'true' but current \
                 is 'false'",
                ("queue `q`", "durable", value("true", ""), value("false", "")),
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'x' in vhost '/': received 'direct' but \
                 current is 'topic'",
                ("exchange `x`", "type", value("direct", ""), value("topic", "")),
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-dead-letter-exchange' for queue 'q' in vhost '/': received the \
                 value 'abc...",
                ("queue `q`", "x-dead-letter-exchange", ReportedValue::CutOff, ReportedValue::CutOff),
            ),
        ];
        for (said, (object, argument, received, current)) in cases {
            let expected = Inequivalent { object: object.to_owned(), argument: argument.to_owned(), received, current };
            assert_eq!(Inequivalent::read(said), Some(expected), "{said}");
        }
        assert_eq!(Inequivalent::read("NOT_FOUND - no queue 'q' in vhost '/'"), None);
    }

    #[test]
    fn the_error_says_what_is_and_what_should_be() {
        let said = "inequivalent arg 'x-queue-type' for queue 'mail' in vhost '/': received the value 'quorum' of type \
                    'longstr' but current is none";
        let error = Inequivalent::read(said).unwrap().into_error(Some("quorum"));
        assert_eq!(
            error.to_string(),
            "cannot declare queue `mail`: x-queue-type is `classic` on the broker, `quorum` in the configuration"
        );
    }

    #[test]
    fn an_existing_object_can_be_declared_as_it_is() {
        assert_eq!(value("x", "longstr").argument(), Some(Argument::Text("x".to_owned())));
        assert_eq!(value("10", "signedint").argument(), Some(Argument::Number(10)));
        assert_eq!(value("true", "bool").argument(), Some(Argument::Flag(true)));
        assert_eq!(ReportedValue::Nothing.argument(), None);
    }
}
