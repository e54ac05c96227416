//! A value that may be turned off: `off`, or what it is.

use std::borrow::Cow;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::text::Text;

const OFF: &str = "off";

/// `off`, or a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrOff<T> {
    /// There shall be none.
    Off,
    /// This one.
    On(T),
}

impl<T> OrOff<T> {
    /// The value, if there shall be one.
    pub fn on(self) -> Option<T> {
        match self {
            Self::Off => None,
            Self::On(value) => Some(value),
        }
    }
}

impl<T: FromStr> FromStr for OrOff<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        match text {
            OFF => Ok(Self::Off),
            _ => text.parse().map(Self::On),
        }
    }
}

impl<T: Text> Text for OrOff<T> {
    const EXPECTED: &'static str = T::EXPECTED;
}

impl<T: JsonSchema> JsonSchema for OrOff<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}OrOff", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [value, { "const": OFF }] })
    }
}
