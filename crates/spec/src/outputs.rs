//! What machines give to others: `outputs`, and the texts that mention them.
//!
//! ```yaml
//! control:
//!   outputs:
//!     join-token: {command: sudo kubeadm token create}
//!     ca: {file: /etc/ssl/our-ca.crt, interval: 2s, deadline: 10m}
//! worker:
//!   user-data: |
//!     #cloud-config
//!     runcmd: [[join, "${machine.control.outputs.join-token}"]]
//! ```
//!
//! A mention makes the machine wait for the other one's outputs, as if `depends-on` said so. Putting values in is [`crate::insert`]'s.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::PlacedMachine;
use crate::depend::known;
use crate::diagnostic::{Diagnostic, Report, Span};
use crate::image::UserData;
use crate::insert;
use crate::name::Name;
use crate::period::Period;
use crate::read::{FromYaml, Keys, Noun, Spot};
use crate::text::Hint;
use crate::yaml::Node;

/// The longest command: what a kernel takes for one argument is more.
const COMMAND_MAX: usize = 64 << 10;

/// Something that one machine tells and others are given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Output {
    /// Where it comes from.
    pub source: OutputSource,
    /// The time between two tries; `None` for the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Period>,
    /// How long it may take once the machine is ready; `None` for as long as `up` gives every machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Period>,
}

/// Where an output comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputSource {
    /// What this command writes to its standard output, in the shell of the user that logs in.
    Command(String),
    /// What is in the file at this absolute path.
    File(String),
}

/// An output as it is written.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields, rename = "Output")]
pub(crate) struct OutputFile {
    /// A command on the machine; what it writes to its standard output, without line ends at its end.
    command: Option<String>,
    /// The absolute path of a file on the machine; what is in it, without line ends at its end.
    file: Option<String>,
    /// The time between two tries; 1s when left out.
    interval: Option<Period>,
    /// How long it may take once the machine is ready; as long as machines may take to become ready when left out.
    deadline: Option<Period>,
}

impl Noun for OutputFile {
    const NOUN: &'static str = "output";
}

impl FromYaml for OutputFile {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        let mut keys = Keys::of(node, what, report)?;
        let file = Self {
            command: command(&mut keys),
            file: absolute_path(&mut keys),
            interval: keys.take("interval"),
            deadline: keys.take("deadline"),
        };
        keys.exclude("command", "file");
        if keys.span("command").or(keys.span("file")).is_none() {
            let title = format!("{what} says neither its command nor its file");
            let hint = "write {command: …}, or {file: /PATH}".to_owned();
            keys.report
                .push(Diagnostic::new(title, node.span.clone()).with_hint(hint));
        }
        let wrong = keys.finish();
        (!wrong).then_some(file)
    }
}

impl OutputFile {
    /// As the rest of Atoll sees it.
    pub(crate) fn finish(self) -> Option<Output> {
        let command = self.command.map(OutputSource::Command);
        Some(Output {
            source: command.or(self.file.map(OutputSource::File))?,
            interval: self.interval,
            deadline: self.deadline,
        })
    }
}

/// Why a text is no command or no place on a machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum RemoteError {
    #[error("a command cannot be empty")]
    EmptyCommand,
    #[error("the command is longer than 64 KiB")]
    LongCommand,
    #[error("a command cannot hold the character NUL")]
    Nul,
    #[error("{0:?} is no absolute path on the machine")]
    Relative(String),
}

impl Hint for RemoteError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::LongCommand => Some("write it into a file by user-data, and run that".to_owned()),
            Self::Relative(path) if !path.starts_with('~') => Some(format!("did you mean \"/{path}\"?")),
            _ => None,
        }
    }
}

/// The value of the key `command`.
pub(crate) fn command(keys: &mut Keys<'_, '_>) -> Option<String> {
    let check = |text: &str| match text {
        text if text.trim().is_empty() => Err(RemoteError::EmptyCommand),
        text if text.len() > COMMAND_MAX => Err(RemoteError::LongCommand),
        text if text.contains('\0') => Err(RemoteError::Nul),
        _ => Ok(()),
    };
    checked(keys, "command", check)
}

/// The value of the key `file`.
pub(crate) fn absolute_path(keys: &mut Keys<'_, '_>) -> Option<String> {
    let check = |text: &str| match text {
        text if !text.starts_with('/') => Err(RemoteError::Relative(text.to_owned())),
        text if text.contains('\0') => Err(RemoteError::Nul),
        _ => Ok(()),
    };
    checked(keys, "file", check)
}

fn checked(
    keys: &mut Keys<'_, '_>,
    key: &'static str,
    check: impl Fn(&str) -> Result<(), RemoteError>,
) -> Option<String> {
    let found: Spot<String> = keys.take(key)?;
    match check(&found.value) {
        Ok(()) => Some(found.value),
        Err(error) => {
            keys.report.push(crate::read::bad_value(&found.span, key, &error));
            None
        }
    }
}

/// The outputs of each machine of the file.
pub(crate) fn finish(machine: &mut PlacedMachine) -> BTreeMap<Name, Output> {
    let given = machine.file.outputs.take().unwrap_or_default();
    let outputs = given.0.into_iter();
    outputs
        .filter_map(|(name, output)| Some((name.value, output.finish()?)))
        .collect()
}

/// The machines whose outputs the user-data of this one mentions, and where; mentions of what is not there are reported.
pub(crate) fn mentioned(
    machine: &PlacedMachine,
    machines: &[PlacedMachine],
    report: &mut Report,
) -> Vec<(Name, Span)> {
    let Some(user_data) = &machine.file.user_data else {
        return Vec::new();
    };
    let UserData::Text(text) = &user_data.data else {
        return Vec::new();
    };
    let mut wrong = |title: String, hint: Option<String>| {
        report.push(Diagnostic::new(title, user_data.span.clone()).with_hint(hint));
    };
    let owner = machine.name.value.as_str();
    let mentions = match insert::mentions(text, user_data.is_template) {
        Ok(mentions) => mentions,
        Err(error) => {
            wrong(format!("user-data of machine {owner:?}: {error}"), error.hint());
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for mention in mentions {
        let Some(other) = machines
            .iter()
            .find(|it| it.name.value.as_str() == mention.machine)
        else {
            let title = format!(
                "user-data of machine {owner:?} mentions {mention}, but there is no machine {:?}",
                mention.machine
            );
            let names: Vec<&Name> = machines.iter().map(|it| &it.name.value).collect();
            wrong(title, Some(known(&mention.machine, &names)));
            continue;
        };
        let outputs: Vec<&Name> = other
            .file
            .outputs
            .iter()
            .flat_map(|it| &it.0)
            .map(|(name, _)| &name.value)
            .collect();
        if !other.file.wrong && !outputs.iter().any(|name| name.as_str() == mention.output) {
            let title = format!(
                "user-data of machine {owner:?} mentions {mention}, but machine {:?} has no output {:?}",
                mention.machine, mention.output
            );
            let hint = if outputs.is_empty() {
                format!("give it one: outputs: {{{}: {{command: …}}}}", mention.output)
            } else {
                known(&mention.output, &outputs)
            };
            wrong(title, Some(hint));
        }
        found.push((other.name.value.clone(), user_data.span.clone()));
    }
    found
}
