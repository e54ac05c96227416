//! Values of outputs put into user-data: `${machine.NAME.outputs.OUTPUT}`.
//!
//! A text that mentions an output is a [`Template`](crate::template); one that mentions none is left alone byte by byte, whatever
//! `${` it holds. Values come from machines and can be any text, so they must not become syntax:
//!
//! - In a `#cloud-config`, each scalar that mentions an output is a template for itself. It is written anew, as a whole, as a double-quoted one (JSON's strings are YAML's), in the place
//!   of the one that stood there, be it plain, quoted or a block. What it says is what it said, with the values in it; line ends,
//!   quotes, `: ` and `#` in a value are text. Everything else stays byte by byte.
//! - Anything else (a script, a MIME archive) is no language of ours: values stand there as they are.
//!
//! Inside a scalar may be another language, and only its writer knows it: `${machine.a.outputs.b.shell}` is the value as one word of a POSIX shell,
//! `….base64` its base64 (RFC 4648), for `encoding: b64` of `write_files`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use crate::template::{Reference, Template, TemplateError};
use crate::text::Hint;
use crate::yaml::{self, PlacedScalar};

/// What begins a user-data that is a cloud-config.
const CLOUD_CONFIG: &str = "#cloud-config";

/// An output that a text mentions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mention {
    /// The machine whose it is.
    pub machine: String,
    /// Its name there.
    pub output: String,
    form: Form,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Form {
    Text,
    Shell,
    Base64,
}

/// Why values cannot be put into a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's sentence says it")]
pub enum InsertError {
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("${{{0}}} is no output of a machine")]
    NoOutput(String),
    #[error("{0} is not known")]
    Unknown(Mention),
    #[error("it is no cloud-config that could be read: {0}")]
    NoYaml(String),
}

impl Hint for InsertError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Template(error) => error.hint(),
            Self::NoOutput(path) => Some(format!(
                "write ${{machine.NAME.outputs.OUTPUT}} for an output, or $${{{path}}} for the text itself"
            )),
            Self::Unknown(mention) => Some(format!(
                "let the machine wait for it: depends-on: [{{machine: {}, condition: outputs}}]",
                mention.machine
            )),
            Self::NoYaml(_) => None,
        }
    }
}

impl fmt::Display for Mention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "output {:?} of machine {:?}", self.output, self.machine)
    }
}

impl Mention {
    /// The mention that a reference is, if it is one.
    pub fn of(reference: &Reference<'_>) -> Option<Self> {
        let mut names = reference.names();
        let (root, machine) = (names.next()?, names.next()?);
        let (outputs, output) = (names.next()?, names.next()?);
        let form = match names.next() {
            None => Form::Text,
            Some("shell") => Form::Shell,
            Some("base64") => Form::Base64,
            Some(_) => return None,
        };
        let is_one = root == "machine" && outputs == "outputs" && names.next().is_none();
        is_one.then(|| Self {
            machine: machine.to_owned(),
            output: output.to_owned(),
            form,
        })
    }

    /// The value in the form that is mentioned.
    pub fn written(&self, value: &str) -> String {
        match self.form {
            Form::Text => value.to_owned(),
            Form::Shell => format!("'{}'", value.replace('\'', r"'\''")),
            Form::Base64 => base64(value.as_bytes()),
        }
    }
}

/// Whether a text mentions an output, and so is a template. What only looks so behind a `$$` is none.
fn is_template(text: &str) -> bool {
    text.match_indices("${machine.").any(|(at, _)| {
        let dollars = text[..at].len() - text[..at].trim_end_matches('$').len();
        let path = text[at + 2..].split(['}', '\n']).next().unwrap_or_default();
        dollars.is_multiple_of(2) && path.split('.').nth(2) == Some("outputs")
    })
}

