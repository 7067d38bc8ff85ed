//! Finds the frames in the bytes of a connection, and rewrites those that lapin cannot parse.
//!
//! A frame has a type, a channel and a size in seven bytes, its payload, and one byte at its end.
//! Bodies pass as they are. Methods and content headers are checked once they are complete.

use std::collections::HashMap;

use super::content::{self, ContentFaults, Reader};

/// Bytes before the payload.
const HEAD: usize = 7;

/// Bytes around the payload.
const AROUND: usize = HEAD + 1;

const END: u8 = 0xCE;

/// The smallest frame that AMQP lets a peer set as the largest.
const SMALLEST_FRAME: usize = 4_096;

const METHOD: u8 = 1;
const CONTENT_HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;

/// Class and method of `connection.tune`, in which the broker states its largest frame.
const TUNE: (u16, u16) = (10, 30);
const DELIVER: (u16, u16) = (60, 60);
const GET_OK: (u16, u16) = (60, 71);

/// Most bytes of one frame that are held. The rest of a larger frame is left out.
const LONGEST_HELD: usize = 1 << 20;

/// Capacity that a buffer keeps after use.
const KEPT_CAPACITY: usize = 64 << 10;

/// Passes the frames of a connection, and rewrites those that lapin cannot parse.
#[derive(Debug)]
pub(super) struct FrameFilter {
    /// The largest frame that lapin accepts.
    frame_max: usize,
    /// Bytes until the end of a frame that passes unseen.
    passing: usize,
    /// Bytes until the end of a frame that is left out.
    dropping: usize,
    /// The start of a frame that is not complete.
    held: Vec<u8>,
    /// Bytes for the reader, and the number of those that it has.
    ready: Vec<u8>,
    given: usize,
    /// The faults of deliveries whose content header has not come yet, by channel.
    faults: HashMap<u16, ContentFaults>,
}

/// The start of a frame.
#[derive(Debug, Clone, Copy)]
struct FrameHead {
    kind: u8,
    channel: u16,
    size: usize,
}

impl FrameHead {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let (kind, channel, size) = (reader.u8()?, reader.u16()?, reader.u32()?);
        Some(Self { kind, channel, size: size as usize })
    }

    /// Returns the size of the whole frame.
    fn total(self) -> usize {
        self.size.saturating_add(AROUND)
    }
}

impl FrameFilter {
    /// Returns a filter for a new connection. A `frame_max` of zero is no limit.
    pub(super) fn new(frame_max: u32) -> Self {
        Self {
            frame_max: if frame_max == 0 { usize::MAX } else { frame_max as usize },
            passing: 0,
            dropping: 0,
            held: Vec::new(),
            ready: Vec::new(),
            given: 0,
            faults: HashMap::new(),
        }
    }

