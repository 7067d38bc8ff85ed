//! Checks the content header of a message, and rewrites one that lapin cannot parse.
//!
//! lapin ends the connection at text that is not UTF-8 in a property, at a field type that it does
//! not know, and at a header frame above `frame_max`, which RabbitMQ does not cut. It parses nested
//! headers recursively without a limit, so that 20 KB of them overflow the stack of its thread.

use celeriac_protocol::headers::names;
use celeriac_protocol::shorten;

use crate::amqp::convert::DEEPEST;
use crate::headers::left_out;

/// Class, weight and size of the body.
const BEFORE_PROPERTIES: usize = 12;

/// Most bytes of the text that says what was rewritten.
const LONGEST_FAULTS: usize = 600;

/// Most faults that are named.
const MOST_FAULTS: usize = 8;

/// Text in place of what is nested too deep.
const TOO_DEEP: &[u8] = b"(nested too deep)";

/// Text in place of a value of unknown type.
const UNKNOWN: &[u8] = b"(not readable)";

/// Name and form of each property, in the order of their flags.
const PROPERTIES: [(&str, Form); 14] = [
    ("content_type", Form::Text),
    ("content_encoding", Form::Text),
    ("headers", Form::Headers),
    ("delivery_mode", Form::Bytes(1)),
    ("priority", Form::Bytes(1)),
    ("correlation_id", Form::Text),
    ("reply_to", Form::Text),
    ("expiration", Form::Text),
    ("message_id", Form::Text),
    ("timestamp", Form::Bytes(8)),
    ("type", Form::Text),
    ("user_id", Form::Text),
    ("app_id", Form::Text),
    ("cluster_id", Form::Text),
];

/// The place of the headers among the properties.
const HEADERS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Headers,
    Bytes(usize),
}

/// The form of a field in a table.
enum Field {
    Fixed(usize),
    Long,
    Array,
    Table,
}

impl Field {
    /// Returns the form of a field type that lapin knows.
    fn of(tag: u8) -> Option<Self> {
        Some(match tag {
            b'V' => Self::Fixed(0),
            b't' | b'b' | b'B' => Self::Fixed(1),
            b's' | b'U' | b'u' => Self::Fixed(2),
            b'I' | b'i' | b'f' => Self::Fixed(4),
            b'D' => Self::Fixed(5),
            b'l' | b'L' | b'd' | b'T' => Self::Fixed(8),
            b'S' | b'x' => Self::Long,
            b'A' => Self::Array,
            b'F' => Self::Table,
            _ => return None,
        })
    }
}

/// The rest of some bytes. A method returns `None` if there are too few.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Takes a string of at most 255 bytes.
    pub(super) fn short(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(length as usize)
    }

    /// Does what [`long`](Self::long) does, and takes all that is left if that is less.
    fn long_or_rest(&mut self) -> Option<&'a [u8]> {
        let length = (self.u32()? as usize).min(self.0.len());
        self.take(length)
    }
}

/// Returns `true` if lapin can parse a content header.
pub(super) fn is_readable(payload: &[u8]) -> bool {
    read(payload).is_some()
}

fn read(payload: &[u8]) -> Option<()> {
    let mut reader = Reader(payload);
    reader.take(BEFORE_PROPERTIES)?;
    let flags = reader.u16()?;
    for (place, (_, form)) in PROPERTIES.into_iter().enumerate() {
        if flags & flag(place) == 0 {
            continue;
        }
        match form {
            Form::Text => read_text(reader.short()?)?,
            Form::Headers => read_table(reader.long()?, DEEPEST)?,
            Form::Bytes(count) => drop(reader.take(count)?),
        }
    }
    reader.0.is_empty().then_some(())
}

fn flag(place: usize) -> u16 {
    1 << (15 - place)
}

fn read_text(bytes: &[u8]) -> Option<()> {
    std::str::from_utf8(bytes).is_ok().then_some(())
}

