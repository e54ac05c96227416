//! `variables:` of a cluster file, and what they are worth in the end.
//!
//! A value comes from who brings the cluster up, else from the environment, else from the file. A variable has a type only so that a wrong
//! value is shown where the variable is declared; what is put into a value of the file is checked there as if it had been written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::choices::{Choices, ENVIRONMENT_PREFIX, environment_name};
use crate::diagnostic::{Diagnostic, Report, Span};
use crate::hardware::VariableType;
use crate::read::{Entries, FromYaml, Keys, Noun, Spot, wrong_kind};
use crate::size::ByteSize;
use crate::text::{Hint, nearest, text_type};
use crate::yaml::{Kind, Node};

/// What has a meaning of its own in `${…}`.
pub(crate) const INDEX: &str = "index";
/// The name of the machine that it stands in.
pub(crate) const SELF: &str = "self";
/// First names of references with dots.
const RESERVED: [&str; 5] = [INDEX, SELF, "machine", "network", "cluster"];

/// The name of a variable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct VariableName(String);

/// Why a text is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VariableNameError {
    #[error("{0:?} is no name of a variable")]
    Syntax(String),
    #[error("a variable cannot be called {0:?}, which means something else")]
    Reserved(String),
}

impl Hint for VariableNameError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Syntax(_) => "begin with a letter, go on with letters, digits, '_' and '-'".to_owned(),
            Self::Reserved(_) => format!("these are taken: {}", RESERVED.join(", ")),
        })
    }
}

impl FromStr for VariableName {
    type Err = VariableNameError;

    fn from_str(text: &str) -> Result<Self, VariableNameError> {
        let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let begins_well = text.starts_with(|c: char| c.is_ascii_alphabetic());
        if !begins_well || text.len() > 64 || !text.chars().all(is_fit) {
            Err(VariableNameError::Syntax(text.to_owned()))
        } else if RESERVED.contains(&text) {
            Err(VariableNameError::Reserved(text.to_owned()))
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

impl fmt::Display for VariableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_type!(
    VariableName,
    expected: "a name",
    pattern: "^[A-Za-z][A-Za-z0-9_-]*$",
    about: "A variable's name: letters, digits, '_' and '-'."
);

/// A variable: its value when nobody gives another, or a mapping.
#[derive(Clone, Debug, Default)]
pub(crate) struct VariableFile {
    default: Option<Spot<String>>,
    kind: VariableType,
    /// Whether part of it could not be read.
    wrong: bool,
}

impl Noun for VariableFile {
    const NOUN: &'static str = "variable";
}

impl FromYaml for VariableFile {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        match &node.kind {
            Kind::Scalar { .. } => Some(Self {
                default: Spot::from_yaml(node, what, report),
                ..Self::default()
            }),
            Kind::Map(_) | Kind::Null => {
                let mut keys = Keys::of(node, what, report)?;
                let default = keys.take("default");
                let kind = keys.take("type").unwrap_or_default();
                keys.take::<String>("description");
                let wrong = keys.finish();
                Some(Self { default, kind, wrong })
            }
            Kind::List(_) => wrong_kind(node, what, "a value or a mapping", report),
        }
    }
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "its fields are the schema of a variable written as a mapping"
)]
struct VariableMapping {
    /// Its value when nobody gives another; without one it must be given.
    default: Option<Scalar>,
    /// What its value must be; text, which is anything, when left out.
    r#type: Option<VariableType>,
    /// What it is for.
    description: Option<String>,
}

/// A value of any kind.
struct Scalar;

impl JsonSchema for Scalar {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

impl JsonSchema for VariableFile {
    fn schema_name() -> Cow<'static, str> {
        "Variable".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let scalar = generator.subschema_for::<Scalar>();
        let mapping = generator.subschema_for::<VariableMapping>();
        json_schema!({ "description": "Its value when nobody gives another, or a mapping.", "anyOf": [scalar, mapping] })
    }
}

/// What every variable is worth.
#[derive(Debug, Default)]
pub(crate) struct Values {
    /// By name; `None` where nobody gives a value.
    values: BTreeMap<String, Option<String>>,
}

impl Values {
    /// What `choices` and the section of the file say.
    pub(crate) fn new(
        section: Option<Entries<VariableName, VariableFile>>,
        section_span: Option<&Span>,
        choices: &Choices,
        report: &mut Report,
    ) -> Self {
        let declared = section.unwrap_or_default().0;
        let names = || declared.iter().map(|(name, _)| name.value.0.as_str());
        for given in choices.variables.keys() {
            if !names().any(|name| name == given) {
                let title = format!("there is no variable {given:?} to give a value to");
                let diagnostic = Diagnostic::new(title, section_span.cloned().unwrap_or(0..0));
                report.push(diagnostic.with_hint(known(given, names())));
            }
        }
        let values = declared.iter().map(|(name, file)| {
            let value = value(name, file, choices, report);
            (name.value.0.clone(), value)
        });
        Self {
            values: values.collect(),
        }
    }

