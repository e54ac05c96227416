//! In the JSON schema, a value with a reference in it is right wherever references are replaced.
//!
//! The schema says what a value looks like in the end: a number, a size, one of some words. As it is written it may be `${memory}` as well, so
//! every value that could not be any text gets that as its second choice.

use serde_json::{Map, Value, json};

/// A definition that other definitions may point at.
const NAME: &str = "Reference";

/// What is read before references are replaced.
const UNTOUCHED: [&str; 4] = ["variables", "include", "Variable", "VariableMapping"];

/// Lets every value of a schema be a reference.
pub(crate) fn allow(schema: &mut Value) {
    let Some(definitions) = schema.get("$defs").and_then(Value::as_object).cloned() else {
        return;
    };
    each(schema, &definitions);
    if let Some(own) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
        for (name, definition) in own.iter_mut() {
            if !UNTOUCHED.contains(&name.as_str()) {
                each(definition, &definitions);
            }
        }
        let reference = json!({
            "type": "string",
            "pattern": "\\$\\{",
            "description": "A value with ${VARIABLE}, and in machines ${index} or ${self}, in it."
        });
        own.insert(NAME.to_owned(), reference);
    }
}

/// The values in a schema, at any depth.
fn each(schema: &mut Value, definitions: &Map<String, Value>) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        for (key, value) in properties {
            if !UNTOUCHED.contains(&key.as_str()) {
                value_or_reference(value, definitions);
            }
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(value) = object.get_mut(key) {
            value_or_reference(value, definitions);
        }
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.iter_mut().for_each(|choice| each(choice, definitions));
    }
}

fn value_or_reference(value: &mut Value, definitions: &Map<String, Value>) {
    each(value, definitions);
    let (some, any) = takes_text(value, definitions);
    let Some(object) = value.as_object_mut().filter(|_| some && !any) else {
        return;
    };
    let reference = json!({ "$ref": format!("#/$defs/{NAME}") });
    if !object.contains_key("type")
        && let Some(Value::Array(choices)) = object.get_mut("anyOf")
    {
        choices.push(reference);
        return;
    }
    let description = object.remove("description");
    let own = std::mem::take(object);
    object.insert("anyOf".to_owned(), json!([own, reference]));
    object.extend(description.map(|description| ("description".to_owned(), description)));
}

/// Whether a value may be a scalar, and whether that may be any text.
fn takes_text(schema: &Value, definitions: &Map<String, Value>) -> (bool, bool) {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let definition = name
            .strip_prefix("#/$defs/")
            .and_then(|name| definitions.get(name));
        return definition.map_or((false, false), |definition| takes_text(definition, definitions));
    }
    let is_bounded = ["pattern", "enum", "const", "format", "anyOf", "oneOf"]
        .iter()
        .any(|key| schema.get(key).is_some());
    match schema.get("type") {
        Some(Value::String(kind)) => match kind.as_str() {
            "string" => (true, !is_bounded),
            "integer" | "number" | "boolean" => (true, false),
            _ => (false, false),
        },
        Some(Value::Array(kinds)) => (true, kinds.contains(&Value::from("string")) && !is_bounded),
        _ if schema.get("enum").or(schema.get("const")).is_some() => (true, false),
        _ => {
            let choices = ["anyOf", "oneOf"]
                .iter()
                .filter_map(|key| schema.get(key)?.as_array());
            choices.flatten().fold((false, false), |(some, any), choice| {
                let (own_some, own_any) = takes_text(choice, definitions);
                (some || own_some, any || own_any)
            })
        }
    }
}
