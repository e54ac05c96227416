//! What a command has to tell while it works: events, one a change.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// Where a machine is on its way up, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Its image is looked up, fetched, verified.
    Image,
    /// Its disk is made.
    Disk,
    /// It waits for other machines.
    Wait,
    /// Its network knows it: lease, documents, forwards.
    Network,
    /// Its QEMU is started.
    Start,
    /// It boots.
    Boot,
    /// cloud-init sets it up.
    CloudInit,
    /// ssh answers.
    Ssh,
    /// What it gives to others is taken.
    Outputs,
    /// All that was asked for is there.
    Ready,
    /// It is shut down.
    Stop,
    /// It is made to stand still, with its memory in a file or without.
    Suspend,
    /// It goes on where it stood.
    Resume,
    /// It is saved as it is.
    Snapshot,
    /// It becomes what it was.
    Restore,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Image => "image",
            Self::Disk => "disk",
            Self::Wait => "wait",
            Self::Network => "network",
            Self::Start => "start",
            Self::Boot => "boot",
            Self::CloudInit => "cloud-init",
            Self::Ssh => "ssh",
            Self::Outputs => "outputs",
            Self::Ready => "ready",
            Self::Stop => "stop",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Snapshot => "snapshot",
            Self::Restore => "restore",
        })
    }
}

/// One change, as it goes over the API: one JSON object a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Progress {
    /// A machine has reached a stage, or got further in it.
    Stage {
        /// The machine.
        machine: String,
        /// The stage.
        stage: Stage,
        /// What is going on, in a few words.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        detail: String,
        /// How much of the stage is done, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        percent: Option<u8>,
    },
    /// A machine could not be brought further; others go on.
    Failed {
        /// The machine.
        machine: String,
        /// The stage it was in.
        stage: Stage,
        /// Why.
        problem: Problem,
        /// The last lines of its console, oldest first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        console: Vec<String>,
        /// Whose console that is, where it is that of a machine that it waited for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        console_of: Option<String>,
    },
    /// The command as a whole has ended in a problem.
    Error {
        /// Why.
        problem: Problem,
    },
    /// The command has ended well.
    Done {
        /// Machines it was about.
        machines: Vec<String>,
        /// How long it took.
        seconds: u64,
    },
}

impl Progress {
    /// A machine at a stage.
    pub fn stage(machine: &str, stage: Stage, detail: impl Into<String>) -> Self {
        Self::Stage {
            machine: machine.to_owned(),
            stage,
            detail: detail.into(),
            percent: None,
        }
    }

    /// The end of a command about these machines.
    pub fn done(machines: Vec<String>, took: Duration) -> Self {
        Self::Done {
            machines,
            seconds: took.as_secs(),
        }
    }
}

/// Where events go. A reader that is gone is no reason to stop the work.
pub trait Sink: Sync {
    /// Tells an event.
    fn tell(&self, event: Progress);
}

impl<F: Fn(Progress) + Sync> Sink for F {
    fn tell(&self, event: Progress) {
        self(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_flat_json_object() {
        let event = Progress::stage("a", Stage::CloudInit, "running");
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(
            text,
            r#"{"event":"stage","machine":"a","stage":"cloud-init","detail":"running"}"#
        );
        assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), event);
    }
}