    /// The names that there are, with those whose value is known.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// The value of a variable: `None` when there is no such variable, `Some(None)` when nobody gives it a value.
    pub(crate) fn get(&self, name: &str) -> Option<Option<&str>> {
        self.values.get(name).map(Option::as_deref)
    }

    /// All that have a value.
    pub(crate) fn known(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?)))
    }
}

/// How to give a variable its value.
pub(crate) fn how_to_give(name: &str) -> String {
    format!(
        "say --var {name}=VALUE, set {ENVIRONMENT_PREFIX}{}, or give it a default",
        environment_name(name)
    )
}

/// Which variables there are.
pub(crate) fn known<'a>(name: &str, names: impl Iterator<Item = &'a str> + Clone) -> String {
    let list = names.clone().collect::<Vec<_>>().join(", ");
    match nearest(name, names) {
        Some(near) => format!("did you mean {near:?}?"),
        None if list.is_empty() => {
            format!("the file has no variables; begin with:  variables: {{{name}: VALUE}}")
        }
        None => format!("there are: {list}"),
    }
}

fn value(
    name: &Spot<VariableName>,
    file: &VariableFile,
    choices: &Choices,
    report: &mut Report,
) -> Option<String> {
    let word = name.value.0.as_str();
    let environment = environment_name(word);
    let given = choices
        .variables
        .get(word)
        .map(|value| (value, format!("--var {word}")));
    let given = given.or_else(|| {
        let value = choices.environment.get(&environment)?;
        Some((value, format!("{ENVIRONMENT_PREFIX}{environment}")))
    });
    let (value, from, span) = match (given, &file.default) {
        (Some((value, from)), _) => (value, Some(from), &name.span),
        (None, Some(default)) => {
            if default.value.contains("${") {
                let title = format!("the default of variable {word:?} cannot refer to others");
                report.push(Diagnostic::new(title, default.span.clone()));
            }
            (&default.value, None, &default.span)
        }
        (None, None) => return None,
    };
    if !file.kind.takes(value) && !file.wrong {
        let expected = file.kind.described();
        // What somebody gave may be a secret; what stands in the file is shown below it anyway.
        let but = from.map_or_else(
            || format!("not {value:?}"),
            |from| format!("unlike what {from} gives"),
        );
        let title = format!("variable {word:?} must be {expected}, {but}");
        report.push(Diagnostic::new(title, span.clone()));
    }
    Some(value.clone())
}

impl VariableType {
    fn takes(self, value: &str) -> bool {
        match self {
            Self::Text => true,
            Self::Number => value.parse::<u64>().is_ok(),
            Self::Boolean => matches!(value, "true" | "false"),
            Self::Size => value.parse::<ByteSize>().is_ok(),
        }
    }

    fn described(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::Size => "a size like 2G",
        }
    }
}
