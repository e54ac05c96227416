//! What the file changes of a machine, key by key, and what each change takes. Pure.
//!
//! Machines are compared as they are written down, so that every key there is is compared; one that nothing is known of here takes
//! a restart, which is always right.

use std::collections::BTreeSet;
use std::fmt;

use atoll_spec as spec;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longer values are not shown.
const SHOWN: usize = 48;

/// What it takes for a running machine to have a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Takes {
    /// Nothing: it is given to the running machine.
    Nothing,
    /// A first boot: the machine reads it when its disk is new.
    FirstBoot,
    /// A restart.
    Restart,
    /// A new disk.
    NewDisk,
}

/// A key whose value is another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The key.
    pub key: String,
    /// What the machine was started or given last with.
    pub from: String,
    /// What the file says.
    pub to: String,
    /// What it takes.
    pub takes: Takes,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.key, self.from, self.to)?;
        match self.takes {
            Takes::Nothing | Takes::Restart => Ok(()),
            Takes::FirstBoot => f.write_str(" (read at its first boot only)"),
            Takes::NewDisk => f.write_str(" (its disk stays as it is)"),
        }
    }
}

/// What the file changes of a machine, in the order of the keys' names.
pub fn changes(old: &spec::Machine, new: &spec::Machine) -> Vec<Change> {
    let as_written = |machine| match serde_json::to_value(machine) {
        Ok(Value::Object(keys)) => keys,
        _ => serde_json::Map::new(),
    };
    let (old, new) = (as_written(old), as_written(new));
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changed = keys.into_iter().filter_map(|key| {
        let (from, to) = (
            old.get(key).unwrap_or(&Value::Null),
            new.get(key).unwrap_or(&Value::Null),
        );
        (from != to).then(|| Change {
            key: key.clone(),
            from: shown(key, from),
            to: shown(key, to),
            takes: takes(key, from),
        })
    });
    changed.collect()
}

fn takes(key: &str, from: &Value) -> Takes {
    match key {
        // What tells of its ports is installed at its first boot.
        "automatic" if from.as_array().is_some_and(Vec::is_empty) => Takes::FirstBoot,
        "forwards" | "automatic" | "loopback" | "depends-on" | "outputs" => Takes::Nothing,
        "user-data" | "template" | "ssh" => Takes::FirstBoot,
        "disk" => Takes::NewDisk,
        _ => Takes::Restart,
    }
}

fn shown(key: &str, value: &Value) -> String {
    let text = match value {
        Value::Null => "none".to_owned(),
        // User-data and the variables that go into it may be secrets.
        _ if matches!(key, "user-data" | "template") => "(not shown)".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let items: Vec<_> = items.iter().filter_map(Value::as_str).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    };
    if text.contains('\n') || text.chars().count() > SHOWN {
        "(long)".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(keys: &str) -> spec::Machine {
        let text = format!("machines: {{a: {{image: debian, {keys}}}}}");
        spec::parse(&spec::Source::new("atoll.yaml"), &text)
            .unwrap()
            .machines
            .remove(0)
    }

    #[test]
    fn every_changed_key_is_told_with_what_it_takes() {
        let old = machine("memory: 1G, cpus: 2, forwards: ['8080:80'], disk: 4G");
        let new = machine("memory: 2G, cpus: 2, forwards: ['8081:80', '9000:9'], disk: 8G, user-data: 'x'");
        let told: Vec<_> = changes(&old, &new).iter().map(ToString::to_string).collect();
        let expected = [
            "disk: 4G -> 8G (its disk stays as it is)",
            "forwards: [8080:80/tcp] -> [8081:80/tcp, 9000:9/tcp]",
            "memory: 1G -> 2G",
            "user-data: none -> (not shown) (read at its first boot only)",
        ];
        assert_eq!(told, expected);
        assert_eq!(changes(&old, &old), []);
    }
}
