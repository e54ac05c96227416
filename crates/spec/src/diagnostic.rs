//! What is wrong with a cluster file, each with its place.
//!
//! A [`Diagnostics`] carries the texts that were read, so that showing it needs nothing else. It is never empty. Exit
//! code 2 belongs to it: the file is at fault, not the environment.
//!
//! Machines that were made from one place of the file by a count have their mistakes in common. One is told: what has the same
//! place and the same words but for digits is the same mistake.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::files::Files;

/// A range of bytes in the file, or in one that it includes ([`Files`]).
pub(crate) type Span = Range<usize>;

/// More than this many are counted, not shown.
const SHOWN: usize = 20;

/// More than this many are not even collected.
const COLLECTED: usize = 1000;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    title: String,
    labels: Vec<Label>,
    hint: Option<String>,
}

/// A place in the file and what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Label {
    span: Span,
    text: Option<String>,
}

/// All mistakes found in one file, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    files: Files,
    items: Vec<Diagnostic>,
}

/// Collects mistakes while the file is read.
#[derive(Debug, Default)]
pub(crate) struct Report {
    items: Vec<Diagnostic>,
    /// How often something was reported, what was known already included.
    reported: usize,
    /// Values of which it is known already what is wrong.
    unread: HashSet<Span>,
    /// What was read so far; paths in an included file start at its folder.
    pub(crate) files: Files,
}

impl Diagnostic {
    pub(crate) fn new(title: impl Into<String>, span: Span) -> Self {
        Self {
            title: title.into(),
            labels: vec![Label { span, text: None }],
            hint: None,
        }
    }

    pub(crate) fn label(mut self, text: impl Into<String>) -> Self {
        self.labels[0].text = Some(text.into());
        self
    }

    /// A second place, such as the first of two that clash.
    pub(crate) fn and(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label {
            span,
            text: Some(text.into()),
        });
        self
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }

    /// One sentence that names the thing and its value.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// What can be done about it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The bytes that it is about, of the file or, counted on from its end, of those that it includes.
    pub fn span(&self) -> Range<usize> {
        self.labels[0].span.clone()
    }

    fn render(&self, files: &Files, renderer: &Renderer) -> String {
        let mut shown = Vec::new();
        for label in &self.labels {
            let at = files.place(label.span.start);
            if !shown.contains(&at) {
                shown.push(at);
            }
        }
        let snippets = shown.into_iter().map(|at| {
            let file = files.get(at);
            let of_file = self.labels.iter().enumerate();
            let of_file = of_file.filter(|(_, label)| files.place(label.span.start) == at);
            let annotations = of_file.map(|(index, label)| {
                let kind = if index == 0 {
                    AnnotationKind::Primary
                } else {
                    AnnotationKind::Context
                };
                let span = clamp(&file.within(&label.span), &file.text);
                kind.span(span).label(label.text.as_deref())
            });
            let annotations = annotations.collect::<Vec<_>>();
            Snippet::source(file.text.as_str())
                .path(file.name.as_str())
                .annotations(annotations)
        });
        let title = Level::ERROR.primary_title(self.title.as_str());
        let mut report = vec![title.elements(snippets)];
        if let Some(hint) = &self.hint {
            report.push(Group::with_title(
                Level::HELP.with_name("hint").secondary_title(hint.as_str()),
            ));
        }
        renderer.render(&report)
    }

    /// Whether both stand at one place and say the same but for digits.
    fn is_same(&self, other: &Self) -> bool {
        let words = |title: &str| title.replace(|c: char| c.is_ascii_digit(), "");
        self.span() == other.span() && words(&self.title) == words(&other.title)
    }
}

/// The span cut to what the text has, on character boundaries.
fn clamp(span: &Span, text: &str) -> Span {
    let floor = |at: usize| {
        (0..=at.min(text.len()))
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0)
    };
    let start = floor(span.start);
    start..floor(span.end).max(start)
}

impl Report {
    /// For one file that includes no others.
    pub(crate) fn of(file: &str, text: &str) -> Self {
        Self {
            files: Files::single(file, text),
            ..Self::default()
        }
    }

    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.reported += 1;
        if self.unread.contains(&diagnostic.span()) {
            return;
        }
        if self.items.len() < COLLECTED && !self.items.iter().any(|item| item.is_same(&diagnostic)) {
            self.items.push(diagnostic);
        }
    }

    /// As [`Report::push`]; of the value that it is about or is in, nothing else is told then.
    pub(crate) fn push_last(&mut self, diagnostic: Diagnostic, value: &Span) {
        self.push(diagnostic);
        self.unread.insert(value.clone());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How often something was reported: whether it grows tells whether a part of the file is wrong.
    pub(crate) fn reported(&self) -> usize {
        self.reported
    }

    pub(crate) fn into_diagnostics(mut self) -> Diagnostics {
        self.items.sort_by_key(|item| item.labels[0].span.start);
        Diagnostics {
            files: self.files,
            items: self.items,
        }
    }
}

impl Diagnostics {
    /// Each mistake, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.items.iter()
    }

    /// The file that a mistake is in, as the caller named it or, where that one includes others, as seen from there.
    pub fn file(&self, diagnostic: &Diagnostic) -> &str {
        &self.files.get(self.files.place(diagnostic.span().start)).name
    }

    /// Line and column, both from 1 and the column in characters, where a mistake begins.
    pub fn position(&self, diagnostic: &Diagnostic) -> (usize, usize) {
        let file = self.files.get(self.files.place(diagnostic.span().start));
        let before = &file.text[..clamp(&file.within(&diagnostic.span()), &file.text).start];
        let line = before.rsplit('\n').next().unwrap_or(before);
        (before.matches('\n').count() + 1, line.chars().count() + 1)
    }

    /// As `Display`, with colours for a terminal.
    pub fn styled(&self) -> String {
        self.render(&Renderer::styled())
    }

    fn render(&self, renderer: &Renderer) -> String {
        let shown = self.items.iter().take(SHOWN);
        let mut parts: Vec<_> = shown.map(|item| item.render(&self.files, renderer)).collect();
        match self.items.len().saturating_sub(SHOWN) {
            0 => {}
            1 => parts.push("and one more error".to_owned()),
            more => parts.push(format!("and {more} more errors")),
        }
        parts.join("\n\n")
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain()))
    }
}

impl std::error::Error for Diagnostics {}
