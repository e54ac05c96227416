//! What machines wait for before they are started: `depends-on`.
//!
//! ```yaml
//! depends-on:
//!   - control                                        # until it is ready, as `up` itself waits
//!   - {machine: control, condition: started}         # or ssh, cloud-init, outputs
//!   - {machine: db, port: 5432, deadline: 5m}        # until a connection to it is taken
//!   - {machine: db, command: pg_isready, interval: 2s}
//!   - {machine: nfs, file: /srv/exported}
//! ```
//!
//! [`resolve`] reads the entries, adds what follows from outputs that a machine's documents mention, and refuses what never comes true:
//! machines that are not there, machines that wait for each other.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::check::PlacedMachine;
use crate::circle;
use crate::cluster::Nic;
use crate::diagnostic::{Diagnostic, Report, Span};
use crate::name::Name;
use crate::outputs;
use crate::period::Period;
use crate::read::{FromYaml, Keys, Spot};
use crate::scalar::Port;
use crate::text::{Hint, Text, nearest};
use crate::yaml::{Kind, Node};

/// A machine that another one waits for, and for what of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Dependency {
    /// A machine of the cluster.
    pub machine: Name,
    /// What must be so.
    pub condition: Condition,
    /// The time between two looks; `None` for the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Period>,
    /// How long it may take from when the machine runs; `None` for as long as `up` gives every machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Period>,
}

/// What must be so of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// It is ready, by the rule that goes with its image.
    Ready,
    /// Its QEMU runs.
    Started,
    /// Somebody can log in.
    Ssh,
    /// cloud-init has finished without an error.
    CloudInit,
    /// All its outputs are known.
    Outputs,
    /// It takes TCP connections at this port.
    Port(u16),
    /// This command succeeds there, in the shell of the user that logs in.
    Command(String),
    /// Something is at this absolute path there.
    File(String),
}

impl Condition {
    /// Whether it is found out by looking again and again; the others are told.
    pub fn is_looked_at(&self) -> bool {
        match self {
            Self::Ready | Self::Started | Self::Outputs => false,
            Self::Ssh | Self::CloudInit | Self::Port(_) | Self::Command(_) | Self::File(_) => true,
        }
    }
}

impl fmt::Display for Dependency {
    /// After "waits for".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = &self.machine;
        match &self.condition {
            Condition::Ready => write!(f, "{machine}"),
            Condition::Started => write!(f, "{machine} to start"),
            Condition::Ssh => write!(f, "ssh of {machine}"),
            Condition::CloudInit => write!(f, "cloud-init of {machine}"),
            Condition::Outputs => write!(f, "outputs of {machine}"),
            Condition::Port(port) => write!(f, "port {port} of {machine}"),
            Condition::Command(command) => write!(f, "{:?} on {machine}", shortened(command)),
            Condition::File(path) => write!(f, "file {} on {machine}", shortened(path)),
        }
    }
}

/// Enough of a text to recognise it.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 40;
    let line = text.trim().lines().next().unwrap_or_default();
    if line.chars().count() > SHOWN || line.len() < text.trim().len() {
        let shown: String = line.chars().take(SHOWN).collect();
        format!("{shown}…")
    } else {
        line.to_owned()
    }
}

/// A condition that is one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Ready,
    Started,
    Ssh,
    CloudInit,
    Outputs,
}

/// The words and what they mean.
pub(crate) const WORDS: [(&str, Word); 5] = [
    ("ready", Word::Ready),
    ("started", Word::Started),
    ("ssh", Word::Ssh),
    ("cloud-init", Word::CloudInit),
    ("outputs", Word::Outputs),
];

/// A text that is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no condition")]
pub(crate) struct UnknownCondition(String);

impl Hint for UnknownCondition {
    fn hint(&self) -> Option<String> {
        let words = || WORDS.iter().map(|(word, _)| *word);
        Some(match nearest(&self.0, words()) {
            Some(word) => format!("did you mean {word:?}?"),
            None => format!(
                "there are {}; or a port, a command or a file instead",
                words().collect::<Vec<_>>().join(", ")
            ),
        })
    }
}

impl FromStr for Word {
    type Err = UnknownCondition;

    fn from_str(text: &str) -> Result<Self, UnknownCondition> {
        let found = WORDS.iter().find(|(word, _)| *word == text);
        found
            .map(|(_, meant)| *meant)
            .ok_or_else(|| UnknownCondition(text.to_owned()))
    }
}

