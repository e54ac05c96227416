//! What is wrong with a cluster file, each with its place.
//!
//! A [`Diagnostics`] carries the text that was read, so that showing it needs nothing else. It is never empty. Exit
//! code 2 belongs to it: the file is at fault, not the environment.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// A range of bytes in the file.
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
    file: String,
    text: String,
    items: Vec<Diagnostic>,
}

/// Collects mistakes while the file is read.
#[derive(Debug, Default)]
pub(crate) struct Report {
    items: Vec<Diagnostic>,
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

    /// The bytes of the file that it is about.
    pub fn span(&self) -> Range<usize> {
        self.labels[0].span.clone()
    }

    fn render(&self, file: &str, text: &str, renderer: &Renderer) -> String {
        let annotations = self.labels.iter().enumerate().map(|(index, label)| {
            let kind = if index == 0 {
                AnnotationKind::Primary
            } else {
                AnnotationKind::Context
            };
            kind.span(clamp(&label.span, text)).label(label.text.as_deref())
        });
        let snippet = Snippet::source(text).path(file).annotations(annotations);
        let mut report = vec![Level::ERROR.primary_title(self.title.as_str()).element(snippet)];
        if let Some(hint) = &self.hint {
            report.push(Group::with_title(
                Level::HELP.with_name("hint").secondary_title(hint.as_str()),
            ));
        }
        renderer.render(&report)
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
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        if self.items.len() < COLLECTED && !self.items.contains(&diagnostic) {
            self.items.push(diagnostic);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn into_diagnostics(mut self, file: &str, text: &str) -> Diagnostics {
        self.items.sort_by_key(|item| item.labels[0].span.start);
        Diagnostics {
            file: file.to_owned(),
            text: text.to_owned(),
            items: self.items,
        }
    }
}

impl Diagnostics {
    /// Each mistake, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.items.iter()
    }

    /// The file as the caller named it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Line and column, both from 1 and the column in characters, where a mistake begins.
    pub fn position(&self, diagnostic: &Diagnostic) -> (usize, usize) {
        let before = &self.text[..clamp(&diagnostic.span(), &self.text).start];
        let line = before.rsplit('\n').next().unwrap_or(before);
        (before.matches('\n').count() + 1, line.chars().count() + 1)
    }

    /// As `Display`, with colours for a terminal.
    pub fn styled(&self) -> String {
        self.render(&Renderer::styled())
    }

    fn render(&self, renderer: &Renderer) -> String {
        let shown = self.items.iter().take(SHOWN);
        let mut parts: Vec<_> = shown
            .map(|item| item.render(&self.file, &self.text, renderer))
            .collect();
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
