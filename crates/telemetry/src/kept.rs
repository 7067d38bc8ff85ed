//! The log lines of an attempt, kept for its row.
//!
//! The span that names a task carries a buffer, to which `lines` adds each line that it writes. The
//! buffer redacts each line before it counts its bytes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use celeriac_config::ByteSize;
use celeriac_protocol::redact::RedactedValues;

thread_local! {
    /// The buffer of the span that this thread makes.
    static NEXT: RefCell<Option<LineBuffer>> = const { RefCell::new(None) };
}

/// The log lines of an attempt, as they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLog {
    /// The lines. A mark stands in place of those that were left out.
    pub text: String,
    /// Number of lines in the text, without the mark.
    pub lines: usize,
    /// Number of lines that were left out.
    pub left_out: usize,
}

/// A bounded buffer of log lines. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct LineBuffer(Arc<Mutex<Lines>>);

impl LineBuffer {
    /// Returns an empty buffer for at most this much text.
    pub(crate) fn new(most: ByteSize) -> Self {
        Self(Arc::new(Mutex::new(Lines::new(most))))
    }

    /// Makes a span that carries this buffer, if a layer takes it with [`next`].
    pub(crate) fn carried_by<T>(&self, make: impl FnOnce() -> T) -> T {
        NEXT.set(Some(self.clone()));
        let made = make();
        // Nothing takes it if the span is disabled, or if the program has a subscriber of its own.
        NEXT.take();
        made
    }

    /// Replaces these values in all further lines.
    pub(crate) fn redact(&self, values: &RedactedValues) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).redacted = values.clone();
    }

    /// Adds a line, which ends with a line break.
    pub(crate) fn push(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Returns the lines so far, or `None` if there are none.
    pub(crate) fn log(&self) -> Option<KeptLog> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).log()
    }
}

/// Returns the buffer for the span that this thread makes.
pub(crate) fn next() -> Option<LineBuffer> {
    NEXT.take()
}

/// The first lines, and the last ones: an attempt that logs much may fail at its end.
#[derive(Debug)]
struct Lines {
    most: ByteSize,
    redacted: RedactedValues,
    first: String,
    first_lines: usize,
    last: VecDeque<String>,
    last_bytes: usize,
    left_out: usize,
    left_out_bytes: usize,
}

impl Lines {
    fn new(most: ByteSize) -> Self {
        Self {
            most,
            redacted: RedactedValues::default(),
            first: String::new(),
            first_lines: 0,
            last: VecDeque::new(),
            last_bytes: 0,
            left_out: 0,
            left_out_bytes: 0,
        }
    }

    fn push(&mut self, mut line: String) {
        if !self.redacted.is_empty() {
            line = format!("{}\n", self.redacted.remove_from(line.trim_end_matches('\n')));
        }
        let half = usize::try_from(self.most.bytes() / 2).unwrap_or(usize::MAX);
        if self.last.is_empty() && self.left_out == 0 && self.first.len() + line.len() <= half {
            self.first.push_str(&line);
            self.first_lines += 1;
        } else if line.len() > half {
            // It would push out all others, and then itself.
            self.leave_out(line.len());
        } else {
            self.last_bytes += line.len();
            self.last.push_back(line);
            while self.last_bytes > half {
                let Some(line) = self.last.pop_front() else { break };
                self.last_bytes -= line.len();
                self.leave_out(line.len());
            }
        }
    }

    fn leave_out(&mut self, bytes: usize) {
        self.left_out += 1;
        self.left_out_bytes += bytes;
    }

    fn log(&self) -> Option<KeptLog> {
        let lines = self.first_lines + self.last.len();
        if lines + self.left_out == 0 {
            return None;
        }
        let mut text = self.first.clone();
        if self.left_out > 0 {
            let (count, kib, most) = (self.left_out, self.left_out_bytes.div_ceil(1 << 10), self.most);
            let lines = if count == 1 { "line" } else { "lines" };
            let _ = writeln!(text, "… {count} {lines} ({kib} KiB) left out: results.logs is {most}");
        }
        text.extend(self.last.iter().map(String::as_str));
        text.truncate(text.trim_end_matches('\n').len());
        Some(KeptLog { text, lines, left_out: self.left_out })
    }
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::redact::redact;
    use celeriac_protocol::task::FieldPaths;
    use celeriac_protocol::{HeaderMap, Map, Value};
    use futures::FutureExt;
    use tracing::{debug, info, info_span};

    use super::*;
    use crate::options::{LogFormat, LogOptions};
    use crate::setup::testing::{Captured, subscriber};
    use crate::trace::{ProcessInfo, ProcessSpan};

