//! A list whose brackets may be left out around a single item: `proxy: 1080` as well as `proxy: [1080, 1081]`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::diagnostic::Report;
use crate::read::{FromYaml, Noun, wrong_kind};
use crate::text::Text;
use crate::yaml::{Kind, Node};

/// The items, one at least.
#[derive(Clone, Debug)]
pub(crate) struct Several<T>(pub(crate) Vec<T>);

impl<T: Noun> Noun for Several<T> {
    const NOUN: &'static str = T::NOUN;
}

/// What an item is, with or without its place: it is one piece of text.
pub(crate) trait Item: FromYaml {
    /// What belongs here.
    const EXPECTED: &'static str;
}

impl<T: Text> Item for T {
    const EXPECTED: &'static str = T::EXPECTED;
}

impl<T: Text> Item for crate::read::Spot<T> {
    const EXPECTED: &'static str = T::EXPECTED;
}

impl<T: Item> FromYaml for Several<T> {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        let items = match &node.kind {
            Kind::List(items) if !items.is_empty() => items,
            Kind::Scalar { .. } => std::slice::from_ref(node),
            _ => {
                let expected = format!("{}, or a list of one at least", T::EXPECTED);
                return wrong_kind(node, what, &expected, report);
            }
        };
        let several = items.len() > 1;
        let read = items.iter().enumerate().filter_map(|(index, item)| {
            let nth = format!("item {} of {what}", index + 1);
            T::from_yaml(item, if several { &nth } else { what }, report)
        });
        Some(Self(read.collect()))
    }
}

impl<T: JsonSchema> JsonSchema for Several<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("One{}OrMore", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let item = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [item, { "type": "array", "items": item, "minItems": 1 }] })
    }
}