    /// Moves bytes that are ready into `buffer`, and returns their number.
    pub(super) fn take(&mut self, buffer: &mut [u8]) -> usize {
        let rest = &self.ready[self.given..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.given += count;
        if self.given == self.ready.len() && self.given > 0 {
            self.ready.clear();
            self.ready.shrink_to(KEPT_CAPACITY);
            self.given = 0;
        }
        count
    }

    /// Returns the number of bytes that the held frame lacks, if there is one.
    pub(super) fn missing(&self) -> Option<usize> {
        if self.dropping > 0 {
            return Some(self.dropping);
        }
        let held = self.held.len();
        match FrameHead::read(&self.held) {
            Some(head) => Some(head.total().min(LONGEST_HELD) - held),
            None if held > 0 => Some(HEAD - held),
            None => None,
        }
    }

    /// Takes bytes that were just read: at most as many as are [`missing`](Self::missing). Returns
    /// the number of those at the start that the reader gets as they are. The others come from
    /// [`take`](Self::take).
    pub(super) fn accept(&mut self, read: &[u8]) -> usize {
        if self.dropping > 0 {
            self.dropping -= read.len();
            return 0;
        }
        let passed = if self.held.is_empty() { self.pass(read) } else { 0 };
        if passed < read.len() {
            self.held.extend_from_slice(&read[passed..]);
            self.release();
        }
        passed
    }

    /// Returns the number of bytes before the first frame that is not complete, or not readable.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        loop {
            at += self.pass_unseen(bytes.len() - at);
            let rest = &bytes[at..];
            let Some(head) = FrameHead::read(rest) else { return at };
            if self.is_unseen(head) {
                continue;
            }
            let Some(payload) = rest.get(HEAD..HEAD + head.size).filter(|_| rest.len() >= head.total()) else {
                return at;
            };
            if !self.is_readable(head, payload) {
                return at;
            }
            at += head.total();
        }
    }

    /// Moves the held frames that are complete to the bytes that are ready.
    fn release(&mut self) {
        let held = std::mem::take(&mut self.held);
        let mut at = 0;
        loop {
            let passed = self.pass_unseen(held.len() - at);
            self.ready.extend_from_slice(&held[at..at + passed]);
            at += passed;
            let rest = &held[at..];
            let Some(head) = FrameHead::read(rest) else { break };
            if self.is_unseen(head) {
                continue;
            }
            let here = rest.len().min(head.total());
            if here < head.total() && here < LONGEST_HELD {
                break;
            }
            let payload = &rest[HEAD..here.min(HEAD + head.size)];
            if self.is_readable(head, payload) {
                self.ready.extend_from_slice(&rest[..here]);
            } else {
                self.rewrite(head, payload);
            }
            self.dropping = head.total() - here;
            at += here;
        }
        self.held.extend_from_slice(&held[at..]);
    }

    /// Returns how many of `available` bytes belong to a frame that passes unseen.
    fn pass_unseen(&mut self, available: usize) -> usize {
        let passed = self.passing.min(available);
        self.passing -= passed;
        passed
    }

    /// Starts to pass a frame if its content does not matter.
    fn is_unseen(&mut self, head: FrameHead) -> bool {
        self.passing = match head.kind {
            METHOD | CONTENT_HEADER => return false,
            BODY | HEARTBEAT => head.total(),
            // What follows is not AMQP, and lapin says so.
            _ => usize::MAX,
        };
        true
    }

    fn is_readable(&mut self, head: FrameHead, payload: &[u8]) -> bool {
        if head.kind == CONTENT_HEADER {
            let has_faults = !self.faults.is_empty() && self.faults.contains_key(&head.channel);
            return !has_faults && head.total() <= self.frame_max && content::is_readable(payload);
        }
        self.tune(payload);
        Addresses::read(payload).is_none_or(|addresses| addresses.are_readable())
    }

    /// Agrees with the broker on the size of a frame, as lapin does.
    fn tune(&mut self, method: &[u8]) {
        let mut reader = Reader(method);
        if (reader.u16(), reader.u16()) != (Some(TUNE.0), Some(TUNE.1)) {
            return;
        }
        let offered = reader.u16().and_then(|_| reader.u32());
        if let Some(offered) = offered.filter(|offered| *offered > 0) {
            self.frame_max = self.frame_max.min(offered as usize).max(SMALLEST_FRAME);
        }
    }

    fn rewrite(&mut self, head: FrameHead, payload: &[u8]) {
        let rewritten = if let Some(addresses) = Addresses::read(payload).filter(|_| head.kind == METHOD) {
            let (rewritten, faults) = addresses.rewrite();
            self.faults.insert(head.channel, faults);
            rewritten
        } else {
            let faults = self.faults.remove(&head.channel).unwrap_or_default();
            content::rewrite(payload, faults, self.frame_max.saturating_sub(AROUND))
        };
        self.ready.push(head.kind);
        self.ready.extend_from_slice(&head.channel.to_be_bytes());
        self.ready.extend_from_slice(&u32::try_from(rewritten.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.ready.extend_from_slice(&rewritten);
        self.ready.push(END);
    }
}

/// The addresses in `basic.deliver` or `basic.get-ok`, which come before a content header.
struct Addresses<'a> {
    before: &'a [u8],
    exchange: &'a [u8],
    routing_key: &'a [u8],
    after: &'a [u8],
}

impl<'a> Addresses<'a> {
    /// Returns `None` for other methods.
    fn read(payload: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(payload);
        match (reader.u16()?, reader.u16()?) {
            // The tag of the consumer.
            DELIVER => drop(reader.short()?),
            GET_OK => {}
            _ => return None,
        }
        // The tag of the delivery, and a flag.
        reader.take(9)?;
        let before = &payload[..payload.len() - reader.0.len()];
        Some(Self { before, exchange: reader.short()?, routing_key: reader.short()?, after: reader.0 })
    }

    fn are_readable(&self) -> bool {
        std::str::from_utf8(self.exchange).is_ok() && std::str::from_utf8(self.routing_key).is_ok()
    }

    /// Returns the method with readable addresses, and its faults.
    fn rewrite(&self) -> (Vec<u8>, ContentFaults) {
        let (mut rewritten, mut faults) = (self.before.to_vec(), ContentFaults::default());
        content::put_short(&mut rewritten, self.exchange, "exchange", &mut faults);
        content::put_short(&mut rewritten, self.routing_key, "routing key", &mut faults);
        rewritten.extend_from_slice(self.after);
        (rewritten, faults)
    }
}

#[cfg(test)]
mod tests;
