//! What every value written as one piece of text shares.
//!
//! A type such as [`crate::Name`] or [`crate::Subnet`] has one spelling: `FromStr` reads it, `Display` writes it back.
//! [`text_type!`] derives the rest from these two, so that the YAML reader, JSON state files and the JSON schema agree.

/// What a reader of an error can do about it.
pub trait Hint {
    /// One sentence that can be acted on, where there is one.
    fn hint(&self) -> Option<String>;
}

/// A type that one YAML scalar spells.
pub(crate) trait Text: std::str::FromStr<Err: std::fmt::Display + Hint> {
    /// What belongs here, as in "must be …": `a size like 2G`.
    const EXPECTED: &'static str;
}

/// Implements [`Text`], serde and `JsonSchema` by way of `FromStr` and `Display`.
macro_rules! text_type {
    ($type:ident, expected: $expected:literal, pattern: $pattern:expr, about: $about:literal) => {
        impl crate::text::Text for $type {
            const EXPECTED: &'static str = $expected;
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern, "description": $about })
            }
        }
    };
}
pub(crate) use text_type;

/// The candidate that `word` most likely means, if any is near enough.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let reach = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= reach)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_of_the_finger_finds_its_word() {
        assert_eq!(nearest("memry", ["image", "memory"]), Some("memory"));
        assert_eq!(nearest("user_data", ["user-data", "ssh"]), Some("user-data"));
        assert_eq!(nearest("colour", ["image", "memory"]), None);
    }
}
