//! Reads YAML text into a tree of values.
//!
//! The `config` crate's own reader of YAML stops at the first duplicate key and does not report its
//! place. This one reads the events of the same parser, continues, and reports the full key and
//! both lines. It does not recurse, so deep nesting cannot exhaust the stack.

use std::collections::HashMap;

use config::{Map, Value, ValueKind};
use yaml_rust2::parser::{Event, Parser, Tag};
use yaml_rust2::scanner::{Marker, ScanError, TScalarStyle};
use yaml_rust2::yaml::Yaml;

use crate::tree::join;

/// The deepest nesting of lists and sections.
pub(crate) const MAX_DEPTH: usize = 64;

/// The most values of one text, including those that aliases repeat.
const MAX_VALUES: usize = 200_000;

/// An error in a text, with its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Defect {
    pub(crate) key: Option<String>,
    pub(crate) message: String,
}

/// The content of a text.
#[derive(Debug)]
pub(crate) struct Read {
    /// Its tree. `None` if the text cannot be read.
    pub(crate) tree: Option<Value>,
    pub(crate) defects: Vec<Defect>,
}

/// Reads one document. Every value of the tree carries `origin`.
pub(crate) fn read(text: &str, origin: Option<&String>) -> Read {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = YamlBuilder::new(text, origin);
    match builder.read(Parser::new_from_str(text)) {
        Ok(()) => {
            let tree = builder.root.take().unwrap_or_else(|| Value::new(origin, ValueKind::Nil));
            Read { tree: Some(tree), defects: builder.defects }
        }
        Err(defect) => {
            builder.defects.push(defect);
            Read { tree: None, defects: builder.defects }
        }
    }
}

/// A list or section that is being read.
enum Open {
    List {
        values: Vec<Value>,
        anchor: usize,
        begin: Marker,
    },
    Section {
        values: Map<String, Value>,
        lines: HashMap<String, usize>,
        key: Option<String>,
        anchor: usize,
        begin: Marker,
    },
}

impl Open {
    fn begin(&self) -> &Marker {
        match self {
            Self::List { begin, .. } | Self::Section { begin, .. } => begin,
        }
    }
}

struct YamlBuilder<'a> {
    text: &'a str,
    origin: Option<&'a String>,
    open: Vec<Open>,
    root: Option<Value>,
    anchors: HashMap<usize, Value>,
    values: usize,
    documents: usize,
    defects: Vec<Defect>,
}

impl<'a> YamlBuilder<'a> {
    fn new(text: &'a str, origin: Option<&'a String>) -> Self {
        Self {
            text,
            origin,
            open: Vec::new(),
            root: None,
            anchors: HashMap::new(),
            values: 0,
            documents: 0,
            defects: Vec::new(),
        }
    }

