//! YAML text to a tree that knows where each node stands.
//!
//! The tree is built from parser events instead of being deserialized into types at once, for three reasons: all
//! mistakes of a file can be reported together, both places of a duplicated key are known, and a scalar keeps its
//! spelling (`1.10`, `010` and `52:54:00:12:34:56` are not numbers here).
//!
//! Anchors, aliases and merge keys (`<<`) are resolved while building. An alias stands where it is used; what lies in
//! it, where it was written. Bounds: [`MAX_BYTES`] of text, [`MAX_DEPTH`] levels, [`MAX_NODES`] after expansion. Tags
//! are ignored. This is the only module that knows the parser.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle};

use crate::diagnostic::{Diagnostic, Span};

/// A cluster file is written by hand; longer ones are something else.
const MAX_BYTES: usize = 1 << 20;
const MAX_DEPTH: usize = 32;
/// Enough for a thousand machines; what compares all with all stays well under a second.
pub(crate) const MAX_NODES: usize = 20_000;

/// One node of the file.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Nothing, `~` or `null`.
    Null,
    /// Text; plain when it stood without quotes and not as a block.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    /// Entries in the order of the file, duplicates included.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// What the node is, for "not a …".
    pub(crate) fn describe(&self) -> &'static str {
        match self.kind {
            Kind::Null => "empty",
            Kind::Scalar { .. } => "a single value",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }

    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The value of a key of a mapping, the first if it is given twice.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Kind::Map(entries) = &self.kind else {
            return None;
        };
        let found = entries.iter().find(|(own, _)| own.text() == Some(key));
        found.map(|(_, value)| value)
    }

    /// How many nodes there are in it, itself among them.
    pub(crate) fn size(&self) -> usize {
        match &self.kind {
            Kind::Null | Kind::Scalar { .. } => 1,
            Kind::List(items) => 1 + items.iter().map(Self::size).sum::<usize>(),
            Kind::Map(entries) => {
                1 + entries
                    .iter()
                    .map(|(key, value)| key.size() + value.size())
                    .sum::<usize>()
            }
        }
    }
}

/// The tree of a file of one document; an empty file is [`Kind::Null`].
pub(crate) fn parse(text: &str) -> Result<Node, Diagnostic> {
    parse_at(text, 0)
}

/// [`parse`] for a text whose first byte has this place.
pub(crate) fn parse_at(text: &str, base: usize) -> Result<Node, Diagnostic> {
    if text.len() > MAX_BYTES {
        return Err(Diagnostic::new("the file is longer than 1 MiB", base..base));
    }
    let mut builder = Builder {
        text,
        base,
        ..Builder::default()
    };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| syntax_error(text, base, &error))?;
        let span = builder.span(&span);
        builder.handle_event(event, span)?;
    }
    Ok(builder.root.unwrap_or(Node {
        span: base..base,
        kind: Kind::Null,
    }))
}

/// A scalar and all the bytes that spell it: from its quote or its `|` on, without tag and anchor.
#[derive(Clone, Debug)]
pub(crate) struct PlacedScalar {
    pub(crate) span: Span,
    pub(crate) text: String,
}

/// The scalars of a text, keys included, each where it is written.
pub(crate) fn scalars(text: &str) -> Result<Vec<PlacedScalar>, Diagnostic> {
    if text.len() > MAX_BYTES {
        return Err(Diagnostic::new("the text is longer than 1 MiB", 0..0));
    }
    let mut found = Vec::new();
    let mut before = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| syntax_error(text, 0, &error))?;
        let place =
            |marker: &granit_parser::Marker| marker.byte_offset().unwrap_or(text.len()).min(text.len());
        let (start, end) = (place(&span.start), place(&span.end));
        let Event::Scalar(value, style, ..) = event else {
            before = before.max(start);
            continue;
        };
        let start = match style {
            ScalarStyle::Literal | ScalarStyle::Folded => block_header(text, before..start),
            _ => Some(start),
        };
        if let Some((start, spelt)) = start.and_then(|start| Some((start, text.get(start..end)?))) {
            // A block's goes on to what comes next.
            let span = start..start + spelt.trim_end().len();
            before = span.end;
            let text = value.into_owned();
            found.push(PlacedScalar { span, text });
        }
    }
    Ok(found)
}

/// Where the header of a block scalar stands (YAML 1.2, 8.1.1), whose content begins at the range's end: after white space, `|` or `>`, and
/// nothing else on its line but indicators and a comment.
fn block_header(text: &str, within: Span) -> Option<usize> {
    let part = text.get(within.clone())?;
    let is_header = |(at, _): &(usize, &str)| {
        let line = part[*at..].lines().next().unwrap_or_default();
        let rest = line[1..].trim_start_matches(|c: char| matches!(c, '-' | '+') || c.is_ascii_digit());
        let is_apart = part[..*at].chars().next_back().is_none_or(char::is_whitespace);
        is_apart
            && (rest.trim().is_empty()
                || rest.trim_start().len() < rest.len() && rest.trim_start().starts_with('#'))
    };
    let (at, _) = part.match_indices(['|', '>']).find(is_header)?;
    Some(within.start + at)
}