fn read_table(entries: &[u8], depth: usize) -> Option<()> {
    let mut reader = Reader(entries);
    while !reader.0.is_empty() {
        read_text(reader.short()?)?;
        read_value(&mut reader, depth)?;
    }
    Some(())
}

fn read_value(reader: &mut Reader<'_>, depth: usize) -> Option<()> {
    match Field::of(reader.u8()?)? {
        Field::Fixed(count) => reader.take(count).map(drop),
        Field::Long => reader.long().map(drop),
        Field::Array => {
            let mut items = Reader(reader.long()?);
            let depth = depth.checked_sub(1)?;
            while !items.0.is_empty() {
                read_value(&mut items, depth)?;
            }
            Some(())
        }
        Field::Table => read_table(reader.long()?, depth.checked_sub(1)?),
    }
}

/// Rewrites a content header, so that it has at most `limit` bytes and lapin can parse it.
///
/// `payload` may lack its end. `faults` are those of the method before it. A header with all faults
/// is added.
pub(super) fn rewrite(payload: &[u8], faults: ContentFaults, limit: usize) -> Vec<u8> {
    let mut content = ReadableContent { flags: flag(HEADERS), faults, ..ReadableContent::default() };
    let mut reader = Reader(payload);
    let start = reader.take(BEFORE_PROPERTIES);
    if start.is_none() || content.read(&mut reader).is_none() {
        content.faults.add(|| "the properties are not complete".to_owned());
    }
    content.write(start.unwrap_or(&[0; BEFORE_PROPERTIES]), limit)
}

/// The readable parts of a content header.
#[derive(Default)]
struct ReadableContent {
    flags: u16,
    /// The properties before the headers, and after them.
    before: Vec<u8>,
    after: Vec<u8>,
    headers: Vec<Header>,
    faults: ContentFaults,
}

struct Header {
    name: String,
    entry: Vec<u8>,
}

impl ReadableContent {
    fn read(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let flags = reader.u16()?;
        for (place, (name, form)) in PROPERTIES.into_iter().enumerate() {
            if flags & flag(place) == 0 {
                continue;
            }
            let into = if place < HEADERS { &mut self.before } else { &mut self.after };
            match form {
                Form::Text => put_short(into, reader.short()?, &format!("property {name}"), &mut self.faults),
                Form::Bytes(count) => into.extend_from_slice(reader.take(count)?),
                Form::Headers => self.read_headers(reader.long_or_rest()?),
            }
            self.flags |= flag(place);
        }
        Some(())
    }

    fn read_headers(&mut self, entries: &[u8]) {
        let mut reader = Reader(entries);
        while !reader.0.is_empty() {
            let Some(name) = reader.short() else {
                self.faults.add(|| "the headers are not complete".to_owned());
                return;
            };
            let mut entry = Vec::new();
            put_short(&mut entry, name, "name of a header", &mut self.faults);
            let name = String::from_utf8_lossy(name).into_owned();
            let complete = put_value(&mut entry, &mut reader, DEEPEST, &mut self.faults, &name);
            self.headers.push(Header { name, entry });
            if complete.is_none() {
                return;
            }
        }
    }

    fn write(mut self, start: &[u8], limit: usize) -> Vec<u8> {
        let fixed = BEFORE_PROPERTIES + 2 + 4 + self.before.len() + self.after.len();
        let marker = names::UNREADABLE.len() + 6 + LONGEST_FAULTS;
        self.leave_out(limit.saturating_sub(fixed + marker));
        let mut table = Vec::new();
        for header in &self.headers {
            table.extend_from_slice(&header.entry);
        }
        // The last entry of a name counts.
        put_short(&mut table, names::UNREADABLE.as_bytes(), "", &mut ContentFaults::default());
        table.push(b'S');
        put_long(&mut table, self.faults.told().as_bytes());
        let mut written = start.to_vec();
        written.extend_from_slice(&self.flags.to_be_bytes());
        written.extend_from_slice(&self.before);
        put_long(&mut written, &table);
        written.extend_from_slice(&self.after);
        written
    }