    fn read(&mut self, mut parser: Parser<std::str::Chars<'_>>) -> Result<(), Defect> {
        // For the parser the text ends there.
        if let Some((before, _)) = self.text.split_once('\0') {
            let line = before.matches('\n').count() + 1;
            return Err(Defect { key: None, message: format!("line {line}: the character U+0000 is not allowed") });
        }
        loop {
            let (event, mark) = parser.next_token().map_err(|error| self.invalid(&error))?;
            match event {
                Event::StreamEnd => return Ok(()),
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                Event::DocumentStart => self.begin_document(mark)?,
                Event::Scalar(text, style, anchor, tag) => self.scalar(text, style, anchor, tag.as_ref(), mark)?,
                Event::SequenceStart(anchor, _) => {
                    self.begin(Open::List { values: Vec::new(), anchor, begin: mark }, mark)?
                }
                Event::MappingStart(anchor, _) => {
                    let section =
                        Open::Section { values: Map::new(), lines: HashMap::new(), key: None, anchor, begin: mark };
                    self.begin(section, mark)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.end(mark)?,
                Event::Alias(anchor) => self.alias(anchor, mark)?,
            }
        }
    }

    fn begin_document(&mut self, mark: Marker) -> Result<(), Defect> {
        self.documents += 1;
        if self.documents > 1 {
            return Err(at(mark, "a second YAML document begins; write one"));
        }
        Ok(())
    }

    fn begin(&mut self, open: Open, mark: Marker) -> Result<(), Defect> {
        if self.awaits_key() {
            return Err(at(mark, "a key should be text, found a list or a section"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(mark));
        }
        self.open.push(open);
        Ok(())
    }

    fn end(&mut self, mark: Marker) -> Result<(), Defect> {
        let (kind, anchor) = match self.open.pop() {
            Some(Open::List { values, anchor, .. }) => (ValueKind::Array(values), anchor),
            Some(Open::Section { values, anchor, .. }) => (ValueKind::Table(values), anchor),
            None => return Ok(()),
        };
        self.place(Value::new(self.origin, kind), anchor, mark)
    }

    fn scalar(
        &mut self,
        text: String,
        style: TScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        mark: Marker,
    ) -> Result<(), Defect> {
        if self.awaits_key() {
            self.begin_value(text, mark);
            return Ok(());
        }
        let is_text = style != TScalarStyle::Plain || tag.is_some_and(|tag| tag.suffix == "str" || tag.handle == "!");
        let kind = if is_text { ValueKind::String(text) } else { resolve(text) };
        self.place(Value::new(self.origin, kind), anchor, mark)
    }

    fn alias(&mut self, anchor: usize, mark: Marker) -> Result<(), Defect> {
        if self.awaits_key() {
            return Err(at(mark, "a key should be text, found an alias"));
        }
        let value = self.anchors.get(&anchor).cloned();
        let value = value.ok_or_else(|| at(mark, "an alias refers to a value that contains it"))?;
        if self.open.len() + depth(&value) > MAX_DEPTH {
            return Err(too_deep(mark));
        }
        self.values += count(&value);
        self.place(value, 0, mark)
    }

    fn awaits_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Section { key: None, .. }))
    }

    fn begin_value(&mut self, name: String, mark: Marker) {
        let parent = self.path();
        if let Some(Open::Section { lines, key, .. }) = self.open.last_mut() {
            if let Some(earlier) = lines.insert(name.clone(), mark.line()) {
                self.defects.push(Defect {
                    key: Some(join(&parent, &name)),
                    message: format!("is set twice, in lines {earlier} and {}; keep one", mark.line()),
                });
            }
            *key = Some(name);
        }
    }

    fn place(&mut self, value: Value, anchor: usize, mark: Marker) -> Result<(), Defect> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(at(mark, format!("the text has more than {MAX_VALUES} values")));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
        match self.open.last_mut() {
            Some(Open::List { values, .. }) => values.push(value),
            Some(Open::Section { values, key, .. }) => {
                if let Some(key) = key.take() {
                    values.insert(key, value);
                }
            }
            None => self.root = Some(value),
        }
        Ok(())
    }

    /// Describes an error of the parser. It notices a bracket that is not closed only at the next
    /// line, or at the end.
    fn invalid(&self, error: &ScanError) -> Defect {
        let reason = format!("invalid YAML: {}", error.info());
        match self.open.iter().map(Open::begin).rfind(|begin| self.is_bracket(begin)) {
            Some(begin) => at(*error.marker(), format!("{reason}; the bracket opens in {}", place(*begin))),
            None => at(*error.marker(), format!("{reason}{}", remedy(error.info()))),
        }
    }

    fn is_bracket(&self, mark: &Marker) -> bool {
        let line = self.text.lines().nth(mark.line().saturating_sub(1));
        line.and_then(|line| line.chars().nth(mark.col())).is_some_and(|letter| matches!(letter, '[' | '{'))
    }

    /// Returns the full key of the list or section that is being read.
    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            match open {
                Open::List { values, .. } => path.push_str(&format!("[{}]", values.len())),
                Open::Section { key: Some(key), .. } => path = join(&path, key),
                Open::Section { key: None, .. } => {}
            }
        }
        path
    }
}

fn count(value: &Value) -> usize {
    match &value.kind {
        ValueKind::Table(values) => 1 + values.values().map(count).sum::<usize>(),
        ValueKind::Array(values) => 1 + values.iter().map(count).sum::<usize>(),
        _ => 1,
    }
}

fn depth(value: &Value) -> usize {
    match &value.kind {
        ValueKind::Table(values) => 1 + values.values().map(depth).max().unwrap_or(0),
        ValueKind::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn too_deep(mark: Marker) -> Defect {
    at(mark, format!("lists and sections are nested more than {MAX_DEPTH} deep"))
}

/// Returns the remedy for the parser's most frequent messages.
fn remedy(info: &str) -> &'static str {
    let says = |part| info.contains(part);
    if says("anchor") {
        "; put text that begins with `*` or `&` in quotes"
    } else if says("unexpected character") {
        "; put the text in quotes"
    } else if says("did not find expected key") || says("mapping values are not allowed") {
        "; check the indents and colons up to here"
    } else if says("tab") {
        "; use spaces"
    } else {
        ""
    }
}

fn at(mark: Marker, message: impl AsRef<str>) -> Defect {
    Defect { key: None, message: format!("{}: {}", place(mark), message.as_ref()) }
}

/// Returns the place in the words of editors. The parser counts columns from 0.
fn place(mark: Marker) -> String {
    format!("line {}, column {}", mark.line(), mark.col() + 1)
}

/// Resolves bare text as YAML does: to a number, a boolean, null, or text.
pub(crate) fn resolve(text: String) -> ValueKind {
    match Yaml::from_str(&text) {
        Yaml::Null => ValueKind::Nil,
        Yaml::Boolean(value) => ValueKind::Boolean(value),
        Yaml::Integer(value) => ValueKind::I64(value),
        Yaml::Real(_) => match text.parse::<u64>() {
            Ok(value) => ValueKind::U64(value),
            Err(_) => real(&text),
        },
        _ => ValueKind::String(text),
    }
}

fn real(text: &str) -> ValueKind {
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    match text.trim_start_matches(['+', '-']).to_ascii_lowercase().as_str() {
        ".inf" => ValueKind::Float(f64::INFINITY * sign),
        ".nan" => ValueKind::Float(f64::NAN),
        // A number with too many digits would become infinite.
        digits => match digits.parse::<f64>() {
            Ok(value) if value.is_finite() => ValueKind::Float(value * sign),
            _ => ValueKind::String(text.to_owned()),
        },
    }
}
