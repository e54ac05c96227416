//! Every example is right by the schema, too, and what only the parser refused before is refused by both.
//!
//! The schema is checked by as much of JSON Schema as it uses; a word of it that is not known here fails the test.

#![expect(
    clippy::disallowed_methods,
    reason = "examples are files, and a test may read them"
)]

use std::fs;
use std::path::{Path, PathBuf};

use atoll_spec::FileTemplate;
use regex_automata::meta::Regex;
use serde_json::{Map, Value};

use crate::read;

struct Schema(Value);

impl Schema {
    /// What is wrong with a value, each with its place in it.
    fn check(&self, text: &str) -> Vec<String> {
        let value: Value = serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        self.problems(&self.0, &value, "")
    }

    fn problems(&self, schema: &Value, value: &Value, place: &str) -> Vec<String> {
        let Some(schema) = schema.as_object() else {
            return match schema {
                Value::Bool(false) => vec![format!("{place}: must not be")],
                _ => Vec::new(),
            };
        };
        let mut found = Vec::new();
        for (word, rule) in schema {
            found.extend(self.problems_of(word, rule, value, place, schema));
        }
        found
    }

    fn problems_of(
        &self,
        word: &str,
        rule: &Value,
        value: &Value,
        place: &str,
        schema: &Map<String, Value>,
    ) -> Vec<String> {
        let wrong = |is_wrong: bool| {
            if is_wrong {
                vec![format!("{place}: {value} and {word} {rule}")]
            } else {
                Vec::new()
            }
        };
        let below = |key: &str| format!("{place}.{key}");
        match word {
            "$schema" | "$defs" | "title" | "description" | "format" | "default" => Vec::new(),
            "$ref" => self.problems(self.definition(rule), value, place),
            "type" => wrong(!is_of(rule, value)),
            "enum" => wrong(!rule.as_array().unwrap().contains(value)),
            "const" => wrong(rule != value),
            "pattern" => wrong(
                value
                    .as_str()
                    .is_some_and(|text| !Regex::new(rule.as_str().unwrap()).unwrap().is_match(text)),
            ),
            "minimum" => wrong(
                value
                    .as_i64()
                    .is_some_and(|number| number < rule.as_i64().unwrap()),
            ),
            "maximum" => wrong(
                value
                    .as_i64()
                    .is_some_and(|number| number > rule.as_i64().unwrap()),
            ),
            "maxItems" => wrong(
                value
                    .as_array()
                    .is_some_and(|items| items.len() as u64 > rule.as_u64().unwrap()),
            ),
            "anyOf" | "oneOf" => {
                let choices = rule.as_array().unwrap().iter();
                let mut each: Vec<_> = choices
                    .map(|choice| self.problems(choice, value, place))
                    .collect();
                if each.iter().any(Vec::is_empty) {
                    Vec::new()
                } else {
                    each.remove(0)
                }
            }
            "items" => {
                let items = value.as_array().into_iter().flatten().enumerate();
                items
                    .flat_map(|(index, item)| self.problems(rule, item, &below(&index.to_string())))
                    .collect()
            }
            "properties" => {
                let rules = rule.as_object().unwrap().iter();
                let given = rules.filter_map(|(key, rule)| Some((key, rule, value.get(key)?)));
                given
                    .flat_map(|(key, rule, value)| self.problems(rule, value, &below(key)))
                    .collect()
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                let others = value.as_object().into_iter().flatten();
                let others = others.filter(|(key, _)| !known.is_some_and(|known| known.contains_key(*key)));
                others
                    .flat_map(|(key, value)| self.problems(rule, value, &below(key)))
                    .collect()
            }
            "propertyNames" => {
                let names = value.as_object().into_iter().flat_map(Map::keys);
                names
                    .flat_map(|key| self.problems(rule, &Value::from(key.as_str()), &below(key)))
                    .collect()
            }
            "required" => {
                let keys = rule.as_array().unwrap().iter().filter_map(Value::as_str);
                let missing = keys.filter(|key| value.is_object() && value.get(key).is_none());
                missing.map(|key| format!("{place}: no {key}")).collect()
            }
            other => panic!("the schema says {other:?}, which is not checked here"),
        }
    }

    fn definition(&self, reference: &Value) -> &Value {
        let path = reference.as_str().unwrap().strip_prefix('#').unwrap();
        self.0
            .pointer(path)
            .unwrap_or_else(|| panic!("{path} leads nowhere"))
    }
}

fn is_of(rule: &Value, value: &Value) -> bool {
    let is = |kind: &Value| match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("{other}"),
    };
    match rule {
        Value::Array(kinds) => kinds.iter().any(is),
        kind => is(kind),
    }
}

/// Every file that the project offers as an example, by its name.
fn examples() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found: Vec<_> = FileTemplate::ALL
        .iter()
        .map(|it| (it.name.to_owned(), it.text.to_owned()))
        .collect();
    for path in files_below(&root.join("examples"), "yaml") {
        found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
    }
    let mut pages = files_below(&root.join("docs"), "md");
    pages.push(root.join("README.md"));
    for path in pages {
        let text = fs::read_to_string(&path).unwrap();
        for block in text.split("```yaml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            // The others are parts of one.
            if block.contains("machines:") {
                found.push((path.display().to_string(), block.to_owned()));
            }
        }
    }
    found
}

fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|it| it == extension) {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_example_is_right_by_the_parser_and_by_the_schema() {
    let schema = Schema(atoll_spec::schema());
    let examples = examples();
    assert!(examples.len() >= 6, "{}", examples.len());
    for (name, text) in examples {
        read(&text).unwrap_or_else(|errors| panic!("{name}: {errors}"));
        let problems = schema.check(&text);
        assert!(problems.is_empty(), "{name}: {problems:#?}");
    }
}

#[test]
fn the_schema_takes_references_where_they_are_replaced_and_nowhere_else() {
    let schema = Schema(atoll_spec::schema());
    for right in [
        "machines: {a: {image: debian, cpus: '${n}', count: '${n}', nics: [{mac: '${m}'}]}}",
        "machines: {a: {image: debian, overrides: {2: {memory: '${m}'}}, count: 3, profiles: [x]}}",
        "networks: {lan: {subnet: '${net}', isolate: '${yes}'}}\nmachines: {a: }",
        "include: [a.yaml]\nvariables: {a: 1, b: true, c: , d: {default: x, type: text}}",
    ] {
        assert_eq!(schema.check(right), [""; 0], "{right}");
    }
    for wrong in [
        "networks: {}",
        "machines: {a: {image: debian, cpus: many}}",
        "machines: {a: {image: debian, memory: big}}",
        "machines: {'${a}': {image: debian}}",
        "machines: {a: {image: debian, overrides: {x: {}}}}",
        "defaults: {count: 2}\nmachines: {a: }",
        "variables: {a: {type: '${x}'}}\nmachines: {a: }",
        "machines: {a: {image: debian, memry: 1G}}",
    ] {
        assert!(!schema.check(wrong).is_empty(), "{wrong}");
        assert!(read(wrong).is_err(), "{wrong}");
    }
}
