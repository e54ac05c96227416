//! The JSON schema of the cluster file, for editors.
//!
//! It is derived from the types of `file`; here is what a derive cannot know: values that are either text or a mapping,
//! that a key with nothing behind it is a mistake although the field is an `Option`, and what is read before the types are.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::depend::{DependencyFile, WORDS};
use crate::file::{ClusterFile, HostAddress, NicFile};
use crate::hardware::{Attach, NicModel};
use crate::image::{Image, Sha256Hex, Sha512Hex};
use crate::include::Include;
use crate::mac::Mac;
use crate::name::Name;
use crate::period::Period;
use crate::references;
use crate::scalar::Port;
use crate::sources::UserDataFile;

/// The whole schema, draft 2020-12.
pub(crate) fn cluster_file() -> Value {
    let mut schema = schemars::schema_for!(ClusterFile).to_value();
    forbid_empty_keys(&mut schema);
    add_counts(&mut schema);
    if let Some(root) = schema.as_object_mut() {
        root.remove("required");
        let either = json!([{ "required": ["machines"] }, { "required": ["include"] }]);
        root.insert("anyOf".to_owned(), either);
    }
    references::allow(&mut schema);
    schema
}

/// What is read before a machine is: a machine of the file has it, `defaults` has not.
fn add_counts(schema: &mut Value) {
    let keys = json!({
        "count": {
            "type": "integer", "minimum": 0, "maximum": 1000,
            "description": "Makes that many machines of it, called NAME-1, NAME-2 and so on; in each, ${index} is its number."
        },
        "overrides": {
            "type": "object",
            "propertyNames": { "pattern": "^[1-9][0-9]*$" },
            "additionalProperties": { "anyOf": [{ "$ref": "#/$defs/MachineFile" }, { "type": "null" }] },
            "description": "What single ones of a count have, by their number, in place of what all of them have."
        }
    });
    let Some(mut machine) = schema["$defs"].get("MachineFile").cloned() else {
        return;
    };
    if let (Some(properties), Value::Object(keys)) = (machine["properties"].as_object_mut(), keys) {
        properties.extend(keys);
    }
    machine["description"] = json!("A machine, or several of a kind. Needs an image or a kernel.");
    schema["$defs"]["Machine"] = machine;
    schema["properties"]["machines"]["additionalProperties"]["anyOf"][0] =
        json!({ "$ref": "#/$defs/Machine" });
}

/// Takes `null` from the types of all properties.
fn forbid_empty_keys(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(take_null);
    }
    if let Some(definitions) = object.get_mut("$defs").and_then(Value::as_object_mut) {
        definitions.values_mut().for_each(forbid_empty_keys);
    }
}

fn take_null(property: &mut Value) {
    let Some(object) = property.as_object_mut() else {
        return;
    };
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [one] = &types[..] {
            let one = one.clone();
            object.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| choice != &json!({ "type": "null" }));
        if let [Value::Object(one)] = &choices[..] {
            let one = one.clone();
            object.remove("anyOf");
            object.extend(one);
        }
    }
}

/// The schema of something that is either text or a mapping.
fn text_or(generator: &mut SchemaGenerator, mapping: &Schema, about: &str) -> Schema {
    let text = generator.subschema_for::<String>();
    json_schema!({ "description": about, "anyOf": [text, mapping] })
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "its fields are the schema of an image written as a mapping"
)]
struct ImageMapping {
    /// Where to fetch it.
    url: Option<String>,
    /// A file on this host.
    file: Option<String>,
    /// What it must hash to.
    sha256: Option<Sha256Hex>,
    /// What it must hash to.
    sha512: Option<Sha512Hex>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "its fields are the schema of user-data written as a mapping"
)]
struct UserDataMapping {
    /// The file that holds it; a template where its name ends with .tmpl.
    file: Option<String>,
    /// The text itself.
    text: Option<String>,
    /// Whether ${variable}, ${index} and ${self} in it are replaced by their values; false when left out, unless its name says it.
    template: Option<bool>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "its fields are the schema of a NIC written as a mapping")]
struct NicMapping {
    /// The network; may be left out where there is only one.
    network: Option<Name>,
    /// What the guest sees; virtio-net-pci when left out.
    model: Option<NicModel>,
    /// How its frames reach the network: stream, with a virtio NIC on Linux vhost-user, which is faster, or on a bridged network tap, which
    /// goes straight to the host's kernel.
    attach: Option<Attach>,
    /// Its Ethernet address; derived from the names when left out.
    mac: Option<Mac>,
    /// Its address, or one of IPv4 and one of IPv6; derived from the names and the MAC when left out.
    address: Option<HostAddress>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "its fields are the schema of a dependency written as a mapping"
)]
struct DependencyMapping {
    /// The machine that is waited for.
    machine: Name,
    /// What must be so of it; ready when neither this nor another condition is given.
    #[schemars(schema_with = "conditions", default)]
    condition: Option<String>,
    /// A port of TCP that it takes connections at.
    port: Option<Port>,
    /// A command that succeeds there.
    command: Option<String>,
    /// An absolute path at which something is there.
    file: Option<String>,
    /// The time between two looks; 1s when left out.
    interval: Option<Period>,
    /// How long it may take from when the machine runs; as long as machines may take to become ready when left out.
    deadline: Option<Period>,
}

fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": WORDS.map(|(word, _)| word) })
}

macro_rules! text_or_mapping {
    ($type:ty, $name:literal, $mapping:ty, $about:literal) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let mapping = generator.subschema_for::<$mapping>();
                text_or(generator, &mapping, $about)
            }
        }
    };
}

text_or_mapping!(
    Image,
    "Image",
    ImageMapping,
    "A catalogue name, an https:// address, a path, built:NAME, or a mapping with a digest."
);
text_or_mapping!(
    UserDataFile,
    "UserData",
    UserDataMapping,
    "A cloud-config or a script, or the file that holds one."
);
text_or_mapping!(
    DependencyFile,
    "Dependency",
    DependencyMapping,
    "The name of a machine that is to be ready, or a mapping with what must be so of it."
);
text_or_mapping!(NicFile, "Nic", NicMapping, "The name of a network, or a mapping.");

impl JsonSchema for Include {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Include".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let path = generator.subschema_for::<String>();
        json_schema!({ "anyOf": [path, { "type": "array", "items": path }] })
    }
}

impl JsonSchema for HostAddress {
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let address =
            json_schema!({ "type": "string", "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }] });
        let list = json_schema!({ "type": "array", "items": address, "maxItems": 2 });
        json_schema!({ "anyOf": [address, list] })
    }
}