impl Text for Word {
    const EXPECTED: &'static str = "a condition like ready or started";
}

impl From<Word> for Condition {
    fn from(word: Word) -> Self {
        match word {
            Word::Ready => Self::Ready,
            Word::Started => Self::Started,
            Word::Ssh => Self::Ssh,
            Word::CloudInit => Self::CloudInit,
            Word::Outputs => Self::Outputs,
        }
    }
}

/// An entry as it is written, complete but for whether there is such a machine.
#[derive(Clone, Debug)]
pub(crate) struct DependencyFile {
    dependency: Dependency,
    machine: Span,
    /// Where the entry stands.
    span: Span,
}

impl FromYaml for DependencyFile {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        if let Kind::Scalar { .. } = node.kind {
            let machine: Spot<Name> = Spot::from_yaml(node, what, report)?;
            return Some(Self::of(machine, Condition::Ready, &node.span));
        }
        mapping(node, what, report)
    }
}

impl DependencyFile {
    fn of(machine: Spot<Name>, condition: Condition, span: &Span) -> Self {
        Self {
            dependency: Dependency {
                machine: machine.value,
                condition,
                interval: None,
                deadline: None,
            },
            machine: machine.span,
            span: span.clone(),
        }
    }
}

/// The keys of which an entry has one at most.
const CONDITIONS: [&str; 4] = ["condition", "port", "command", "file"];

fn mapping(node: &Node, what: &str, report: &mut Report) -> Option<DependencyFile> {
    let mut keys = Keys::of(node, what, report)?;
    let machine: Option<Spot<Name>> = keys.take("machine");
    let word = keys.take::<Word>("condition").map(Condition::from);
    let port = keys.take::<Port>("port").map(|port| Condition::Port(port.0));
    let command = outputs::command(&mut keys).map(Condition::Command);
    let file = outputs::absolute_path(&mut keys).map(Condition::File);
    let (interval, deadline): (Option<Spot<Period>>, Option<Spot<Period>>) =
        (keys.take("interval"), keys.take("deadline"));
    for (index, first) in CONDITIONS.iter().enumerate() {
        for second in &CONDITIONS[index + 1..] {
            keys.exclude(first, second);
        }
    }
    if keys.span("machine").is_none() {
        let title = format!("{what} does not say its machine");
        let hint = "write an entry as {machine: NAME, port: 5432}, or just the name".to_owned();
        keys.report
            .push(Diagnostic::new(title, node.span.clone()).with_hint(hint));
    }
    let is_looked_at = CONDITIONS[1..].iter().any(|key| keys.span(key).is_some());
    let condition = word.or(port).or(command).or(file).unwrap_or(Condition::Ready);
    let needless = interval.as_ref().or(deadline.as_ref());
    if let Some(needless) = needless.filter(|_| !is_looked_at && !condition.is_looked_at()) {
        let title = format!("{what} has a time for something that is told, not looked for");
        let hint = "interval and deadline go with a port, a command, a file, ssh and cloud-init; `atoll up --timeout` \
                    says how long machines may take to become ready";
        keys.report
            .push(Diagnostic::new(title, needless.span.clone()).with_hint(hint.to_owned()));
    }
    if keys.finish() {
        return None;
    }
    let mut file = DependencyFile::of(machine?, condition, &node.span);
    file.dependency.interval = interval.map(|it| it.value);
    file.dependency.deadline = deadline.map(|it| it.value);
    Some(file)
}

/// What a machine waits for, and where the file says so.
pub(crate) type Waits = Vec<(Dependency, Span)>;

/// What each machine waits for, in the order of the machines; what is wrong with it is reported. A machine with a count stands for all of them.
pub(crate) fn resolve(machines: &[PlacedMachine], report: &mut Report) -> Vec<Waits> {
    let names: Vec<&Name> = machines.iter().map(|machine| &machine.name.value).collect();
    let meanings = Meanings::of(machines);
    let mut resolved = Vec::new();
    for machine in machines {
        let mut all: Waits = Vec::new();
        let mut added: HashSet<Dependency> = HashSet::new();
        let mut add = |dependency: Dependency, span: &Span| {
            if added.insert(dependency.clone()) {
                all.push((dependency, span.clone()));
            }
        };
        for entry in machine.file.depends_on.iter().flatten() {
            let meant = meanings.meant(&entry.dependency.machine);
            if meant.is_empty() {
                report_unknown(&machine.name.value, entry, &names, report);
            }
            for other in meant {
                if machine.is_used && !other.is_used {
                    report_unused(&machine.name.value, entry, report);
                    break;
                }
                let machine = other.name.value.clone();
                let dependency = entry.dependency.clone();
                add(
                    Dependency {
                        machine,
                        ..dependency
                    },
                    &entry.span,
                );
            }
        }
        for (machine, span) in outputs::mentioned(machine, machines, report) {
            let dependency = Dependency {
                machine,
                condition: Condition::Outputs,
                interval: None,
                deadline: None,
            };
            add(dependency, &span);
        }
        resolved.push(all);
    }
    circle::report(&names, &resolved, report);
    resolved
}