    fn span(id: &str, kept_logs: Option<ByteSize>) -> ProcessSpan {
        let (queue, worker) = (Arc::from("q"), Arc::from("w"));
        let info = ProcessInfo {
            task: "t",
            id,
            queue: &queue,
            exchange: "",
            routing_key: "q",
            attempt: 1,
            delay: None,
            redelivered: false,
            delivery_tag: 1,
            worker: &worker,
            kept_logs,
            monitors: None,
        };
        ProcessSpan::start(&HeaderMap::new(), &info)
    }

    #[test]
    fn the_lines_of_a_task_are_kept_as_the_log_has_them_without_its_own_fields() {
        for (format, level) in [(LogFormat::Text, "info"), (LogFormat::Json, "info"), (LogFormat::Text, "off")] {
            let options = LogOptions { format, level: level.to_owned() };
            let captured = Captured::default();
            let work = || {
                let [kept, other] =
                    [("kept", Some(ByteSize::mib(1))), ("other", None)].map(|(id, most)| span(id, most));
                info!(target: "app", "outside");
                other.run(async { info!(target: "app", "of another") }).now_or_never().unwrap();
                assert_eq!((kept.kept_log(), other.kept_log()), (None, None));
                let inside = async {
                    debug!(target: "app", "not logged");
                    info_span!(target: "app", "step", n = 7).in_scope(|| info!(target: "app", "inside"));
                };
                kept.run(inside).now_or_never().unwrap();
                kept.run_blocking(|| info!(target: "app", at = 1, "blocking"))();
                kept.kept_log()
            };
            let log = tracing::dispatcher::with_default(&subscriber(&options, captured.clone(), None), work);
            let lines = log.iter().flat_map(|log| log.text.lines());
            let lines: Vec<_> = lines.map(|line| line.split_once("  ").unwrap().1).collect();
            let expected = ["INFO app: step{n=7}: inside", "INFO app: blocking at=1"];
            assert_eq!(lines, if level == "off" { &[][..] } else { &expected });
            assert_eq!(captured.text().contains("kept"), level != "off", "the log has the fields");
        }
    }

    fn logged(most: u64, lines: impl IntoIterator<Item = String>) -> KeptLog {
        let buffer = LineBuffer::new(ByteSize::new(most));
        lines.into_iter().for_each(|line| buffer.push(line));
        buffer.log().unwrap()
    }

    fn numbers(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
        range.map(|number| format!("line {number:04}\n"))
    }

    #[test]
    fn a_redacted_value_counts_as_its_mark() {
        let buffer = LineBuffer::new(ByteSize::new(1_024));
        let mut args = [Value::from("4111")];
        buffer.redact(&redact(&FieldPaths::of(&["*"]), None, &mut args, &mut Map::default()));
        (0..1_000).for_each(|_| buffer.push("card 4111\n".to_owned()));
        let log = buffer.log().unwrap();
        assert!(log.text.lines().all(|line| line == "card [redacted]" || line.starts_with('…')), "{}", log.text);
        assert_eq!((log.lines, log.text.len() < 1_024 + 100), (64, true));
    }

    #[test]
    fn lines_within_the_bound_are_kept_as_they_are() {
        let kept = logged(1_000, numbers(0..100));
        let text: String = numbers(0..100).collect();
        assert_eq!(kept, KeptLog { text: text.trim_end().to_owned(), lines: 100, left_out: 0 });
        assert_eq!(LineBuffer::new(ByteSize::new(1_000)).log(), None);
    }

    #[test]
    fn beyond_the_bound_the_first_and_the_last_lines_stay_with_a_mark_between_them() {
        let kept = logged(2_048, numbers(0..1_000));
        let lines: Vec<_> = kept.text.lines().collect();
        let mark = lines.iter().position(|line| line.starts_with('…')).unwrap();
        assert_eq!(lines[mark], "… 796 lines (8 KiB) left out: results.logs is 2KiB");
        assert_eq!((lines[0], lines[mark - 1]), ("line 0000", "line 0101"));
        assert_eq!((lines[mark + 1], lines.last().copied()), ("line 0898", Some("line 0999")));
        assert_eq!((kept.lines, kept.left_out), (204, 796));
        assert!(kept.text.len() <= 2_048 + lines[mark].len() + 1, "{}", kept.text.len());
    }

    #[test]
    fn a_line_beyond_the_bound_leaves_the_others_in_place() {
        let long = || std::iter::once(format!("{}\n", "x".repeat(5_000)));
        let kept = logged(1_024, numbers(0..2).chain(long()).chain(numbers(2..4)));
        let mark = "… 1 line (5 KiB) left out: results.logs is 1KiB";
        assert_eq!(kept.text, format!("line 0000\nline 0001\n{mark}\nline 0002\nline 0003"));
        assert_eq!(logged(1_024, long()).text, mark);
    }
}
