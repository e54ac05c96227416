//! What went wrong, as a value: a kind, one sentence, at most one hint.
//!
//! Errors of the parts below keep their own types; here they become the one shape that crosses the API and that the command
//! line turns into an exit status.

use serde::{Deserialize, Serialize};

/// Whose fault it is; the exit status follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The command cannot be meant: a machine that does not exist, arguments that do not fit together.
    Usage,
    /// A file or a setting says something that cannot be done.
    Configuration,
    /// The host did not play along: a tool, a port, space, a process.
    Environment,
    /// The machine itself did: it did not boot, cloud-init failed, ssh was refused.
    Guest,
}

impl Kind {
    /// The exit status of a command that ends with such a problem.
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::Usage | Self::Configuration => 2,
            Self::Environment | Self::Guest => 1,
        }
    }
}

/// A failure, ready for its reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// Whose fault it is.
    pub kind: Kind,
    /// One sentence that names the thing and the value.
    pub message: String,
    /// What can be done about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// A problem of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    /// A problem of the host.
    pub fn environment(message: impl Into<String>) -> Self {
        Self::new(Kind::Environment, message)
    }

    /// A problem of what was asked for.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a hint, when there is one.
    #[must_use]
    pub fn with_hint_if(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into).or(self.hint);
        self
    }
}