/// The outputs that a user-data mentions, each once. `has_variables` where other references may be something, too.
///
/// # Errors
///
/// It mentions one, and something else in it looks like a reference and is none.
pub fn mentions(text: &str, has_variables: bool) -> Result<Vec<Mention>, InsertError> {
    let mut found: Vec<Mention> = Vec::new();
    if !is_template(text) {
        return Ok(found);
    }
    let texts = if text.starts_with(CLOUD_CONFIG) {
        templates(text)?.into_iter().map(|scalar| scalar.text).collect()
    } else {
        vec![text.to_owned()]
    };
    for text in texts {
        for reference in Template::parse(&text)?.references() {
            let mention = Mention::of(&reference);
            if mention.is_none() && !has_variables {
                return Err(InsertError::NoOutput(reference.path.to_owned()));
            }
            found.extend(mention.filter(|mention| !found.contains(mention)));
        }
    }
    Ok(found)
}

/// What stands for the references of a text.
struct Values<'v> {
    outputs: &'v dyn Fn(&Mention) -> Option<String>,
    /// What references stand for that are no outputs, where they can be something.
    variables: Option<&'v BTreeMap<String, String>>,
}

/// A user-data with the values of the outputs that it mentions; `None` when it mentions none.
///
/// # Errors
///
/// `value` does not know one, or the text cannot be read.
pub fn fill(text: &str, value: &dyn Fn(&Mention) -> Option<String>) -> Result<Option<String>, InsertError> {
    if mentions(text, false)?.is_empty() {
        return Ok(None);
    }
    let values = Values {
        outputs: value,
        variables: None,
    };
    if text.starts_with(CLOUD_CONFIG) {
        cloud_config(text, &values).map(Some)
    } else {
        values.fill(text).map(Some)
    }
}

/// A user-data that is a template, with the values of outputs where it is a cloud-config: the scalars that mention some, as a whole. What comes out is
/// a template still; values are nothing to it.
///
/// # Errors
///
/// `value` does not know one, or the text cannot be read.
pub fn fill_template<'t>(
    text: &'t str,
    variables: &BTreeMap<String, String>,
    value: &dyn Fn(&Mention) -> Option<String>,
) -> Result<Cow<'t, str>, InsertError> {
    if !text.starts_with(CLOUD_CONFIG) || !is_template(text) {
        return Ok(Cow::Borrowed(text));
    }
    let values = Values {
        outputs: value,
        variables: Some(variables),
    };
    cloud_config(text, &values).map(Cow::Owned)
}

impl Values<'_> {
    /// A template with its values.
    fn fill(&self, text: &str) -> Result<String, InsertError> {
        Template::parse(text)?.render(|reference| {
            let variable = self.variables.and_then(|variables| variables.get(reference.path));
            if let Some(value) = variable {
                return Ok(value.clone());
            }
            let no_output = || InsertError::NoOutput(reference.path.to_owned());
            let mention = Mention::of(reference).ok_or_else(no_output)?;
            let value = (self.outputs)(&mention).ok_or_else(|| InsertError::Unknown(mention.clone()))?;
            Ok(mention.written(&value))
        })
    }
}

/// A cloud-config in which the scalars that mention outputs are written anew.
fn cloud_config(text: &str, values: &Values<'_>) -> Result<String, InsertError> {
    let mut out = String::new();
    let mut copied = 0;
    for scalar in templates(text)? {
        out.push_str(&text[copied..scalar.span.start]);
        out.push_str(&quoted(&values.fill(&scalar.text)?, values.variables.is_some()));
        copied = scalar.span.end;
    }
    out.push_str(&text[copied..]);
    check(text, &out, values)?;
    Ok(out)
}

/// Reads the new text back: it must say what the old one did, with the values in it. A value never gets a guest to run what it holds because of a
/// corner of YAML that was not thought of here.
fn check(old: &str, new: &str, values: &Values<'_>) -> Result<(), InsertError> {
    let scalars = |text| yaml::scalars(text).map_err(|error| InsertError::NoYaml(error.title().to_owned()));
    let (old, new) = (scalars(old)?, scalars(new)?);
    let mut is_same = old.len() == new.len();
    for (old, new) in old.iter().zip(&new) {
        let expected = if is_template(&old.text) {
            values.fill(&old.text)?
        } else {
            old.text.clone()
        };
        is_same &= expected == new.text;
    }
    if is_same {
        return Ok(());
    }
    let reason = "write the texts that mention outputs in double quotes";
    Err(InsertError::NoYaml(reason.to_owned()))
}

