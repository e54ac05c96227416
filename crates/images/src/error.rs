//! What all errors of this crate have in common: a kind.

/// Whose fault an error is; the command line derives its exit status from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What the user asked for cannot be meant: a wrong name, a missing file, a wrong checksum.
    Usage,
    /// Something is set up wrongly: a tool is missing, a directory cannot be used.
    Configuration,
    /// The world did not play along: network, disk space, a failing program.
    Environment,
}

impl Kind {
    /// True when the command line should exit with status 2.
    #[must_use]
    pub const fn is_usage(self) -> bool {
        matches!(self, Self::Usage)
    }
}