    /// Leaves out the largest headers until the others have at most `room` bytes.
    fn leave_out(&mut self, room: usize) {
        let mut size: usize = self.headers.iter().map(|header| header.entry.len()).sum();
        if size > room {
            // Those of the framework go last.
            self.headers.sort_by_key(|header| (!names::is_reserved(&header.name), header.entry.len()));
        }
        while size > room {
            let Some(Header { name, entry }) = self.headers.pop() else { return };
            self.faults.add(|| left_out(&name, entry.len()));
            size -= entry.len();
        }
    }
}

/// The faults of a message. Only the first ones are kept.
#[derive(Debug, Default)]
pub(super) struct ContentFaults(Vec<String>);

impl ContentFaults {
    fn add(&mut self, fault: impl FnOnce() -> String) {
        if self.0.len() < MOST_FAULTS {
            self.0.push(fault());
        }
    }

    /// Returns the faults in one text.
    fn told(&self) -> String {
        shorten(&self.0.join("; "), LONGEST_FAULTS).into_owned()
    }
}

/// Writes a short string. Puts `?` in place of each byte that is not UTF-8.
pub(super) fn put_short(into: &mut Vec<u8>, bytes: &[u8], what: &str, faults: &mut ContentFaults) {
    let mut readable = Vec::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        readable.extend_from_slice(chunk.valid().as_bytes());
        readable.resize(readable.len() + chunk.invalid().len(), b'?');
    }
    if readable != bytes {
        faults.add(|| format!("{what} is not UTF-8: `{}`", String::from_utf8_lossy(&readable)));
    }
    into.push(u8::try_from(readable.len()).unwrap_or(u8::MAX));
    into.extend_from_slice(&readable);
}

fn put_long(into: &mut Vec<u8>, bytes: &[u8]) {
    into.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    into.extend_from_slice(bytes);
}

fn put_text(into: &mut Vec<u8>, text: &[u8]) {
    into.push(b'S');
    put_long(into, text);
}

/// Writes the value of a header as far as lapin can parse it. Returns `None` if its end, and with
/// it the next value, cannot be found.
fn put_value(
    into: &mut Vec<u8>,
    reader: &mut Reader<'_>,
    depth: usize,
    faults: &mut ContentFaults,
    header: &str,
) -> Option<()> {
    let start = into.len();
    let written = put_known(into, reader, depth, faults, header);
    if written.is_none() {
        faults.add(|| format!("header `{header}` is not readable"));
        into.truncate(start);
        put_text(into, UNKNOWN);
    }
    written
}

fn put_known(
    into: &mut Vec<u8>,
    reader: &mut Reader<'_>,
    depth: usize,
    faults: &mut ContentFaults,
    header: &str,
) -> Option<()> {
    let tag = reader.u8()?;
    match Field::of(tag)? {
        Field::Fixed(count) => {
            let value = reader.take(count)?;
            into.push(tag);
            into.extend_from_slice(value);
        }
        Field::Long => {
            let value = reader.long()?;
            into.push(tag);
            put_long(into, value);
        }
        form @ (Field::Array | Field::Table) => {
            let mut inner = Reader(reader.long()?);
            let Some(depth) = depth.checked_sub(1) else {
                faults.add(|| format!("header `{header}` is nested more than {DEEPEST} levels deep"));
                put_text(into, TOO_DEEP);
                return Some(());
            };
            let mut items = Vec::new();
            while !inner.0.is_empty() {
                if matches!(form, Field::Table) {
                    let Some(name) = inner.short() else { break };
                    put_short(&mut items, name, &format!("name in header `{header}`"), faults);
                }
                if put_value(&mut items, &mut inner, depth, faults, header).is_none() {
                    break;
                }
            }
            into.push(tag);
            put_long(into, &items);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests;