/// The scalars of a cloud-config that mention outputs, in their order.
fn templates(text: &str) -> Result<Vec<PlacedScalar>, InsertError> {
    let mut scalars = yaml::scalars(text).map_err(|error| InsertError::NoYaml(error.title().to_owned()))?;
    scalars.retain(|scalar| is_template(&scalar.text));
    Ok(scalars)
}

/// A double-quoted scalar of YAML, in one line. All but printable ASCII is escaped: YAML 1.1, which cloud-init's reader speaks, takes U+0085,
/// U+2028 and U+2029 for line ends and refuses other controls (YAML 1.1, 5.1.1 and 5.4; 1.2, 5.7). So is `$` where the text is a template still.
fn quoted(text: &str, hides_dollars: bool) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match (c, u32::from(c)) {
            ('"' | '\\', _) => out.extend(['\\', c]),
            ('\n', _) => out.push_str("\\n"),
            ('\t', _) => out.push_str("\\t"),
            ('$', _) if hides_dollars => out.push_str("\\x24"),
            (' '..='~', _) => out.push(c),
            (_, code @ 0..=0xffff) => out.push_str(&format!("\\u{code:04x}")),
            (_, code) => out.push_str(&format!("\\U{code:08x}")),
        }
    }
    out.push('"');
    out
}

