//! From YAML nodes to typed values, going on after a mistake so that one run reports them all.
//!
//! [`FromYaml`] reads a node or reports why not and yields `None`. [`Keys`] reads a mapping: the keys that were asked
//! for are the keys there are, so unknown ones need no second list.

use std::borrow::Cow;
use std::fmt::Display;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::diagnostic::{Diagnostic, Report, Span};
use crate::name::Name;
use crate::text::{Hint, Text, nearest};
use crate::yaml::{Kind, Node};

/// A value that one node of the file holds.
pub(crate) trait FromYaml: Sized {
    /// Reads the node; `what` names it in sentences: `memory of machine "a"`.
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self>;
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Spot<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// A mapping from names of the user's choice, in the order of the file.
#[derive(Clone, Debug)]
pub(crate) struct Entries<K, T>(pub(crate) Vec<(Spot<K>, T)>);

impl<K, T> Default for Entries<K, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Whether an entry's own name can be part of what it is called: `machine "a"`.
pub(crate) trait Noun {
    /// `machine`.
    const NOUN: &'static str;
}

/// Reports that the node is of the wrong kind.
pub(crate) fn wrong_kind<T>(node: &Node, what: &str, expected: &str, report: &mut Report) -> Option<T> {
    report.push(match node.kind {
        Kind::Null => Diagnostic::new(format!("{what} is empty"), node.span.clone())
            .label(format!("expected {expected}")),
        _ => Diagnostic::new(
            format!("{what} must be {expected}, not {}", node.describe()),
            node.span.clone(),
        ),
    });
    None
}

/// Parses the text of a scalar, or reports why it cannot be.
fn parse_text<T: Text>(node: &Node, what: &str, report: &mut Report) -> Option<T> {
    let Some(text) = node.text() else {
        return wrong_kind(node, what, T::EXPECTED, report);
    };
    match text.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            report.push(bad_value(&node.span, what, &error));
            None
        }
    }
}

/// The diagnostic for a value that its type refused.
pub(crate) fn bad_value(span: &Span, what: &str, error: &(impl Display + Hint)) -> Diagnostic {
    Diagnostic::new(format!("{what}: {error}"), span.clone()).with_hint(error.hint())
}

impl<T: Text> FromYaml for T {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        parse_text(node, what, report)
    }
}

impl FromYaml for String {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        match node.text() {
            Some(text) => Some(text.to_owned()),
            None => wrong_kind(node, what, "text", report),
        }
    }
}

impl FromYaml for bool {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        match &node.kind {
            Kind::Scalar { text, plain: true } if text == "true" => Some(true),
            Kind::Scalar { text, plain: true } if text == "false" => Some(false),
            Kind::Scalar { text, .. } => {
                let title = format!("{what} must be true or false, not {text:?}");
                report.push(Diagnostic::new(title, node.span.clone()));
                None
            }
            _ => wrong_kind(node, what, "true or false", report),
        }
    }
}

impl<T: FromYaml> FromYaml for Spot<T> {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        let value = T::from_yaml(node, what, report)?;
        Some(Self {
            value,
            span: node.span.clone(),
        })
    }
}

impl<K: Text, T: FromYaml + Noun> FromYaml for Entries<K, T> {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        let entries = mapping(node, what, report)?;
        report_duplicates(entries, what, report);
        let mut read = Vec::new();
        for (key, value) in entries {
            let article = if T::NOUN.starts_with(['a', 'e', 'i', 'o', 'u']) {
                "an"
            } else {
                "a"
            };
            let name = Spot::<K>::from_yaml(key, &format!("the name of {article} {}", T::NOUN), report);
            let what = format!("{} {:?}", T::NOUN, key.text().unwrap_or_default());
            let value = T::from_yaml(value, &what, report);
            read.extend(name.zip(value));
        }
        Some(Self(read))
    }
}

fn mapping<'n>(node: &'n Node, what: &str, report: &mut Report) -> Option<&'n [(Node, Node)]> {
    match &node.kind {
        Kind::Map(entries) => Some(entries),
        Kind::Null => Some(&[]),
        _ => wrong_kind(node, what, "a mapping", report),
    }
}

pub(crate) fn report_duplicates(entries: &[(Node, Node)], what: &str, report: &mut Report) {
    let mut seen = std::collections::HashMap::new();
    for (key, _) in entries {
        let Some(text) = key.text() else { continue };
        if let Some(first) = seen.get(text) {
            let first: &Span = first;
            report.push(
                Diagnostic::new(format!("{text:?} is given twice in {what}"), key.span.clone())
                    .label("given again")
                    .and(first.clone(), "first given"),
            );
        } else {
            seen.insert(text, key.span.clone());
        }
    }
}

