//! From the tree as it is written to the one that it stands for: references are replaced by values, a machine with a count
//! becomes that many machines.
//!
//! References are looked for in every value but these: names (keys), `include` and `variables`, and the text of `user-data`, where `$`
//! has a meaning of its own. User-data may say `template: true`; then its text is checked here, but replaced where it is handed to the
//! guest, since it may refer to what is known only then. What is put in is never looked at again.
//!
//! `worker: {count: 3}` becomes `worker-1` to `worker-3`, in the place of `worker`; in each, `${index}` is its number. `overrides: {2: …}`
//! is laid over the second one key by key. Keys of `defaults` that speak of `${index}` or `${self}` are copied to every
//! machine that has no such key.
//!
//! Bounds: as many values as a file may have, [`MAX_COUNTED`] machines by counts, [`MAX_PUT_IN`] bytes put in.

use std::collections::BTreeMap;

use crate::choices::Choices;
use crate::diagnostic::{Diagnostic, Report, Span};
use crate::include::{KEY as INCLUDE, lay_over_machine};
use crate::read::{Entries, FromYaml, Spot, bad_value, report_duplicates, wrong_kind};
use crate::scalar::{INSTANCES_MAX, Instances};
use crate::template::{Reference, Template};
use crate::text::Hint;
use crate::variables::{INDEX, SELF, Values, how_to_give, known};
use crate::yaml::{Kind, MAX_NODES, Node};

const MAX_PUT_IN: usize = 4 << 20;
const MAX_COUNTED: usize = 1000;

/// How many machines there shall be of one kind.
pub(crate) const COUNT: &str = "count";
/// What single ones of them have.
pub(crate) const OVERRIDES: &str = "overrides";
const USER_DATA: &str = "user-data";

/// A file without references and counts.
#[derive(Debug)]
pub(crate) struct Expanded {
    pub(crate) root: Node,
    pub(crate) values: Values,
    /// The numbers of machines that were made by a count.
    pub(crate) indices: BTreeMap<String, u16>,
}

/// Expands the tree of a file; what is wrong is in the report.
pub(crate) fn expand(mut root: Node, choices: &Choices, report: &mut Report) -> Expanded {
    let section = root.get("variables");
    let span = section.map(|section| section.span.clone());
    let section = section.and_then(|section| Entries::from_yaml(section, "variables", report));
    let values = Values::new(section, span.as_ref(), choices, report);
    let mut expander = Expander {
        values: &values,
        report,
        room: MAX_NODES.saturating_sub(root.size()),
        put_in: 0,
        counted: 0,
    };
    let mut indices = BTreeMap::new();
    if let Kind::Map(sections) = &mut root.kind {
        let late = take_late(sections);
        for (key, value) in sections {
            match key.text() {
                Some("variables" | INCLUDE) => {}
                Some("defaults") => expander.machine(value, &Scope::default()),
                Some("machines") => expander.machines(value, &late, &mut indices),
                _ => expander.value(value, &Scope::default()),
            }
        }
    }
    Expanded {
        root,
        values,
        indices,
    }
}

/// The machine that a value is of, if it is of one.
#[derive(Clone, Copy, Debug, Default)]
struct Scope<'a> {
    machine: Option<&'a str>,
    index: Option<u16>,
}

struct Expander<'a> {
    values: &'a Values,
    report: &'a mut Report,
    /// Nodes that counts may still make.
    room: usize,
    /// Bytes put in so far.
    put_in: usize,
    /// Machines made by counts so far.
    counted: usize,
}