/// Base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |index| u32::from(chunk.get(index).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let sextet = word >> (18 - 6 * digit) & 0x3f;
            let letter = ALPHABET.get(usize::try_from(sextet).unwrap_or(0)).copied();
            out.push(if digit <= chunk.len() {
                letter.map_or('=', char::from)
            } else {
                '='
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a machine could make of its output to get out of where it is put.
    const NASTY: &str =
        "a: b # c\n- \"d\" 'e' $HOME ${x} $$ \\ \t{[,]}|>&*!%@`\u{85}\u{2028}\u{7f}\u{1}é🏝\n\nend: ";

    fn filled_with(text: &str, value: &str) -> String {
        fill(text, &|_| Some(value.to_owned())).unwrap().unwrap()
    }

    /// The scalars of a YAML text.
    fn scalars(text: &str) -> Vec<String> {
        yaml::scalars(text)
            .unwrap()
            .into_iter()
            .map(|scalar| scalar.text)
            .collect()
    }

    #[test]
    fn a_text_that_mentions_no_output_is_left_alone() {
        for text in [
            "",
            "#!/bin/sh\necho ${HOME:-/root} $$\n",
            "#cloud-config\na: ${machine.x.address}\n",
            "${machine.a.outputs",
        ] {
            let none = fill(text, &|_| None);
            assert!(
                none.as_ref().is_ok_and(Option::is_none) || text.ends_with("outputs"),
                "{text}: {none:?}"
            );
        }
    }

    #[test]
    fn what_only_looks_like_a_mention_makes_no_template_of_its_text() {
        let alone = "#cloud-config\na: $${machine.a.outputs.b}\n";
        assert_eq!(fill(alone, &|_| None), Ok(None));
        let beside = "#cloud-config\na: $${machine.a.outputs.b}\nb: $$${machine.a.outputs.b} $${machine.a.outputs.b}\n";
        assert_eq!(
            filled_with(beside, "v"),
            "#cloud-config\na: $${machine.a.outputs.b}\nb: \"$v ${machine.a.outputs.b}\"\n"
        );
    }

    #[test]
    fn mentions_are_found_once_each() {
        let text = "#cloud-config\na: ${machine.b.outputs.c} ${machine.b.outputs.c}\n# ${machine.no.outputs.no}\nd: [\"${machine.e.outputs.f.base64}\"]\n";
        let found: Vec<String> = mentions(text, false)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            found,
            ["output \"c\" of machine \"b\"", "output \"f\" of machine \"e\""]
        );
    }

    #[test]
    fn any_value_stays_text_in_every_kind_of_scalar() {
        let text = "#cloud-config\n# kept: ${x}\nplain: v=${machine.a.outputs.b}\nsingle: 'v=${machine.a.outputs.b}'\n\
                    double: \"v=${machine.a.outputs.b}\"\nflow: {k: ['v=${machine.a.outputs.b}', 2]}\nblock: |\n  one $HOME\n  v=${machine.a.outputs.b}\n\
                    # between\nfolded: >-\n  v=${machine.a.outputs.b}\nlast: &x |+\n  v=${machine.a.outputs.b}\n\n";
        let found = scalars(&filled_with(text, NASTY));
        let expected: Vec<String> = scalars(text)
            .iter()
            .map(|text| text.replace("${machine.a.outputs.b}", NASTY))
            .collect();
        assert_eq!(found, expected);
        let kept = filled_with(text, "x");
        assert!(
            kept.starts_with("#cloud-config\n# kept: ${x}\nplain: \"v=x\"\nsingle: \"v=x\"\n"),
            "{kept}"
        );
        assert!(
            kept.contains("block: \"one $HOME\\nv=x\\n\"\n# between\nfolded: \"v=x\"\n"),
            "{kept}"
        );
    }

    #[test]
    fn a_value_can_be_a_word_of_a_shell_or_base64() {
        let text = "#!/bin/sh\njoin ${machine.a.outputs.b.shell} ${machine.a.outputs.b.base64} ${machine.a.outputs.b}\n";
        assert_eq!(
            filled_with(text, "it's"),
            "#!/bin/sh\njoin 'it'\\''s' aXQncw== it's\n"
        );
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_template_of_a_cloud_config_stays_one_in_which_values_are_text() {
        let variables = BTreeMap::from([("role".to_owned(), "db".to_owned())]);
        let text = "#cloud-config\nrole: ${role}\nsaid: ${role} ${machine.a.outputs.b} $$\n";
        let filled = fill_template(text, &variables, &|_| Some("${role} $$".to_owned())).unwrap();
        assert_eq!(
            filled,
            "#cloud-config\nrole: ${role}\nsaid: \"db \\x24{role} \\x24\\x24 \\x24\"\n"
        );
        assert_eq!(scalars(&filled)[3], "db ${role} $$ $");
        let script = "#!/bin/sh\n${machine.a.outputs.b} ${role}\n";
        assert_eq!(fill_template(script, &variables, &|_| None).unwrap(), script);
        assert_eq!(mentions(script, true).unwrap().len(), 1);
    }

    #[test]
    fn what_cannot_be_put_in_is_told() {
        let error = |text: &str| fill(text, &|_| None).unwrap_err().to_string();
        assert_eq!(
            error("${machine.a.outputs.b}"),
            "output \"b\" of machine \"a\" is not known"
        );
        assert_eq!(
            error("${machine.a.outputs.b} ${HOME}"),
            "${HOME} is no output of a machine"
        );
        assert_eq!(
            error("${machine.a.outputs.b} ${HOME:-x}"),
            "\"${HOME:\" is no reference"
        );
        assert_eq!(
            error("${machine.a.outputs.b.c}"),
            "${machine.a.outputs.b.c} is no output of a machine"
        );
        let error = error("#cloud-config\na: [${machine.a.outputs.b}\n");
        assert!(
            error.starts_with("it is no cloud-config that could be read: this is not YAML"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn any_value_is_read_back_from_any_place(value in any::<String>(), style in 0..5_usize) {
            let place = ["${R}", "'${R}'", "\"${R}\"", "|\n    ${R}", ">-\n    ${R}"][style];
            let text = format!("#cloud-config\nk:\n  a: {place}\n  z: end\n").replace("R", "machine.a.outputs.b");
            let found = scalars(&filled_with(&text, &value));
            let tail = if style == 3 { "\n" } else { "" };
            prop_assert_eq!(found, ["k", "a", &format!("{value}{tail}"), "z", "end"]);
        }

        #[test]
        fn any_text_is_filled_or_refused(text in prop_oneof![any::<String>(), "(#cloud-config\n)?[a:'\"|>\n #&*-]{0,9}\\$\\{machine\\.a\\.outputs\\.b\\}[]a:'\"|> \n{}$-]{0,9}"], value in any::<String>()) {
            if let Ok(Some(filled)) = fill(&text, &|_| Some(value.clone())) {
                prop_assert!(!mentions(&text, false).unwrap().is_empty());
                if text.starts_with(CLOUD_CONFIG) {
                    prop_assert_eq!(scalars(&filled).len(), scalars(&text).len());
                }
            }
        }
    }
}
