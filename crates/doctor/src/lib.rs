//! What this host can do, found out by trying, each answer with what helps.
//!
//! ```text
//! look: probes ──▶ facts ──▶ judge: pure ──▶ Check { name, area, status, found, fix, needed_for }
//! ```
//!
//! [`examine`] asks everything at once, each question by a thread of its own and with a deadline: one that does not answer in time
//! becomes a check that says so, and holds up nobody else. A question is an attempt where that is possible: a machine is
//! started, a socket opened, a file written and removed, a TAP made in namespaces that go with the process that made them. What
//! can only be read (settings, tables, the names of drivers) is read, and the sentence says so by naming it.
//!
//! **Bounds.** No question needs a privilege, and none changes the host: files that are tried are gone before the
//! answer is given; namespaces end with their process; the helper is asked for a TAP in a bridge that nobody has. The one thing that is kept is the cache of QEMU's answers, which `up` uses, too.
//! Programs are run without a terminal or standard input, in a process group of their own that is ended at the deadline. One that
//! cannot be ended, because it belongs to root by then, is not waited for.
//!
//! **Verdicts.** `fail` means that what `needed_for` names cannot work; `warn` that it works, but worse than it could, or may fail
//! later; `note` is for the reader to know: what has to be installed first for something that few hosts need is one.
//!
//! `judge` never looks and `look` never judges: the tests of the former hold what other hosts told.
#![forbid(unsafe_code)]

mod bounded;
mod check;
mod examine;
mod judge;
mod look;
mod program;

pub use check::{Area, Check, Need, Report, Status};
pub use examine::{Settings, examine};
pub use look::trial::run_trial;