/// Which machines a name means, found at once: two counts that wait for each other have as many entries as both multiplied.
struct Meanings<'m> {
    by_name: HashMap<&'m str, &'m PlacedMachine>,
    by_count: HashMap<&'m str, Vec<&'m PlacedMachine>>,
}

impl<'m> Meanings<'m> {
    fn of(machines: &'m [PlacedMachine]) -> Self {
        let (mut by_name, mut by_count) = (HashMap::new(), HashMap::<_, Vec<_>>::new());
        for machine in machines {
            let name = machine.name.value.as_str();
            by_name.entry(name).or_insert(machine);
            let counted = name.strip_suffix(&format!("-{}", machine.index));
            if let Some(of) = counted.filter(|_| machine.index > 0) {
                by_count.entry(of).or_default().push(machine);
            }
        }
        Self { by_name, by_count }
    }

    /// The one that has the name, or those that were made of it by a count.
    fn meant(&self, name: &Name) -> Vec<&'m PlacedMachine> {
        match self.by_name.get(name.as_str()) {
            Some(machine) => vec![*machine],
            None => self.by_count.get(name.as_str()).cloned().unwrap_or_default(),
        }
    }
}

fn report_unused(machine: &Name, entry: &DependencyFile, report: &mut Report) {
    let wanted = entry.dependency.machine.as_str();
    let machine = machine.as_str();
    let title = format!("machine {machine:?} depends on {wanted:?}, which is not in use");
    let hint = format!("give both the same profiles, or choose one that {wanted:?} is in");
    report.push(Diagnostic::new(title, entry.machine.clone()).with_hint(hint));
}

/// Reports conditions and outputs that would have to be looked at in a machine that no network of ours leads to.
pub(crate) fn check_ways(
    machines: &[PlacedMachine],
    nics: &[Vec<Nic>],
    waits: &[Waits],
    report: &mut Report,
) {
    let mut ways: HashMap<&Name, bool> = HashMap::new();
    for (machine, nics) in machines.iter().zip(nics) {
        // Of a machine whose NICs are wrong that is what there is to say.
        let has_one = machine.file.wrong || nics.iter().any(|nic| !nic.attach.is_direct());
        ways.entry(&machine.name.value).or_insert(has_one);
    }
    let reached = |name: &Name| ways.get(name).copied().unwrap_or(true);
    let mut wrong = |what: String, name: &Name, span: &Span| {
        let title = format!(
            "{what} cannot be found out: no NIC of machine {:?} goes through a network of Atoll's",
            name.as_str()
        );
        let hint = "give it a second NIC on a network of mode user".to_owned();
        report.push(Diagnostic::new(title, span.clone()).with_hint(hint));
    };
    for (dependency, span) in waits.iter().flatten() {
        if dependency.condition.is_looked_at() && !reached(&dependency.machine) {
            wrong(dependency.to_string(), &dependency.machine, span);
        }
    }
    for machine in machines {
        let name = &machine.name.value;
        for (output, _) in machine.file.outputs.iter().flat_map(|outputs| &outputs.0) {
            if !reached(name) {
                wrong(format!("output {:?}", output.value.as_str()), name, &output.span);
            }
        }
    }
}

fn report_unknown(machine: &Name, entry: &DependencyFile, names: &[&Name], report: &mut Report) {
    let wanted = entry.dependency.machine.as_str();
    let title = format!(
        "machine {:?} depends on {wanted:?}, which is not in the file",
        machine.as_str()
    );
    report.push(Diagnostic::new(title, entry.machine.clone()).with_hint(known(wanted, names)));
}

/// What may have been meant by a name that nobody has.
pub(crate) fn known(wanted: &str, names: &[&Name]) -> String {
    match nearest(wanted, names.iter().map(|name| name.as_str())) {
        Some(name) => format!("did you mean {name:?}?"),
        None => {
            let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
            format!("there are: {}", names.join(", "))
        }
    }
}
