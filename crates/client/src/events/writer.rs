//! Writes events as JSON.

use std::borrow::Cow;
use std::io::Write;

use celeriac_protocol::repr::repr_json;
use celeriac_protocol::shorten;
use celeriac_telemetry::{MonitorField, MonitorValue};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

/// Longest text of a field, in bytes. Tracebacks are the longest texts.
const LONGEST: usize = 16 << 10;

/// Writes the events of one sender.
#[derive(Debug)]
pub(super) struct EventWriter {
    /// The members that all its events have, as JSON.
    sender: String,
}

impl EventWriter {
    /// Returns the writer of a sender with this name. As in Celery, the zone of this machine is a
    /// number of hours west of UTC.
    pub(super) fn new(hostname: &str, now: Timestamp) -> Self {
        let west = -f64::from(TimeZone::system().to_offset(now).seconds()) / 3600.0;
        let mut sender = Vec::new();
        write(&mut sender, "hostname", hostname);
        // Zero has no sign.
        write(&mut sender, "utcoffset", &(west + 0.0));
        write(&mut sender, "pid", &std::process::id());
        Self { sender: String::from_utf8(sender).unwrap_or_default() }
    }

    /// Returns the beginning of an event: everything except its clock.
    pub(super) fn begin(&self, kind: &str, now: Timestamp, fields: &[MonitorField<'_>]) -> Vec<u8> {
        let mut event = Vec::with_capacity(384);
        event.push(b'{');
        event.extend_from_slice(self.sender.as_bytes());
        write(&mut event, "type", kind);
        write(&mut event, "timestamp", &(now.as_microsecond() as f64 / 1e6));
        for (name, value) in fields {
            write_value(&mut event, name, *value);
        }
        event
    }
}

/// Ends an event with its clock.
pub(super) fn end(event: &mut Vec<u8>, clock: u64) {
    // A vector takes all bytes.
    let _ = write!(event, "\"clock\":{clock}}}");
}

fn write_value(out: &mut Vec<u8>, name: &str, value: MonitorValue<'_>) {
    match value {
        MonitorValue::Null => write(out, name, &()),
        MonitorValue::Absent => {}
        MonitorValue::Text(text) => write(out, name, &shorten(text, LONGEST)),
        MonitorValue::Number(number) => write(out, name, &number),
        MonitorValue::Integer(number) => write(out, name, &number),
        MonitorValue::Numbers(numbers) => write(out, name, numbers),
        MonitorValue::Flag(flag) => write(out, name, &flag),
        MonitorValue::Time(time) => write(out, name, &time),
        MonitorValue::Json(json) => write(out, name, &repr_json(json)),
        MonitorValue::Error(failure) => write(out, name, &Cow::Owned::<str>(failure.python_repr())),
    }
}

/// Writes a member with a comma after it.
fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, name: &str, value: &T) {
    // All these values have a form in JSON, and a vector takes all bytes.
    let _ = serde_json::to_writer(&mut *out, name);
    out.push(b':');
    let _ = serde_json::to_writer(&mut *out, value);
    out.push(b',');
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::Failure;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_an_object_of_json_with_values_as_python_prints_them() {
        let writer = EventWriter::new("w1@\"box\"", Timestamp::UNIX_EPOCH);
        let failure = Failure::new("ValueError", "it's");
        let fields = [
            ("uuid", MonitorValue::Text("1")),
            ("result", MonitorValue::Json("[true, null]")),
            ("exception", MonitorValue::Error(&failure)),
            ("runtime", MonitorValue::Number(0.5)),
            ("active", MonitorValue::Integer(3)),
            ("loadavg", MonitorValue::Numbers(&[1.0, 0.5])),
            ("expired", MonitorValue::Flag(true)),
            ("eta", MonitorValue::Time(Timestamp::UNIX_EPOCH)),
            ("signum", MonitorValue::Null),
        ];
        let mut event = writer.begin("task-failed", Timestamp::from_second(1).unwrap(), &fields);
        end(&mut event, 7);

        let mut read: serde_json::Value = serde_json::from_slice(&event).unwrap();
        assert!(read.as_object_mut().unwrap().remove("utcoffset").unwrap().is_f64());
        let expected = json!({
            "hostname": "w1@\"box\"",
            "pid": std::process::id(),
            "type": "task-failed",
            "timestamp": 1.0,
            "clock": 7,
            "uuid": "1",
            "result": "[True, None]",
            "exception": "ValueError(\"it's\")",
            "runtime": 0.5,
            "active": 3,
            "loadavg": [1.0, 0.5],
            "expired": true,
            "eta": "1970-01-01T00:00:00Z",
            "signum": null,
        });
        assert_eq!(read, expected);
    }

    #[test]
    fn a_long_text_is_cut() {
        let text = "x".repeat(10 * LONGEST);
        let writer = EventWriter::new("w1", Timestamp::UNIX_EPOCH);
        let event = writer.begin("task-failed", Timestamp::UNIX_EPOCH, &[("traceback", MonitorValue::Text(&text))]);
        assert!(event.len() < 2 * LONGEST, "{}", event.len());
    }
}
