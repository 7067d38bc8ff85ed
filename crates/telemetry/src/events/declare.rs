//! The macro that declares an event.

/// Declares an event: its struct, and its log line, span event, counter, histogram and gauge.
///
/// ```text
/// event! {
///     /// An attempt failed, and another will follow.
///     pub struct TaskRetried<'a> {
///         /// Task name.
///         task: &'a str,
///         /// Task id.
///         id: &'a str,
///         /// Number of the attempt that failed, from 1.
///         attempt: u32,
///         /// Time until the next attempt.
///         wait: Duration,
///     }
///     log: WARN "task retried" { task, attempt, retry_in_seconds = wait.as_secs_f64() };
///     span: "retried" { "celeriac.retry.wait" = wait };
///     celery: "task-retried" { "uuid" = id };
///     count: TASKS_RETRIED { "celeriac.task.name" = task };
///     time: RETRY_WAIT(wait);
///     size: ATTEMPTS(attempt);
/// }
/// ```
///
/// - `log` has the level, the phrase and the fields of the log line. A field has the value of the
///   struct's field of that name, or the value after `=`. Its target is the module's `TARGET`.
/// - `span` has the name and the attributes of the span event.
/// - `celery` has the type of the event in Celery's protocol, or an expression of it in
///   parentheses, and its fields. The events of a message that is processed are told to monitors.
/// - `count` has a counter of [`crate::metrics`] and its attributes. It adds one, or the number in
///   the field in parentheses.
/// - `time` has a histogram, the field that it records, and attributes.
/// - `gauge` has a gauge, and the field with its present number.
/// - `size` has a histogram of numbers, and the field that it records.
///
/// All but `log` are optional; the order is fixed. Expressions use the fields by name.
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
        log: $level:ident $phrase:literal $({ $($logged:ident $(= $logged_value:expr)?),+ $(,)? })?;
        $(span: $event:literal $({ $($key:literal = $value:expr),+ })?;)?
        $(celery: $monitored:tt { $($field_name:literal = $field_value:expr),+ $(,)? };)?
        $(count: $counter:ident $(($number:ident))? $({ $($count_key:literal = $count_value:expr),+ })?;)?
        $(time: $histogram:ident($duration:ident) $({ $($time_key:literal = $time_value:expr),+ })?;)?
        $(gauge: $gauge:ident($present:ident);)?
        $(size: $sizes:ident($size:ident);)?
    ) => {
        impl $(<$lifetime>)? $crate::events::Event for $name $(<$lifetime>)? {
            const LEVEL: tracing::Level = tracing::Level::$level;

            fn emit(&self) {
                event!(@bind self $fields);
                $(
                    let number = event!(@number $($number)?);
                    $counter.add(number, || [$($($crate::metrics::attribute($count_key, $count_value)),+)?]);
                )?
                $(
                    $histogram.record($duration, || [$($($crate::metrics::attribute($time_key, $time_value)),+)?]);
                )?
                $($gauge.set($present);)?
                $($sizes.record_number($size);)?
                tracing::event!(
                    target: TARGET,
                    tracing::Level::$level,
                    $($($logged = event!(@logged $logged $($logged_value)?),)+)?
                    $phrase
                );
            }

            $(
                fn add_to_span(&self, add_event: &mut dyn FnMut(&'static str, &[$crate::events::Attribute<'_>])) {
                    event!(@bind self $fields);
                    add_event($event, &[$($(($key, $value.into())),+)?]);
                }
            )?

            $(
                fn tell_monitors(&self, tell: &mut dyn FnMut(&'static str, &[$crate::monitors::MonitorField<'_>])) {
                    event!(@bind self $fields);
                    tell($monitored, &[$(($field_name, $crate::monitors::MonitorValue::from($field_value))),+]);
                }
            )?
        }
    };
    (@logged $logged:ident) => { $logged };
    (@logged $logged:ident $value:expr) => { $value };
    (@number) => { 1_u64 };
    (@number $number:ident) => { $number };
    (@bind $self:ident []) => {};
    (@bind $self:ident [$($field:ident)+]) => {
        let Self { $($field),+ } = *$self;
        // A part of a declaration may leave fields unused.
        let _ = ($($field,)+);
    };
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;
    use std::time::Duration;

    use opentelemetry::KeyValue;
    use opentelemetry::metrics::{Counter, Gauge, Histogram, MeterProvider};
    use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ScopeMetrics};
    use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
    use tracing::Level;

    use crate::events::{AttributeValue, Event};
    use crate::metrics::{self, Metric};
    use crate::monitors::MonitorValue;
    use crate::options::{LogFormat, LogOptions};
    use crate::setup::testing::{Captured, subscriber};

    const TARGET: &str = "celeriac::test";

    static CALLS: Metric<Counter<u64>> = Metric::new("test.calls", "{call}", "Calls.");
    static ITEMS: Metric<Counter<u64>> = Metric::new("test.items", "{item}", "Items.");
    static SIZES: Metric<Histogram<u64>> = Metric::new("test.sizes", "{item}", "Sizes.");
    static WAITS: Metric<Histogram<f64>> = Metric::new("test.waits", "s", "Waits.");
    static DEPTH: Metric<Gauge<u64>> = Metric::new("test.depth", "{item}", "Items that wait.");

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
        log: WARN "task waits" { task, attempt, wait_seconds = wait.as_secs_f64() };
        span: "waiting" { "celeriac.wait" = wait, "celeriac.task.name" = task };
        celery: (if attempt > 1 { "task-again" } else { "task-first" }) { "name" = task, "wait" = wait };
        count: CALLS { "celeriac.task.name" = task, "test.constant" = "yes" };
        time: WAITS(wait) { "celeriac.task.name" = task };
    }

    event! {
        /// An event with a log line and no field.
        struct Plain;
        log: DEBUG "nothing to add";
    }

    event! {
        /// An event whose counter adds more than one.
        struct Batch {
            /// Number of items.
            items: usize,
        }
        log: TRACE "a batch";
        count: ITEMS(items);
        size: SIZES(items);
    }

    event! {
        /// An event with a present number.
        struct Depth {
            /// Number of items.
            items: u64,
        }
        log: TRACE "items wait";
        gauge: DEPTH(items);
    }

    /// Returns the log lines of `work`, as JSON without their time.
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
    fn the_log_line_has_level_target_phrase_and_fields() {
        let line = serde_json::json!({
            "level": "WARN", "target": "celeriac::test", "message": "task waits", "task": "orders.charge", "attempt": 2,
            "wait_seconds": 1.5,
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
    fn monitors_are_told_type_and_fields() {
        let expected = [("name", MonitorValue::Text("orders.charge")), ("wait", MonitorValue::Number(1.5))];
        let mut told = 0;
        complete().tell_monitors(&mut |kind, fields| {
            assert_eq!((kind, fields), ("task-again", &expected[..]));
            told += 1;
        });
        assert_eq!(told, 1);
        Plain.tell_monitors(&mut |kind, _| panic!("told of {kind}"));
    }

    /// Returns a metric's unit, and the attributes and values of its points.
    fn exported(name: &str) -> (String, Vec<(Vec<KeyValue>, f64)>) {
        meters().force_flush().unwrap();
        let exported = exporter().get_finished_metrics().unwrap();
        let scopes = exported.last().unwrap().scope_metrics();
        let metric = scopes.flat_map(ScopeMetrics::metrics).find(|metric| metric.name() == name).unwrap();
        let points = match metric.data() {
            AggregatedMetrics::U64(MetricData::Sum(sum)) => sum
                .data_points()
                .map(|point| (point.attributes().cloned().collect(), f64::from(u32::try_from(point.value()).unwrap())))
                .collect(),
            AggregatedMetrics::U64(MetricData::Histogram(histogram)) => histogram
                .data_points()
                .map(|point| (point.attributes().cloned().collect(), f64::from(u32::try_from(point.sum()).unwrap())))
                .collect(),
            AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                histogram.data_points().map(|point| (point.attributes().cloned().collect(), point.sum())).collect()
            }
            AggregatedMetrics::U64(MetricData::Gauge(gauge)) => gauge
                .data_points()
                .map(|point| (point.attributes().cloned().collect(), f64::from(u32::try_from(point.value()).unwrap())))
                .collect(),
            other => panic!("{other:?}"),
        };
        (metric.unit().to_owned(), points)
    }

    fn exporter() -> &'static InMemoryMetricExporter {
        static EXPORTER: OnceLock<InMemoryMetricExporter> = OnceLock::new();
        EXPORTER.get_or_init(InMemoryMetricExporter::default)
    }

    fn meters() -> &'static SdkMeterProvider {
        static METERS: OnceLock<SdkMeterProvider> = OnceLock::new();
        METERS.get_or_init(|| {
            let reader = PeriodicReader::builder(exporter().clone()).build();
            let meters = SdkMeterProvider::builder().with_reader(reader).build();
            metrics::install(meters.meter("test")).unwrap();
            meters
        })
    }

    #[test]
    fn an_event_is_counted_and_timed_whatever_the_log_level() {
        meters();
        lines("off", || {
            complete().emit();
            complete().emit();
            Batch { items: 7 }.emit();
            Batch { items: 5 }.emit();
            Depth { items: 9 }.emit();
            Depth { items: 4 }.emit();
        });
        let task = metrics::attribute("celeriac.task.name", "orders.charge");
        let constant = metrics::attribute("test.constant", "yes");
        assert_eq!(exported("test.calls"), ("{call}".to_owned(), vec![(vec![task.clone(), constant], 2.0)]));
        assert_eq!(exported("test.items"), ("{item}".to_owned(), vec![(vec![], 12.0)]));
        assert_eq!(exported("test.depth"), ("{item}".to_owned(), vec![(vec![], 4.0)]));
        assert_eq!(exported("test.sizes"), ("{item}".to_owned(), vec![(vec![], 12.0)]));
        assert_eq!(exported("test.waits"), ("s".to_owned(), vec![(vec![task], 3.0)]));
    }
}