/// A mapping whose keys are fixed.
pub(crate) struct Keys<'n, 'r> {
    what: &'n str,
    entries: &'n [(Node, Node)],
    asked: Vec<&'static str>,
    reported_before: usize,
    pub(crate) report: &'r mut Report,
}

impl<'n, 'r> Keys<'n, 'r> {
    /// The mapping in `node`; nothing at all counts as a mapping without entries.
    pub(crate) fn of(node: &'n Node, what: &'n str, report: &'r mut Report) -> Option<Self> {
        let reported_before = report.reported();
        let entries = mapping(node, what, report)?;
        report_duplicates(entries, what, report);
        Some(Self {
            what,
            entries,
            asked: Vec::new(),
            reported_before,
            report,
        })
    }

    /// The value of a key, if the file gives one that can be read.
    pub(crate) fn take<T: FromYaml>(&mut self, key: &'static str) -> Option<T> {
        self.asked.push(key);
        let (_, value) = self.entries.iter().find(|(node, _)| is_key(node, key))?;
        T::from_yaml(value, &format!("{key} of {}", self.what), self.report)
    }

    /// As [`Self::take`] for a list whose items are called `noun` in sentences.
    pub(crate) fn take_list<T: FromYaml>(&mut self, key: &'static str, noun: &str) -> Option<Vec<T>> {
        self.asked.push(key);
        let (_, value) = self.entries.iter().find(|(node, _)| is_key(node, key))?;
        let Kind::List(items) = &value.kind else {
            return wrong_kind(value, &format!("{key} of {}", self.what), "a list", self.report);
        };
        let mut read = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let what = format!("{noun} {} of {}", index + 1, self.what);
            read.extend(T::from_yaml(item, &what, self.report));
        }
        Some(read)
    }

    /// As [`Self::take`] for top-level sections, which need no "of".
    pub(crate) fn section<T: FromYaml>(&mut self, key: &'static str) -> Option<T> {
        self.asked.push(key);
        let (_, value) = self.entries.iter().find(|(node, _)| is_key(node, key))?;
        T::from_yaml(value, key, self.report)
    }

    /// Knows a key whose value is somebody else's; where it stands, if it is given.
    pub(crate) fn know(&mut self, key: &'static str) -> Option<Span> {
        self.asked.push(key);
        self.span(key)
    }

    /// Where a key stands.
    pub(crate) fn span(&self, key: &str) -> Option<Span> {
        self.entries
            .iter()
            .find(|(node, _)| is_key(node, key))
            .map(|(node, _)| node.span.clone())
    }

    /// The keys that were asked for and are given, and where they stand.
    pub(crate) fn given(&self) -> Vec<(&'static str, Span)> {
        let keys = self.asked.iter();
        keys.filter_map(|key| Some((*key, self.span(key)?))).collect()
    }

    /// Reports two keys of which only one may be given.
    pub(crate) fn exclude(&mut self, first: &str, second: &str) {
        if let Some((a, b)) = self.span(first).zip(self.span(second)) {
            let title = format!("{} must have {first} or {second}, not both", self.what);
            self.report
                .push(Diagnostic::new(title, b).and(a, "the other one"));
        }
    }

    /// Reports the keys nobody asked for; whether anything at all was reported in this mapping.
    pub(crate) fn finish(self) -> bool {
        for (node, _) in self.entries {
            let Some(text) = node.text() else {
                let title = format!("a key in {} must be text, not {}", self.what, node.describe());
                self.report.push(Diagnostic::new(title, node.span.clone()));
                continue;
            };
            if self.asked.contains(&text) {
                continue;
            }
            let hint = match nearest(text, self.asked.iter().copied()) {
                Some(key) => format!("did you mean {key:?}?"),
                None => format!("known keys are: {}", self.asked.join(", ")),
            };
            let title = format!("unknown key {text:?} in {}", self.what);
            self.report.push(
                Diagnostic::new(title, node.span.clone())
                    .label("unknown key")
                    .with_hint(hint),
            );
        }
        self.report.reported() > self.reported_before
    }
}

fn is_key(node: &Node, key: &str) -> bool {
    node.text() == Some(key)
}

impl<T: JsonSchema> JsonSchema for Spot<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<K: JsonSchema, T: JsonSchema> JsonSchema for Entries<K, T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}ByName", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let names = generator.subschema_for::<K>();
        let values = generator.subschema_for::<Option<T>>();
        schemars::json_schema!({ "type": "object", "propertyNames": names, "additionalProperties": values })
    }
}

/// The name in an entry's key.
pub(crate) type ByName<T> = Entries<Name, T>;