impl Expander<'_> {
    fn machines(&mut self, node: &mut Node, late: &[(Node, Node)], indices: &mut BTreeMap<String, u16>) {
        let Kind::Map(machines) = &mut node.kind else {
            return;
        };
        let late_size = late.iter().map(|(_, value)| 1 + value.size()).sum();
        for (key, mut value) in std::mem::take(machines) {
            let Some(name) = key.text().map(str::to_owned) else {
                machines.push((key, value));
                continue;
            };
            if self.take_room(late_size, &key.span).is_none() {
                break;
            }
            add_late(&mut value, late);
            let Some((count, overrides)) = self.take_count(&name, &mut value) else {
                let scope = Scope {
                    machine: Some(&name),
                    index: None,
                };
                self.machine(&mut value, &scope);
                machines.push((key, value));
                continue;
            };
            for index in 1..=count.value {
                let Some((name, instance)) = self.instance((&key, &count, index), &value, &overrides) else {
                    break;
                };
                indices.insert(name.text().unwrap_or_default().to_owned(), index);
                machines.push((name, instance));
            }
        }
    }

    /// One of the machines of a count; `None` when there is no room for it.
    fn instance(
        &mut self,
        (key, count, index): (&Node, &Spot<u16>, u16),
        value: &Node,
        overrides: &BTreeMap<u16, Node>,
    ) -> Option<(Node, Node)> {
        let mut instance = value.clone();
        if let Some(own) = overrides.get(&index) {
            instance = lay_over_machine(instance, own.clone());
        }
        self.take_room(instance.size() + 1, &count.span)?;
        self.counted += 1;
        if self.counted > MAX_COUNTED {
            let title = format!("counts make more than {MAX_COUNTED} machines");
            self.report.push(Diagnostic::new(title, count.span.clone()));
            return None;
        }
        let name = format!("{}-{index}", key.text().unwrap_or_default());
        let scope = Scope {
            machine: Some(&name),
            index: Some(index),
        };
        self.machine(&mut instance, &scope);
        let name = Node {
            span: key.span.clone(),
            kind: Kind::Scalar {
                text: name,
                plain: true,
            },
        };
        Some((name, instance))
    }

    /// Notes that the tree grows; `None` when it is as large as it may be.
    fn take_room(&mut self, nodes: usize, span: &Span) -> Option<()> {
        if let Some(room) = self.room.checked_sub(nodes) {
            self.room = room;
            return Some(());
        }
        let title =
            format!("the file has more than {MAX_NODES} values with what counts and defaults make of it");
        self.report.push(Diagnostic::new(title, span.clone()));
        None
    }

    /// Takes the count from a machine that has one, with what single ones have.
    fn take_count(&mut self, name: &str, machine: &mut Node) -> Option<(Spot<u16>, BTreeMap<u16, Node>)> {
        let Kind::Map(entries) = &mut machine.kind else {
            return None;
        };
        // Given twice, it stays for whoever reports that.
        let mut take = |key: &str| {
            let at = entries.iter().position(|(own, _)| own.text() == Some(key))?;
            Some(entries.remove(at).1)
        };
        let mut count = take(COUNT)?;
        let overrides = take(OVERRIDES);
        self.value(&mut count, &Scope::default());
        let what = format!("count of machine {name:?}");
        let read = Instances::from_yaml(&count, &what, self.report);
        let count = Spot {
            value: read.map_or(1, |count| count.0),
            span: count.span,
        };
        let overrides = overrides.map(|overrides| {
            // With a count that could not be read, any number may be right.
            let most = read.map_or(INSTANCES_MAX, |count| count.0);
            self.overrides(name, overrides, most)
        });
        Some((count, overrides.unwrap_or_default()))
    }

    fn overrides(&mut self, name: &str, node: Node, count: u16) -> BTreeMap<u16, Node> {
        let what = format!("overrides of machine {name:?}");
        let entries = match node.kind {
            Kind::Map(entries) => entries,
            Kind::Null => Vec::new(),
            _ => {
                wrong_kind::<()>(&node, &what, "a mapping from numbers", self.report);
                Vec::new()
            }
        };
        report_duplicates(&entries, &what, self.report);
        let mut overrides = BTreeMap::new();
        for (key, value) in entries {
            let Some(index) = key
                .text()
                .and_then(|text| text.parse::<u16>().ok())
                .filter(|it| *it > 0)
            else {
                let title = format!("{what}: a machine is meant by its number, from 1");
                self.report.push(Diagnostic::new(title, key.span));
                continue;
            };
            if index > count {
                let title = format!("{what}: there is no number {index}, its count is {count}");
                self.report.push(Diagnostic::new(title, key.span));
            } else if matches!(value.kind, Kind::Map(_) | Kind::Null) {
                overrides.insert(index, value);
            } else {
                let what = format!("number {index} of machine {name:?}");
                wrong_kind::<()>(&value, &what, "a mapping", self.report);
            }
        }
        overrides
    }

    fn machine(&mut self, node: &mut Node, scope: &Scope<'_>) {
        let Kind::Map(entries) = &mut node.kind else {
            return;
        };
        for (key, value) in entries {
            if key.text() == Some(USER_DATA) {
                self.user_data(value, scope);
            } else {
                self.value(value, scope);
            }
        }
    }

    fn user_data(&mut self, node: &mut Node, scope: &Scope<'_>) {
        let Kind::Map(entries) = &mut node.kind else {
            return;
        };
        for (key, value) in entries.iter_mut() {
            if key.text() != Some("text") {
                self.value(value, scope);
            }
        }
        if node.get("template").and_then(Node::text) == Some("true")
            && let Some(text) = node.get("text")
        {
            self.check_template(text, scope);
        }
    }

    /// What a template refers to without a dot is known here; all else is where it is handed on.
    fn check_template(&mut self, node: &Node, scope: &Scope<'_>) {
        let Some(text) = node.text() else { return };
        match Template::parse(text) {
            Ok(template) => {
                for reference in template.references().filter(|it| !it.path.contains('.')) {
                    if let Err(diagnostic) = self.lookup(node, text, &reference, scope) {
                        self.report.push(diagnostic);
                    }
                }
            }
            Err(error) => {
                let span = self.place(node, text, error.span.clone());
                let what = "user-data that is a template";
                self.report.push(bad_value(&span, what, &error));
            }
        }
    }

    /// Replaces the references in a value and all that is in it.
    fn value(&mut self, node: &mut Node, scope: &Scope<'_>) {
        match &mut node.kind {
            Kind::Null => {}
            Kind::List(items) => items.iter_mut().for_each(|item| self.value(item, scope)),
            Kind::Map(entries) => entries.iter_mut().for_each(|(_, value)| self.value(value, scope)),
            Kind::Scalar { text, plain } if text.contains('$') => {
                let (text, plain) = (text.clone(), *plain);
                match self.rendered(node, &text, scope) {
                    Ok(text) => node.kind = Kind::Scalar { text, plain },
                    Err(diagnostic) => self.report.push_last(diagnostic, &node.span),
                }
            }
            Kind::Scalar { .. } => {}
        }
    }

    fn rendered(&mut self, node: &Node, text: &str, scope: &Scope<'_>) -> Result<String, Diagnostic> {
        let template = Template::parse(text).map_err(|error| {
            let span = self.place(node, text, error.span.clone());
            Diagnostic::new(error.to_string(), span).with_hint(error.hint())
        })?;
        let rendered = template.render(|reference| {
            let value = self.lookup(node, text, reference, scope)?;
            self.put_in += value.len();
            if self.put_in > MAX_PUT_IN {
                let title = "the values of variables make the file longer than 4 MiB";
                return Err(Diagnostic::new(title, node.span.clone()));
            }
            Ok(value)
        })?;
        Ok(rendered)
    }

    fn lookup(
        &self,
        node: &Node,
        text: &str,
        reference: &Reference<'_>,
        scope: &Scope<'_>,
    ) -> Result<String, Diagnostic> {
        let path = reference.path;
        let span = || self.place(node, text, reference.span());
        match (path, scope.index, scope.machine) {
            (INDEX, Some(index), _) => return Ok(index.to_string()),
            (SELF, _, Some(machine)) => return Ok(machine.to_owned()),
            (INDEX, None, _) => {
                let hint = "only a machine with a count has a number: count: 3".to_owned();
                return Err(Diagnostic::new("${index} has no value here", span()).with_hint(hint));
            }
            (SELF, _, None) => {
                return Err(Diagnostic::new(
                    "${self} has no value outside of a machine",
                    span(),
                ));
            }
            _ => {}
        }
        match self.values.get(path) {
            Some(Some(value)) => Ok(value.to_owned()),
            Some(None) => {
                let diagnostic = Diagnostic::new(format!("variable {path:?} has no value"), span());
                Err(diagnostic.with_hint(how_to_give(path)))
            }
            None if path.contains('.') => {
                let hint =
                    "outside of user-data that is a template, there are variables, ${index} and ${self}";
                let diagnostic = Diagnostic::new(format!("{path:?} is not known here"), span());
                Err(diagnostic.with_hint(hint.to_owned()))
            }
            None => {
                let names: Vec<&str> = self.values.names().collect();
                let hint = known(path, names.iter().copied());
                Err(Diagnostic::new(format!("there is no variable {path:?}"), span()).with_hint(hint))
            }
        }
    }

    /// Where a part of a value stands in its file, as far as that can be told: what a value says and how it is written differ.
    fn place(&self, node: &Node, text: &str, part: Span) -> Span {
        let source = self.report.files.text_from(node.span.start);
        // An alias stands elsewhere than what it says.
        let goes_on = text.contains('\n') && !source.starts_with('*');
        let len = if goes_on { source.len() } else { node.span.len() };
        let source = source.get(..len).unwrap_or_default();
        let written = &text[part.clone()];
        let before = text[..part.start].matches(written).count();
        match source.match_indices(written).nth(before) {
            Some((at, _)) => node.span.start + at..node.span.start + at + written.len(),
            None => node.span.clone(),
        }
    }
}

