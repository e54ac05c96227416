//! `${…}` in a text: what stands there as it is, and what is put in its place.
//!
//! | written | means |
//! |---|---|
//! | `${name}`, `${machine.db.address}` | a reference: names of letters, digits, `_` and `-`, dots between them |
//! | `$$` | one `$` |
//! | `$` before anything else, or at the end | itself, so that `$HOME` and `$1` need no care |
//! | `${` before anything else | a mistake: it would surprise later |
//!
//! A [`Template`] is only the syntax. What a reference stands for, and where in a cluster file references are looked for at
//! all, is up to who renders it. Nothing is looked for in what was put in, so values can be anything.

use std::borrow::Cow;
use std::ops::Range;

use crate::text::Hint;

/// A text in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template<'t> {
    parts: Vec<Part<'t>>,
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'t> {
    /// Stands as it is.
    Literal(&'t str),
    /// Is replaced.
    Reference(Reference<'t>),
}

/// `${path}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference<'t> {
    /// What stands between the braces: names with dots between them, none of them empty.
    pub path: &'t str,
    /// The byte of the text at which its `$` stands.
    pub start: usize,
}

/// A `${` that begins no reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{written:?} is no reference")]
pub struct TemplateError {
    /// What stands there, up to what makes it none.
    pub written: String,
    /// Where it stands: bytes of the text.
    pub span: Range<usize>,
}

impl Hint for TemplateError {
    fn hint(&self) -> Option<String> {
        Some("write ${name} for a value, or $${ for the two characters ${".to_owned())
    }
}

impl<'t> Reference<'t> {
    /// Its names: `machine`, `db`, `address`.
    pub fn names(&self) -> impl Iterator<Item = &'t str> + use<'t> {
        self.path.split('.')
    }

    /// Where it stands, from its `$` to after its brace: bytes of the text.
    pub fn span(&self) -> Range<usize> {
        self.start..self.start + "${}".len() + self.path.len()
    }
}

impl<'t> Template<'t> {
    /// Takes a text apart.
    ///
    /// # Errors
    ///
    /// The first `${` that begins no reference.
    pub fn parse(text: &'t str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let (mut literal, mut from) = (0, 0);
        while let Some(at) = text[from..].find('$').map(|at| from + at) {
            let rest = &text[at + 1..];
            from = at + 1;
            if rest.starts_with('$') {
                // The first of the two is the literal's last character.
                parts.push(Part::Literal(&text[literal..from]));
                from += 1;
                literal = from;
            } else if rest.starts_with('{') {
                let reference = reference(text, at)?;
                parts.push(Part::Literal(&text[literal..at]));
                parts.push(Part::Reference(reference));
                from = reference.span().end;
                literal = from;
            }
        }
        parts.push(Part::Literal(&text[literal..]));
        parts.retain(|part| *part != Part::Literal(""));
        Ok(Self { parts })
    }

    /// The parts, in order; no literal is empty.
    pub fn parts(&self) -> &[Part<'t>] {
        &self.parts
    }

    /// The references, in order.
    pub fn references(&self) -> impl Iterator<Item = Reference<'t>> + '_ {
        self.parts.iter().filter_map(|part| match part {
            Part::Reference(reference) => Some(*reference),
            Part::Literal(_) => None,
        })
    }

    /// The text with every reference replaced.
    ///
    /// # Errors
    ///
    /// The first one that `value` has.
    pub fn render<E>(&self, mut value: impl FnMut(&Reference<'t>) -> Result<String, E>) -> Result<String, E> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Reference(reference) => text.push_str(&value(reference)?),
            }
        }
        Ok(text)
    }
}

/// The reference whose `$` is at `at`, with its brace after it.
fn reference(text: &str, at: usize) -> Result<Reference<'_>, TemplateError> {
    let path_start = at + "${".len();
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let rest = &text[path_start..];
    let len = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
    let path = &rest[..len];
    if rest[len..].starts_with('}') && path.split('.').all(|name| !name.is_empty()) {
        return Ok(Reference { path, start: at });
    }
    // With the character that is at fault, if it is on the same line.
    let end = rest[len..].chars().next().filter(|c| !c.is_control());
    let end = path_start + len + end.map_or(0, char::len_utf8);
    Err(TemplateError {
        written: text[at..end].to_owned(),
        span: at..end,
    })
}

/// A text that, taken apart, is this one: what a value must look like where references are looked for.
pub fn escape(text: &str) -> Cow<'_, str> {
    if text.contains("$$") || text.contains("${") {
        Cow::Owned(text.replace('$', "$$"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn render(text: &str) -> Result<String, TemplateError> {
        let value = |reference: &Reference<'_>| Ok(format!("<{}>", reference.path));
        Template::parse(text)?.render(value)
    }

    #[test]
    fn references_are_replaced_and_nothing_else_is() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("${a}", "<a>"),
            ("v${a}.${b-c_1}!", "v<a>.<b-c_1>!"),
            ("${machine.db.join-token}", "<machine.db.join-token>"),
            ("$HOME $1 $(date) $", "$HOME $1 $(date) $"),
            ("$$", "$"),
            ("$${a}", "${a}"),
            ("$$$${a}", "$${a}"),
            ("$$${a}", "$<a>"),
            ("é${a}🏝", "é<a>🏝"),
        ] {
            assert_eq!(render(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_looks_like_a_reference_and_is_none_is_shown() {
        for (text, written, at) in [
            ("a ${", "${", 2),
            ("${}", "${}", 0),
            ("${a b}", "${a ", 0),
            ("${HOME:-/root}", "${HOME:", 0),
            ("${a..b}", "${a..b}", 0),
            ("${.a}", "${.a}", 0),
            ("${a\n}", "${a", 0),
            ("$$${é}", "${é", 2),
        ] {
            let error = render(text).unwrap_err();
            assert_eq!(
                (error.written.as_str(), error.span.start),
                (written, at),
                "{text}"
            );
            assert_eq!(&text[error.span.clone()], error.written);
        }
    }

    #[test]
    fn a_reference_knows_its_names_and_its_place() {
        let text = "a: ${machine.db.x}";
        let template = Template::parse(text).unwrap();
        let [reference] = template.references().collect::<Vec<_>>()[..] else {
            panic!("one reference")
        };
        assert_eq!(reference.names().collect::<Vec<_>>(), ["machine", "db", "x"]);
        assert_eq!(&text[reference.span()], "${machine.db.x}");
    }

    proptest! {
        #[test]
        fn any_text_is_taken_apart_or_refused(text in prop_oneof![any::<String>(), "[${}a.é -]{0,12}"]) {
            match Template::parse(&text) {
                Ok(template) => for reference in template.references() {
                    prop_assert_eq!(&text[reference.span()], format!("${{{}}}", reference.path));
                },
                Err(error) => prop_assert_eq!(&text[error.span], error.written),
            }
        }

        #[test]
        fn an_escaped_text_means_itself(text in prop_oneof![any::<String>(), "[${}a]{0,8}"]) {
            prop_assert_eq!(render(&escape(&text)), Ok(text));
        }
    }
}
