//! The macro that declares an event.

/// Declares an event: its struct, and everything that emitting it does.
///
/// ```text
/// event! {
///     /// An attempt failed, and another will follow.
///     pub struct TaskRetried<'a> {
///         /// Task name.
///         task: &'a str,
///         /// Number of the attempt that failed, from 1.
///         attempt: u32,
///         /// Time until the next attempt.
///         wait: Duration,
///     }
///     log: WARN { attempt } "{task} tries again in {:.3}s", wait.as_secs_f64();
///     span: "retried" { "celeriac.retry.wait" = wait };
///     count: count_task(task, TaskCounter::Retried);
/// }
/// ```
///
/// `log` names the fields that the log line has beside its text; its target is the module's `TARGET`. `span` and `count`
/// may be absent, the order is fixed. Texts and expressions see the fields by their names.
macro_rules! event {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident;
        $($parts:tt)+
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy)]
        $visibility struct $name;

        event!(@implement [$name] [] $($parts)+);
    };
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident $(<$lifetime:lifetime>)? {
            $($(#[$field_attribute:meta])* $field:ident: $type:ty,)+
        }
        $($parts:tt)+
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy)]
        $visibility struct $name $(<$lifetime>)? {
            $($(#[$field_attribute])* $visibility $field: $type,)+
        }

        event!(@implement [$name $(<$lifetime>)?] [$($field)+] $($parts)+);
    };
    (
        @implement [$name:ident $(<$lifetime:lifetime>)?] $fields:tt
        log: $level:ident $({ $($logged:ident),+ })? $text:literal $(, $argument:expr)*;
        $(span: $event:literal $({ $($key:literal = $value:expr),+ })?;)?
        $(count: $($count:expr),+;)?
    ) => {
        impl $(<$lifetime>)? $crate::events::Event for $name $(<$lifetime>)? {
            const LEVEL: tracing::Level = tracing::Level::$level;

            fn emit(&self) {
                event!(@bind self $fields);
                $($($count;)+)?
                tracing::event!(
                    target: TARGET,
                    tracing::Level::$level,
                    $($($logged = $logged,)+)?
                    $text $(, $argument)*
                );
            }

            $(
                fn add_to_span(&self, add_event: &mut dyn FnMut(&'static str, &[$crate::events::Attribute<'_>])) {
                    event!(@bind self $fields);
                    add_event($event, &[$($(($key, $value.into())),+)?]);
                }
            )?
        }
    };
    (@bind $self:ident []) => {};
    (@bind $self:ident [$($field:ident)+]) => {
        let Self { $($field),+ } = *$self;
        // Not every part of a declaration uses every field.
        let _ = ($($field,)+);
    };
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use tracing::Level;

    use crate::events::{AttributeValue, Event};
    use crate::options::{LogFormat, LogOptions};
    use crate::setup::testing::{Captured, subscriber};

    const TARGET: &str = "celeriac::test";

    thread_local! {
        static COUNTED: Cell<u32> = const { Cell::new(0) };
    }

    fn count(number: u32) {
        COUNTED.set(COUNTED.get() + number);
    }

    event! {
        /// An event with every part.
        struct Complete<'a> {
            /// Task name.
            task: &'a str,
            /// Number of the attempt.
            attempt: u32,
            /// Time.
            wait: Duration,
        }
        log: WARN { attempt } "{task} waits for {:.3}s", wait.as_secs_f64();
        span: "waiting" { "celeriac.wait" = wait, "celeriac.task.name" = task };
        count: count(attempt), count(10);
    }

    event! {
        /// An event with a log line and no field.
        struct Plain;
        log: DEBUG "nothing to add";
    }

    /// The log lines of `work`, as JSON without their time.
    fn lines(level: &str, work: impl FnOnce()) -> Vec<serde_json::Value> {
        let captured = Captured::default();
        let options = LogOptions { level: level.to_owned(), format: LogFormat::Json };
        tracing::dispatcher::with_default(&subscriber(&options, captured.clone(), None), work);
        let read = |line: &str| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            line.as_object_mut().unwrap().remove("timestamp");
            line
        };
        captured.text().lines().map(read).collect()
    }

    fn complete() -> Complete<'static> {
        Complete { task: "orders.charge", attempt: 2, wait: Duration::from_millis(1500) }
    }

    #[test]
    fn the_log_line_has_level_target_text_and_the_fields_named() {
        let line = serde_json::json!({
            "level": "WARN", "target": "celeriac::test", "message": "orders.charge waits for 1.500s", "attempt": 2,
        });
        assert_eq!(lines("debug", || complete().emit()), [line]);
        let line = serde_json::json!({"level": "DEBUG", "target": "celeriac::test", "message": "nothing to add"});
        assert_eq!(lines("debug", || Plain.emit()), [line]);
        assert_eq!(lines("error", || complete().emit()), [] as [serde_json::Value; 0]);
        assert_eq!((Complete::LEVEL, Plain::LEVEL), (Level::WARN, Level::DEBUG));
    }

    #[test]
    fn the_span_event_has_its_name_and_attributes() {
        let expected = [("celeriac.wait", AttributeValue::Number(1.5)), ("celeriac.task.name", "orders.charge".into())];
        let mut events = 0;
        complete().add_to_span(&mut |name, attributes| {
            assert_eq!((name, attributes), ("waiting", &expected[..]));
            events += 1;
        });
        assert_eq!(events, 1);
        Plain.add_to_span(&mut |name, _| panic!("a span event {name}"));
    }

    #[test]
    fn every_count_is_made_whatever_the_log_level() {
        let before = COUNTED.get();
        lines("off", || complete().emit());
        assert_eq!(COUNTED.get() - before, 12);
    }
}
