//! The options that guests are told by DHCP, as the file has them and as the rest of Atoll sees them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::dhcp_option::{DhcpVersion, OptionCode, OptionData, OptionError};
use crate::diagnostic::{Diagnostic, Report, Span};
use crate::read::{FromYaml, bad_value, wrong_kind};
use crate::yaml::{Kind, Node};

/// Options by their codes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct DhcpOptions {
    /// Of DHCP for IPv4.
    pub v4: BTreeMap<u8, OptionData>,
    /// Of DHCP for IPv6.
    pub v6: BTreeMap<u16, OptionData>,
}

impl DhcpOptions {
    /// Whether nothing is chosen.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Adds an option, if there is none of its code yet.
    ///
    /// # Errors
    /// There is one: the code.
    pub fn try_add(&mut self, code: OptionCode, data: OptionData) -> Result<(), OptionCode> {
        let was_there = match (code.version(), u8::try_from(code.number())) {
            (DhcpVersion::V4, Ok(number)) => self.v4.insert(number, data).is_some(),
            _ => self.v6.insert(code.number(), data).is_some(),
        };
        if was_there { Err(code) } else { Ok(()) }
    }
}

/// The options of a mapping: `dhcp-options`, or with `V6` `dhcp6-options`.
#[derive(Clone, Debug, Default)]
pub(crate) struct OptionsFile<const V6: bool>(Vec<(OptionCode, OptionData)>);

impl<const V6: bool> OptionsFile<V6> {
    const VERSION: DhcpVersion = if V6 { DhcpVersion::V6 } else { DhcpVersion::V4 };

    /// These options, and those of `defaults` whose codes are not among them.
    pub(crate) fn merge(own: Option<Self>, defaults: Option<Self>) -> Option<Self> {
        let (Some(own), Some(defaults)) = (&own, &defaults) else {
            return own.or(defaults);
        };
        let is_own = |code: OptionCode| own.0.iter().any(|(other, _)| *other == code);
        let others = defaults.0.iter().filter(|(code, _)| !is_own(*code));
        Some(Self(own.0.iter().chain(others).cloned().collect()))
    }
}

/// Both families together.
pub(crate) fn finish(v4: Option<OptionsFile<false>>, v6: Option<OptionsFile<true>>) -> DhcpOptions {
    let mut options = DhcpOptions::default();
    let all = v4.into_iter().flat_map(|file| file.0);
    for (code, data) in all.chain(v6.into_iter().flat_map(|file| file.0)) {
        // What is given twice was reported where it was read.
        let _ = options.try_add(code, data);
    }
    options
}

impl<const V6: bool> FromYaml for OptionsFile<V6> {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        let Kind::Map(entries) = &node.kind else {
            return wrong_kind(node, what, "a mapping", report);
        };
        let mut read: Vec<(OptionCode, OptionData)> = Vec::new();
        let mut spans: Vec<Span> = Vec::new();
        for (key, value) in entries {
            let Some((code, data)) = option(Self::VERSION, (key, value), what, report) else {
                continue;
            };
            if let Some(earlier) = read.iter().position(|(other, _)| *other == code) {
                let title = format!("{code} is given twice in {what}");
                let twice = Diagnostic::new(title, key.span.clone()).label("given again");
                report.push(twice.and(spans[earlier].clone(), "first given"));
                continue;
            }
            read.push((code, data));
            spans.push(key.span.clone());
        }
        Some(Self(read))
    }
}

fn option(
    version: DhcpVersion,
    (key, value): (&Node, &Node),
    what: &str,
    report: &mut Report,
) -> Option<(OptionCode, OptionData)> {
    let Some(name) = key.text() else {
        return wrong_kind(
            key,
            &format!("a key of {what}"),
            "an option's number or name",
            report,
        );
    };
    let mut refuse = |span: &Span, error: &OptionError| report.push(bad_value(span, what, error));
    let code = match OptionCode::read(version, name) {
        Ok(code) => code,
        Err(error) => {
            refuse(&key.span, &error);
            return None;
        }
    };
    let Some(words) = words(value) else {
        return wrong_kind(
            value,
            &format!("{code} of {what}"),
            "a value or a list of values",
            report,
        );
    };
    match code.value(&words) {
        Ok(data) => Some((code, data)),
        Err(error) => {
            refuse(&value.span, &error);
            None
        }
    }
}

/// A value, or several with commas between them.
fn words(value: &Node) -> Option<String> {
    if let Some(text) = value.text() {
        return Some(text.to_owned());
    }
    let Kind::List(items) = &value.kind else {
        return None;
    };
    let items: Option<Vec<&str>> = items.iter().map(Node::text).collect();
    items
        .filter(|items| !items.is_empty())
        .map(|items| items.join(","))
}

impl<const V6: bool> JsonSchema for OptionsFile<V6> {
    fn schema_name() -> Cow<'static, str> {
        if V6 { "Dhcp6Options" } else { "DhcpOptions" }.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = || json_schema!({ "type": ["string", "integer"] });
        json_schema!({
            "description": "Options by number or name. A value is of the option's own type, or says its type, as in text:WORDS, hex:01ff, ip:ADDRESS, u8:1, u16:1, u32:1, i32:-1 or domain:NAME; off means that guests are not told.",
            "type": "object",
            "additionalProperties": { "anyOf": [one(), { "type": "array", "items": one(), "minItems": 1 }] }
        })
    }
}
