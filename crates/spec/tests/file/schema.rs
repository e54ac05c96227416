//! The JSON schema says what the parser does.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::read;

/// The keys that the parser knows in some mapping: it lists them when it meets one it does not know.
fn known_keys(text: &str) -> BTreeSet<String> {
    let errors = read(text).unwrap_err();
    let hint = errors
        .iter()
        .find_map(|error| error.hint()?.strip_prefix("known keys are: "))
        .unwrap();
    hint.split(", ").map(str::to_owned).collect()
}

fn properties(schema: &Value) -> BTreeSet<String> {
    schema["properties"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect()
}

#[test]
fn the_schema_has_every_key_that_is_read() {
    let schema = atoll_spec::schema();
    let defs = &schema["$defs"];
    let machine = |keys: &str| format!("machines: {{a: {{image: debian, {keys}}}}}");
    assert_eq!(
        known_keys("zzzzzzzzzzzz: 1\nmachines: {a: {image: debian}}"),
        properties(&schema)
    );
    assert_eq!(
        known_keys(&machine("zzzzzzzzzzzz: 1")),
        properties(&defs["Machine"])
    );
    assert_eq!(
        known_keys(&machine("ssh: {zzzzzzzzzzzz: 1}")),
        properties(&defs["SshFile"])
    );
    assert_eq!(
        known_keys(&machine("nics: [{zzzzzzzzzzzz: 1}]")),
        properties(&defs["NicMapping"])
    );
    assert_eq!(
        known_keys(&machine("user-data: {file: a, zzzzzzzzzzzz: 1}")),
        properties(&defs["UserDataMapping"])
    );
    let image = known_keys("machines: {a: {image: {file: a, zzzzzzzzzzzz: 1}}}");
    assert_eq!(image, properties(&defs["ImageMapping"]));
    let variable = known_keys("variables: {a: {zzzzzzzzzzzz: 1}}\nmachines: {a: {image: debian}}");
    assert_eq!(variable, properties(&defs["VariableMapping"]));
    let network = known_keys("networks: {a: {zzzzzzzzzzzz: 1}}\nmachines: {a: {image: debian}}");
    assert_eq!(network, properties(&defs["NetworkFile"]));
}

#[test]
fn the_schema_refuses_what_the_parser_refuses() {
    let schema = atoll_spec::schema();
    assert_eq!(schema["additionalProperties"], Value::Bool(false));
    let either = serde_json::json!([{ "required": ["machines"] }, { "required": ["include"] }]);
    assert_eq!(schema["anyOf"], either);
}

#[test]
fn the_schema_is_as_published() {
    insta::assert_json_snapshot!(atoll_spec::schema());
}