fn syntax_error(text: &str, base: usize, error: &granit_parser::ScanError) -> Diagnostic {
    let at = error.marker().byte_offset().unwrap_or(text.len());
    let line = text
        .get(..at)
        .unwrap_or(text)
        .rsplit('\n')
        .next()
        .unwrap_or_default();
    let tab = text.get(at..).is_some_and(|rest| rest.starts_with('\t'))
        || line.starts_with([' ', '\t']) && line.contains('\t');
    let hint = if tab {
        Some("indent with spaces, YAML takes no tabs there".to_owned())
    } else {
        // Braces of its own, where YAML has others.
        (line.contains("${") || line.ends_with('$'))
            .then(|| "between { and } quote what has ${…} in it".to_owned())
    };
    Diagnostic::new(
        format!("this is not YAML: {}", error.kind()),
        base + at..base + at,
    )
    .with_hint(hint)
}

/// A collection whose end has not come yet.
#[derive(Debug)]
enum Open {
    List {
        items: Vec<Node>,
    },
    Map {
        entries: Vec<(Node, Node)>,
        key: Option<Node>,
    },
}

#[derive(Debug, Default)]
struct Builder<'t> {
    text: &'t str,
    /// The place of its first byte.
    base: usize,
    /// Open collections, the innermost last, with place and anchor (0 for none).
    stack: Vec<(Open, Span, usize)>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    /// The part of the span on its first line: enough to point at.
    fn span(&self, span: &granit_parser::Span) -> Span {
        let end_of_file = self.text.len();
        let start = span.start.byte_offset().unwrap_or(end_of_file).min(end_of_file);
        let end = span.end.byte_offset().unwrap_or(start).clamp(start, end_of_file);
        let covered = self.text.get(start..end).unwrap_or_default();
        let len = covered.find(['\n', '\r']).unwrap_or(covered.len());
        self.base + start..self.base + start + len
    }

    fn handle_event(&mut self, event: Event<'_>, span: Span) -> Result<(), Diagnostic> {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(Diagnostic::new("the file holds more than one document", span)
                    .with_hint("write one cluster in one file".to_owned()))
            }
            Event::Scalar(value, style, anchor, _) => self.add(
                Node {
                    kind: scalar(value, style),
                    span,
                },
                anchor,
            ),
            Event::SequenceStart(_, anchor, _) => self.open(Open::List { items: Vec::new() }, span, anchor),
            Event::MappingStart(_, anchor, _) => self.open(
                Open::Map {
                    entries: Vec::new(),
                    key: None,
                },
                span,
                anchor,
            ),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).map(|node| Node {
                    span: span.clone(),
                    kind: node.kind.clone(),
                });
                let node =
                    node.ok_or_else(|| Diagnostic::new("an alias cannot stand inside its own anchor", span))?;
                self.nodes += node.size();
                self.add(node, 0)
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, open: Open, span: Span, anchor: usize) -> Result<(), Diagnostic> {
        if self.stack.len() == MAX_DEPTH {
            return Err(Diagnostic::new(
                "the file is nested more than 32 levels deep",
                span,
            ));
        }
        self.stack.push((open, span, anchor));
        Ok(())
    }

    fn close(&mut self) -> Result<(), Diagnostic> {
        let Some((open, span, anchor)) = self.stack.pop() else {
            return Ok(());
        };
        let kind = match open {
            Open::List { items } => Kind::List(items),
            Open::Map { entries, .. } => Kind::Map(merge(entries)?),
        };
        self.add(Node { span, kind }, anchor)
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Diagnostic> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Diagnostic::new(
                format!("the file has more than {MAX_NODES} values"),
                node.span,
            ));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some((Open::List { items }, ..)) => items.push(node),
            Some((Open::Map { entries, key }, ..)) => match key.take() {
                None => *key = Some(node),
                Some(key) => entries.push((key, node)),
            },
        }
        Ok(())
    }
}

fn scalar(value: Cow<'_, str>, style: ScalarStyle) -> Kind {
    let plain = style == ScalarStyle::Plain;
    if plain && matches!(&*value, "" | "~" | "null" | "Null" | "NULL") {
        return Kind::Null;
    }
    Kind::Scalar {
        text: value.into_owned(),
        plain,
    }
}

/// Resolves merge keys: entries of `<<` are added unless the mapping has that key itself.
fn merge(entries: Vec<(Node, Node)>) -> Result<Vec<(Node, Node)>, Diagnostic> {
    let (merges, mut own): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, _)| is_merge_key(key));
    for (_, value) in merges {
        let sources = match value.kind {
            Kind::List(items) => items,
            _ => vec![value],
        };
        for source in sources {
            let Kind::Map(entries) = source.kind else {
                return Err(Diagnostic::new(
                    "only mappings can be merged with <<",
                    source.span,
                ));
            };
            let known: HashSet<_> = own
                .iter()
                .filter_map(|(key, _)| key.text().map(str::to_owned))
                .collect();
            own.extend(
                entries
                    .into_iter()
                    .filter(|(key, _)| !key.text().is_some_and(|key| known.contains(key))),
            );
        }
    }
    Ok(own)
}

fn is_merge_key(key: &Node) -> bool {
    matches!(&key.kind, Kind::Scalar { text, plain: true } if text == "<<")
}