/// Takes from `defaults` what has another value in every machine.
fn take_late(sections: &mut [(Node, Node)]) -> Vec<(Node, Node)> {
    let defaults = sections
        .iter_mut()
        .find(|(key, _)| key.text() == Some("defaults"));
    let Some((
        _,
        Node {
            kind: Kind::Map(entries),
            ..
        },
    )) = defaults
    else {
        return Vec::new();
    };
    let is_late = |(key, value): &mut (Node, Node)| {
        key.text().is_some_and(|key| key != COUNT && key != OVERRIDES) && speaks_of_machine(value)
    };
    entries.extract_if(.., is_late).collect()
}

fn speaks_of_machine(node: &Node) -> bool {
    match &node.kind {
        Kind::Null => false,
        Kind::List(items) => items.iter().any(speaks_of_machine),
        Kind::Map(entries) => entries.iter().any(|(_, value)| speaks_of_machine(value)),
        Kind::Scalar { text, .. } => Template::parse(text)
            .is_ok_and(|template| template.references().any(|it| matches!(it.path, INDEX | SELF))),
    }
}

/// Gives a machine what `defaults` has and it does not.
pub(crate) fn add_late(machine: &mut Node, late: &[(Node, Node)]) {
    if late.is_empty() {
        return;
    }
    if matches!(machine.kind, Kind::Null) {
        machine.kind = Kind::Map(Vec::new());
    }
    let Kind::Map(entries) = &mut machine.kind else {
        return;
    };
    for (key, value) in late {
        match entries.iter_mut().find(|(own, _)| own.text() == key.text()) {
            None => entries.push((key.clone(), value.clone())),
            // As it is with `defaults` everywhere.
            Some((
                _,
                Node {
                    kind: Kind::Map(own), ..
                },
            )) if key.text() == Some("ssh") => {
                let Kind::Map(late) = &value.kind else { continue };
                let missing = late
                    .iter()
                    .filter(|(key, _)| !own.iter().any(|(it, _)| it.text() == key.text()));
                let missing: Vec<_> = missing.cloned().collect();
                own.extend(missing);
            }
            Some(_) => {}
        }
    }
}
